//! The kernel's refusals as the plugins report them: a code of the protocol, and the remedy.

use crate::{
    capability::{Capability, missing_text},
    error::NetError,
};
use cni_types::{Code, Error};
use nix::errno::Errno;

/// Sysctls are the only files that are written.
const READ_ONLY: &str = "/proc/sys is read-only for the plugin: mount it writable, or set the value \
     before; a value that is right is not written";

/// Without `/proc`, DEL would take every namespace for gone.
const NO_PROC: &str = "mount /proc for the plugin (mount -t proc proc /proc)";

impl From<NetError> for Error {
    /// Gives all refusals of the kernel one code; the text says which it was.
    fn from(error: NetError) -> Self {
        let code = match error {
            NetError::Stopped(_) => Code::TRY_AGAIN,
            NetError::NoProc => Code::INVALID_NETNS,
            NetError::Kernel { .. }
            | NetError::Io { .. }
            | NetError::Protocol { .. }
            | NetError::Lacking { .. }
            | NetError::TimedOut(_)
            | NetError::NoProgram(_)
            | NetError::Program { .. } => Code::KERNEL,
        };
        Self::new(code, error.to_string()).with_details(advice(&error))
    }
}

/// Returns the remedy for an error, as far as one is known.
fn advice(error: &NetError) -> String {
    let text = match error {
        NetError::Program { said, .. } => said,
        NetError::NoProc => NO_PROC,
        _ => match error.errno() {
            Some(Errno::EROFS) => READ_ONLY,
            Some(Errno::EPERM) => return missing_text(&Capability::missing()),
            _ => "",
        },
    };
    text.to_owned()
}
