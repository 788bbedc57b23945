//! The findings of an examination, and what could not be examined.

use serde::Serialize;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Pods cannot be attached, or are cut off.
    Error,
    /// Something does not work as intended, or soon will not.
    Warning,
    /// Worth knowing, but not a problem.
    Note,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The kind of the finding, which stays when texts change.
    pub(super) id: &'static str,
    /// The problem.
    pub(super) what: String,
    /// The consequence of the problem.
    pub(super) why: String,
    /// The way to fix it.
    pub(super) remedy: String,
}

/// All findings of an examination.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    unseen: Vec<String>,
}

impl Report {
    /// Adds an error.
    pub(super) fn error(
        &mut self,
        id: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Error, id, what, why, remedy);
    }

    /// Adds a warning.
    pub(super) fn warning(
        &mut self,
        id: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, id, what, why, remedy);
    }

    /// Adds a note.
    pub(super) fn note(
        &mut self,
        id: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Note, id, what, why, remedy);
    }

    /// Adds a finding.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        id: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = Finding {
            severity,
            id,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        };
        // Two plugins of a list may share a bridge, and two networks a program.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Records that something could not be examined.
    pub(super) fn unseen(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.unseen.contains(&what) {
            self.unseen.push(what);
        }
    }

    /// Sorts the findings by severity; findings of one severity keep their order.
    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.severity);
    }

    /// Returns true if there are no errors or warnings.
    pub(super) fn is_fine(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity == Severity::Note)
    }

    /// Returns true if there is an error whose id is not in `ids`.
    pub(super) fn has_error_besides(&self, ids: &[&str]) -> bool {
        let is_other = |finding: &Finding| !ids.contains(&finding.id);
        self.findings
            .iter()
            .filter(|f| f.severity == Severity::Error)
            .any(is_other)
    }

    /// Returns the report for people.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for Finding {
            severity,
            id,
            what,
            why,
            remedy,
        } in &self.findings
        {
            let severity = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            // Names of files and texts of plugins may hold newlines; the rest must not look like a
            // finding.
            let what = what.trim_end().replace('\n', "\\n");
            text += &format!("{severity}: {what} [{id}]\n    why: {why}\n    do:  {remedy}\n\n");
        }
        self.unseen
            .iter()
            .for_each(|what| text += &format!("not checked: {what}\n"));
        let count = |severity| {
            self.findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count()
        };
        let errors = count(Severity::Error);
        let warnings = count(Severity::Warning);
        if errors + warnings == 0 {
            text + "no problems found\n"
        } else {
            text + &format!(
                "{} and {}\n",
                number(errors, "error"),
                number(warnings, "warning")
            )
        }
    }

    /// Returns the report for programs, after the summary and the examined folders.
    pub(super) fn as_json(
        &self,
        summary: &impl Serialize,
        examined: &serde_json::Value,
    ) -> serde_json::Value {
        serde_json::json!({
            "summary": summary,
            "examined": examined,
            "fine": self.is_fine(),
            "findings": self.findings,
            "unseen": self.unseen,
        })
    }

    /// Returns the ids of the findings, for tests.
    #[cfg(test)]
    pub(super) fn ids(&self) -> Vec<&'static str> {
        self.findings.iter().map(|finding| finding.id).collect()
    }

    /// Returns the severities of the findings, for tests.
    #[cfg(test)]
    pub(super) fn severities(&self) -> Vec<Severity> {
        self.findings
            .iter()
            .map(|finding| finding.severity)
            .collect()
    }

    /// Returns the consequences of the findings, for tests.
    #[cfg(test)]
    pub(super) fn whys(&self) -> Vec<&str> {
        self.findings
            .iter()
            .map(|finding| finding.why.as_str())
            .collect()
    }

    /// Returns the problems of the findings, for tests.
    #[cfg(test)]
    pub(super) fn texts(&self) -> Vec<&str> {
        self.findings
            .iter()
            .map(|finding| finding.what.as_str())
            .collect()
    }
}

/// Returns a number with its noun, in the plural unless the number is 1.
pub(super) fn number(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
