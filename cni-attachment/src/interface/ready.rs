//! Readiness of the interface in the container: it is operational, and duplicate address detection
//! ended.

use super::ContainerInterface;
use cni_net::{Link, LinkEvents, NetError, Rtnl};
use cni_types::{Code, Error, IfName, Stop};
use std::time::Duration;

/// The time limit of duplicate address detection, as in the reference.
const DAD_LIMIT: Duration = Duration::from_secs(5);

/// The time limit for the interface to become operational after both ends are up.
const UP_LIMIT: Duration = Duration::from_secs(2);

impl ContainerInterface<'_> {
    /// Waits until the interface is operational and, if configured, duplicate address detection has
    /// ended. Returns the interface in its new state.
    ///
    /// # Errors
    /// Fails if the time limit passes, if an address is a duplicate, and on a request to stop.
    pub fn wait_ready(&self, rtnl: &mut Rtnl, index: u32, stop: &Stop) -> Result<Link, Error> {
        let name = self.name;
        let is_up = |rtnl: &mut Rtnl| Ok(rtnl.link(index)?.filter(|link| link.oper_up));
        let link = match is_up(rtnl)? {
            Some(link) => link,
            None => {
                let events = self.netns.run(LinkEvents::subscribe)??;
                let what = format!("{name} to be operational");
                events.wait_until(rtnl, &what, UP_LIMIT, stop, is_up)?
            }
        };
        if self.detect_duplicates {
            self.wait_settled(rtnl, index, stop)?;
        }
        Ok(link)
    }

    fn wait_settled(&self, rtnl: &mut Rtnl, index: u32, stop: &Stop) -> Result<(), Error> {
        let name = self.name;
        let events = self.netns.run(LinkEvents::subscribe)??;
        let what = format!("the addresses of {name} to pass duplicate address detection");
        let look = |rtnl: &mut Rtnl| settled(rtnl, index);
        match events.wait_until(rtnl, &what, DAD_LIMIT, stop, look) {
            Err(e @ NetError::TimedOut(_)) => Err(not_settled(name, &e.to_string())),
            outcome => outcome?.map_err(|e| not_settled(name, &e)),
        }
    }
}

/// Returns `Some` once no address is tentative, with an error in it if one is a duplicate.
fn settled(rtnl: &mut Rtnl, index: u32) -> Result<Option<Result<(), String>>, NetError> {
    let addresses = rtnl.addresses(index)?;
    if let Some(duplicate) = addresses.iter().find(|address| address.failed) {
        return Ok(Some(Err(format!(
            "{} is in use by a neighbour",
            duplicate.cidr
        ))));
    }
    let tentative = addresses.iter().any(|address| address.tentative);
    Ok((!tentative).then_some(Ok(())))
}

fn not_settled(name: &IfName, reason: &str) -> Error {
    Error::new(
        Code::KERNEL,
        format!("failed to settle addresses for \"{name}\": {reason}"),
    )
}
