//! The report as JUnit XML, which CI systems show: a test suite for each plugin and family.

use super::{CaseResult, Report};
use crate::suite::Verdict;
use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// Writes the report.
///
/// # Errors
/// Fails if the XML cannot be written.
pub fn render(report: &Report) -> Result<String, SerializeError> {
    let mut document = quick_junit::Report::new(report.tool.name);
    document.set_time(milliseconds(report.duration_ms));
    for plugin in &report.plugins {
        for family in report.families() {
            let name = format!("{}.{family}", plugin.name);
            let of_suite =
                |result: &&CaseResult| result.plugin == plugin.name && result.family == family;
            let results = report.results.iter().filter(of_suite);
            let mut suite = TestSuite::new(name.as_str());
            suite.add_test_cases(results.map(|result| case(&name, result)));
            if !suite.test_cases.is_empty() {
                document.add_test_suite(suite);
            }
        }
    }
    document.to_string()
}

fn case(suite: &str, result: &CaseResult) -> TestCase {
    let mut case = TestCase::new(result.id.as_str(), status(result));
    case.set_classname(suite);
    case.set_time(milliseconds(result.duration_ms));
    if let Verdict::Noted { notes } = &result.verdict {
        case.set_system_out(notes.join("\n"));
    }
    case
}

fn status(result: &CaseResult) -> TestCaseStatus {
    match &result.verdict {
        Verdict::Passed | Verdict::Noted { .. } => TestCaseStatus::success(),
        Verdict::Skipped { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
        Verdict::Failed { wanted, found } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(format!("wanted {wanted}"));
            status.set_type(result.level.as_str());
            let journal = result.journal.concat();
            let rule = result.clause.rule;
            status.set_description(format!("{rule}\n\nfound {found}\n\n{journal}"));
            status
        }
        Verdict::Error { reason } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(reason.as_str());
            status
        }
    }
}

fn milliseconds(number: f64) -> Duration {
    Duration::from_secs_f64(number / 1000.0)
}
