//! Masquerading by way of iptables, in the reference's own chains, rules and comments.
//!
//! ```text
//! -A POSTROUTING -s 10.1.0.5/32 -m comment --comment "name: \"N\" id: \"C\"" -j CNI-0123456789abcdef01234567
//! -A CNI-0123456789abcdef01234567 -d 10.1.0.0/16 -m comment --comment "name: \"N\" id: \"C\"" -j ACCEPT
//! -A CNI-0123456789abcdef01234567 ! -d 224.0.0.0/4 -m comment --comment "name: \"N\" id: \"C\"" -j MASQUERADE
//! ```
//! There are two programs of that name. The one of today writes nf_tables, tables `ip nat` and `ip6 nat`: what it left is
//! seen and removed over netlink, without running it, and where it is not even installed any more. The older
//! ("legacy") one has tables of its own in the kernel, which only itself can read; it is run where `/proc` says that
//! there is such a table. Rules are added by whichever of the two the host calls `iptables-restore`.
//!
//! A chain belongs to a network and a container, not to an interface: two attachments of a container to one network share
//! it. So what leads there is removed by address, and the chain when nothing leads there any more.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod rule;
mod text;
mod tools;

pub(crate) use rule::{Action, Nat, Place, Removal, Rule};

use crate::{error::NetError, masqueraded::Masqueraded, netns::Netns, nft::Nft, sysctl::Family};
use cni_types::{AttachmentId, AttachmentList, Cidr, Environment, Stop, ValidAttachments};
use rule::chain_name;
use std::net::IpAddr;
use tools::{Tool, Tools};

/// The chain that leads to all others.
pub(crate) const POSTROUTING: &str = "POSTROUTING";

/// How often a table is read again because another process changed it before it could be changed here.
const ATTEMPTS: u32 = 16;

/// Who keeps a table `nat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Nft,
    Legacy,
}

/// The tables `nat` of a host.
const TABLES: [(Keeper, Family); 4] = [
    (Keeper::Nft, Family::V4),
    (Keeper::Nft, Family::V6),
    (Keeper::Legacy, Family::V4),
    (Keeper::Legacy, Family::V6),
];

/// Which tables are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Those that can be read without running a program.
    Nft,
    /// Those of the legacy iptables too, as far as its program can read them: it cannot where another version of it, in a container
    /// for instance, made rules of a kind that it does not know.
    Readable,
    /// All, or else it is an error.
    All,
}

/// The rules of iptables in the namespace that the thread is in.
pub struct Iptables<'a> {
    nft: Option<&'a mut Nft>,
    tables: Tables,
    tools: Tools<'a>,
    unread: Option<NetError>,
}

impl<'a> Iptables<'a> {
    /// Runs nothing yet. `nft` is `None` where the kernel has no nf_tables; `environment` tells where programs are looked for and
    /// is theirs too; `stop` ends them early.
    #[must_use]
    pub fn new(
        nft: Option<&'a mut Nft>,
        tables: Tables,
        environment: &'a Environment,
        stop: &'a Stop,
    ) -> Self {
        Self {
            nft,
            tables,
            tools: Tools { environment, stop },
            unread: None,
        }
    }

    /// Tells whether rules can be added, without running anything. That for IPv6 is looked for when it is needed.
    ///
    /// # Errors
    /// [`NetError::NoProgram`] where `iptables-restore` is not there.
    pub fn require_program(environment: &Environment) -> Result<(), NetError> {
        let stop = Stop::never();
        let tools = Tools {
            environment,
            stop: &stop,
        };
        tools.require(Tool::Restore, Family::V4).map(drop)
    }

    /// Masquerades what leaves the networks of these addresses, coming from them: one run of `iptables-restore` for each
    /// family. On failure the rules of one family may be there.
    ///
    /// # Errors
    /// Where there is no such program or it fails, and where what is there cannot be read.
    pub fn create(&mut self, id: AttachmentId<'_>, addresses: &[Cidr]) -> Result<(), NetError> {
        let chain = chain_name(id);
        for family in [Family::V4, Family::V6] {
            let of_family: Vec<Cidr> = addresses
                .iter()
                .copied()
                .filter(|address| Family::of(*address) == family)
                .collect();
            if of_family.is_empty() {
                continue;
            }
            let mut there = Nat::default();
            for (keeper, _) in TABLES.into_iter().filter(|table| table.1 == family) {
                there
                    .rules
                    .extend(self.around(keeper, family, &chain)?.rules);
            }
            let script = text::addition(id, family, &of_family, &there);
            self.tools.restore(Tool::Restore, family, &script)?;
        }
        Ok(())
    }

    /// Removes what leads from doomed addresses to the owner's chain, and the chain once nothing leads there. `is_doomed` is
    /// asked only where there is something.
    ///
    /// # Errors
    /// The first, after every table was tried.
    pub fn remove(
        &mut self,
        id: AttachmentId<'_>,
        is_doomed: &dyn Fn(IpAddr) -> bool,
    ) -> Result<(), NetError> {
        let chain = chain_name(id);
        self.remove_from_all(|iptables, keeper, family| {
            Ok(iptables
                .around(keeper, family, &chain)?
                .removal(&chain, is_doomed))
        })
    }

