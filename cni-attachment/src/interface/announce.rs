//! Neighbours: they know the last owner of an address that was used before.
//!
//! An address is given again soon, and a host that spoke to its last owner still has that one's
//! hardware address: packets go nowhere until the entry is given up, some ten seconds later
//! (containernetworking/plugins#858). So ADD corrects the host's entry, and has the container
//! announce itself to all others.

use cni_net::{Batch, Link, NetError, Rtnl};
use cni_types::{AddResult, Call, Cidr, Error, IfName, IpConfig};

/// Corrects the host's entries for the container's addresses on the interface `gateway`; an entry
/// that is not there is no obstacle.
pub fn correct_neighbours(host: &mut Rtnl, gateway: &Link, ips: &[IpConfig], container: &Link) {
    let Some(mac) = container.mac else { return };
    let mut batch = Batch::new();
    for ip in ips {
        batch.update_neighbour(gateway, ip.address.address(), mac);
    }
    // At worst the host asks again, later.
    let _ = host.run(batch);
}

/// Announces the container's addresses to its neighbours: a gratuitous ARP and an unsolicited
/// neighbour advertisement for each. The kernel sends them when the hardware address is set, though
/// to the same (NETDEV_CHANGEADDR: inetdev_event in net/ipv4/devinet.c by `arp_notify`,
/// ndisc_netdev_event in net/ipv6/ndisc.c by `ndisc_notify`). Those that it sends by itself when
/// the interface comes up are lost if a bridge's port does not forward yet.
///
/// # Errors
/// Fails if the kernel refuses the hardware address.
pub fn announce(container: &mut Rtnl, link: &Link, ips: &[IpConfig]) -> Result<(), Error> {
    let Some(mac) = link.mac.filter(|_| !ips.is_empty()) else {
        return Ok(());
    };
    let mut batch = Batch::new();
    batch.set_mac(link, mac);
    Ok(container.run(batch)?)
}

/// Deletes the host's entries for the addresses of an attachment that is gone. prevResult says
/// which they were; without it the entries grow old, and the next ADD of such an address corrects
/// them.
pub fn forget_neighbours(call: &Call, interface: &IfName) {
    let Ok(Some(AddResult { ips, .. })) = call.prev_result() else {
        return;
    };
    let addresses: Vec<Cidr> = ips.iter().map(|ip| ip.address).collect();
    // An entry that is left does no harm, so nothing here makes a DEL fail.
    let _ = delete(interface, &addresses);
}

fn delete(interface: &IfName, addresses: &[Cidr]) -> Result<(), NetError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut host = Rtnl::open()?;
    let Some(link) = host.find_link(interface)? else {
        return Ok(());
    };
    let mut batch = Batch::new();
    for cidr in addresses {
        batch.delete_neighbour(&link, cidr.address());
    }
    host.run(batch)
}
