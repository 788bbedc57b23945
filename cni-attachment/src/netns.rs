//! The network namespace of a container, opened for an operation, and checked to be another than
//! the plugin's own.
//!
//! If a runtime passed the host's namespace, the host's interfaces would be reconfigured or deleted
//! (containernetworking/plugins#714: `lo` of the host set down). So the two are compared first.

use cni_net::{NetError, Netns, is_no_netns};
use cni_types::{Call, Code, Error, NetnsPath};

/// The variable that, if true, lets the plugin's own namespace pass as a container's.
const OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// The folder in which ip-netns(8) mounts namespaces by their names.
const NAMED: &str = "/run/netns";

/// The values that the reference takes for true (`strconv.ParseBool` of Go).
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];

/// Opens the namespace for an ADD or a CHECK.
///
/// # Errors
/// Fails with code 8 if it cannot be opened, or is the plugin's own.
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

/// Opens the namespace for a DEL. Returns `None` if there is nothing to remove in it: the path is
/// empty or absent, or is that of something else than a network namespace, or of the plugin's own
/// namespace, which is not touched.
///
/// # Errors
/// Fails with code 8 if the path exists but cannot be opened, for lack of permission for instance.
pub fn remaining_netns(call: &Call, path: Option<&NetnsPath>) -> Result<Option<Netns>, Error> {
    let Some(path) = path else { return Ok(None) };
    match Netns::open(path.as_path()) {
        Ok(netns) => Ok((!is_own(call, &netns)?).then_some(netns)),
        Err(e) if is_no_netns(&e) => Ok(None),
        Err(e) => Err(invalid_netns(e)),
    }
}

/// Returns the error, with a hint if `path` is a name instead of a path.
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
