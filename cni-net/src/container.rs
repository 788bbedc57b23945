//! The namespace of a container, opened for an operation, with the check that it is not the plugin's own.
//!
//! A runtime that hands over the host's namespace would have its interfaces reconfigured or deleted
//! (containernetworking/plugins#714: `lo` of the host set down). So the two are compared before anything is done.

use crate::{Errno, NetError, Netns, is_no_netns};
use cni_types::{Call, Code, Error, NetnsPath};

/// With this variable set to `1` or `true` the plugin's own namespace is taken for a container's.
const OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// What can be done where a program of iptables is missing.
const NO_IPTABLES: &str = "install iptables, or leave ipMasqBackend out: nf_tables needs no program";

/// Sysctls are the only files that are written.
const READ_ONLY: &str = "/proc/sys is read-only here: set the value before, or let it be writable for the plugin; where the value is right \
     already it is not written";

/// The namespace of an ADD or a CHECK.
///
/// # Errors
/// Code 8 where it cannot be opened, or is the plugin's own.
pub fn container_netns(call: &Call, path: &NetnsPath) -> Result<Netns, Error> {
    let netns = Netns::open(path.as_path()).map_err(|e| Error::new(Code::INVALID_NETNS, e.to_string()))?;
    if is_own(call, &netns)? {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(Error::new(Code::INVALID_NETNS, msg).with_details(format!(
            "CNI_NETNS {:?} is the namespace that this plugin runs in; set {OVERRIDE}=1 if that is meant",
            path.as_str()
        )));
    }
    Ok(netns)
}

/// The namespace of a DEL, or `None` where there is nothing in it to be undone: the path is empty, or leads nowhere, or
/// to something that is no network namespace, or to the plugin's own, which is not touched.
///
/// # Errors
/// Code 8 where something is there but cannot be opened, such as without permission.
pub fn remaining_netns(call: &Call, path: Option<&NetnsPath>) -> Result<Option<Netns>, Error> {
    let Some(path) = path else { return Ok(None) };
    match Netns::open(path.as_path()) {
        Ok(netns) => Ok((!is_own(call, &netns)?).then_some(netns)),
        Err(e) if is_no_netns(&e) => Ok(None),
        Err(e) => Err(Error::new(Code::INVALID_NETNS, e.to_string())),
    }
}

fn is_own(call: &Call, netns: &Netns) -> Result<bool, Error> {
    let overridden = matches!(call.environment().text(OVERRIDE).as_str(), "1" | "true");
    Ok(!overridden && Netns::current()?.is_same(netns))
}

impl From<NetError> for Error {
    /// The kernel's refusals have one code; the text tells them apart.
    fn from(error: NetError) -> Self {
        let code = match error {
            NetError::Stopped(_) => Code::TRY_AGAIN,
            NetError::Kernel { .. }
            | NetError::Io { .. }
            | NetError::Protocol { .. }
            | NetError::TimedOut(_)
            | NetError::NoProgram(_)
            | NetError::Program { .. } => Code::KERNEL,
        };
        let text = error.to_string();
        let details = match &error {
            NetError::Program { said, .. } => said,
            NetError::NoProgram(_) => NO_IPTABLES,
            _ if error.errno() == Some(Errno::EROFS) => READ_ONLY,
            _ => "",
        };
        Self::new(code, text).with_details(details)
    }
}
