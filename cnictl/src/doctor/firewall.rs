//! nf_tables in the kernel, for the networks that use it. A kernel may lack it altogether, or,
//! before Linux 5.2, nat in inet tables.

use super::{
    finding::{Report, Severity},
    node::{Node, flag, text},
};
use cni_net::{Feature, NetError, iptables::Iptables, nft::Nft};
use cni_runtime::PluginConfig;
use cni_types::Environment;

/// A use of nf_tables by a plugin's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Chains of the bridge family: `macspoofchk`.
    SpoofCheck,
    /// Masquerading in an inet table.
    Masquerade,
    /// Masquerading in an inet table, or by iptables if nf_tables is missing and iptables is
    /// installed.
    MasqueradeOrIptables,
}

pub(super) fn examine(node: &Node, report: &mut Report) {
    let uses: Vec<_> = node
        .plugins()
        .flat_map(|(network, plugin)| uses(plugin).into_iter().map(move |use_| (network, use_)))
        .collect();
    if uses.is_empty() {
        return;
    }
    let lacking = match lacking() {
        Ok(None) => return,
        Ok(Some(feature)) => feature,
        Err(e) => return report.unseen(format!("nf_tables: {e}")),
    };
    let has_iptables = Iptables::require_program(&Environment::of_process()).is_ok();
    for (network, use_) in uses {
        missing(network.name.as_str(), use_, lacking, has_iptables, report);
    }
}

fn uses(plugin: &PluginConfig) -> Vec<Use> {
    let backend = text(plugin, "ipMasqBackend");
    let masquerade = match (plugin.kind(), backend) {
        ("bridge" | "ptp", Some("nftables")) => Some(Use::Masquerade),
        // The reference's ptp chooses the back end itself if the key is missing.
        ("bridge", None) => Some(Use::MasqueradeOrIptables),
        _ => None,
    };
    let masquerade = masquerade.filter(|_| flag(plugin, "ipMasq"));
    let is_checked = plugin.kind() == "bridge" && flag(plugin, "macspoofchk");
    masquerade
        .into_iter()
        .chain(is_checked.then_some(Use::SpoofCheck))
        .collect()
}

/// Returns the feature that the kernel lacks, if any.
fn lacking() -> Result<Option<Feature>, NetError> {
    let asked = Nft::open().and_then(|mut nft| {
        nft.probe()?;
        nft.require_inet_nat()
    });
    match asked {
        Ok(()) => Ok(None),
        Err(NetError::Lacking { feature, .. }) => Ok(Some(feature)),
        Err(e) => Err(e),
    }
}

/// Reports that the kernel lacks a feature that a network uses.
fn missing(network: &str, use_: Use, lacking: Feature, has_iptables: bool, report: &mut Report) {
    let falls_back = use_ == Use::MasqueradeOrIptables && has_iptables;
    let (key, remedy) = match use_ {
        // Chains of the bridge family need no nat in inet tables.
        Use::SpoofCheck if lacking == Feature::InetNat => return,
        Use::SpoofCheck => (
            "macspoofchk",
            "load the modules of nf_tables, or remove macspoofchk",
        ),
        Use::Masquerade => (
            "ipMasq",
            "set \"ipMasqBackend\": \"iptables\", or use a kernel that has it",
        ),
        Use::MasqueradeOrIptables if falls_back => (
            "ipMasq",
            "nothing, or set \"ipMasqBackend\": \"iptables\" to make it explicit",
        ),
        Use::MasqueradeOrIptables => ("ipMasq", "install iptables, or use a kernel that has it"),
    };
    let (severity, why) = if falls_back {
        (Severity::Note, "iptables is used instead, which is slower")
    } else {
        (Severity::Error, "every ADD fails")
    };
    report.add(
        severity,
        "nf-tables-missing",
        format!("{network} uses {key}, but the kernel lacks {lacking}"),
        why,
        remedy,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_runtime::Network;

    #[test]
    fn a_kernel_without_nf_tables_is_reported_if_it_matters() {
        for (use_, lacking, has_iptables, severity) in [
            (
                Use::Masquerade,
                Feature::InetNat,
                true,
                Some(Severity::Error),
            ),
            (
                Use::MasqueradeOrIptables,
                Feature::InetNat,
                true,
                Some(Severity::Note),
            ),
            (
                Use::MasqueradeOrIptables,
                Feature::NfTables,
                false,
                Some(Severity::Error),
            ),
            (
                Use::SpoofCheck,
                Feature::NfTables,
                true,
                Some(Severity::Error),
            ),
            (Use::SpoofCheck, Feature::InetNat, true, None),
        ] {
            let mut report = Report::default();
            missing("n", use_, lacking, has_iptables, &mut report);
            let found = report.severities();
            assert_eq!(
                found,
                severity.into_iter().collect::<Vec<_>>(),
                "{use_:?} {lacking:?}"
            );
        }
    }

    #[test]
    fn the_uses_of_nf_tables_are_read_from_the_configuration() {
        for (keys, found) in [
            (r#""ipMasq":true"#, vec![Use::MasqueradeOrIptables]),
            (
                r#""ipMasq":true,"ipMasqBackend":"nftables""#,
                vec![Use::Masquerade],
            ),
            (
                r#""ipMasq":true,"ipMasqBackend":"iptables","macspoofchk":true"#,
                vec![Use::SpoofCheck],
            ),
            (r#""ipMasqBackend":"nftables""#, vec![]),
        ] {
            let text = format!(r#"{{"name":"n","plugins":[{{"type":"bridge",{keys}}}]}}"#);
            let network = Network::parse(text.as_bytes()).unwrap();
            assert_eq!(uses(&network.plugins[0]), found, "{keys}");
        }
    }
}
