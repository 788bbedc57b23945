//! Masquerading, in one of two ways that the rest of the plugin need not tell apart.
//!
//! Rules are added in the way that is configured, looked for and removed in both: a node may have been the reference's, which
//! takes iptables where that is installed, or its configuration another one. Where there is nothing of iptables, that
//! costs two requests and two files, and no program is run.

use crate::{
    NAME,
    config::{Backend, BackendChoice, Remains},
};
use cni_attachment::{Rollback, prev_result::own_part, remaining_netns};
use cni_net::{Errno, Iptables, Masqueraded, NetError, Rtnl, Tables, nft::Nft};
use cni_types::{
    AttachmentId, AttachmentList, Call, Cidr, Detachment, Error, Stop, ValidAttachments, log,
};
use std::{cell::OnceCell, net::IpAddr};

/// What the undo steps are called.
const REMOVING: &str = "removing masquerade rules";

/// True if rules are made by iptables in place of nf_tables: the kernel lacks what nf_tables needs,
/// `ipMasqBackend` is left out, and iptables is there.
pub(crate) fn falls_back(
    choice: BackendChoice,
    refusal: &NetError,
    has_iptables: impl FnOnce() -> bool,
) -> bool {
    choice == BackendChoice::Automatic
        && matches!(refusal, NetError::Lacking { .. })
        && has_iptables()
}

/// The rules of one attachment.
#[derive(Clone, Copy)]
pub(crate) struct Masquerade<'a> {
    call: &'a Call,
    id: AttachmentId<'a>,
}

impl<'a> Masquerade<'a> {
    pub(crate) fn of(call: &'a Call, id: AttachmentId<'a>) -> Self {
        Self { call, id }
    }

    fn iptables<'b>(&self, nft: Option<&'b mut Nft>, tables: Tables, stop: &'b Stop) -> Iptables<'b>
    where
        'a: 'b,
    {
        Iptables::new(nft, tables, self.call.environment(), stop)
    }

    /// Adds the rules; on failure of the ADD they go again.
    pub(crate) fn create(
        self,
        choice: BackendChoice,
        addresses: &[Cidr],
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        match choice.first() {
            Backend::Iptables => self.create_by_iptables(addresses, rollback),
            Backend::Nftables => match self.create_by_nftables(addresses, rollback) {
                Err(e) if falls_back(choice, &e, || self.has_iptables()) => {
                    log::warn(NAME, format_args!("masquerading by iptables, for {e}"));
                    self.create_by_iptables(addresses, rollback)
                }
                outcome => Ok(outcome?),
            },
        }
    }

    fn create_by_nftables(
        self,
        addresses: &[Cidr],
        rollback: &mut Rollback<'a>,
    ) -> Result<(), NetError> {
        let mut nft = Nft::open()?;
        // Before: if the kernel's answer is lost, the rules may be there.
        rollback.on_failure(REMOVING, move || match Nft::open_if_there()? {
            Some(mut nft) => Ok(nft.remove_masquerade(self.id).map(drop)?),
            None => Ok(()),
        });
        nft.create_masquerade(self.id, addresses)
    }

    fn create_by_iptables(
        self,
        addresses: &[Cidr],
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        let mut nft = Nft::open_if_there()?;
        let wanted = addresses.to_vec();
        // Before: if it fails, is stopped or is killed, some of it may have been done.
        rollback.on_failure(REMOVING, move || self.take_back(&wanted));
        let mut iptables = self.iptables(nft.as_mut(), Tables::All, &self.call.stop);
        Ok(iptables.create(self.id, addresses)?)
    }

    fn has_iptables(&self) -> bool {
        Iptables::require_program(self.call.environment()).is_ok()
    }

    fn take_back(&self, addresses: &[Cidr]) -> Result<(), Error> {
        let (mut nft, stop) = (Nft::open_if_there()?, Stop::never());
        let is_doomed = |address| addresses.iter().any(|own| own.address() == address);
        Ok(self
            .iptables(nft.as_mut(), Tables::All, &stop)
            .remove(self.id, &is_doomed)?)
    }

