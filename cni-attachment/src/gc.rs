//! The order of GC, and the removal of stale pairs.
//!
//! An address is freed only if nothing is left of its stale attachment that may answer for it; the
//! next GC retries.

use crate::{
    ipam,
    mark::{Mark, Role},
    names::Groups,
    stale::Stale,
};
use cni_net::{Batch, Link, LinkKind, NetError, Rtnl};
use cni_types::{Call, Error, KeepAddresses, ValidAttachments};
use std::num::NonZeroU32;

/// The number of pairs that are removed by one request. Meanwhile the kernel holds its lock, and a
/// request to stop goes unnoticed.
const PAIRS_AT_ONCE: usize = 64;

/// A plugin's part in GC. Pairs that the suite created are removed without it.
pub trait Collect {
    /// Removes pairs of stale attachments that only a rule identifies. Returns the addresses whose
    /// owner is unknown. Does nothing by default.
    ///
    /// # Errors
    /// Fails if a pair cannot be removed, or if the rules cannot be read.
    fn remove_foreign(&mut self, _sweep: &mut Sweep<'_>) -> Result<KeepAddresses, Error> {
        Ok(KeepAddresses::default())
    }

    /// Removes the rules of stale attachments.
    ///
    /// # Errors
    /// Fails if a rule cannot be removed.
    fn remove_rules(&mut self, sweep: &Sweep<'_>) -> Result<(), Error>;

    /// Reverts changes to links of other plugins. Does nothing by default.
    ///
    /// # Errors
    /// Fails if a change cannot be reverted.
    fn release_ports(&mut self, _sweep: &mut Sweep<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Removes everything that belongs to invalid attachments of the network, and has the IPAM plugin
/// `ipam` free their addresses. Pairs that only a rule identifies go first, then rules, then the
/// other links, and addresses last.
///
/// # Errors
/// Fails if a part does, with all errors.
pub fn collect(
    call: &Call,
    ipam: impl FnOnce() -> Result<Option<String>, Error>,
    plugin: &mut impl Collect,
) -> Result<(), Error> {
    let valid = call.valid_attachments()?;
    let free = |keep| {
        // After a request to stop, pairs may be left whose rules must stay.
        call.stop.check()?;
        ipam::gc(call, ipam()?.as_deref(), keep)
    };
    let Some(mut sweep) = Sweep::begin(call, &valid)? else {
        return free(KeepAddresses::default());
    };
    sweep.rescue()?;
    let foreign = plugin.remove_foreign(&mut sweep);
    // The rule of a pair that is left is how the next GC identifies it.
    let rules = match foreign {
        Ok(_) => plugin.remove_rules(&sweep),
        Err(_) => Ok(()),
    };
    let ports = plugin.release_ports(&mut sweep);
    let own = Error::join([ports, sweep.remove_own_pairs()]);
    let addresses = match (foreign, own) {
        (Ok(keep), Ok(())) => free(keep),
        (foreign, own) => Error::join([foreign.map(drop), own]),
    };
    Error::join([rules, addresses])
}

/// One run of GC.
pub struct Sweep<'a> {
    /// The request.
    pub call: &'a Call,
    /// The connection to the host's links.
    pub host: Rtnl,
    /// All links of the host.
    pub links: Vec<Link>,
    /// The network's list of valid attachments.
    pub valid: &'a ValidAttachments,
    /// The attachments that are not in the list.
    pub stale: Stale<'a>,
}

impl<'a> Sweep<'a> {
    /// Begins GC; returns `None` without a list, since no attachment is known to be stale then.
    fn begin(call: &'a Call, valid: &'a ValidAttachments) -> Result<Option<Self>, Error> {
        let Some(stale) = Stale::of(valid) else {
            return Ok(None);
        };
        let mut host = Rtnl::open()?;
        let links = host.links()?;
        Ok(Some(Self {
            call,
            host,
            links,
            valid,
            stale,
        }))
    }

    /// Moves pairs that are not stale out of the group that is going to be removed. An earlier GC
    /// with another list put them there and was killed.
    fn rescue(&mut self) -> Result<(), Error> {
        let groups = *self.stale.groups();
        let is_condemned = |link: &&Link| link.group == groups.condemned.get();
        let rescued: Vec<&Link> = self
            .links
            .iter()
            .filter(is_condemned)
            .filter(|link| !is_stale(link, &self.stale))
            .collect();
        Ok(set_group(&mut self.host, &rescued, groups.living)?)
    }

    fn remove_own_pairs(&mut self) -> Result<(), Error> {
        let stale = &self.stale;
        let pairs: Vec<&Link> = self
            .links
            .iter()
            .filter(|link| is_stale(link, stale))
            .collect();
        remove_pairs(&mut self.host, &pairs, stale.groups(), self.call)
    }
}

/// Removes stale pairs, many with one request, since the kernel waits for RCU once for each
/// request: they are moved into a group of their own, and the group is removed. If this process is
/// killed in between, the group still marks them as stale.
///
/// # Errors
/// Fails if a pair cannot be removed, and on a request to stop.
pub fn remove_pairs(
    host: &mut Rtnl,
    pairs: &[&Link],
    groups: &Groups,
    call: &Call,
) -> Result<(), Error> {
    let mut outcomes = Vec::new();
    for some in pairs.chunks(PAIRS_AT_ONCE) {
        call.stop.check()?;
        outcomes.push(set_group(host, some, groups.condemned));
        outcomes.push(host.remove_group(groups.condemned));
    }
    Error::join(outcomes)
}

fn is_stale(link: &Link, stale: &Stale<'_>) -> bool {
    let mark = Mark::of(link).filter(|mark| mark.role == Role::Pair && link.kind == LinkKind::Veth);
    mark.map_or_else(|| stale.has_unmarked(link), |mark| stale.has(&mark))
}

fn set_group(host: &mut Rtnl, links: &[&Link], group: NonZeroU32) -> Result<(), NetError> {
    let mut batch = Batch::new();
    for link in links {
        batch.set_group(*link, group);
    }
    NetError::absent_is_ok(host.run(batch))
}
