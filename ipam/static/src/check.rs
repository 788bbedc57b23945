//! CHECK: prevResult has every address of the request.

use crate::config::{Config, GivenAddress};
use cni_types::{Call, Code, Error, IfName, IpConfig};

/// Compares the request with prevResult and reports all differences at once.
///
/// # Errors
/// Code 7 if there is no prevResult, 100 for an address that is not in it, or has another gateway.
pub(crate) fn check(call: &Call, if_name: &IfName) -> Result<(), Error> {
    let config = Config::load(call)?;
    let previous = call.require_prev_result()?;
    Error::join(config.addresses.iter().map(|given| {
        let Some(details) = difference(given, &previous.ips) else {
            return Ok(());
        };
        let address = given.address.address();
        let msg = format!("static: Failed to match addr {address} on interface {if_name}");
        Err(Error::new(Code::CHECK_MISMATCH, msg).with_details(details))
    }))
}

/// The difference between an address of the request and those of prevResult.
///
/// Compares only the gateway that the request itself gives to the address: the reference does not
/// add any other one, and an attachment that it made must pass.
fn difference(given: &GivenAddress, previous: &[IpConfig]) -> Option<String> {
    let address = given.address.address();
    let same = |ip: &&IpConfig| ip.address.address().to_canonical() == address;
    let found: Vec<&IpConfig> = previous.iter().filter(same).collect();
    if found.is_empty() {
        return Some(format!("{address} is not in prevResult"));
    }
    let expected = given.gateway?;
    let gateways: Vec<_> = found.iter().filter_map(|ip| ip.gateway).collect();
    if gateways
        .iter()
        .any(|gateway| gateway.to_canonical() == expected)
    {
        return None;
    }
    let gateways: Vec<String> = gateways.iter().map(ToString::to_string).collect();
    Some(format!(
        "{address} has the gateways [{}] in prevResult, expected {expected}",
        gateways.join(" ")
    ))
}
