//! The report: a table, and the defects in groups.

use crate::{
    attempt::{Defect, Verdict},
    point::Kind,
    subject::Way,
};
use cni_types::Command;
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// So many points of a group are listed.
const LISTED: usize = 12;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    subject: &'static str,
    operation: &'static str,
    kind: Kind,
}

impl Row {
    pub(crate) fn new(subject: &'static str, operation: Command, kind: Kind) -> Self {
        Self {
            subject,
            operation: operation.as_str(),
            kind,
        }
    }
}

/// The numbers of a row.
#[derive(Clone, Debug, Default)]
struct Counts {
    tried: usize,
    missed: usize,
    before_main: usize,
    defects: BTreeMap<Defect, usize>,
    longest: Duration,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.tried += other.tried;
        self.missed += other.missed;
        self.before_main += other.before_main;
        self.longest = self.longest.max(other.longest);
        for (defect, count) in &other.defects {
            *self.defects.entry(*defect).or_default() += count;
        }
    }
}

/// Defects of the same kind with the same text, but for addresses and random names.
#[derive(Clone, Debug, Default)]
struct Group {
    call: String,
    text: String,
    points: Vec<String>,
}

/// The report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    rows: BTreeMap<Row, Counts>,
    groups: BTreeMap<(Row, Defect, String), Group>,
    missing: Vec<(String, String)>,
    duration: Duration,
}

/// The columns of defects.
const COLUMNS: [(Defect, &str); 8] = [
    (Defect::Unclean, "unclean"),
    (Defect::Left(Way::Del), "left by DEL"),
    (Defect::Left(Way::Gc), "left by GC"),
    (
        Defect::Left(Way::DelWithoutNetns),
        "left by DEL without netns",
    ),
    (Defect::Hung, "hung"),
    (Defect::Document, "no document"),
    (Defect::Refused, "refused"),
    (Defect::FalseSuccess, "false success"),
];

/// The meaning of the columns, for the reader of the table.
pub(crate) const LEGEND: &str = "\
points: system calls × disturbances that were tried; unclean: a failed ADD left something, or CHECK changed something; \
left by: after the attachment was removed in this way; hung: did not end within 25 s; no document: not exactly one; \
refused: an operation that was not disturbed failed afterwards; false success: reported what was not so; \
before main: ended before its own code began, with nothing changed; longest: of the disturbed runs.
";

impl Report {
    /// The report on a subject that cannot run here.
    pub(crate) fn of_missing(name: &str, reason: String) -> Self {
        Self {
            missing: vec![(name.to_owned(), reason)],
            ..Self::default()
        }
    }

    /// Enters one point.
    pub(crate) fn enter(&mut self, row: Row, point: String, verdict: Verdict) {
        let counts = self.rows.entry(row).or_default();
        if !verdict.is_reached && verdict.defects.is_empty() {
            counts.missed += 1;
            return;
        }
        counts.tried += 1;
        counts.before_main += usize::from(verdict.ended_before_main);
        counts.longest = counts.longest.max(verdict.duration);
        for (defect, text) in verdict.defects {
            *counts.defects.entry(defect).or_default() += 1;
            let group = self
                .groups
                .entry((row, defect, without_values(&text)))
                .or_default();
            if group.points.is_empty() {
                group.call.clone_from(&verdict.call);
                group.text = text;
            }
            group.points.push(point.clone());
        }
    }

    /// The time that it took.
    pub(crate) fn time(&mut self, duration: Duration) {
        self.duration = duration;
    }

    /// Adds another report.
    pub(crate) fn add(&mut self, other: Self) {
        for (row, counts) in &other.rows {
            self.rows.entry(*row).or_default().add(counts);
        }
        self.groups.extend(other.groups);
        self.missing.extend(other.missing);
        self.duration += other.duration;
    }

    /// The number of points at which something is wrong, each counted once for each defect.
    pub(crate) fn defects(&self) -> usize {
        self.groups.values().map(|group| group.points.len()).sum()
    }

    /// The time that it took, in minutes.
    pub(crate) fn minutes(&self) -> f32 {
        self.duration.as_secs_f32() / 60.0
    }

    /// The number of points that were tried.
    pub(crate) fn tried(&self) -> usize {
        self.rows.values().map(|counts| counts.tried).sum()
    }

