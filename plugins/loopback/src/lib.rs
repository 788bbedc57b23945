//! Sets the loopback interface of a container up.
//!
//! Runtimes call it for every pod, beside the chain of the network, and look at nothing but its
//! success. It ignores `CNI_IFNAME`, `CNI_ARGS` and `CNI_PATH`: the interface is always `lo`.

#[cfg(feature = "fuzzing")]
pub mod fuzz;

use cni_attachment::{
    Differences, Rollback, container_netns, prev_result::interface_of, remaining_netns,
};
use cni_net::{Batch, Link, NetError, Netns, Rtnl, require_capabilities};
use cni_types::{
    AddResult, Attachment, Call, Cidr, Code, Detachment, Encoded, Error, IfName, Interface,
    IpConfig, Key, MacAddr, NetnsPath, Plugin,
};

/// The keys of the configuration: it has none of its own.
pub const KEYS: &[Key] = &[];

/// The plugin's name.
const NAME: &str = "loopback";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Loopback;

impl Plugin for Loopback {
    fn name(&self) -> &'static str {
        NAME
    }

    /// In a chain the result before is passed on; else it holds `lo` and its addresses.
    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
        let prev_result = call.prev_result()?;
        let netns = container_netns(call, &attachment.netns)?;
        let mut lo = Lo::find(&netns)?;
        let mut rollback = Rollback::new(NAME);
        if !lo.link.up {
            // The answer to setting it up may be lost, and may still come on the old socket.
            rollback.on_failure("setting lo down", || Ok(Lo::find(&netns)?.set_down()?));
        }
        let outcome = add_to(&mut lo, call, attachment, prev_result);
        rollback.finish(outcome)
    }

    fn del(&self, call: &Call, detachment: &Detachment) -> Result<(), Error> {
        let Some(netns) = remaining_netns(call, detachment.netns.as_ref())? else {
            return Ok(());
        };
        Ok(Lo::find(&netns)?.set_down()?)
    }

    /// Reports all differences at once.
    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error> {
        let netns = container_netns(call, &attachment.netns)?;
        let mut lo = Lo::find(&netns)?;
        let netns = &attachment.netns;
        let mut differences = Differences::new();
        if !lo.link.up {
            let details = format!("lo in {netns} is down, wanted up");
            differences.add_detailed("loopback interface is down", details);
        }
        if let Some(prev_result) = call.prev_result()? {
            let addresses = lo.rtnl.addresses(lo.link.index)?;
            let found: Vec<Cidr> = addresses.iter().map(|address| address.cidr).collect();
            for wanted in addresses_of_lo(&prev_result).filter(|wanted| !found.contains(wanted)) {
                let found: Vec<String> = found.iter().map(Cidr::to_string).collect();
                let details = format!("lo in {netns} has [{}], wanted {wanted}", found.join(" "));
                differences.add_detailed("loopback interface lacks an address", details);
            }
        }
        differences.outcome()
    }

    /// Fails if no container's `lo` could be set up.
    fn status(&self, _call: &Call) -> Result<(), Error> {
        require_capabilities()?;
        Rtnl::open().map(drop).map_err(|e| Error {
            code: Code::UNAVAILABLE,
            ..e.into()
        })
    }

    /// Nothing of a loopback is left when its namespace is gone.
    fn gc(&self, call: &Call) -> Result<(), Error> {
        call.valid_attachments().map(drop)
    }
}

/// Sets `lo` up. In a chain the result before is passed on; else the result holds `lo` and the
/// addresses that the kernel gives it as it comes up.
fn add_to(
    lo: &mut Lo,
    call: &Call,
    attachment: &Attachment,
    prev_result: Option<AddResult>,
) -> Result<Encoded, Error> {
    lo.set_up()?;
    match prev_result {
        Some(result) => result.encode(call.version),
        None => lo.result(&attachment.netns)?.encode(call.version),
    }
}

/// Returns the addresses that a result puts on the container's `lo`.
fn addresses_of_lo(result: &AddResult) -> impl Iterator<Item = Cidr> {
    let is_on_lo = |ip: &&IpConfig| {
        interface_of(result, ip).is_some_and(|i| i.name == "lo" && !i.sandbox.is_empty())
    };
    result.ips.iter().filter(is_on_lo).map(|ip| ip.address)
}

/// The loopback interface of a namespace.
struct Lo {
    rtnl: Rtnl,
    link: Link,
}

impl Lo {
    fn find(netns: &Netns) -> Result<Self, Error> {
        let mut rtnl = Rtnl::open_in(netns)?;
        let link = rtnl.find_link(&IfName::LO)?;
        let link =
            link.ok_or_else(|| Error::new(Code::KERNEL, "the namespace has no interface \"lo\""))?;
        Ok(Self { rtnl, link })
    }

    fn set_up(&mut self) -> Result<(), NetError> {
        let mut batch = Batch::new();
        batch.set_up(&self.link);
        self.rtnl.run(batch)
    }

    fn set_down(&mut self) -> Result<(), NetError> {
        let mut batch = Batch::new();
        batch.set_down(&self.link);
        self.rtnl.run(batch)
    }

    /// Returns `lo` with the addresses that it really has: no `::1` if IPv6 is off. Of each family
    /// the first, which is the kernel's own: others are not this plugin's business, and 0.1.0 and
    /// 0.2.0 have no place for them.
    fn result(&mut self, sandbox: &NetnsPath) -> Result<AddResult, NetError> {
        let interface = Interface {
            name: IfName::LO.to_string(),
            mac: self.link.mac.unwrap_or(MacAddr::ZERO).to_string(),
            sandbox: sandbox.to_string(),
            ..Interface::default()
        };
        let addresses = self.rtnl.addresses(self.link.index)?;
        let first = |v4| {
            let mut cidrs = addresses.iter().map(|address| address.cidr);
            cidrs.find(|cidr| cidr.address().is_loopback() && cidr.is_ipv4() == v4)
        };
        let ips = [first(true), first(false)].into_iter().flatten();
        let ips = ips
            .map(|address| IpConfig {
                interface: Some(0),
                address,
                gateway: None,
            })
            .collect();
        Ok(AddResult {
            interfaces: vec![interface],
            ips,
            ..AddResult::default()
        })
    }
}
