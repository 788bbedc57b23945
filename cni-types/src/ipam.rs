//! The parts of a configuration that every IPAM plugin reads: the addresses that the runtime asks
//! for, and the errors that all of them share.
//!
//! A runtime asks for particular addresses in three places (CONVENTIONS.md): `IP` in `CNI_ARGS`,
//! `args.cni.ips`, and `runtimeConfig.ips`, the capability `ips`. Which of them wins, and whether a
//! prefix length is needed, is each plugin's own: host-local adds them up, static takes one place.

mod requested;

pub use requested::{InvalidAddress, RequestedAddress, RequestedIps, ip_of_cni_args};

use crate::error::{Code, Error};
use std::net::IpAddr;

/// The error of a configuration without an `ipam` section, with the reference's text.
#[must_use]
pub fn missing_section() -> Error {
    Error::new(Code::INVALID_CONFIG, "IPAM config missing 'ipam' key")
}

/// Reads the value of a key that holds an address, as `gateway` does. Empty text is no address, as
/// the reference has it.
///
/// # Errors
/// Code 7, with the reference's text, if the text is neither empty nor an address.
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
