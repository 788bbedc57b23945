//! README's table "reference / ours": each of its rows is run on both sides, and must state what
//! happens.
//!
//! The reference's column is about the version that README names, and is skipped if sid has a newer
//! one.

mod attachments;
mod errors;
mod scene;

use crate::node::{Node, Side};
use scene::Scene;
use testkit::{Host, Suite, Test, fail, require};

/// The version that README's table is about.
const VERSION: &str = "1.9.1";
const README: &str = include_str!("../../README.md");

/// A row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// The situation.
    pub(crate) what: &'static str,
    /// The observation.
    pub(crate) reference: &'static str,
    pub(crate) ours: &'static str,
    /// Produces the situation, and returns the observation.
    pub(crate) see: fn(&Scene<'_>) -> String,
}

pub(crate) fn tests() -> Vec<Test> {
    let rows: Vec<Row> = attachments::ROWS
        .iter()
        .chain(errors::ROWS)
        .copied()
        .collect();
    let table = rows.clone();
    let mut tests = vec![Test::new("seen::the_readme_has_the_table", move |_| {
        require_table(&table)
    })];
    for row in rows {
        for side in [Side::Reference, Side::Ours] {
            tests.push(Test::new(name(&row, side), move |host| {
                see(host, &row, side)
            }));
        }
    }
    tests
}

/// Returns a name for the row: only characters without a meaning to a shell.
fn name(row: &Row, side: Side) -> String {
    let words = row
        .what
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    format!("seen::{side:?}::{}", words.collect::<Vec<_>>().join("_")).to_lowercase()
}

fn see(host: &Host, row: &Row, side: Side) {
    if side == Side::Reference {
        let folder = Suite::Sid.require();
        require(
            &format!("version {VERSION} of the reference in sid"),
            folder.ends_with(VERSION),
        );
    }
    let wanted = if side == Side::Ours {
        row.ours
    } else {
        row.reference
    };
    let seen = (row.see)(&Scene::new(host, side));
    if seen != wanted {
        fail(format_args!(
            "{}\n  seen:   {seen}\n  README: {wanted}",
            row.what
        ));
    }
}

fn require_table(rows: &[Row]) {
    let missing: String = rows
        .iter()
        .map(|row| format!("| {} | {} | {} |\n", row.what, row.reference, row.ours))
        .filter(|line| !README.contains(line.as_str()))
        .collect();
    if !missing.is_empty() {
        fail(format_args!("README.md lacks:\n{missing}"));
    }
}
