//! The process's capabilities (capabilities(7)).

use cni_types::{Code, Error};
use std::fmt;

/// `CapEff` has a bit for each capability in effect (proc_pid_status(5)).
const STATUS: &str = "/proc/thread-self/status";

/// A capability that the plugins need. The discriminants are the bits of
/// include/uapi/linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Permits to change links, addresses, routes and rules.
    NetAdmin = 12,
    /// Permits to enter the namespace of a container.
    SysAdmin = 21,
}

impl Capability {
    /// Returns the capabilities that are not in effect. Returns none if `/proc` is not mounted and
    /// the kernel cannot be asked: then the operation itself fails.
    #[must_use]
    pub fn missing() -> Vec<Self> {
        let status = std::fs::read_to_string(STATUS).unwrap_or_default();
        effective(&status).map_or_else(Vec::new, missing_of)
    }
}

/// Returns the text that names missing capabilities; empty if none is missing.
pub(crate) fn missing_text(missing: &[Capability]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let names: Vec<String> = missing.iter().map(Capability::to_string).collect();
    format!("the plugin runs without {}", names.join(" and "))
}

/// Checks, for STATUS, the capabilities without which no container can be attached.
///
/// # Errors
/// Fails with code 50, naming the missing capabilities, if there are any.
pub fn require_capabilities() -> Result<(), Error> {
    let missing = Capability::missing();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::UNAVAILABLE, missing_text(&missing)).with_details(
        "CAP_NET_ADMIN is needed to change links, and CAP_SYS_ADMIN to enter a container's namespace",
    ))
}

fn missing_of(effective: u64) -> Vec<Capability> {
    let all = [Capability::NetAdmin, Capability::SysAdmin];
    all.into_iter()
        .filter(|capability| effective & (1 << *capability as u32) == 0)
        .collect()
}

fn effective(status: &str) -> Option<u64> {
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_read_from_the_effective_set() {
        let status =
            |bits: &str| format!("Name:\tbridge\nCapPrm:\t000001ffffffffff\nCapEff:\t{bits}\n");
        let missing = |bits: &str| missing_of(effective(&status(bits)).unwrap());
        assert_eq!(missing("000001ffffffffff"), []);
        assert_eq!(missing("000001ffffffefff"), [Capability::NetAdmin]);
        assert_eq!(
            missing("0000000000000000"),
            [Capability::NetAdmin, Capability::SysAdmin]
        );
        assert_eq!(effective("Name:\tbridge\n"), None);
    }
}
