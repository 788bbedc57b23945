//! A first ADD with the profile's configuration. If it fails, every case would fail, and the reason
//! may lie in the configuration or in the machine: one case says so, and the others are skipped.

use super::{context::Context, failure::Failure, ids::ADD_SUCCEEDS, plan::Item, subject::Subject};
use cni_types::{Command, SpecVersion};
use std::sync::Arc;

/// The plugins whose plain ADD fails, with what it said.
#[derive(Debug, Default)]
pub(super) struct AddProbe(Vec<(Arc<Subject>, String)>);

impl AddProbe {
    /// Tries each plugin once, in the newest version that is planned and can be run.
    pub(super) fn of(items: &[Item]) -> Self {
        let mut closed = Vec::new();
        for group in items.chunk_by(|a, b| Arc::ptr_eq(&a.subject, &b.subject)) {
            // Some cases are run in versions that the plugin does not speak, to see it refuse them.
            let can_be_added = |item: &&Item| {
                item.skip_reason()
                    .or_else(|| item.unlisted_version())
                    .is_none()
            };
            let Some(item) = group
                .iter()
                .filter(can_be_added)
                .max_by_key(|item| item.version)
            else {
                continue;
            };
            let refused = refused(&item.subject, item.version);
            closed.extend(refused.map(|text| (Arc::clone(&item.subject), text)));
        }
        Self(closed)
    }

    /// The reason for which the case need not be run.
    pub(super) fn reason(&self, item: &Item) -> Option<String> {
        if item.case.id == ADD_SUCCEEDS {
            return None;
        }
        let closed = self
            .0
            .iter()
            .find(|(subject, _)| Arc::ptr_eq(subject, &item.subject));
        closed.map(|(_, text)| format!("ADD fails with the profile's configuration: {text}"))
    }
}

/// Returns the plugin's answer if it fails. All other mishaps are for the cases to report.
fn refused(subject: &Subject, version: SpecVersion) -> Option<String> {
    let attempt = || -> Result<Option<String>, Failure> {
        let context = Context::new(subject, version, false)?;
        let run = context.attachment("c1")?.request(Command::Add).run()?;
        sandbox::end_processes();
        Ok((!run.status.success()).then(|| run.summary()))
    };
    // A thread becomes a host once and for all.
    std::thread::scope(|scope| scope.spawn(attempt).join())
        .ok()?
        .ok()?
}
