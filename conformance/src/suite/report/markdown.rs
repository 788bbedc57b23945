//! The report as Markdown, for a README or a pull request.

use super::{CaseResult, Report, Summary};
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
    let failed = report.grouped("failed");
    if !failed.is_empty() {
        text.push_str(
            "\n### Failures\n\n| plugin | case | versions | level | clause | wanted | found |\n",
        );
        text.push_str("|---|---|---|---|---|---|---|\n");
    }
    for group in failed {
        let CaseResult {
            plugin,
            case,
            level,
            clause,
            wanted,
            found,
            ..
        } = group.first;
        let _ = writeln!(
            text,
            "| {plugin} | `{case}` | {} | {} | {}: {} | {} | {} |",
            group.versions.join(", "),
            level.as_str(),
            clause.section,
            clause.rule,
            cell(wanted.as_deref()),
            cell(found.as_deref()),
        );
    }
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

/// What would end a cell or a line is taken out.
fn cell(text: Option<&str>) -> String {
    let mut line = text
        .unwrap_or_default()
        .replace('|', "\\|")
        .replace('\n', "<br>");
    if line.chars().count() > 400 {
        line = line.chars().take(400).chain(['…']).collect();
    }
    line
}
