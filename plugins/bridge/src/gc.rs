//! GC: removes what belongs to attachments of this network that are no longer valid: masquerade and
//! macspoofchk rules, host ends of pairs, and, by the IPAM plugin, addresses. Other networks and
//! the bridge are not touched.

use crate::{NAME, chain, config::CleanupConfig, foreign};
use cni_attachment::{
    gc::{self, Collect, Sweep},
    netfilter::{RuleSet, mac_check::MacChecks, masquerade::Masquerade},
};
use cni_net::nft::Nft;
use cni_types::{Call, Error, KeepAddresses};

/// Removes the rules and links of stale attachments, then has the IPAM plugin free their addresses.
///
/// # Errors
/// Fails if something cannot be removed. Other removals are tried nevertheless, but no address is
/// freed while a link may be left.
pub(crate) fn gc(call: &Call) -> Result<(), Error> {
    gc::collect(call, || Ok(CleanupConfig::of(call)?.ipam), &mut Bridge)
}

/// The steps of GC that are the bridge plugin's own.
struct Bridge;

impl Collect for Bridge {
    fn remove_foreign(&mut self, sweep: &mut Sweep<'_>) -> Result<KeepAddresses, Error> {
        let Sweep {
            call,
            host,
            links,
            stale,
            ..
        } = sweep;
        let verdict = foreign::classify(call, host, links, stale)?;
        gc::remove_pairs(host, &verdict.stale, stale.groups(), call)?;
        Ok(verdict.keep)
    }

    fn remove_rules(&mut self, sweep: &Sweep<'_>) -> Result<(), Error> {
        let mut nft = Nft::open_if_there()?;
        let masquerade = Masquerade::new(NAME, sweep.call).remove_stale(nft.as_mut(), &sweep.stale);
        let spoof_checks = nft
            .as_mut()
            .map_or(Ok(()), |nft| MacChecks::new(nft).remove_stale(&sweep.stale));
        Error::join([masquerade, spoof_checks])
    }

    fn release_ports(&mut self, sweep: &mut Sweep<'_>) -> Result<(), Error> {
        chain::release_stale(&mut sweep.host, &sweep.links, &sweep.stale)
    }
}
