//! The report for people: one table a plugin, and what failed explained below.

use super::{CaseResult, Group, Report, Summary};
use crate::suite::Verdict;
use cni_types::SpecVersion;
use std::fmt::Write;

/// The looks of the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style<'a> {
    /// With colours: on a terminal only.
    pub color: bool,
    /// Options of this run that `explain` needs too, as a shell takes them: `--config FILE`.
    pub options: &'a str,
}

impl Style<'_> {
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

/// The columns of a line, except for commands to be copied.
const WIDTH: usize = 100;

/// The legend below the tables.
const LEGEND: &str = "\
12: none of 12 cases failed; 11/12: one did; -: all were skipped; blank: no case applies
in a version that VERSION does not list only those few apply that any version must keep";

/// Lines of a value that is shown below another one.
const MAX_LINES: usize = 14;

/// Writes the report.
#[must_use]
pub fn render(report: &Report, style: Style<'_>) -> String {
    let mut text = String::new();
    for plugin in &report.plugins {
        let results: Vec<&CaseResult> = report
            .results
            .iter()
            .filter(|result| result.plugin == plugin.name)
            .collect();
        let heading = format!("{} ({})", plugin.name, plugin.kind.as_str());
        table_of(&mut text, style, &heading, &results);
        text.push('\n');
    }
    if !report.plugins.is_empty() {
        text += &style.paint(Style::DIM, LEGEND);
        text += "\n\n";
    }
    let groups = report.groups();
    for group in &groups {
        failure(&mut text, style, group, &report.bin_dir);
    }
    for group in &groups {
        error(&mut text, style, group);
    }
    notes(&mut text, style, &groups);
    skipped(&mut text, style, report);
    text + &last_line(report, style) + "\n"
}

/// Adds the rows of one plugin: a family each, a column for each version.
fn table_of(text: &mut String, style: Style<'_>, heading: &str, results: &[&CaseResult]) {
    let versions: Vec<&str> = SpecVersion::ALL
        .iter()
        .map(|version| version.as_str())
        .filter(|version| results.iter().any(|result| result.version == *version))
        .collect();
    let _ = write!(
        text,
        "{}",
        style.paint(Style::BOLD, &format!("{heading:<24}"))
    );
    versions
        .iter()
        .for_each(|version| text.push_str(&style.paint(Style::DIM, &format!("{version:>8}"))));
    text.push('\n');
    let mut families: Vec<&str> = results.iter().map(|result| result.family).collect();
    families.dedup();
    for family in families {
        let _ = write!(text, "  {family:<22}");
        for version in &versions {
            let mine = results
                .iter()
                .filter(|r| r.family == family && r.version == *version);
            text.push_str(&cell(Summary::of(mine.copied()), style));
        }
        text.push('\n');
    }
}

/// Writes `12` if all passed, `11/12` if one did not, `-` if all were skipped. Notes count as
/// passed.
fn cell(summary: Summary, style: Style<'_>) -> String {
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

/// Adds a group of failures; no other group.
fn failure(text: &mut String, style: Style<'_>, group: &Group<'_>, bin_dir: &str) {
    let result = group.first;
    let Verdict::Failed { wanted, found } = &result.verdict else {
        return;
    };
    head(text, style, Style::RED, "FAILED", group);
    let rule = format!("{}: {}", section(result), result.clause.rule);
    let parts = [("rule", &rule), ("wanted", wanted), ("found", found)];
    for (name, said) in parts {
        let _ = writeln!(text, "  {name:<6}  {}", below(said, 10));
    }
    // Cases about two builds are none that one folder could explain.
    if crate::suite::family::FAMILIES
        .iter()
        .any(|(family, _)| *family == result.family)
    {
        let mut command = format!(
            "cni-conformance explain {} --plugin {} --bin-dir {}",
            result.id,
            result.plugin,
            shell_word(bin_dir)
        );
        if !style.options.is_empty() {
            command += &format!(" {}", style.options);
        }
        let _ = writeln!(text, "  more    {}", style.paint(Style::DIM, &command));
    }
    text.push('\n');
}

/// A text as one word of a POSIX shell.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let is_plain = |symbol: char| symbol.is_ascii_alphanumeric() || "/._-+=:,@%".contains(symbol);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Adds a group of errors of the suite; no other group.
fn error(text: &mut String, style: Style<'_>, group: &Group<'_>) {
    let Verdict::Error { reason } = &group.first.verdict else {
        return;
    };
    head(text, style, Style::YELLOW, "ERROR", group);
    let _ = writeln!(
        text,
        "  the suite could not do its own part: {}\n",
        below(reason, 10)
    );
}

fn head(text: &mut String, style: Style<'_>, code: &str, word: &str, group: &Group<'_>) {
    let CaseResult {
        plugin,
        case,
        level,
        title,
        ..
    } = group.first;
    let versions = group.versions.join(" ");
    let word = style.paint(code, word);
    let _ = writeln!(
        text,
        "{word} {} {case} @ {versions}",
        style.paint(Style::BOLD, plugin)
    );
    let _ = writeln!(text, "  {:<6}  {}", level.as_str(), below(title, 10));
}

fn notes(text: &mut String, style: Style<'_>, groups: &[Group<'_>]) {
    let start = text.len();
    for group in groups {
        let CaseResult { plugin, case, .. } = group.first;
        let Verdict::Noted { notes } = &group.first.verdict else {
            continue;
        };
        let versions = group.versions.join(" ");
        let word = style.paint(Style::YELLOW, "noted");
        let _ = writeln!(
            text,
            "{word} {plugin} {case} @ {versions}\n  {}",
            below(&notes.join("; "), 2)
        );
    }
    if text.len() > start {
        text.push('\n');
    }
}

