//! The attachments in the cache. Reported are those that are not as ADD left them, those whose
//! namespace is gone, and files that cannot be read.

use super::{
    finding::{Report, number},
    node::Node,
};
use crate::{
    attachments::NetnsState,
    check_all::{CheckedAttachment, Health, check_living},
    networks,
};
use std::collections::BTreeMap;

/// The number of changed attachments of one network that are reported one by one.
const MAX_REPORTED: usize = 10;

/// The numbers of living attachments by the outcome of their CHECK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) intact: usize,
    pub(super) changed: usize,
    pub(super) unseen: usize,
}

/// CHECKs the living attachments, reports those that are changed or could not be checked, and
/// returns their numbers.
pub(super) fn examine_living(node: &Node, report: &mut Report) -> Counts {
    // `examine_cache` reports a cache that cannot be read.
    let all = check_if_allowed(node).unwrap_or_default();
    let mut counts = Counts::default();
    let mut changed: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut unseen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for checked in all {
        let label = checked.label();
        match checked.health {
            Health::Intact => counts.intact += 1,
            Health::Changed(why) => {
                counts.changed += 1;
                changed
                    .entry(checked.network)
                    .or_default()
                    .push((label, why));
            }
            Health::Unseen(why) => {
                counts.unseen += 1;
                *unseen.entry((checked.network, why)).or_default() += 1;
            }
        }
    }
    for (network, attachments) in changed {
        report_changed(&network, &attachments, report);
    }
    for ((network, why), count) in unseen {
        report.unseen(format!(
            "CHECK of {} of {network}: {why}",
            number(count, "attachment")
        ));
    }
    counts
}

/// CHECKs the living attachments. Without CAP_NET_ADMIN every CHECK would fail, so they are all
/// returned as not checked.
fn check_if_allowed(node: &Node) -> Result<Vec<CheckedAttachment>, cni_runtime::Error> {
    if node.privileged {
        return check_living(&node.paths, None);
    }
    let unseen = |attachment| {
        CheckedAttachment::of(
            attachment,
            Health::Unseen("it needs CAP_NET_ADMIN".to_owned()),
        )
    };
    let known = networks::cache(&node.paths).attachments()?;
    Ok(known
        .iter()
        .filter(|known| NetnsState::of_attachment(known) == NetnsState::Alive)
        .map(unseen)
        .collect())
}

/// Reports a network's changed attachments, each a pair of its label and the plugin's error: the
/// first one by one, the others by their number.
fn report_changed(network: &str, attachments: &[(String, String)], report: &mut Report) {
    let remedy = "restart the pod (kubectl delete pod), which attaches it again; if many pods are \
                  affected, restore what the plugin misses, and find out what removed it";
    for (label, why) in attachments.iter().take(MAX_REPORTED) {
        report.error(
            "attachment-changed",
            format!("{network}: {label}: {why}"),
            "it is not as ADD left it: the pod may be cut off",
            remedy,
        );
    }
    let more = attachments.len().saturating_sub(MAX_REPORTED);
    if more > 0 {
        report.error(
            "attachment-changed",
            format!(
                "{network}: {} more are not as ADD left them",
                number(more, "attachment")
            ),
            "their pods may be cut off",
            format!("cnictl check {network} --all shows them"),
        );
    }
}

/// Reports a cache that cannot be read, its stale attachments and its damaged files.
pub(super) fn examine_cache(node: &Node, report: &mut Report) {
    let entries = match networks::cache(&node.paths).entries() {
        Ok(entries) => entries,
        Err(e) => return report.unseen(e.to_string()),
    };
    let mut stale: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        match entry.attachment {
            Ok(attachment) if NetnsState::of_attachment(&attachment) == NetnsState::Stale => {
                *stale.entry(attachment.network.to_string()).or_default() += 1;
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                report.unseen(format!("{}: {e}", entry.path.display()));
            }
            Err(e) => report.warning(
                "cache-damaged",
                format!("{}: {e}", entry.path.display()),
                "older runtimes fail every DEL because of it (\"unexpected end of JSON input\"), and \
                 the pod stays Terminating",
                "remove the file",
            ),
        }
    }
    for (network, count) in stale {
        report.warning(
            "attachments-stale",
            format!(
                "{network}: {} whose network namespace is gone",
                number(count, "attachment")
            ),
            "no DEL was sent: addresses and firewall rules of dead pods are still there",
            format!("cnictl list {network} shows them, cnictl gc {network} detaches them"),
        );
    }
}
