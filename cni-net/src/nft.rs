//! nf_tables over netlink: no `nft` program, no C library, one transaction for what belongs together.

mod attribute;
mod batch;
mod expression;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod listed;
mod macspoof;
mod masquerade;
mod naming;
mod nat;
mod ruleset;

pub use macspoof::{MacCheck, MacCheckJump, MacCheckState};
pub use masquerade::MasqueradeEntry;

use crate::{
    error::{Feature, NetError},
    netlink::{NetlinkSocket, Request},
};
use batch::message;
use netlink_packet_netfilter::{
    NetfilterMessage, NetfilterProtoFamily,
    nftables::{GenMessage, NfTablesMessage},
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

/// The first two are socket(2)'s answers without nfnetlink, the others nfnetlink's without
/// nf_tables.
const LACK_OF_NF_TABLES: [Errno; 4] = [
    Errno::EPROTONOSUPPORT,
    Errno::EAFNOSUPPORT,
    Errno::EINVAL,
    Errno::EOPNOTSUPP,
];

/// For requests that every nf_tables answers: refused in these ways, there is none.
fn named_if_lacking(error: NetError) -> NetError {
    match error.errno() {
        Some(errno) if LACK_OF_NF_TABLES.contains(&errno) => NetError::Lacking {
            feature: Feature::NfTables,
            source: Box::new(error),
        },
        _ => error,
    }
}

/// A connection to the nf_tables of the namespace that the thread is in.
pub struct Nft {
    socket: NetlinkSocket,
}

impl Nft {
    /// Connects.
    ///
    /// # Errors
    /// [`NetError::Lacking`] if the kernel has no nfnetlink.
    pub fn open() -> Result<Self, NetError> {
        let socket = NetlinkSocket::open(NETLINK_NETFILTER).map_err(named_if_lacking)?;
        Ok(Self { socket })
    }

    /// Connects if the kernel has nf_tables, built in or as a module that can be loaded.
    ///
    /// # Errors
    /// Fails if that is not known: no permission, no memory, no descriptor.
    pub fn open_if_there() -> Result<Option<Self>, NetError> {
        let opened = Self::open().and_then(|mut nft| nft.probe().map(|()| nft));
        match opened {
            Ok(nft) => Ok(Some(nft)),
            Err(NetError::Lacking { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Asks the kernel for the number of its ruleset: works wherever rules can be read and written.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN, [`NetError::Lacking`] without nf_tables.
    pub fn probe(&mut self) -> Result<(), NetError> {
        let ask = NfTablesMessage::GetGen(GenMessage {
            attributes: Vec::new(),
        });
        let message: NetfilterMessage = message(NetfilterProtoFamily::Unspec, ask);
        let request = Request {
            message,
            flags: 0,
            operation: "reach",
            object: "nf_tables".to_owned(),
        };
        self.socket
            .execute(vec![request])
            .map(drop)
            .map_err(named_if_lacking)
    }

    /// The refusal of a change, named if it is that the kernel has no nf_tables at all.
    fn explained(&mut self, refusal: NetError) -> NetError {
        match self.probe() {
            Err(e @ NetError::Lacking { .. }) => e,
            _ => refusal,
        }
    }
}
