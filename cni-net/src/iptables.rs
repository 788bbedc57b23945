//! iptables: reading and changing the tables that its programs keep, of either variant.
//!
//! There are two programs of that name. The one of today writes nf_tables, tables such as `ip nat`
//! and `ip6 filter`: what is in them is seen and removed over netlink, without running it, and even
//! if it is not installed any more. The older ("legacy") one has tables of its own in the kernel,
//! which only itself can read; it is run if `/proc` says that there is such a table. Rules are
//! added by whichever of the two the host calls `iptables-restore`.
//!
//! The mechanism only: which rules, and whose they are, is the plugins' business.

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

/// The most attempts to change a table while others change it, too.
const ATTEMPTS: u32 = 16;

/// The program that keeps a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// iptables-nft, in nf_tables.
    Nft,
    /// iptables-legacy, in tables of its own.
    Legacy,
}

/// A table, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Accepts and drops packets.
    Filter,
    /// Translates addresses.
    Nat,
    /// Changes marks and the like.
    Mangle,
    /// Comes before connection tracking.
    Raw,
}

impl Table {
    /// Its name.
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

/// One of the tables of a host that serve the same purpose.
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
    /// All tables of a host that serve a purpose.
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

/// The tables that are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Those that can be read without running a program.
    Nft,
    /// Those of the legacy iptables too, as far as its program can read them: it cannot if another
    /// version of it, in a container for instance, made rules of a kind that it does not know.
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
    /// Runs nothing yet. `nft` is `None` if the kernel has no nf_tables; programs are looked for in
    /// the PATH of `environment`, and get it as theirs; `stop` ends them early.
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

    /// Finds the program by which rules are added, and runs nothing. That for IPv6 is looked for
    /// when it is needed.
    ///
    /// # Errors
    /// [`NetError::NoProgram`] if there is no `iptables-restore`.
    pub fn require_program(environment: &Environment) -> Result<(), NetError> {
        let stop = Stop::never();
        let tools = Tools {
            environment,
            stop: &stop,
        };
        tools.require(Tool::Restore, Family::V4).map(drop)
    }

    /// Carries out a script, wholly or not at all, by whatever the host calls `iptables-restore`.
    ///
    /// # Errors
    /// [`NetError::NoProgram`] if there is no such program, [`NetError::Program`] if it fails.
    pub fn restore(&mut self, family: Family, script: Script) -> Result<(), NetError> {
        self.tools.restore(Tool::Restore, family, &script.finish())
    }

    /// All rules of a table.
    ///
    /// # Errors
    /// Fails if it cannot be read; see [`Tables`].
    pub fn read(&mut self, table: HostTable) -> Result<Contents, NetError> {
        match (table.variant, &mut self.nft) {
            (Variant::Nft, Some(nft)) => listed::read_all(nft, table),
            (Variant::Nft, None) => Ok(Contents::default()),
            (Variant::Legacy, _) => self.read_legacy(table),
        }
    }

    /// The rules of a chain and of those `from` which rules lead there; nothing if there is no such
    /// chain. May return more than that.
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

    /// The reason why a legacy table could not be read, if that was no error.
    #[must_use]
    pub fn unread(&self) -> Option<&NetError> {
        self.unread.as_ref()
    }

    /// Plans a removal from each of a host's tables by what is there, and carries it out; again if
    /// the table changed in between.
    ///
    /// # Errors
    /// The first failure, after every table was tried.
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
                // The program does not say why; that there is something else to do now does.
                Err(NetError::Program { .. }) if removal != planned => {}
                outcome => return outcome,
            }
            planned = removal;
        }
        Err(NetError::TimedOut(format!(
            "a table {} that nobody else changes at the same time",
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

/// Returns true if the thread's namespace has this legacy table; the kernel makes it when it is
/// first used. To ask the program itself would make one.
fn has_legacy_table(table: HostTable) -> Result<bool, NetError> {
    let file = match table.family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match std::fs::read_to_string(file) {
        Ok(names) => Ok(names.lines().any(|name| name == table.table.name())),
        // A kernel without the legacy iptables has no such file; nothing is known without `/proc`.
        Err(_) => Netns::current().map(|_| false),
    }
}
