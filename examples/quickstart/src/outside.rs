//! An outside host. It has no route to the pods, so it can answer only packets from its own
//! network: those from this host's outer address.

use crate::error::Error;
use cni_net::{Batch, Family, LinkRef, NewLink, Rtnl, Sysctl};
use cni_types::{Cidr, IfName, MacAddr};
use sandbox::{self, Netns, probe::Reflector};
use std::net::IpAddr;

/// The names of the link's ends.
pub(crate) const UPLINK: &str = "uplink";
const FAR_END: &str = "eth0";

/// Addresses for documentation (RFC 5737, RFC 3849): this host's and the outside host's.
const NETWORKS: [(&str, &str); 2] = [
    ("198.51.100.1/24", "198.51.100.2/24"),
    ("2001:db8:100::1/64", "2001:db8:100::2/64"),
];

/// The outside host.
pub(crate) struct Outside {
    /// A server that answers with the source address of each packet.
    pub(crate) reflector: Reflector,
    /// For each family: the outer address of this host, and the address of the outside host.
    pub(crate) addresses: Vec<(IpAddr, IpAddr)>,
    /// Kept, since the namespace ends with its last handle.
    _netns: Netns,
}

impl Outside {
    /// Makes the host and the link to it.
    pub(crate) fn create() -> Result<Self, Error> {
        let netns = Netns::create("outside")?;
        let mut networks = Vec::new();
        for (ours, theirs) in NETWORKS {
            networks.push((cidr(ours)?, cidr(theirs)?));
        }
        let near = IfName::parse(UPLINK)?;
        let far = IfName::parse(FAR_END)?;
        let beyond = cni_net::Netns::open(netns.path())?;
        let mut batch = Batch::new();
        // This end stays down. If it came up before the other, the kernel could take up to a second
        // to notice the carrier, and would have no IPv6 link-local address until then.
        let link = NewLink::named(&near).mac(MacAddr([2, 0, 0, 0, 1, 1]));
        let peer = NewLink::named(&far)
            .mac(MacAddr([2, 0, 0, 0, 1, 2]))
            .in_netns(&beyond);
        batch.create_veth(&link, &peer);
        Rtnl::open()?.run(batch)?;
        netns.run(|| {
            sandbox::set_lo_up()?;
            set_up(&far, networks.iter().map(|(_, theirs)| *theirs))
        })??;
        set_up(&near, networks.iter().map(|(ours, _)| *ours))?;
        let addresses = networks
            .iter()
            .map(|(ours, theirs)| (ours.address(), theirs.address()))
            .collect();
        Ok(Self {
            reflector: Reflector::start(&netns)?,
            addresses,
            _netns: netns,
        })
    }
}

fn cidr(text: &str) -> Result<Cidr, Error> {
    text.parse().map_err(Error::new)
}

fn set_up(name: &IfName, addresses: impl Iterator<Item = Cidr>) -> Result<(), Error> {
    // While its own link-local address is tentative, a host sends no neighbour solicitations.
    Sysctl::of_interface(Family::V6, name, "accept_dad").write("0")?;
    let (mut rtnl, index) = open(name)?;
    let mut batch = Batch::new();
    batch.set_up(LinkRef::new(index, name));
    addresses.for_each(|address| batch.create_address(LinkRef::new(index, name), address, false));
    Ok(rtnl.run(batch)?)
}

/// Returns a connection to the thread's namespace, and the link's index there.
fn open(name: &IfName) -> Result<(Rtnl, u32), Error> {
    let mut rtnl = Rtnl::open()?;
    let link = rtnl
        .find_link(name)?
        .ok_or_else(|| Error::new(format!("interface {name} does not exist")))?;
    Ok((rtnl, link.index))
}
