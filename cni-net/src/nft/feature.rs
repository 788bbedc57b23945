//! Features of the kernel's nf_tables.

use super::{
    Nft,
    table::{BaseChain, Hook, Table, TableFamily},
    transaction::Transaction,
};
use crate::error::{Feature, NetError};
use nix::errno::Errno;
use std::fs;

/// A table that never exists: the kernel rolls back the transaction that creates it. It is no
/// existing table, since a chain in that could be the reason for a refusal.
const PROBE: Table = Table {
    family: TableFamily::INET,
    name: "probe_of_inet_nat",
};
const PROBE_CHAIN: &str = "postrouting";

/// `srcnat` in nft(8).
const PROBE_BASE: BaseChain = BaseChain {
    kind: "nat",
    hook: Hook::Postrouting,
    priority: 100,
};

impl Nft {
    /// Checks that tables of the family `inet` support nat, and changes nothing.
    ///
    /// # Errors
    /// Fails with [`NetError::Lacking`] if the kernel has no nat in inet tables.
    pub fn require_inet_nat(&mut self) -> Result<(), NetError> {
        // An unreadable release does not pass the check, so the kernel is asked.
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if has_inet_nat(&release) {
            Ok(())
        } else {
            self.probe_inet_nat()
        }
    }

    /// Checks that tables of the family `inet` support nat, regardless of the kernel's version: a
    /// distribution's kernel may have more features, and a custom kernel fewer. The transaction
    /// creates a chain, and its last request creates the same chain once more, so that the kernel
    /// rolls it back.
    ///
    /// # Errors
    /// Fails with [`NetError::Lacking`] if the kernel has no nat in inet tables.
    pub fn probe_inet_nat(&mut self) -> Result<(), NetError> {
        let mut transaction = Transaction::new();
        transaction.ensure_table(PROBE);
        transaction.ensure_chain(PROBE, PROBE_CHAIN, Some(PROBE_BASE));
        transaction.create_chain(PROBE, PROBE_CHAIN);
        match self.commit(transaction) {
            Err(e) if e.is_exists() => Ok(()),
            // nf_tables_api.c: no such chain type (ENOENT), or not for this family (EOPNOTSUPP).
            Err(e) if matches!(e.errno(), Some(Errno::ENOENT | Errno::EOPNOTSUPP)) => {
                Err(NetError::Lacking {
                    feature: Feature::InetNat,
                    source: Box::new(e),
                })
            }
            outcome => outcome,
        }
    }
}

/// Returns true for Linux 5.2 and later, with nat in inet tables (net/netfilter/nft_chain_nat.c).
fn has_inet_nat(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_since_5_2_have_nat_in_inet_tables() {
        for (release, has) in [
            ("6.1.0-18-amd64\n", true),
            ("5.2.0", true),
            ("5.10.0-28-cloud", true),
            ("5.1.21", false),
            ("4.18.0-553.el8_10.x86_64", false),
            ("3.10.0", false),
            ("", false),
        ] {
            assert_eq!(has_inet_nat(release), has, "{release:?}");
        }
    }
}
