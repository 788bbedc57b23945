//! The first line of the report: can new pods start, and are running pods connected?

use super::{
    attachments::Counts,
    finding::{Report, number},
    node::Node,
};
use serde::Serialize;

/// Errors that do not make ADD fail: they concern running pods, or the way beyond the bridge.
const NOT_OF_ADD: [&str; 4] = [
    "attachment-changed",
    "bridge-down",
    "ip-forward",
    "ipv6-forward",
];

/// The answer to: can new pods be attached?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Start {
    Can,
    Cannot,
    /// The node could not be examined completely.
    Unknown,
}

/// The summary of an examination.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    new_pods: Start,
    running_intact: usize,
    running_changed: usize,
    running_unseen: usize,
}

impl Summary {
    pub(super) fn of(node: &Node, report: &Report, running: Counts) -> Self {
        let new_pods = if report.has_error_besides(&NOT_OF_ADD) {
            Start::Cannot
        } else if node.privileged && node.folder_was_read {
            Start::Can
        } else {
            Start::Unknown
        };
        let Counts {
            intact,
            changed,
            unseen,
        } = running;
        Self {
            new_pods,
            running_intact: intact,
            running_changed: changed,
            running_unseen: unseen,
        }
    }

    /// Returns the summary for people, as one line.
    pub(super) fn describe(&self) -> String {
        let new_pods = match self.new_pods {
            Start::Can => "can start",
            Start::Cannot => "cannot start",
            Start::Unknown => "unknown, not everything could be checked",
        };
        let Self {
            running_intact: intact,
            running_changed: changed,
            running_unseen: unseen,
            ..
        } = *self;
        let all = number(intact + changed + unseen, "attachment");
        let running = match (changed, unseen) {
            (0, 0) if intact == 0 => "none in the cache".to_owned(),
            (0, 0) => format!("{all}, all as ADD left them"),
            (0, unseen) => format!("{all}, {unseen} not checked"),
            (changed, 0) => format!("{all}, {changed} changed and maybe cut off"),
            (changed, unseen) => {
                format!("{all}, {changed} changed and maybe cut off, {unseen} not checked")
            }
        };
        format!("new pods: {new_pods}; running pods: {running}")
    }
}
