//! What is printed, and for whom: a person at a terminal, or a program.
//!
//! A reader that has gone away (`cnictl list | head -1`) is no reason to fail, so nothing here
//! does.

use serde::Serialize;
use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
};

/// stdout and stderr.
pub(crate) struct Screen {
    json: bool,
    person: bool,
}

impl Screen {
    /// What is printed is JSON where `json` says so.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            person: std::io::stdout().is_terminal(),
        }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person reads stdout, and did not ask for JSON.
    pub(crate) fn is_for_a_person(&self) -> bool {
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
    pub(crate) fn tell(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{}", readable(text));
    }

    /// A sentence on stderr. Further lines are indented, so that none looks like a sentence of its
    /// own.
    pub(crate) fn complain(&self, text: &str) {
        self.tell(&format!(
            "cnictl: {}",
            text.trim_end().replace('\n', "\n    ")
        ));
    }

    /// A table with a heading; the last column is not padded.
    pub(crate) fn table<const N: usize>(&self, heading: [&str; N], rows: &[[String; N]]) {
        self.print(&table(heading, rows));
    }
}

/// Text from a file, a plugin or the kernel as a terminal can show it: control characters, which
/// could move the cursor or colour the rest of the screen, are escaped. Line ends stay.
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

/// Control characters but for line ends and tabs, and what turns the order of other characters
/// around.
fn is_hidden(symbol: char) -> bool {
    symbol.is_control() && !matches!(symbol, '\n' | '\t')
        || matches!(symbol, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON with those escaped that JSON need not escape, and that a terminal obeys all the same.
pub(crate) fn readable_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for symbol in text.chars() {
        if is_hidden(symbol) {
            // All of them are in the basic plane, and stand in strings.
            escaped += &format!("\\u{:04x}", u32::from(symbol));
        } else {
            escaped.push(symbol);
        }
    }
    escaped
}

/// A value as one JSON document of several lines, without a newline at its end.
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
