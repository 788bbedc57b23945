//! The features of a kernel's nf_tables.

use super::{
    Nft,
    table::{BaseChain, Hook, Table, TableFamily},
    transaction::Transaction,
};
use crate::error::{Feature, NetError};
use nix::errno::Errno;
use std::fs;

/// A table that is never there: the kernel takes back the transaction that creates it. No table of
/// anybody, since a chain in it may be the reason for a refusal.
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
    /// Finds out if tables of the family `inet` can translate addresses, and changes nothing.
    ///
    /// # Errors
    /// [`NetError::Lacking`] if the kernel has no nat in inet tables.
    pub fn require_inet_nat(&mut self) -> Result<(), NetError> {
        // Unknown, the release may be any.
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if has_inet_nat(&release) {
            Ok(())
        } else {
            self.probe_inet_nat()
        }
    }

    /// Finds out if tables of the family `inet` can translate addresses, whatever the kernel's
    /// version says: a distribution's kernel may have more, and a kernel built without has less. A
    /// chain is made in a transaction that the kernel takes back, because its last request makes
    /// the same chain once more.
    ///
    /// # Errors
    /// [`NetError::Lacking`] if the kernel has no nat in inet tables.
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

/// True for kernels since 5.2, which have nat in inet tables (net/netfilter/nft_chain_nat.c).
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
