//! A name that one process at a time holds, for work that must not be done twice at once.
//!
//! The name is that of an abstract unix socket (unix(7)), so the kernel keeps it: taking it is
//! atomic, it is seen by all processes of the network namespace and by no other, nothing is left in
//! a file system, and it is free again as soon as its holder ends, by SIGKILL too. A child does not
//! inherit it.

use crate::error::NetError;
use std::{
    io::ErrorKind,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// A name that is held until this is dropped.
#[derive(Debug)]
pub struct Claim {
    _socket: UnixDatagram,
}

impl Claim {
    /// Takes `name`, of at most 107 bytes, in the network namespace that the thread is in. Returns
    /// `None` if another process holds it.
    ///
    /// # Errors
    /// Fails if the socket cannot be made or bound for another reason.
    pub fn take(name: &str) -> Result<Option<Self>, NetError> {
        let bind = || UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?);
        match bind() {
            Ok(socket) => Ok(Some(Self { _socket: socket })),
            Err(e) if e.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(e) => Err(NetError::io("claim", name, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_and_free_after_its_holder() {
        let name = format!("cni-net-test-{}", std::process::id());
        let claim = Claim::take(&name).unwrap().unwrap();
        assert!(Claim::take(&name).unwrap().is_none());
        assert!(Claim::take(&format!("{name}-other")).unwrap().is_some());
        drop(claim);
        assert!(Claim::take(&name).unwrap().is_some());
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error() {
        assert!(Claim::take(&"n".repeat(200)).is_err());
    }
}
