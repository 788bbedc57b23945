//! The parts of a configuration that every IPAM plugin reads: requested addresses, and the errors
//! that all of them share.
//!
//! A runtime requests particular addresses in three places (CONVENTIONS.md): `IP` in `CNI_ARGS`,
//! `args.cni.ips`, and `runtimeConfig.ips`, the capability `ips`. Which place has precedence and if
//! a prefix length is required differs by plugin: host-local combines the places, static takes one.

mod requested;

pub use requested::{InvalidAddress, RequestedAddress, RequestedIps, ip_of_cni_args};

use crate::error::{Code, Error};
use std::net::IpAddr;

/// Returns the error of a configuration without an `ipam` section, with the reference's text.
#[must_use]
pub fn missing_section() -> Error {
    Error::new(Code::INVALID_CONFIG, "IPAM config missing 'ipam' key")
}

/// Reads the value of a key that holds an address, such as `gateway`. Empty text is `None`, as in
/// the reference.
///
/// # Errors
/// Fails with code 7 and the reference's text if the text is neither empty nor an address.
pub fn optional_address(text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| Error::new(Code::INVALID_CONFIG, format!("invalid IP address: {text}"));
    text.parse().map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_left_empty_is_no_address() {
        assert_eq!(optional_address(""), Ok(None));
        assert_eq!(optional_address("10.0.0.1"), Ok("10.0.0.1".parse().ok()));
        let error = optional_address("10.0.0.1/8").unwrap_err();
        assert_eq!(
            (error.code, error.msg.as_str()),
            (Code(7), "invalid IP address: 10.0.0.1/8")
        );
    }
}
