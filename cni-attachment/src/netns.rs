//! The network namespace of a container, opened for an operation, with the check that it is not the
//! plugin's own.
//!
//! A runtime that hands over the host's namespace would have its interfaces reconfigured or deleted
//! (containernetworking/plugins#714: `lo` of the host set down). So the two are compared before
//! anything is done.

use cni_net::{NetError, Netns, is_no_netns};
use cni_types::{Call, Code, Error, NetnsPath};

/// With this variable set to a true value the plugin's own namespace is taken for a container's.
const OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// The folder in which ip-netns(8) mounts namespaces by their names.
const NAMED: &str = "/run/netns";

/// The values that the reference takes for true (`strconv.ParseBool` of Go).
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];

/// Opens the namespace of an ADD or a CHECK.
///
/// # Errors
/// Code 8 if it cannot be opened, or is the plugin's own.
pub fn container_netns(call: &Call, path: &NetnsPath) -> Result<Netns, Error> {
    let netns = Netns::open(path.as_path()).map_err(|e| not_opened(path, e))?;
    if is_own(call, &netns)? {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(Error::new(Code::INVALID_NETNS, msg).with_details(format!(
            "CNI_NETNS {:?} is the namespace that this plugin runs in; set {OVERRIDE}=1 if that is \
             meant",
            path.as_str()
        )));
    }
    Ok(netns)
}

/// Opens the namespace of a DEL. Returns `None` if there is nothing in it to be undone: the path is
/// empty, or leads nowhere, or to something that is no network namespace, or to the plugin's own,
/// which is not touched.
///
/// # Errors
/// Code 8 if something is there but cannot be opened, such as without permission.
pub fn remaining_netns(call: &Call, path: Option<&NetnsPath>) -> Result<Option<Netns>, Error> {
    let Some(path) = path else { return Ok(None) };
    match Netns::open(path.as_path()) {
        Ok(netns) => Ok((!is_own(call, &netns)?).then_some(netns)),
        Err(e) if is_no_netns(&e) => Ok(None),
        Err(e) => Err(invalid_netns(e)),
    }
}

/// Returns the error, with a hint if `path` is a name and not a path.
fn not_opened(path: &NetnsPath, error: NetError) -> Error {
    let name = path.as_str();
    let is_name = error.is_absent() && !name.contains('/');
    let error = invalid_netns(error);
    if !is_name {
        return error;
    }
    error.with_details(format!(
        "CNI_NETNS is a path, not a name: {NAMED}/{name} for a namespace of ip-netns(8)"
    ))
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