    /// The defects, each with the first point at which it was seen and what was seen there.
    pub(crate) fn findings(&self) -> String {
        let mut text = String::new();
        for ((_, defect, _), group) in &self.groups {
            let column = heading(*defect);
            let points = &group.points;
            let first = points.first().map(String::as_str).unwrap_or_default();
            let _ = writeln!(text, "{column}: {first}\n  at {}", group.call);
            group
                .text
                .lines()
                .for_each(|line| _ = writeln!(text, "    {line}"));
            let others = points
                .iter()
                .skip(1)
                .take(LISTED)
                .cloned()
                .collect::<Vec<_>>()
                .join(" ");
            match points.len().saturating_sub(LISTED + 1) {
                0 if others.is_empty() => {}
                0 => _ = writeln!(text, "  also {others}"),
                more => _ = writeln!(text, "  also {others} and {more} more"),
            }
        }
        text
    }

    /// One line on what was done.
    pub(crate) fn summary(&self) -> String {
        let rows = self.rows.iter().next();
        let name = rows
            .map(|(row, _)| format!("{} {}", row.subject, row.operation))
            .unwrap_or_default();
        let seconds = self.duration.as_secs_f32();
        format!(
            "{name}: {} points in {seconds:.0} s, {} defects",
            self.tried(),
            self.defects()
        )
    }

    /// The table, as Markdown.
    pub(crate) fn table(&self) -> String {
        let headings: Vec<&str> = COLUMNS.iter().map(|(_, name)| *name).collect();
        let mut text = format!(
            "| plugin | operation | disturbed by | points | {} | before main | longest |\n|---|---|---|--:|{}--:|--:|\n",
            headings.join(" | "),
            "--:|".repeat(COLUMNS.len())
        );
        let mut all = Counts::default();
        for (row, counts) in &self.rows {
            let Row {
                subject,
                operation,
                kind,
            } = row;
            let _ = writeln!(
                text,
                "| {subject} | {operation} | {kind} |{}",
                cells(counts)
            );
            all.add(counts);
        }
        let _ = writeln!(text, "| all | | |{}", cells(&all));
        for (name, reason) in &self.missing {
            let _ = writeln!(text, "\n{name} was not tried: {reason}");
        }
        if all.missed > 0 {
            let _ = writeln!(
                text,
                "\n{} points were not reached: the run made fewer system calls.",
                all.missed
            );
        }
        text
    }
}

/// The text without the words in which there are digits: what is alike in defects of one cause.
fn without_values(text: &str) -> String {
    let words = text.split_whitespace();
    words
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn heading(defect: Defect) -> &'static str {
    COLUMNS
        .iter()
        .find(|(column, _)| *column == defect)
        .map(|(_, name)| *name)
        .unwrap_or_default()
}

fn cells(counts: &Counts) -> String {
    let mut text = format!(" {} |", counts.tried);
    for (defect, _) in COLUMNS {
        let _ = write!(text, " {} |", counts.defects.get(&defect).unwrap_or(&0));
    }
    let _ = write!(
        text,
        " {} | {:.2} s |",
        counts.before_main,
        counts.longest.as_secs_f32()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(defects: Vec<(Defect, String)>) -> Verdict {
        let call = "openat(3, \"x\")".to_owned();
        let duration = Duration::from_millis(20);
        Verdict {
            is_reached: true,
            ended_before_main: false,
            call,
            duration,
            defects,
        }
    }

    #[test]
    fn a_defect_is_counted_in_its_column_and_shown_with_its_point() {
        let mut report = Report::default();
        let row = Row::new("bridge", Command::Add, Kind::Kill);
        report.enter(
            row,
            "bridge/ADD/kill/0:1/gc".to_owned(),
            verdict(Vec::new()),
        );
        let left = (Defect::Left(Way::Gc), "+ host: link veth1".to_owned());
        report.enter(
            row,
            "bridge/ADD/kill/0:2/gc".to_owned(),
            verdict(vec![left]),
        );
        assert_eq!((report.tried(), report.defects()), (2, 1));
        assert!(
            report.table().contains(
                "| bridge | ADD | kill | 2 | 0 | 0 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 0.02 s |"
            ),
            "{}",
            report.table()
        );
        let findings = report.findings();
        assert!(
            findings.starts_with("left by GC: bridge/ADD/kill/0:2/gc\n  at openat(3"),
            "{findings}"
        );
        assert!(findings.contains("+ host: link veth1"));
    }

    #[test]
    fn defects_that_differ_in_a_random_name_are_one_group() {
        assert_eq!(
            without_values("+ link veth1a up\n+ b"),
            without_values("+ link veth2b up\n+ b")
        );
        assert_ne!(
            without_values("+ link veth1a up"),
            without_values("+ address 10.0.0.2/24")
        );
    }
}
