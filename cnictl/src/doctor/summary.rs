//! The first line of the report: if pods can start, and if running ones are connected.

use super::{
    attachments::Running,
    finding::{Report, number},
    scene::Scene,
};
use serde::Serialize;

/// Errors that leave new pods alone: they are about those that run, or about all that leaves the
/// bridge.
const NOT_OF_ADD: [&str; 4] = [
    "attachment-changed",
    "bridge-down",
    "ip-forward",
    "ipv6-forward",
];

/// If pods can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Start {
    Can,
    Cannot,
    /// What would tell could not be looked at.
    Unknown,
}

/// What a person wants to know first.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    new_pods: Start,
    running_intact: usize,
    running_changed: usize,
    running_unseen: usize,
}

impl Summary {
    pub(super) fn of(scene: &Scene, report: &Report, running: Running) -> Self {
        let new_pods = if report.has_error_besides(&NOT_OF_ADD) {
            Start::Cannot
        } else if scene.privileged && scene.folder_was_read {
            Start::Can
        } else {
            Start::Unknown
        };
        let Running {
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

    /// For people: one line.
    pub(super) fn describe(&self) -> String {
        let new_pods = match self.new_pods {
            Start::Can => "can start",
            Start::Cannot => "cannot start",
            Start::Unknown => "unknown, not everything could be seen",
        };
        let Self {
            running_intact: intact,
            running_changed: changed,
            running_unseen: unseen,
            ..
        } = *self;
        let all = number(intact + changed + unseen, "attachment");
        let running = match (changed, unseen) {
            (0, 0) if intact == 0 => "none is known".to_owned(),
            (0, 0) => format!("{all}, all as ADD left them"),
            (0, unseen) => format!("{all}, {unseen} not seen"),
            (changed, 0) => format!("{all}, {changed} changed, which may be cut off"),
            (changed, unseen) => {
                format!("{all}, {changed} changed, which may be cut off, {unseen} not seen")
            }
        };
        format!("new pods: {new_pods}; running pods: {running}")
    }
}