    /// Why a legacy table could not be read, where that was no error.
    #[must_use]
    pub fn unread(&self) -> Option<&NetError> {
        self.unread.as_ref()
    }

    /// Removes the chains of a network's containers of which no attachment is valid, and what leads there.
    ///
    /// # Errors
    /// The first, after every table was tried.
    pub fn remove_stale(&mut self, valid: &ValidAttachments) -> Result<(), NetError> {
        if *valid == ValidAttachments::Unknown {
            return Ok(());
        }
        self.remove_from_all(|iptables, keeper, family| {
            Ok(iptables.all(keeper, family)?.stale(valid))
        })
    }

    /// Returns the addresses that a network's rules masquerade, and for whom.
    ///
    /// # Errors
    /// Fails if a table cannot be read.
    pub fn masqueraded<'v>(
        &mut self,
        valid: &'v AttachmentList,
    ) -> Result<Masqueraded<'v>, NetError> {
        let mut found = Masqueraded::default();
        for (keeper, family) in TABLES {
            found = found.merged(self.all(keeper, family)?.masqueraded(valid));
        }
        Ok(found)
    }

    /// Those of the addresses that the owner's rules do not masquerade.
    ///
    /// # Errors
    /// Where the rules cannot be read.
    pub fn missing(
        &mut self,
        id: AttachmentId<'_>,
        addresses: &[Cidr],
    ) -> Result<Vec<Cidr>, NetError> {
        let chain = chain_name(id);
        let mut missing = addresses.to_vec();
        for (keeper, family) in TABLES {
            if missing.iter().any(|address| Family::of(*address) == family) {
                let nat = self.around(keeper, family, &chain)?;
                missing.retain(|address| !nat.masquerades(&chain, *address));
            }
        }
        Ok(missing)
    }

    fn remove_from_all(
        &mut self,
        mut plan: impl FnMut(&mut Self, Keeper, Family) -> Result<Removal, NetError>,
    ) -> Result<(), NetError> {
        let mut first = Ok(());
        for (keeper, family) in TABLES {
            let outcome = self.remove_from(keeper, family, &mut plan);
            first = first.and(outcome);
        }
        first
    }

    /// Reads, plans and removes, again where the table changed in between.
    fn remove_from(
        &mut self,
        keeper: Keeper,
        family: Family,
        plan: &mut impl FnMut(&mut Self, Keeper, Family) -> Result<Removal, NetError>,
    ) -> Result<(), NetError> {
        let mut planned = Removal::default();
        for _ in 0..ATTEMPTS {
            let removal = plan(self, keeper, family)?;
            if removal.is_empty() {
                return Ok(());
            }
            match self.apply(keeper, family, &removal) {
                Err(e) if e.is_absent() => {}
                // The program does not say why; that there is something else to do now tells it.
                Err(NetError::Program { .. }) if removal != planned => {}
                outcome => return outcome,
            }
            planned = removal;
        }
        Err(NetError::TimedOut(
            "a table nat that nobody else changes at the same time".to_owned(),
        ))
    }

    fn apply(&mut self, keeper: Keeper, family: Family, removal: &Removal) -> Result<(), NetError> {
        match (keeper, &mut self.nft) {
            (Keeper::Nft, Some(nft)) => nft.remove_from_nat(family, removal),
            (Keeper::Nft, None) => Ok(()),
            (Keeper::Legacy, _) => {
                self.tools
                    .restore(Tool::LegacyRestore, family, &text::deletion(removal))
            }
        }
    }

    /// The chain with its rules and those that lead there; nothing where there is no such chain.
    fn around(&mut self, keeper: Keeper, family: Family, chain: &str) -> Result<Nat, NetError> {
        match (keeper, &mut self.nft) {
            (Keeper::Nft, Some(nft)) => nft.nat_around(family, chain),
            (Keeper::Nft, None) => Ok(Nat::default()),
            (Keeper::Legacy, _) => self.legacy(family),
        }
    }

    fn all(&mut self, keeper: Keeper, family: Family) -> Result<Nat, NetError> {
        match (keeper, &mut self.nft) {
            (Keeper::Nft, Some(nft)) => nft.nat(family),
            (Keeper::Nft, None) => Ok(Nat::default()),
            (Keeper::Legacy, _) => self.legacy(family),
        }
    }

    fn legacy(&mut self, family: Family) -> Result<Nat, NetError> {
        if self.tables == Tables::Nft || !has_legacy_table(family)? {
            return Ok(Nat::default());
        }
        match self.tools.save(family) {
            Err(e @ NetError::Program { .. }) if self.tables == Tables::Readable => {
                self.unread = Some(e);
                Ok(Nat::default())
            }
            saved => saved.map(|saved| text::parse(&saved)),
        }
    }
}

/// True if the thread's namespace has a legacy table `nat`; the kernel makes it when it is first
/// used. To ask the program itself would make one.
fn has_legacy_table(family: Family) -> Result<bool, NetError> {
    let file = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match std::fs::read_to_string(file) {
        Ok(names) => Ok(names.lines().any(|name| name == "nat")),
        // A kernel without the legacy iptables has no such file; nothing is known without `/proc`.
        Err(_) => Netns::current().map(|_| false),
    }
}
