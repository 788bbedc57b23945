//! The rules of attachments, as an observer sees them: by the names of the reference, without the
//! code that writes them.

use crate::verdict::{OrFail, fail, require};
use cni_net::{
    NetError,
    nft::{ListedRule, Nft, Table, TableFamily},
};
use std::process::Command;

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

/// Runs commands by nft(8) in the namespace of the calling thread, and returns its output without
/// indentation and blank lines. Fails the test if nft(8) does, and has it ignored if the program is
/// missing.
pub fn nft(commands: &str) -> String {
    let input = sandbox::stdin::file(commands.as_bytes()).or_fail("make nft's stdin");
    let output = Command::new("nft")
        .args(["-f", "-"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(input)
        .output();
    require("the nft program", output.is_ok());
    let output = output.or_fail("run nft");
    if !output.status.success() {
        fail(format!("nft: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8(output.stdout).or_fail("read nft's output");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}