/// Adds the skipped cases by their reasons: most often many have the same.
fn skipped(text: &mut String, style: Style<'_>, report: &Report) {
    let mut reasons: Vec<(&CaseResult, &str, Vec<&CaseResult>)> = Vec::new();
    for result in &report.results {
        let Verdict::Skipped { reason } = &result.verdict else {
            continue;
        };
        let same = reasons
            .iter_mut()
            .find(|(first, same, _)| first.plugin == result.plugin && same == reason);
        match same {
            Some((_, _, all)) => all.push(result),
            None => reasons.push((result, reason, vec![result])),
        }
    }
    for (first, reason, all) in &reasons {
        let of = |part: fn(&CaseResult) -> &'static str| {
            let mut parts: Vec<&str> = all.iter().map(|result| part(result)).collect();
            parts.sort_unstable();
            parts.dedup();
            parts
        };
        let cases = of(|result| result.case);
        let versions = of(|result| result.version).join(" ");
        let named = if let [case] = cases[..] {
            case.to_owned()
        } else {
            format!("{} cases", cases.len())
        };
        let word = style.paint(Style::YELLOW, "skipped");
        let plugin = &first.plugin;
        let reason = below(reason, 2);
        let _ = writeln!(text, "{word} {plugin} {named} @ {versions}\n  {reason}");
    }
    if !reasons.is_empty() {
        text.push('\n');
    }
}

fn section(result: &CaseResult) -> String {
    match result.clause.section {
        "silent" => "the specification is silent".to_owned(),
        section => format!("section {section}"),
    }
}

/// Further lines stand below the first, and long ones are broken; very many are cut.
fn below(text: &str, indent: usize) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .flat_map(|line| broken(line, WIDTH - indent))
        .collect();
    let cut = lines.len().saturating_sub(MAX_LINES);
    lines.truncate(MAX_LINES);
    let start = format!("\n{:indent$}", "");
    let more = if cut > 0 {
        format!("{start}… and {cut} lines more")
    } else {
        String::new()
    };
    lines.join(&start) + &more
}

/// Breaks a line at its spaces, and a word that is too long anywhere.
fn broken(line: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut used = 0;
    for word in line.split_inclusive(' ') {
        if used > 0 && used + word.trim_end().chars().count() > width {
            lines.push(std::mem::take(&mut current));
            used = 0;
        }
        for letter in word.chars() {
            if used == width && letter == ' ' {
                continue;
            }
            if used == width {
                lines.push(std::mem::take(&mut current));
                used = 0;
            }
            current.push(letter);
            used += 1;
        }
    }
    lines.push(current);
    lines
        .iter()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn last_line(report: &Report, style: Style<'_>) -> String {
    let Summary {
        passed,
        failed,
        noted,
        skipped,
        errors,
    } = report.summary;
    let part = |n: usize, word: &str, code: &str| {
        (n > 0).then(|| style.paint(code, &format!("{n} {word}")))
    };
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
    let said = if parts.is_empty() {
        "no case".to_owned()
    } else {
        parts.join(", ")
    };
    format!("{said} in {:.1} s", report.duration_ms / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(shell_word("/opt/cni/bin"), "/opt/cni/bin");
        assert_eq!(shell_word("/my plugins/it's"), r"'/my plugins/it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn long_lines_are_broken() {
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(broken("12345678", 3), ["123", "456", "78"]);
        assert_eq!(broken("a 12345678 b", 3), ["a", "123", "456", "78", "b"]);
        assert_eq!(broken("", 3), [""]);
        assert_eq!(
            below("a\n12345", 97),
            "a\n".to_owned() + &" ".repeat(97) + "123\n" + &" ".repeat(97) + "45"
        );
    }
}
