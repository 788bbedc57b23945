//! What is printed, and for whom: a person at a terminal, or a program.
//!
//! A reader that has gone away (`cnictl list | head -1`) is no reason to fail, so nothing here does.

use serde::Serialize;
use std::io::{IsTerminal, Write};

/// stdout and stderr.
pub(crate) struct Screen {
    json: bool,
    person: bool,
}

impl Screen {
    /// What is printed is JSON where `json` says so.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, person: std::io::stdout().is_terminal() }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person reads stdout, and did not ask for JSON.
    pub(crate) fn is_for_a_person(&self) -> bool {
        self.person && !self.json
    }

    /// Prints text as it is.
    pub(crate) fn print(&self, text: &str) {
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }

    /// Prints one JSON document, indented as CNI plugins do.
    pub(crate) fn json(&self, value: &impl Serialize) {
        self.print(&(indented(value) + "\n"));
    }

    /// Text on stderr as it is.
    pub(crate) fn tell(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A sentence on stderr.
    pub(crate) fn complain(&self, text: &str) {
        self.tell(&format!("cnictl: {text}"));
    }

    /// A table with a heading; the last column is not padded.
    pub(crate) fn table<const N: usize>(&self, heading: [&str; N], rows: &[[String; N]]) {
        self.print(&table(heading, rows));
    }
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
    String::from_utf8(bytes).unwrap_or_default()
}

fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let lines = || std::iter::once(&heading).chain(rows);
    let mut widths = [0; N];
    for line in lines() {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; N]| {
        let padded: String =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        format!("{}\n", padded.trim_end())
    };
    lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_table_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "bridge".to_owned()], ["löö".to_owned(), String::new()]];
        assert_eq!(table(["N", "TYPE"], &rows), "N    TYPE\na    bridge\nlöö\n");
    }
}
