//! STATUS: could an ADD succeed now? Asks, and changes nothing.

use crate::config::Config;
use cni_net::{Rtnl, nft::Nft};
use cni_types::{Call, Code, Command, Error};

pub(crate) fn status(call: &Call) -> Result<(), Error> {
    let config = Config::of(call)?;
    let unavailable = |e: Error| Error { code: Code::UNAVAILABLE, ..e };
    Rtnl::open().and_then(|mut rtnl| rtnl.find_link(&config.bridge)).map_err(|e| unavailable(e.into()))?;
    if config.masquerade {
        let probe = Nft::open().and_then(|mut nft| nft.probe());
        probe.map_err(|e| {
            unavailable(e.into()).with_details("ipMasq needs nf_tables in the kernel and CAP_NET_ADMIN")
        })?;
    }
    match config.ipam() {
        Some(kind) => call.delegate(kind).map_err(unavailable)?.verify(Command::Status),
        None => Ok(()),
    }
}
