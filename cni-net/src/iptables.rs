//! iptables: reading and changing the tables of its programs, of either variant.
//!
//! There are two programs of that name. The current one (iptables-nft) writes nf_tables, to tables
//! such as `ip nat` and `ip6 filter`. These are read and cleaned over netlink, without running the
//! program, and even if it is no longer installed. The older one ("legacy") has tables of its own
//! in the kernel, which only it can read; it is run if `/proc` lists such a table. Rules are added
//! by the variant that the host calls `iptables-restore`.
//!
//! This module is mechanism only: the content and the ownership of rules belong to the plugins.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod listed;
mod rule;
mod text;
mod tools;

pub use rule::{Action, Contents, Match, Place, Removal, Rule};
pub use text::{Script, parse, quoted};

use crate::{error::NetError, netns::Netns, nft::Nft, sysctl::Family};
use cni_types::{Environment, Stop};
use tools::{Tool, Tools};

/// The most attempts to change a table that others change at the same time.
const ATTEMPTS: u32 = 16;

/// The program that keeps a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// iptables-nft, in nf_tables.
    Nft,
    /// iptables-legacy, in tables of its own.
    Legacy,
}

/// A table of iptables, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Accepts and drops packets.
    Filter,
    /// Translates addresses.
    Nat,
    /// Changes packets, their marks for instance.
    Mangle,
    /// Comes before connection tracking.
    Raw,
}

impl Table {
    /// Returns the name of the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Mangle => "mangle",
            Self::Raw => "raw",
        }
    }
}

/// One of a host's tables for a purpose: of one variant, for one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTable {
    /// Its purpose.
    pub table: Table,
    /// Its program.
    pub variant: Variant,
    /// The family of its addresses.
    pub family: Family,
}

impl HostTable {
    /// Returns all tables of a host for a purpose.
    #[must_use]
    pub fn all(table: Table) -> [Self; 4] {
        let of = |variant, family| Self {
            table,
            variant,
            family,
        };
        [
            of(Variant::Nft, Family::V4),
            of(Variant::Nft, Family::V6),
            of(Variant::Legacy, Family::V4),
            of(Variant::Legacy, Family::V6),
        ]
    }
}

/// The tables that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Those that can be read without running a program.
    Nft,
    /// Those of the legacy iptables too, if its program can read them. It cannot if another version
    /// of it, in a container for instance, created rules of a kind that this version does not know.
    Readable,
    /// All tables; it is an error if one of them cannot be read.
    All,
}

/// The iptables rules of the thread's namespace.
pub struct Iptables<'a> {
    nft: Option<&'a mut Nft>,
    tables: Tables,
    tools: Tools<'a>,
    unread: Option<NetError>,
}

impl<'a> Iptables<'a> {
    /// Prepares access, and runs no program yet. `nft` is `None` if the kernel has no nf_tables.
    /// Programs are searched in the PATH of `environment` and run with it; `stop` ends them early.
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

    /// Finds the program that adds rules, and does not run it. The one for IPv6 is searched when it
    /// is needed.
    ///
    /// # Errors
    /// Fails with [`NetError::NoProgram`] if there is no `iptables-restore`.
    pub fn require_program(environment: &Environment) -> Result<(), NetError> {
        let stop = Stop::never();
        let tools = Tools {
            environment,
            stop: &stop,
        };
        tools.require(Tool::Restore, Family::V4).map(drop)
    }

    /// Applies a script as a whole or not at all, with the host's `iptables-restore`.
    ///
    /// # Errors
    /// Fails with [`NetError::NoProgram`] if there is no such program, and with
    /// [`NetError::Program`] if it fails.
    pub fn restore(&mut self, family: Family, script: Script) -> Result<(), NetError> {
        self.tools.restore(Tool::Restore, family, &script.finish())
    }

