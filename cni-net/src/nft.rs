//! nf_tables over netlink: no `nft` program, no C library, one transaction for what belongs together.

mod attribute;
mod batch;
mod expression;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod listed;
mod macspoof;
mod masquerade;
mod nat;
mod ruleset;

pub use macspoof::{MacCheck, MacCheckJump, MacCheckState};
pub use masquerade::{MasqueradeEntry, Owner};

use crate::{
    error::NetError,
    netlink::{NetlinkSocket, Request},
};
use batch::message;
use netlink_packet_netfilter::{
    NetfilterMessage, NetfilterProtoFamily,
    nftables::{GenMessage, NfTablesMessage},
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

/// socket(2) says the first two without nfnetlink, nfnetlink the others without nf_tables.
fn is_lack_of_support(error: &NetError) -> bool {
    let lacks = [Errno::EPROTONOSUPPORT, Errno::EAFNOSUPPORT, Errno::EINVAL, Errno::EOPNOTSUPP];
    error.errno().is_some_and(|errno| lacks.contains(&errno))
}

/// A connection to the nf_tables of the namespace that the thread is in.
pub struct Nft {
    socket: NetlinkSocket,
}

impl Nft {
    /// Connects.
    ///
    /// # Errors
    /// Where the kernel has no nfnetlink.
    pub fn open() -> Result<Self, NetError> {
        NetlinkSocket::open(NETLINK_NETFILTER).map(|socket| Self { socket })
    }

    /// Connects where the kernel has nf_tables, built in or as a module that can be loaded.
    ///
    /// # Errors
    /// Whatever says nothing of that: no permission, no memory, no descriptor.
    pub fn open_if_there() -> Result<Option<Self>, NetError> {
        let opened = Self::open().and_then(|mut nft| nft.probe().map(|()| nft));
        match opened {
            Ok(nft) => Ok(Some(nft)),
            Err(e) if is_lack_of_support(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Asks the kernel for the number of its ruleset: works wherever rules can be read and written.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN, `EINVAL` or `EOPNOTSUPP` without nf_tables.
    pub fn probe(&mut self) -> Result<(), NetError> {
        let ask = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
        let message: NetfilterMessage = message(NetfilterProtoFamily::Unspec, ask);
        let request = Request { message, flags: 0, operation: "reach", object: "nf_tables".to_owned() };
        self.socket.execute(vec![request]).map(drop)
    }
}
