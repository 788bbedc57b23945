//! Output, for a person at a terminal or for a program.
//!
//! Nothing here fails: a reader that has closed the pipe (`cnictl list | head -1`) is not an error.

use serde::Serialize;
use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
};

/// The standard output and the standard error.
pub(crate) struct Screen {
    json: bool,
    person: bool,
}

impl Screen {
    /// Returns a screen that prints results as JSON if `json` is true.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            person: std::io::stdout().is_terminal(),
        }
    }

    /// Returns true if JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns true if stdout is a terminal and JSON was not asked for.
    pub(crate) fn is_interactive(&self) -> bool {
        self.person && !self.json
    }

    /// Prints text, with control characters escaped.
    pub(crate) fn print(&self, text: &str) {
        let _ = std::io::stdout()
            .lock()
            .write_all(readable(text).as_bytes());
    }

    /// Prints one JSON document, indented as CNI plugins do. JSON escapes control characters
    /// itself.
    pub(crate) fn json(&self, value: &impl Serialize) {
        let _ = writeln!(std::io::stdout().lock(), "{}", indented(value));
    }

    /// Prints a line on stderr, with control characters escaped.
    pub(crate) fn print_error(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{}", readable(text));
    }

    /// Prints a sentence on stderr, after the program's name. Further lines are indented, so that
    /// none looks like a message of its own.
    pub(crate) fn message(&self, text: &str) {
        self.print_error(&format!(
            "cnictl: {}",
            text.trim_end().replace('\n', "\n    ")
        ));
    }

    /// Prints a table with a heading; the last column is not padded.
    pub(crate) fn table<const N: usize>(&self, heading: [&str; N], rows: &[[String; N]]) {
        self.print(&table(heading, rows));
    }
}

/// Escapes the control characters of a text from a file, a plugin or the kernel: they could move
/// the cursor or colour the rest of the screen. Line ends stay.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|symbol| {
        if is_hidden(symbol) {
            symbol.escape_default().to_string()
        } else {
            symbol.to_string()
        }
    });
    Cow::Owned(escaped.collect())
}

/// Returns true for control characters, except line ends and tabs, and for characters that change
/// the order of others.
fn is_hidden(symbol: char) -> bool {
    symbol.is_control() && !matches!(symbol, '\n' | '\t')
        || matches!(symbol, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes the characters in JSON that a terminal obeys and that JSON need not escape.
pub(crate) fn readable_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for symbol in text.chars() {
        if is_hidden(symbol) {
            // All of them are in the basic plane, and occur in strings only.
            escaped += &format!("\\u{:04x}", u32::from(symbol));
        } else {
            escaped.push(symbol);
        }
    }
    escaped
}

/// Returns a value as an indented JSON document without a newline at its end.
pub(crate) fn indented(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    // Fails only for maps whose keys are not strings.
    if value.serialize(&mut serializer).is_err() {
        bytes.clear();
    }
    readable_json(&String::from_utf8(bytes).unwrap_or_default())
}

fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    // Escaped before they are measured; a cell has no lines of its own.
    let cell = |cell: &String| readable(cell).replace('\n', "\\n");
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(cell)).collect();
    let lines = || std::iter::once(&heading).chain(&rows);
    let mut widths = [0; N];
    for line in lines() {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; N]| {
        let padded: String = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        format!("{}\n", padded.trim_end())
    };
    lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_line_ends_are_not() {
        assert_eq!(readable("a\nb ö \u{1f41f}"), "a\nb ö \u{1f41f}");
        assert_eq!(
            readable("a\x1b[2Jb\r\u{202e}\u{9b}"),
            r"a\u{1b}[2Jb\r\u{202e}\u{9b}"
        );
        let json = serde_json::json!({"a": "\x1b\u{9b}\t"});
        assert_eq!(indented(&json), "{\n    \"a\": \"\\u001b\\u009b\\t\"\n}");
        let rows = [["a\x1b[31m".to_owned(), "x\ny".to_owned()]];
        assert_eq!(
            table(["N", "T"], &rows),
            "N            T\na\\u{1b}[31m  x\\ny\n"
        );
    }

    #[test]
    fn columns_of_a_table_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "bridge".to_owned()],
            ["löö".to_owned(), String::new()],
        ];
        assert_eq!(table(["N", "TYPE"], &rows), "N    TYPE\na    bridge\nlöö\n");
    }
}