    /// Returns all rules of a table.
    ///
    /// # Errors
    /// Fails if the table cannot be read; see [`Tables`].
    pub fn read(&mut self, table: HostTable) -> Result<Contents, NetError> {
        match (table.variant, &mut self.nft) {
            (Variant::Nft, Some(nft)) => listed::read_all(nft, table),
            (Variant::Nft, None) => Ok(Contents::default()),
            (Variant::Legacy, _) => self.read_legacy(table),
        }
    }

    /// Returns the rules of a chain, and those of the chains `from` whose rules jump to it; empty
    /// if there is no such chain. May return further rules.
    ///
    /// # Errors
    /// Fails if they cannot be read; see [`Tables`].
    pub fn read_around(
        &mut self,
        table: HostTable,
        chain: &str,
        from: &[&str],
    ) -> Result<Contents, NetError> {
        match (table.variant, &mut self.nft) {
            (Variant::Nft, Some(nft)) => listed::read_around(nft, table, chain, from),
            (Variant::Nft, None) => Ok(Contents::default()),
            (Variant::Legacy, _) => self.read_legacy(table),
        }
    }

    /// Returns the reason why a legacy table could not be read, if [`Tables`] let that pass.
    #[must_use]
    pub fn unread(&self) -> Option<&NetError> {
        self.unread.as_ref()
    }

    /// Plans a removal from each of a host's tables by its content, and applies it. Plans again if
    /// the table changed in between.
    ///
    /// # Errors
    /// Returns the first failure, after every table was tried.
    pub fn remove(
        &mut self,
        table: Table,
        mut plan: impl FnMut(&mut Self, HostTable) -> Result<Removal, NetError>,
    ) -> Result<(), NetError> {
        let mut first = Ok(());
        for table in HostTable::all(table) {
            let outcome = self.remove_from(table, &mut plan);
            first = first.and(outcome);
        }
        first
    }

    fn remove_from(
        &mut self,
        table: HostTable,
        plan: &mut impl FnMut(&mut Self, HostTable) -> Result<Removal, NetError>,
    ) -> Result<(), NetError> {
        let mut planned = Removal::default();
        for _ in 0..ATTEMPTS {
            let removal = plan(self, table)?;
            if removal.is_empty() {
                return Ok(());
            }
            match self.apply(table, &removal) {
                Err(e) if e.is_absent() => {}
                // The program does not name a reason. A plan that changed since shows that others
                // interfered.
                Err(NetError::Program { .. }) if removal != planned => {}
                outcome => return outcome,
            }
            planned = removal;
        }
        Err(NetError::TimedOut(format!(
            "a table {} that no other process changes at the same time",
            table.table.name()
        )))
    }

    fn apply(&mut self, table: HostTable, removal: &Removal) -> Result<(), NetError> {
        match (table.variant, &mut self.nft) {
            (Variant::Nft, Some(nft)) => listed::remove(nft, table, removal),
            (Variant::Nft, None) => Ok(()),
            (Variant::Legacy, _) => {
                let script = text::deletion(table.table, removal);
                self.tools
                    .restore(Tool::LegacyRestore, table.family, &script)
            }
        }
    }

    fn read_legacy(&mut self, table: HostTable) -> Result<Contents, NetError> {
        if self.tables == Tables::Nft || !has_legacy_table(table)? {
            return Ok(Contents::default());
        }
        match self.tools.save(table.table, table.family) {
            Err(e @ NetError::Program { .. }) if self.tables == Tables::Readable => {
                self.unread = Some(e);
                Ok(Contents::default())
            }
            saved => saved.map(|saved| parse(&saved)),
        }
    }
}

/// Returns true if the thread's namespace has this legacy table. The kernel creates a table at its
/// first use, so running the program to find out would create it.
fn has_legacy_table(table: HostTable) -> Result<bool, NetError> {
    let file = match table.family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match std::fs::read_to_string(file) {
        Ok(names) => Ok(names.lines().any(|name| name == table.table.name())),
        // A kernel without the legacy iptables has no such file. Without `/proc` the answer is
        // unknown.
        Err(_) => Netns::current().map(|_| false),
    }
}
