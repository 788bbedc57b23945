//! nf_tables: wanted, and there? Kernels can lack it altogether, or, before Linux 5.2, nat in inet
//! tables.

use super::{
    finding::{Report, Severity},
    scene::{Scene, flag, text},
};
use cni_net::{Feature, Iptables, NetError, nft::Nft};
use cni_runtime::PluginConfig;
use cni_types::Environment;

/// What a plugin's configuration asks of nf_tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Chains of the bridge family: `macspoofchk`.
    SpoofCheck,
    /// Masquerading in an inet table.
    Masquerade,
    /// The same, or iptables if that cannot be had and iptables is installed.
    MasqueradeOrIptables,
}

pub(super) fn examine(scene: &Scene, report: &mut Report) {
    let wanting: Vec<_> = scene
        .plugins()
        .flat_map(|(network, plugin)| {
            wanted(plugin)
                .into_iter()
                .map(move |wanted| (network, wanted))
        })
        .collect();
    if wanting.is_empty() {
        return;
    }
    let lacking = match lacking() {
        Ok(None) => return,
        Ok(Some(feature)) => feature,
        Err(e) => return report.unseen(format!("nf_tables: {e}")),
    };
    let has_iptables = Iptables::require_program(&Environment::of_process()).is_ok();
    for (network, wanted) in wanting {
        judge(network.name.as_str(), wanted, lacking, has_iptables, report);
    }
}

fn wanted(plugin: &PluginConfig) -> Vec<Wanted> {
    let backend = text(plugin, "ipMasqBackend");
    let masquerade = match (plugin.kind(), backend) {
        ("bridge" | "ptp", Some("nftables")) => Some(Wanted::Masquerade),
        // What the reference's ptp takes if nothing is said is its own affair.
        ("bridge", None) => Some(Wanted::MasqueradeOrIptables),
        _ => None,
    };
    let masquerade = masquerade.filter(|_| flag(plugin, "ipMasq"));
    let is_checked = plugin.kind() == "bridge" && flag(plugin, "macspoofchk");
    masquerade
        .into_iter()
        .chain(is_checked.then_some(Wanted::SpoofCheck))
        .collect()
}

/// What the kernel lacks, if anything.
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

fn judge(network: &str, wanted: Wanted, lacking: Feature, has_iptables: bool, report: &mut Report) {
    let falls_back = wanted == Wanted::MasqueradeOrIptables && has_iptables;
    let (key, remedy) = match wanted {
        // Its chains are of the bridge family.
        Wanted::SpoofCheck if lacking == Feature::InetNat => return,
        Wanted::SpoofCheck => (
            "macspoofchk",
            "load the modules of nf_tables, or leave macspoofchk out",
        ),
        Wanted::Masquerade => (
            "ipMasq",
            "\"ipMasqBackend\": \"iptables\", or a kernel that has it",
        ),
        Wanted::MasqueradeOrIptables if falls_back => (
            "ipMasq",
            "nothing, or \"ipMasqBackend\": \"iptables\" to say so",
        ),
        Wanted::MasqueradeOrIptables => ("ipMasq", "install iptables, or a kernel that has it"),
    };
    let (severity, why) = if falls_back {
        (
            Severity::Note,
            "iptables is taken in its place, which is slower",
        )
    } else {
        (Severity::Error, "every ADD fails")
    };
    report.add(
        severity,
        "nf-tables-missing",
        format!("{network} wants {key}, and the kernel lacks {lacking}"),
        why,
        remedy,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_runtime::Network;

    #[test]
    fn a_kernel_without_nf_tables_is_told_as_far_as_it_matters() {
        for (wanted, lacking, has_iptables, severity) in [
            (
                Wanted::Masquerade,
                Feature::InetNat,
                true,
                Some(Severity::Error),
            ),
            (
                Wanted::MasqueradeOrIptables,
                Feature::InetNat,
                true,
                Some(Severity::Note),
            ),
            (
                Wanted::MasqueradeOrIptables,
                Feature::NfTables,
                false,
                Some(Severity::Error),
            ),
            (
                Wanted::SpoofCheck,
                Feature::NfTables,
                true,
                Some(Severity::Error),
            ),
            (Wanted::SpoofCheck, Feature::InetNat, true, None),
        ] {
            let mut report = Report::default();
            judge("n", wanted, lacking, has_iptables, &mut report);
            let found = report.severities();
            assert_eq!(
                found,
                severity.into_iter().collect::<Vec<_>>(),
                "{wanted:?} {lacking:?}"
            );
        }
    }

    #[test]
    fn what_a_configuration_wants_of_nf_tables_is_read() {
        for (keys, found) in [
            (r#""ipMasq":true"#, vec![Wanted::MasqueradeOrIptables]),
            (
                r#""ipMasq":true,"ipMasqBackend":"nftables""#,
                vec![Wanted::Masquerade],
            ),
            (
                r#""ipMasq":true,"ipMasqBackend":"iptables","macspoofchk":true"#,
                vec![Wanted::SpoofCheck],
            ),
            (r#""ipMasqBackend":"nftables""#, vec![]),
        ] {
            let text = format!(r#"{{"name":"n","plugins":[{{"type":"bridge",{keys}}}]}}"#);
            let network = Network::parse(text.as_bytes()).unwrap();
            assert_eq!(wanted(&network.plugins[0]), found, "{keys}");
        }
    }
}
