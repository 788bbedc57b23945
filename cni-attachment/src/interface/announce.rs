//! Neighbours' entries for an address that had another owner before.
//!
//! An address is soon given out again, and a host that spoke to its previous owner still has that
//! owner's hardware address. Packets are lost until the entry expires, some ten seconds later
//! (containernetworking/plugins#858). So ADD corrects the host's entry, and has the container
//! announce itself to all other neighbours.

use cni_net::{Batch, Link, NetError, Rtnl};
use cni_types::{AddResult, Call, Cidr, Error, IfName, IpConfig};

/// Corrects the host's entries for the container's addresses on the interface `gateway`. A missing
/// entry is no error.
pub fn correct_neighbours(host: &mut Rtnl, gateway: &Link, ips: &[IpConfig], container: &Link) {
    let Some(mac) = container.mac else { return };
    let mut batch = Batch::new();
    for ip in ips {
        batch.update_neighbour(gateway, ip.address.address(), mac);
    }
    // If this fails, the host queries the address again later.
    let _ = host.run(batch);
}

/// Announces the container's addresses to its neighbours, by a gratuitous ARP and an unsolicited
/// neighbour advertisement for each. The kernel sends them when the hardware address is set, even
/// to the same value (NETDEV_CHANGEADDR: inetdev_event in net/ipv4/devinet.c by `arp_notify`,
/// ndisc_netdev_event in net/ipv6/ndisc.c by `ndisc_notify`). Those that it sends when the
/// interface comes up are lost if a bridge's port does not forward yet.
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

/// Deletes the host's entries for the addresses of a removed attachment. The addresses come from
/// prevResult; without it the entries expire, and the next ADD of such an address corrects them.
pub fn forget_neighbours(call: &Call, interface: &IfName) {
    let Ok(Some(AddResult { ips, .. })) = call.prev_result() else {
        return;
    };
    let addresses: Vec<Cidr> = ips.iter().map(|ip| ip.address).collect();
    // A remaining entry does no harm, so an error here must not make DEL fail.
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
