//! The output for people: a title for each step, and a line for each check.

use std::{
    fmt,
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

/// The standard output, with the numbers of checks that passed and failed.
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
    failures: usize,
    passed: usize,
}

/// SGR codes of a terminal.
#[derive(Clone, Copy)]
enum Colour {
    Bold = 1,
    Red = 31,
    Green = 32,
}

impl Screen {
    /// Returns a screen with colours on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub(crate) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        Self {
            terminal,
            colour: terminal && !unwanted,
            failures: 0,
            passed: 0,
        }
    }

    pub(crate) fn title(&self, text: &str) {
        self.text(&format!("\n{}\n", self.paint(text, Colour::Bold)));
    }

    /// Shows a step that takes time. Only on a terminal, where the next line replaces it.
    pub(crate) fn passing(&self, text: &str) {
        if self.terminal {
            self.text(&format!("  ..  {text}\r"));
        }
    }

    /// Shows and counts a check that passed.
    pub(crate) fn ok(&mut self, text: &str) {
        self.passed += 1;
        self.text(&format!(
            "{}  {}  {text}\n",
            self.clear(),
            self.paint("ok", Colour::Green)
        ));
    }

    /// Shows and counts a check that failed.
    pub(crate) fn failed(&mut self, text: &str) {
        self.failures += 1;
        self.text(&format!(
            "{}  {}  {text}\n",
            self.clear(),
            self.paint("FAILED", Colour::Red)
        ));
    }

    /// Shows `text` with the value or the error.
    pub(crate) fn result<T: fmt::Display, E: fmt::Display>(
        &mut self,
        text: &str,
        outcome: Result<T, E>,
    ) {
        match outcome {
            Ok(value) => self.ok(format!("{text}{value}").trim_end()),
            Err(e) => self.failed(&format!("{text}{e}")),
        }
    }

    /// Shows more about the line before.
    pub(crate) fn detail(&self, text: &str) {
        self.text(&format!("      {text}\n"));
    }

    /// Prints text as it is. A reader that has closed the pipe is not an error.
    pub(crate) fn text(&self, text: &str) {
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    /// Prints the last line, and returns the exit status.
    pub(crate) fn conclude(self) -> ExitCode {
        if self.failures == 0 {
            let text = format!("All {} checks passed.", self.passed);
            self.text(&format!("\n{}\n", self.paint(&text, Colour::Green)));
            return ExitCode::SUCCESS;
        }
        let text = format!(
            "{} of {} checks failed.",
            self.failures,
            self.failures + self.passed
        );
        self.text(&format!("\n{}\n", self.paint(&text, Colour::Red)));
        ExitCode::FAILURE
    }

    /// Returns the sequence that erases the line of a passing step (ECMA-48, EL).
    fn clear(&self) -> &'static str {
        if self.terminal { "\x1b[K" } else { "" }
    }

    fn paint(&self, text: &str, colour: Colour) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }
}

/// Returns a duration in milliseconds, for people.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
