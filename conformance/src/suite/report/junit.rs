//! The report as JUnit XML, which CI systems show: a test suite for each plugin and family.

use super::{CaseResult, Report, Summary};
use crate::suite::Verdict;
use std::fmt::Write;

/// Writes the report.
#[must_use]
pub fn render(report: &Report) -> String {
    let seconds = report.duration_ms / 1000.0;
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"cni-conformance\" time=\"{seconds:.3}\">\n"
    );
    for plugin in &report.plugins {
        for family in report.families() {
            let of_suite =
                |result: &&CaseResult| result.plugin == plugin.name && result.family == family;
            let results: Vec<&CaseResult> = report.results.iter().filter(of_suite).collect();
            if !results.is_empty() {
                suite(&mut xml, &format!("{}.{family}", plugin.name), &results);
            }
        }
    }
    xml + "</testsuites>\n"
}

fn suite(xml: &mut String, name: &str, results: &[&CaseResult]) {
    let Summary {
        failed,
        skipped,
        errors,
        ..
    } = Summary::of(results.iter().copied());
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"{errors}\" skipped=\"{skipped}\">",
        escaped(name),
        results.len(),
    );
    for result in results {
        case(xml, name, result);
    }
    xml.push_str("  </testsuite>\n");
}

fn case(xml: &mut String, suite: &str, result: &CaseResult) {
    let seconds = result.duration_ms / 1000.0;
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\"",
        escaped(suite),
        escaped(&result.id)
    );
    let inner = match &result.verdict {
        Verdict::Passed => String::new(),
        Verdict::Noted { notes } => {
            format!("<system-out>{}</system-out>", escaped(&notes.join("\n")))
        }
        Verdict::Skipped { reason } => format!("<skipped message=\"{}\"/>", escaped(reason)),
        Verdict::Failed { wanted, found } => {
            let message = format!("wanted {wanted}");
            let journal = result.journal.concat();
            let text = format!("{}\n\nfound {found}\n\n{journal}", result.clause.rule);
            let level = result.level.as_str();
            format!(
                "<failure type=\"{level}\" message=\"{}\">{}</failure>",
                escaped(&message),
                escaped(&text)
            )
        }
        Verdict::Error { reason } => format!("<error message=\"{}\"/>", escaped(reason)),
    };
    let _ = if inner.is_empty() {
        writeln!(xml, "/>")
    } else {
        writeln!(xml, ">{inner}</testcase>")
    };
}

/// Escapes what has a meaning in XML, and what XML 1.0 cannot hold at all.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\n' => xml.push_str("&#10;"),
            '\t' => xml.push('\t'),
            '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            c if c.is_control() => xml.push('\u{fffd}'),
            c => xml.push(c),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(
            escaped("<a b=\"&\">\u{1}\n"),
            "&lt;a b=&quot;&amp;&quot;&gt;\u{fffd}&#10;"
        );
    }
}
