//! The report for people: one table a plugin, and what failed explained below.

use super::{CaseResult, Group, Report, Summary};
use cni_types::SpecVersion;
use std::fmt::Write;

/// How the report looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// With colours: on a terminal only.
    pub color: bool,
}

impl Style {
    const RED: &'static str = "31";
    const GREEN: &'static str = "32";
    const YELLOW: &'static str = "33";
    const BOLD: &'static str = "1";
    const DIM: &'static str = "2";

    fn paint(self, code: &str, text: &str) -> String {
        if self.color && !text.trim().is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Lines of a value that is shown below another one.
const MAX_LINES: usize = 14;

/// Writes the report.
#[must_use]
pub fn render(report: &Report, style: Style) -> String {
    let mut text = String::new();
    for plugin in &report.plugins {
        let results: Vec<&CaseResult> =
            report.results.iter().filter(|result| result.plugin == plugin.name).collect();
        let heading = format!("{} ({})", plugin.name, plugin.kind.as_str());
        table_of(&mut text, style, &heading, &results);
        text.push('\n');
    }
    for group in report.grouped("failed") {
        failure(&mut text, style, &group, &report.bin_dir);
    }
    for group in report.grouped("error") {
        error(&mut text, style, &group);
    }
    short_list(&mut text, style, "noted", &report.grouped("noted"));
    short_list(&mut text, style, "skipped", &report.grouped("skipped"));
    text + &last_line(report, style) + "\n"
}

/// Adds the rows of one plugin: a family each, a column for each version.
fn table_of(text: &mut String, style: Style, heading: &str, results: &[&CaseResult]) {
    let versions: Vec<&str> = SpecVersion::ALL
        .iter()
        .map(|version| version.as_str())
        .filter(|version| results.iter().any(|result| result.version == *version))
        .collect();
    let _ = write!(text, "{}", style.paint(Style::BOLD, &format!("{heading:<24}")));
    versions.iter().for_each(|version| text.push_str(&style.paint(Style::DIM, &format!("{version:>8}"))));
    text.push('\n');
    let mut families: Vec<&str> = results.iter().map(|result| result.family).collect();
    families.dedup();
    for family in families {
        let _ = write!(text, "  {family:<22}");
        for version in &versions {
            let mine = results.iter().filter(|r| r.family == family && r.version == *version);
            text.push_str(&cell(Summary::of(mine.copied()), style));
        }
        text.push('\n');
    }
}

/// `12` where all passed, `11/12` where one did not, `-` where none could be looked at. Notes count as passed.
fn cell(summary: Summary, style: Style) -> String {
    let good = summary.passed + summary.noted;
    let all = good + summary.failed + summary.errors;
    let (code, shown) = match (all, all - good) {
        (0, _) if summary.skipped == 0 => (Style::DIM, String::new()),
        (0, _) => (Style::YELLOW, "-".to_owned()),
        (_, 0) => (Style::GREEN, all.to_string()),
        _ => (Style::RED, format!("{good}/{all}")),
    };
    style.paint(code, &format!("{shown:>8}"))
}

fn failure(text: &mut String, style: Style, group: &Group<'_>, bin_dir: &str) {
    let result = group.first;
    head(text, style, Style::RED, "FAILED", group);
    let _ = writeln!(text, "  rule    {}: {}", section(result), result.clause.rule);
    let _ = writeln!(text, "  wanted  {}", below(result.wanted.as_deref().unwrap_or_default()));
    let _ = writeln!(text, "  found   {}", below(result.found.as_deref().unwrap_or_default()));
    // Cases about two builds are none that one folder could explain.
    if crate::suite::family::FAMILIES.iter().any(|(family, _)| *family == result.family) {
        let command =
            format!("cni-conformance explain {} --plugin {} --bin-dir {bin_dir}", result.id, result.plugin);
        let _ = writeln!(text, "  more    {}", style.paint(Style::DIM, &command));
    }
    text.push('\n');
}

fn error(text: &mut String, style: Style, group: &Group<'_>) {
    head(text, style, Style::YELLOW, "ERROR", group);
    let reason = group.first.reason.as_deref().unwrap_or_default();
    let _ = writeln!(text, "  the suite could not do its own part: {}\n", below(reason));
}

fn head(text: &mut String, style: Style, code: &str, word: &str, group: &Group<'_>) {
    let CaseResult { plugin, case, level, title, .. } = group.first;
    let versions = group.versions.join(" ");
    let word = style.paint(code, word);
    let _ = writeln!(text, "{word} {} {case} @ {versions}", style.paint(Style::BOLD, plugin));
    let _ = writeln!(text, "  {}    {title}", level.as_str());
}

fn short_list(text: &mut String, style: Style, word: &str, groups: &[Group<'_>]) {
    for group in groups {
        let CaseResult { plugin, case, reason, notes, .. } = group.first;
        let said = reason.clone().unwrap_or_else(|| notes.join("; "));
        let versions = group.versions.join(" ");
        let word = style.paint(Style::YELLOW, word);
        let _ = writeln!(text, "{word} {plugin} {case} @ {versions}\n  {}", below(&said));
    }
    if !groups.is_empty() {
        text.push('\n');
    }
}

fn section(result: &CaseResult) -> String {
    match result.clause.section {
        "silent" => "the specification is silent".to_owned(),
        section => format!("section {section}"),
    }
}

/// Further lines stand below the first; very many are cut.
fn below(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let cut = lines.len().saturating_sub(MAX_LINES);
    lines.truncate(MAX_LINES);
    let more = if cut > 0 { format!("\n          … and {cut} lines more") } else { String::new() };
    lines.join("\n          ") + &more
}

fn last_line(report: &Report, style: Style) -> String {
    let Summary { passed, failed, noted, skipped, errors } = report.summary;
    let part = |n: usize, word: &str, code: &str| (n > 0).then(|| style.paint(code, &format!("{n} {word}")));
    let parts: Vec<String> = [
        part(passed, "passed", Style::GREEN),
        part(failed, "failed", Style::RED),
        part(errors, "errors", Style::YELLOW),
        part(noted, "noted", Style::YELLOW),
        part(skipped, "skipped", Style::YELLOW),
    ]
    .into_iter()
    .flatten()
    .collect();
    let said = if parts.is_empty() { "no case".to_owned() } else { parts.join(", ") };
    format!("{said} in {:.1} s", report.duration_ms / 1000.0)
}
