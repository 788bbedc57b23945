//! What the cache of results says: attachments whose namespace is gone, files that cannot be read.

use super::{
    finding::{Report, number},
    scene::Scene,
};
use crate::{attachments::Life, networks};
use std::collections::BTreeMap;

pub(super) fn examine(scene: &Scene, report: &mut Report) {
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
            format!("{network}: {} whose network namespace is gone", number(count, "attachment")),
            "nobody sent DEL: addresses and firewall rules of dead pods are left",
            format!("cnictl list {network} shows them, cnictl gc {network} ends them"),
        );
    }
}
