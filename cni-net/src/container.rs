//! The namespace of a container, opened for an operation, with the check that it is not the plugin's own.
//!
//! A runtime that hands over the host's namespace would have its interfaces reconfigured or deleted
//! (containernetworking/plugins#714: `lo` of the host set down). So the two are compared before anything is done.

use crate::{Capability, Errno, Feature, NetError, Netns, is_no_netns};
use cni_types::{Call, Code, Error, NetnsPath};

/// With this variable set to a true value the plugin's own namespace is taken for a container's.
const OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// The values that the reference takes for true (`strconv.ParseBool` of Go).
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];

/// What can be done if a program of iptables is missing.
const NO_IPTABLES: &str =
    "install iptables, or leave ipMasqBackend out: nf_tables needs no program";

/// Sysctls are the only files that are written.
const READ_ONLY: &str = "/proc/sys is read-only for the plugin: mount it writable, or set the value \
     before; a value that is right is not written";

/// What can be done if the kernel lacks a part of nf_tables.
const NO_NF_TABLES: &str = "build or load the modules of nf_tables, or set \"ipMasqBackend\": \"iptables\"; \
     macspoofchk needs nf_tables";
const NO_INET_NAT: &str = "run Linux 5.2 or later, or set \"ipMasqBackend\": \"iptables\"; left out, \
     iptables is taken if it is installed";

/// What is missing is there, or else DEL would take every namespace for gone.
const NO_PROC: &str = "mount /proc for the plugin (mount -t proc proc /proc)";

/// The namespace of an ADD or a CHECK.
///
/// # Errors
/// Code 8 where it cannot be opened, or is the plugin's own.
pub fn container_netns(call: &Call, path: &NetnsPath) -> Result<Netns, Error> {
    let netns = Netns::open(path.as_path()).map_err(invalid_netns)?;
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
        Err(e) => Err(invalid_netns(e)),
    }
}

fn invalid_netns(error: NetError) -> Error {
    Error {
        code: Code::INVALID_NETNS,
        ..error.into()
    }
}

fn is_own(call: &Call, netns: &Netns) -> Result<bool, Error> {
    let overridden = TRUE.contains(&call.environment().text(OVERRIDE).as_str());
    Ok(!overridden && Netns::current()?.is_same(netns))
}

impl From<NetError> for Error {
    /// The kernel's refusals have one code; the text tells them apart.
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

/// What can be done about an error, as far as that is known.
fn advice(error: &NetError) -> String {
    let text = match error {
        NetError::Program { said, .. } => said,
        NetError::NoProgram(_) => NO_IPTABLES,
        NetError::NoProc => NO_PROC,
        NetError::Lacking {
            feature: Feature::NfTables,
            ..
        } => NO_NF_TABLES,
        NetError::Lacking {
            feature: Feature::InetNat,
            ..
        } => NO_INET_NAT,
        _ => match error.errno() {
            Some(Errno::EROFS) => READ_ONLY,
            Some(Errno::EPERM) => return missing_capabilities(&Capability::missing()),
            _ => "",
        },
    };
    text.to_owned()
}

/// Names the capabilities without which an operation is not permitted; empty if none is missing.
fn missing_capabilities(missing: &[Capability]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let names: Vec<String> = missing.iter().map(Capability::to_string).collect();
    format!("the plugin runs without {}", names.join(" and "))
}

/// STATUS: finds the capabilities missing without which no container can be attached.
///
/// # Errors
/// Code 50, naming them.
pub fn require_capabilities() -> Result<(), Error> {
    let missing = Capability::missing();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::UNAVAILABLE, missing_capabilities(&missing)).with_details(
        "CAP_NET_ADMIN is needed to change links, and CAP_SYS_ADMIN to enter a container's namespace",
    ))
}
