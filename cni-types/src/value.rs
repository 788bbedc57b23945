//! Values that are checked once, when they are read, and carried as types from then on.

mod cidr;
mod container_id;
mod if_name;
mod mac_addr;
mod netns_path;
mod network_name;
mod vlan_id;

pub use cidr::{Cidr, InvalidCidr};
pub use container_id::ContainerId;
pub use if_name::IfName;
pub use mac_addr::{InvalidMac, MacAddr};
pub use netns_path::NetnsPath;
pub use network_name::NetworkName;
pub use vlan_id::VlanId;

/// Returns true for the spec's grammar of container ids and network names: an alphanumeric
/// character, then alphanumeric characters, `_`, `.` or `-` (ASCII, as in the reference).
fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for text in [
            "../../evil",
            "..",
            ".hidden",
            "a/b",
            "a b",
            "a\0b",
            "-a",
            "_a",
            "é",
        ] {
            let error = NetworkName::parse(text).unwrap_err();
            assert_eq!(error.code, Code::INVALID_CONFIG);
            assert_eq!(error.msg, "invalid characters found in network name");
            assert_eq!(error.details, text);
            let error = ContainerId::parse(text).unwrap_err();
            assert_eq!(error.code, Code::INVALID_ENVIRONMENT);
            assert_eq!(
                (error.msg.as_str(), error.details.as_str()),
                ("invalid characters in containerID", text)
            );
        }
        assert_eq!(
            NetworkName::parse("").unwrap_err().msg,
            "missing network name"
        );
        assert!(NetworkName::parse("0a_b.c-d").is_ok());
    }
}