    /// Removes the rules of either way.
    pub(crate) fn remove(
        &self,
        mut nft: Option<&mut Nft>,
        detachment: &Detachment,
    ) -> Result<(), Error> {
        let own = nft
            .as_mut()
            .map_or(Ok(()), |nft| nft.remove_masquerade(self.id).map(drop));
        let tables = match Remains::of(self.call).map(|remains| remains.masquerade) {
            // Listing the legacy tables takes as long as others have rules there, and without ipMasq nobody made any for this.
            Ok(None) => Tables::Nft,
            Ok(Some(backend)) => backend.tables(),
            Err(_) => Tables::All,
        };
        let fate = OnceCell::new();
        let is_doomed = |address| {
            fate.get_or_init(|| self.fate(detachment))
                .is_doomed(address)
        };
        let mut iptables = self.iptables(nft, tables, &self.call.stop);
        let others = iptables.remove(self.id, &is_doomed);
        if let Some(e) = iptables.unread() {
            log::warn(
                NAME,
                format_args!("the legacy table nat was not looked into: {e}"),
            );
        }
        Error::join([own, others])
    }

    /// The rules of iptables name container and address, not the interface, and another interface of the container may be in
    /// the same network. The previous result tells whose an address is; without one, the container's namespace does;
    /// without that, the container is gone, and all of it with it.
    fn fate(&self, detachment: &Detachment) -> Fate {
        let told = self.call.prev_result().ok().flatten().unwrap_or_default();
        let mut ips = own_part(told.clone(), &detachment.if_name).ips;
        if ips.is_empty() {
            // Those of an interface that an earlier plugin of the chain made, and that was taken.
            ips = told.ips;
        }
        if ips.is_empty() {
            // What cannot be looked into keeps nothing: DEL tells so where it looks for the interface.
            return Fate::AllBut(self.held_by_others(detachment).unwrap_or_default());
        }
        Fate::Only(ips.iter().map(|ip| ip.address.address()).collect())
    }

    /// The addresses of the container's other interfaces.
    fn held_by_others(&self, detachment: &Detachment) -> Result<Vec<IpAddr>, Error> {
        let Some(netns) = remaining_netns(self.call, detachment.netns.as_ref())? else {
            return Ok(Vec::new());
        };
        let mut rtnl = Rtnl::open_in(&netns)?;
        let mut held = Vec::new();
        for link in rtnl
            .links()?
            .iter()
            .filter(|link| link.name != detachment.if_name)
        {
            held.extend(
                rtnl.addresses(link.index)?
                    .iter()
                    .map(|address| address.cidr.address()),
            );
        }
        Ok(held)
    }

    /// What is wrong with the rules for these addresses. Those of either way will do.
    pub(crate) fn differences(
        &self,
        backend: Backend,
        addresses: &[Cidr],
    ) -> Result<Vec<String>, Error> {
        let mut nft = Nft::open_if_there()?;
        let mut found = Vec::new();
        for way in [backend, backend.other()] {
            let differences = match way {
                Backend::Nftables => self.nftables_differences(nft.as_mut(), addresses.len())?,
                Backend::Iptables => {
                    self.iptables_differences(nft.as_mut(), backend.tables(), addresses)?
                }
            };
            if differences.is_empty() {
                return Ok(Vec::new());
            }
            found.push(differences);
        }
        Ok(found.swap_remove(0))
    }

