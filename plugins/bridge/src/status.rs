//! STATUS: could an ADD succeed now? Asks, and changes nothing.

use crate::{
    config::{Backend, Config},
    host::find_bridge,
    vlan,
};
use cni_net::{Iptables, Rtnl, nft::Nft};
use cni_types::{Call, Code, Command, Error};

pub(crate) fn status(call: &Call) -> Result<(), Error> {
    let config = Config::of(call)?;
    let unavailable = |e: Error| Error { code: Code::UNAVAILABLE, ..e };
    let mut rtnl = Rtnl::open().map_err(|e| unavailable(e.into()))?;
    if let Some(bridge) = find_bridge(&mut rtnl, &config).map_err(unavailable)? {
        vlan::require_support(&bridge, &config).map_err(unavailable)?;
    }
    if config.masquerade == Some(Backend::Nftables) || config.spoof_check {
        let probe = Nft::open().and_then(|mut nft| nft.probe());
        probe.map_err(|e| {
            unavailable(e.into())
                .with_details("ipMasq and macspoofchk need nf_tables in the kernel and CAP_NET_ADMIN")
        })?;
    }
    if config.masquerade == Some(Backend::Iptables) {
        Iptables::require_program(call.environment()).map_err(|e| unavailable(e.into()))?;
    }
    match config.ipam() {
        Some(kind) => {
            let is_configuration = |e: &Error| e.code == Code::INVALID_CONFIG;
            let delegate = call.delegate(kind);
            delegate
                .map_err(|e| if is_configuration(&e) { e } else { unavailable(e) })?
                .verify(Command::Status)
        }
        None => Ok(()),
    }
}
