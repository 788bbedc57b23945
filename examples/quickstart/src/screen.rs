//! What people see: a title for each step, a line for each thing that held or did not.

use std::{
    fmt,
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

/// Stdout, and how many lines on it tell of a failure.
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
    failures: usize,
    held: usize,
}

/// SGR codes of a terminal.
#[derive(Clone, Copy)]
enum Colour {
    Bold = 1,
    Red = 31,
    Green = 32,
}

impl Screen {
    /// With colour on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub(crate) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        Self {
            terminal,
            colour: terminal && !unwanted,
            failures: 0,
            held: 0,
        }
    }

    pub(crate) fn title(&self, text: &str) {
        self.text(&format!("\n{}\n", self.paint(text, Colour::Bold)));
    }

    /// Something takes its time. Only on a terminal, where the next line takes its place.
    pub(crate) fn passing(&self, text: &str) {
        if self.terminal {
            self.text(&format!("  ..  {text}\r"));
        }
    }

    /// Something held.
    pub(crate) fn ok(&mut self, text: &str) {
        self.held += 1;
        self.text(&format!(
            "{}  {}  {text}\n",
            self.clear(),
            self.paint("ok", Colour::Green)
        ));
    }

    /// Something did not hold.
    pub(crate) fn failed(&mut self, text: &str) {
        self.failures += 1;
        self.text(&format!(
            "{}  {}  {text}\n",
            self.clear(),
            self.paint("FAILED", Colour::Red)
        ));
    }

    /// Shows `text` with the value where there is one, and with the error where there is none.
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

    /// More about the line before.
    pub(crate) fn detail(&self, text: &str) {
        self.text(&format!("      {text}\n"));
    }

    /// Text as it is. Who closes stdout wants to see no more.
    pub(crate) fn text(&self, text: &str) {
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    /// The last line, and the exit status.
    pub(crate) fn conclude(self) -> ExitCode {
        if self.failures == 0 {
            let text = format!("All {} points held.", self.held);
            self.text(&format!("\n{}\n", self.paint(&text, Colour::Green)));
            return ExitCode::SUCCESS;
        }
        let text = format!(
            "{} of {} points did not hold.",
            self.failures,
            self.failures + self.held
        );
        self.text(&format!("\n{}\n", self.paint(&text, Colour::Red)));
        ExitCode::FAILURE
    }

    /// Erases what is passing (ECMA-48, EL).
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

/// A duration in milliseconds, with as many digits as people look at.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
