//! ADD: the addresses, routes and resolvers of the request, as a result.

use crate::{NAME, config::Config};
use cni_types::{AddResult, Call, Encoded, Error, log};

/// Returns the result, and names on stderr the parts of the request that are not in it.
pub(crate) fn add(call: &Call) -> Result<Encoded, Error> {
    let config = Config::load(call)?;
    for gateway in config.gateways_without_address() {
        log::warn(
            NAME,
            format_args!("GATEWAY={gateway} is in the subnet of no address: not used"),
        );
    }
    for address in &config.replaced {
        let place = "runtimeConfig.ips or args.cni.ips replaces it";
        log::warn(
            NAME,
            format_args!("IP={address} in CNI_ARGS is not used: {place}"),
        );
    }
    let ips = config.ip_configs();
    AddResult {
        ips,
        routes: config.routes,
        dns: config.dns,
        ..AddResult::default()
    }
    .encode(call.version)
}
