//! What the cache of results says: attachments that are not as ADD left them, attachments whose
//! namespace is gone, files that cannot be read.

use super::{
    finding::{Report, number},
    scene::Scene,
};
use crate::{
    attachments::Life,
    networks,
    survey::{Health, Surveyed, survey},
};
use std::collections::BTreeMap;

/// As many changed attachments of one network are reported one by one.
const MOST: usize = 10;

/// How many attachments live, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) intact: usize,
    pub(super) changed: usize,
    pub(super) unseen: usize,
}

/// CHECKs what lives.
pub(super) fn running(scene: &Scene, report: &mut Report) -> Running {
    // What cannot be read is reported by `cached`.
    let mut all = survey_if_allowed(scene).unwrap_or_default();
    let mut running = Running::default();
    let mut changed: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut unseen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for surveyed in all.drain(..) {
        let label = surveyed.label();
        match surveyed.health {
            Health::Intact => running.intact += 1,
            Health::Changed(why) => {
                running.changed += 1;
                changed
                    .entry(surveyed.network)
                    .or_default()
                    .push((label, why));
            }
            Health::Unseen(why) => {
                running.unseen += 1;
                *unseen.entry((surveyed.network, why)).or_default() += 1;
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
    running
}

fn survey_if_allowed(scene: &Scene) -> Result<Vec<Surveyed>, cni_runtime::Error> {
    if scene.privileged {
        return survey(&scene.places, None);
    }
    let unseen = |attachment| {
        Surveyed::of(
            attachment,
            Health::Unseen("not judged without CAP_NET_ADMIN".to_owned()),
        )
    };
    let known = networks::cache(&scene.places).attachments()?;
    Ok(known
        .iter()
        .filter(|known| Life::of_attachment(known) == Life::Alive)
        .map(unseen)
        .collect())
}

fn report_changed(network: &str, attachments: &[(String, String)], report: &mut Report) {
    let remedy = "what restarts the pod (kubectl delete pod) attaches it anew; for all at once see what the \
                  plugin misses, and what took it away";
    for (label, why) in attachments.iter().take(MOST) {
        report.error(
            "attachment-changed",
            format!("{network}: {label}: {why}"),
            "it is not as ADD left it: the pod may be cut off",
            remedy,
        );
    }
    let more = attachments.len().saturating_sub(MOST);
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

pub(super) fn cached(scene: &Scene, report: &mut Report) {
    let entries = match networks::cache(&scene.places).entries() {
        Ok(entries) => entries,
        Err(e) => return report.unseen(e.to_string()),
    };
    let mut stale: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        match entry.attachment {
            Ok(attachment) if Life::of_attachment(&attachment) == Life::Stale => {
                *stale.entry(attachment.network.to_string()).or_default() += 1;
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                report.unseen(format!("{}: {e}", entry.path.display()));
            }
            Err(e) => report.warning(
                "cache-damaged",
                format!("{}: {e}", entry.path.display()),
                "older runtimes fail a DEL over it for ever (\"unexpected end of JSON input\"), and the pod stays Terminating",
                "take the file away",
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
            "nobody sent DEL: addresses and firewall rules of dead pods are left",
            format!("cnictl list {network} shows them, cnictl gc {network} ends them"),
        );
    }
}
