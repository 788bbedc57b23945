//! The kernel's refusals as the plugins report them: a code of the protocol and a remedy.

use crate::{
    capability::{Capability, missing_text},
    error::NetError,
};
use cni_types::{Code, Error};
use nix::errno::Errno;

/// The remedy for EROFS. No files but sysctls are written.
const READ_ONLY: &str = "/proc/sys is read-only for the plugin: mount it writable, or set the value \
     before; a value that is right is not written";

/// The remedy if capabilities are missing.
const NOT_ROOT: &str = "run it as root, as container runtimes do, or as root of a user namespace \
     that owns the network namespaces";

/// The remedy if the kernel refuses a next hop (fib_check_nh in net/ipv4/fib_semantics.c,
/// ip6_route_check_nh in net/ipv6/route.c).
const UNREACHABLE: &str = "the gateway is in no network of the interface: correct the gateway, or \
     give the interface an address in the gateway's network";

/// The remedy if `/proc` is missing. Without it, DEL would take every namespace for gone.
const NO_PROC: &str = "mount /proc for the plugin (mount -t proc proc /proc)";

impl From<NetError> for Error {
    /// Reports all refusals of the kernel with one code; the text names the refusal.
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
        NetError::Program { stderr, .. } => stderr,
        NetError::NoProc => NO_PROC,
        _ => match error.errno() {
            Some(Errno::EROFS) => READ_ONLY,
            Some(Errno::EPERM) => return not_permitted(&Capability::missing()),
            Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH) => UNREACHABLE,
            _ => "",
        },
    };
    text.to_owned()
}

/// Returns the missing capabilities with the remedy; empty if none is missing.
fn not_permitted(missing: &[Capability]) -> String {
    match missing_text(missing) {
        text if text.is_empty() => text,
        text => format!("{text}; {NOT_ROOT}"),
    }
}