    fn nftables_differences(
        &self,
        nft: Option<&mut Nft>,
        wanted: usize,
    ) -> Result<Vec<String>, Error> {
        let (found, led_to) = match nft.map(|nft| nft.count_masquerade(self.id)) {
            None => (0, false),
            Some(Err(e)) if e.errno() == Some(Errno::ENOENT) => (0, false),
            Some(outcome) => outcome?,
        };
        let missing = (found < wanted)
            .then(|| format!("masquerade rules missing: found {found}, wanted {wanted}"));
        let unreached = (!led_to).then(|| {
            "table inet cni_plugins_masquerade: chain postrouting does not lead to masq_checks"
                .to_owned()
        });
        Ok(missing.into_iter().chain(unreached).collect())
    }

    fn iptables_differences(
        &self,
        nft: Option<&mut Nft>,
        tables: Tables,
        addresses: &[Cidr],
    ) -> Result<Vec<String>, Error> {
        let mut iptables = self.iptables(nft, tables, &self.call.stop);
        let missing = iptables.missing(self.id, addresses)?;
        let (wanted, found) = (addresses.len(), addresses.len() - missing.len());
        let missing: Vec<String> = missing.iter().map(Cidr::to_string).collect();
        let difference = || {
            format!(
                "masquerade rules missing: found {found}, wanted {wanted}; iptables has none for {}",
                missing.join(", ")
            )
        };
        Ok(if missing.is_empty() {
            Vec::new()
        } else {
            vec![difference()]
        })
    }
}

impl Backend {
    fn other(self) -> Self {
        match self {
            Self::Nftables => Self::Iptables,
            Self::Iptables => Self::Nftables,
        }
    }

    /// The tables in which rules of iptables may be. Where others are configured there probably are none: no reason to fail,
    /// and so to keep the pod, for as long as somebody has legacy rules that cannot be read.
    fn tables(self) -> Tables {
        match self {
            Self::Nftables => Tables::Readable,
            Self::Iptables => Tables::All,
        }
    }
}

/// Which addresses lose their rules.
enum Fate {
    Only(Vec<IpAddr>),
    AllBut(Vec<IpAddr>),
}

impl Fate {
    fn is_doomed(&self, address: IpAddr) -> bool {
        match self {
            Self::Only(doomed) => doomed.contains(&address),
            Self::AllBut(kept) => !kept.contains(&address),
        }
    }
}

/// GC: returns the addresses that the network's rules of either way masquerade, and for whom.
pub(crate) fn masqueraded<'a>(
    call: &Call,
    mut nft: Option<&mut Nft>,
    valid: &'a AttachmentList,
) -> Result<Masqueraded<'a>, Error> {
    let own = nft
        .as_mut()
        .map(|nft| nft.masqueraded(valid))
        .transpose()?
        .unwrap_or_default();
    let mut iptables = Iptables::new(nft, Tables::All, call.environment(), &call.stop);
    Ok(own.merged(iptables.masqueraded(valid)?))
}

/// GC: removes the rules, of either way, of attachments that are not valid any more.
pub(crate) fn remove_stale(
    call: &Call,
    mut nft: Option<&mut Nft>,
    valid: &ValidAttachments,
) -> Result<(), Error> {
    let own = nft
        .as_mut()
        .map_or(Ok(()), |nft| nft.remove_stale_masquerade(valid).map(drop));
    let mut iptables = Iptables::new(nft, Tables::All, call.environment(), &call.stop);
    let outcomes = [own, iptables.remove_stale(valid)];
    Error::join(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_net::Feature;

    #[test]
    fn iptables_is_taken_if_the_kernel_cannot_and_the_backend_is_left_out() {
        let refusal = || NetError::TimedOut("the kernel".to_owned());
        for feature in [Feature::InetNat, Feature::NfTables] {
            let lacking = NetError::Lacking {
                feature,
                source: Box::new(refusal()),
            };
            assert!(falls_back(BackendChoice::Automatic, &lacking, || true));
            assert!(!falls_back(BackendChoice::Automatic, &lacking, || false));
            assert!(!falls_back(
                BackendChoice::Only(Backend::Nftables),
                &lacking,
                || true
            ));
        }
        assert!(!falls_back(BackendChoice::Automatic, &refusal(), || true));
    }
}
