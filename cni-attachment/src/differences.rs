//! CHECK's differences: every one is reported, as the wanted and the found value.

use crate::prev_result;
use cni_net::{InstalledRoute, Link, Netns, RouteSpec, Rtnl};
use cni_types::{AddResult, Attachment, Cidr, Code, Error, IfName, Interface, IpConfig};
use std::collections::{BTreeMap, HashSet};

/// The differences that were found so far.
#[derive(Debug, Default)]
pub struct Differences(Vec<Error>);

impl Differences {
    /// Begins a CHECK without differences.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a difference.
    pub fn add(&mut self, difference: impl Into<String>) {
        self.0.push(Error::new(Code::CHECK_MISMATCH, difference));
    }

    /// Adds a difference with details.
    pub fn add_detailed(&mut self, msg: impl Into<String>, details: impl Into<String>) {
        let error = Error::new(Code::CHECK_MISMATCH, msg);
        self.0.push(error.with_details(details));
    }

    /// Adds a difference unless the condition holds.
    pub fn require(&mut self, holds: bool, difference: impl FnOnce() -> String) {
        if !holds {
            self.add(difference());
        }
    }

    /// Ends the CHECK.
    ///
    /// # Errors
    /// Fails with code 100 and all differences, if there are any.
    pub fn outcome(self) -> Result<(), Error> {
        Error::join(self.0.into_iter().map(Err))
    }

    /// Compares the container's interface with prevResult: its hardware address, its addresses, and
    /// the routes that result from the configuration. Returns the interface. `may_be_down` is true
    /// if ADD left it down.
    ///
    /// # Errors
    /// Fails if the kernel refuses a look-up, or if the routes cannot be determined.
    pub fn compare_container(
        &mut self,
        netns: &Netns,
        attachment: &Attachment,
        prev_result: &AddResult,
        may_be_down: bool,
        routes: impl FnOnce() -> Result<Vec<RouteSpec>, Error>,
    ) -> Result<Option<Link>, Error> {
        let name = &attachment.if_name;
        let sandbox = attachment.netns.as_str();
        let Some(wanted) = prev_result::interface(prev_result, name) else {
            self.add(format!("Interface name {name} not found in prevResult"));
            return Ok(None);
        };
        self.require(wanted.sandbox == sandbox, || {
            format!(
                "Sandbox in prevResult {} doesn't match configured netns: {sandbox}",
                wanted.sandbox
            )
        });
        let mut rtnl = Rtnl::open_in(netns)?;
        let Some(link) = rtnl.find_link(name)? else {
            self.add(format!("Interface name {name} not found in {sandbox}"));
            return Ok(None);
        };
        self.compare_link(wanted, &link, may_be_down);
        self.compare_addresses(&mut rtnl, name, &link, &prev_result.ips)?;
        self.compare_routes(&mut rtnl, name, &link, &routes()?)?;
        Ok(Some(link))
    }

    fn compare_link(&mut self, wanted: &Interface, link: &Link, may_be_down: bool) {
        let name = &wanted.name;
        let found = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        self.require(
            wanted.mac.is_empty() || wanted.mac.eq_ignore_ascii_case(&found),
            || {
                format!(
                    "Interface {name} Mac {} doesn't match container Mac: {found}",
                    wanted.mac
                )
            },
        );
        self.require(link.up || may_be_down, || {
            format!("Interface {name} is down, wanted up")
        });
    }

    fn compare_addresses(
        &mut self,
        rtnl: &mut Rtnl,
        name: &IfName,
        link: &Link,
        ips: &[IpConfig],
    ) -> Result<(), Error> {
        let found = rtnl.addresses(link.index)?;
        let known: HashSet<Cidr> = found.iter().map(|address| address.cidr).collect();
        for wanted in ips.iter().map(|ip| ip.address) {
            self.require(known.contains(&wanted), || {
                let found: Vec<String> = found
                    .iter()
                    .map(|address| address.cidr.to_string())
                    .collect();
                format!(
                    "Failed to match addr {wanted} on interface {name}, found [{}]",
                    found.join(" ")
                )
            });
        }
        Ok(())
    }

    fn compare_routes(
        &mut self,
        rtnl: &mut Rtnl,
        name: &IfName,
        link: &Link,
        routes: &[RouteSpec],
    ) -> Result<(), Error> {
        let mut found: BTreeMap<(Cidr, u32), Vec<InstalledRoute>> = BTreeMap::new();
        for route in rtnl.routes()? {
            found
                .entry((route.dst, route.table))
                .or_default()
                .push(route);
        }
        for spec in routes {
            let dst = spec.route.dst.network();
            let table = spec.table();
            let mut alike = found.get(&(dst, table)).into_iter().flatten();
            self.require(alike.any(|route| route.is(spec, link.index)), || {
                let via = spec
                    .gateway
                    .map(|gateway| format!(" via {gateway}"))
                    .unwrap_or_default();
                format!(
                    "Expected Route {dst}{via} on interface {name} not found in routing table \
                     {table}"
                )
            });
        }
        Ok(())
    }
}

impl Extend<String> for Differences {
    fn extend<I: IntoIterator<Item = String>>(&mut self, differences: I) {
        differences
            .into_iter()
            .for_each(|difference| self.add(difference));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_reported_the_first_as_the_text() {
        let mut differences = Differences::new();
        assert_eq!(Differences::new().outcome(), Ok(()));
        differences.require(true, || "it holds".to_owned());
        differences.add_detailed("lo is down", "wanted up");
        differences.require(false, || "no address".to_owned());
        let error = differences.outcome().unwrap_err();
        assert_eq!(
            (error.code, error.msg.as_str(), error.details.as_str()),
            (Code::CHECK_MISMATCH, "lo is down", "wanted up; no address")
        );
    }
}
