//! The keys that each plugin declares, held against the tables of its page.

use super::page::text;
use cni_types::{Key, KeyKind};
use std::collections::BTreeSet;
use testkit::fail;

/// Returns the section of a page that begins with a heading, up to the next heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page
        .split_once(&format!("\n{heading}"))
        .unwrap_or_else(|| fail(format_args!("no section {heading:?}")));
    rest.split("\n## ").next().unwrap()
}

/// Returns the cells of the rows of each table that come before the runtime's part, without heads.
fn tables(section: &str) -> Vec<Vec<Vec<&str>>> {
    let own = section.split("From the runtime").next().unwrap();
    let parts = own.split("\n\n");
    let rows = parts.map(|part| {
        let rows = part.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| row.split(" | ").collect()).collect()
    });
    rows.filter(|rows: &Vec<Vec<&str>>| !rows.is_empty())
        .collect()
}

/// Returns what stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns the name that pages give to a kind.
fn word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Flag => "bool",
        KeyKind::Number => "number",
        KeyKind::Text => "text",
        KeyKind::List(KeyKind::List(_)) => "list of lists",
        KeyKind::List(_) => "list",
        KeyKind::Object(_) | KeyKind::Map(_) | KeyKind::Ipam => "object",
        KeyKind::Any => "any",
    }
}

/// Returns the keys of the objects that a value of this kind holds, if they are the plugin's own.
fn keys_within(kind: KeyKind) -> BTreeSet<&'static str> {
    match kind {
        KeyKind::DNS => BTreeSet::new(),
        KeyKind::Object(keys) => keys.iter().map(|key| key.name).collect(),
        KeyKind::List(kind) | KeyKind::Map(kind) => keys_within(*kind),
        _ => BTreeSet::new(),
    }
}

/// Fails unless the first table of the page has these keys with their types, any other table the
/// keys of an object in one of them, and the page names the keys of all such objects.
pub(crate) fn require_on_page(plugin: &str, keys: &[Key]) {
    let page = text(&format!("docs/{plugin}.md"));
    let section = section(&page, "## Keys");
    let tables = tables(section);
    let first = tables.first().into_iter().flatten();
    let on_page = first.flat_map(|row| quoted(row[0]).map(|name| (name, row[1])));
    let declared = keys.iter().map(|key| (key.name, word(key.kind)));
    assert_eq!(
        on_page.collect::<BTreeSet<_>>(),
        declared.collect::<BTreeSet<_>>(),
        "docs/{plugin}.md"
    );
    let within: Vec<_> = keys.iter().map(|key| keys_within(key.kind)).collect();
    for table in tables.iter().skip(1) {
        let names = table.iter().flat_map(|row| quoted(row[0])).collect();
        assert!(within.contains(&names), "docs/{plugin}.md: {names:?}");
    }
    for name in within.iter().flatten() {
        let is_named =
            section.contains(&format!("`{name}`")) || section.contains(&format!("\"{name}\""));
        assert!(is_named, "docs/{plugin}.md does not name {name}");
    }
}
