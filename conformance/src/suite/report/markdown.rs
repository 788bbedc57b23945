//! The report as Markdown, for a README or a pull request.

use super::{CaseResult, Report, Summary};
use crate::suite::Verdict;
use cni_types::SpecVersion;
use std::fmt::Write;

/// Writes the report.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = format!("## CNI conformance of `{}`\n", report.bin_dir);
    for plugin in &report.plugins {
        let _ = writeln!(text, "\n### {} ({})\n", plugin.name, plugin.kind.as_str());
        let results: Vec<&CaseResult> = report
            .results
            .iter()
            .filter(|result| result.plugin == plugin.name)
            .collect();
        table(&mut text, &results);
    }
    failures(&mut text, report);
    let Summary {
        passed,
        failed,
        noted,
        skipped,
        errors,
    } = report.summary;
    let _ = writeln!(
        text,
        "\n{passed} passed, {failed} failed, {noted} noted, {skipped} skipped, {errors} errors ({} {})",
        report.tool.name, report.tool.version
    );
    text
}

/// Adds the table of the failures, if there is one.
fn failures(text: &mut String, report: &Report) {
    if report.summary.failed == 0 {
        return;
    }
    *text += "\n### Failures\n\n| plugin | case | versions | level | clause | wanted | found |\n";
    *text += "|---|---|---|---|---|---|---|\n";
    for group in report.groups() {
        let CaseResult {
            plugin,
            case,
            level,
            clause,
            ..
        } = group.first;
        let Verdict::Failed { wanted, found } = &group.first.verdict else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {plugin} | `{case}` | {} | {} | {}: {} | {} | {} |",
            group.versions.join(", "),
            level.as_str(),
            clause.section,
            clause.rule,
            cell(wanted),
            cell(found),
        );
    }
}

fn table(text: &mut String, results: &[&CaseResult]) {
    let versions = SpecVersion::ALL.map(SpecVersion::as_str);
    let _ = writeln!(text, "| family | {} |", versions.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(versions.len()));
    for (family, _) in crate::suite::family::FAMILIES {
        let of_family: Vec<_> = results
            .iter()
            .filter(|result| result.family == *family)
            .copied()
            .collect();
        if of_family.is_empty() {
            continue;
        }
        let cells = versions.map(|version| {
            let summary = Summary::of(of_family.iter().filter(|r| r.version == version).copied());
            let good = summary.passed + summary.noted;
            match good + summary.failed + summary.errors {
                0 => "–".to_owned(),
                all if all == good => format!("{all}"),
                all => format!("**{good}/{all}**"),
            }
        });
        let _ = writeln!(text, "| {family} | {} |", cells.join(" | "));
    }
}

/// Replaces the characters that would end a cell or a line.
fn cell(text: &str) -> String {
    let mut line = text.replace('|', "\\|").replace('\n', "<br>");
    if line.chars().count() > 400 {
        line = line.chars().take(400).chain(['…']).collect();
    }
    line
}
