//! Waits until a bridge port forwards frames.

use crate::NAME;
use cni_attachment::interface::vanished;
use cni_net::{Link, LinkEvents, NetError, PortState, Rtnl};
use cni_types::{Code, Error, IfName, Stop, log};
use std::time::Duration;

/// The longest time to wait for a port to forward frames, as in the reference (0 + 50 + 500 + 1000
/// + 1000 ms).
const FORWARDING_LIMIT: Duration = Duration::from_millis(2550);

/// Returns the port as it is now.
///
/// # Errors
/// Fails if it does not exist, or the kernel refuses.
pub(crate) fn current(rtnl: &mut Rtnl, name: &IfName) -> Result<Link, Error> {
    rtnl.find_link(name)?.ok_or_else(|| vanished(name))
}

/// Waits, by the kernel's events, until the port forwards frames, and returns it as it is then. A
/// bridge with spanning tree holds a port back for two forward delays, 4 to 60 seconds: then waits
/// only until the port is operational, and logs a warning.
///
/// # Errors
/// Fails with code 101 if the port is not ready within [`FORWARDING_LIMIT`], if it is gone, if the
/// kernel refuses, or if `stop` is requested.
pub(crate) fn wait_forwarding(rtnl: &mut Rtnl, name: &IfName, stop: &Stop) -> Result<Link, Error> {
    let now = current(rtnl, name)?;
    if forwards(&now) {
        return Ok(now);
    }
    let bridge = now
        .master
        .map(|index| rtnl.link(index))
        .transpose()?
        .flatten();
    let Some(note) = bridge.as_ref().and_then(spanning_tree_delay) else {
        return wait_for_port(rtnl, &now, name, stop, forwards);
    };
    let port = wait_for_port(rtnl, &now, name, stop, |link| link.oper_up)?;
    if !forwards(&port) {
        log::warn(NAME, note);
    }
    Ok(port)
}

/// Returns a warning that says for how long the bridge's spanning tree holds a new port back;
/// `None` if spanning tree is off.
pub(crate) fn spanning_tree_delay(bridge: &Link) -> Option<String> {
    let name = &bridge.name;
    let tree = bridge.spanning_tree?;
    let seconds = tree.forward_delay.saturating_mul(2).as_secs_f32();
    Some(format!(
        "bridge {name} has spanning tree on, so packets pass {seconds} s after ADD (2 x \
         forward_delay); for them to pass at once, switch it off (ip link set {name} type bridge stp_state 0)"
    ))
}

/// Returns true if the link is a bridge port that forwards frames.
pub(crate) fn forwards(link: &Link) -> bool {
    link.port
        .is_some_and(|port| port.state == PortState::Forwarding)
}

/// Waits until `is_ready` is true for the port, and returns it as it is then.
fn wait_for_port(
    rtnl: &mut Rtnl,
    port: &Link,
    name: &IfName,
    stop: &Stop,
    is_ready: impl Fn(&Link) -> bool,
) -> Result<Link, Error> {
    let mut state = PortState::Disabled;
    let look = |rtnl: &mut Rtnl| {
        let link = rtnl.link(port.index)?;
        state = link
            .as_ref()
            .and_then(|link| link.port)
            .map_or(PortState::Disabled, |port| port.state);
        Ok(link.filter(|link| is_ready(link)))
    };
    let what = format!("the bridge port {name} to forward");
    match LinkEvents::subscribe()?.wait_until(rtnl, &what, FORWARDING_LIMIT, stop, look) {
        Err(NetError::TimedOut(_)) => {
            let msg = format!("bridge port in error state: {state}");
            Err(Error::new(Code::KERNEL, msg).with_details(format!(
                "{name} was not ready within {FORWARDING_LIMIT:?}; another program may have set the state \
                 or the mode of the link (ip -d link show {name})"
            )))
        }
        outcome => Ok(outcome?),
    }
}
