//! The rules of attachments, as an observer sees them: by the names of the reference, without the
//! code that writes them.

use cni_net::{
    NetError,
    nft::{ListedRule, Nft, Table, TableFamily},
};

/// The table of masquerade rules.
pub const MASQUERADE: Table = Table {
    family: TableFamily::INET,
    name: "cni_plugins_masquerade",
};

/// The chain of masquerade rules.
pub const MASQ_CHECKS: &str = "masq_checks";

const MAC_CHECKS: Table = Table {
    family: TableFamily::BRIDGE,
    name: "nat",
};

/// Returns the comments of all masquerade rules of nf_tables, in order.
///
/// # Errors
/// Fails if the kernel has no nf_tables, or refuses.
pub fn masquerade_comments() -> Result<Vec<String>, NetError> {
    comments(MASQUERADE, MASQ_CHECKS)
}

/// Returns the comments of all rules that lead to checks of MAC addresses, in order.
///
/// # Errors
/// Fails if the kernel has no nf_tables, or refuses.
pub fn mac_check_comments() -> Result<Vec<String>, NetError> {
    let mut comments = comments(MAC_CHECKS, "PREROUTING")?;
    comments.retain(|comment| comment.starts_with("macspoofchk-"));
    Ok(comments)
}

fn comments(table: Table, chain: &str) -> Result<Vec<String>, NetError> {
    let rules = Nft::open()?.rules(table, chain)?;
    Ok(rules.iter().map(ListedRule::comment).collect())
}
