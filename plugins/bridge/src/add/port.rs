//! The bridge's port: the host's end of a new pair, or the interface that an earlier plugin of the
//! chain made.

use super::{Adding, Ends};
use crate::{chain, forwarding, host, mac, vlan};
use cni_attachment::{
    Rollback,
    interface::Origin,
    names::random_mac,
    netfilter::mac_check::{self, MacCheck},
    pair::{self, NewPair},
};
use cni_net::{Link, Rtnl};
use cni_types::{Code, Error, IfName};

/// The interface that is to become the port.
pub(super) enum Port {
    /// The host's end of a pair, which is still to be created.
    New,
    /// An interface that an earlier plugin made.
    Taken(Box<Earlier>),
}

/// An interface that an earlier plugin made.
pub(super) struct Earlier {
    /// The host's side.
    pub(super) link: Link,
    /// The container's side; a tap for a virtual machine has none.
    pub(super) inside: Option<Link>,
}

/// The port, once it is on the bridge.
pub(super) struct Connected {
    /// The host's side.
    pub(super) host: Link,
    /// The container's side, if there is one.
    pub(super) inside: Option<Link>,
    /// The host's side as it was before, if an earlier plugin made it.
    pub(super) taken: Option<Link>,
}

impl<'a> Adding<'a> {
    /// Returns the earlier plugin's interface if the prevResult names one, else a new pair.
    ///
    /// # Errors
    /// Fails if the choice is ambiguous, or the interface cannot become a port.
    pub(super) fn choose_port(&self, ends: &mut Ends) -> Result<Port, Error> {
        let Some(prev_result) = &self.prev_result else {
            return Ok(Port::New);
        };
        let inside = ends.container.find_link(&self.attachment.if_name)?;
        let link = chain::port(
            &mut ends.host,
            prev_result,
            self.config,
            inside.as_ref(),
            self.netns,
        )?;
        Ok(link.map_or(Port::New, |link| {
            Port::Taken(Box::new(Earlier { link, inside }))
        }))
    }

    /// Attaches the port to the bridge, and returns both its ends.
    ///
    /// # Errors
    /// Fails if the kernel refuses, or names are taken.
    pub(super) fn connect(
        &self,
        ends: &mut Ends,
        port: Port,
        bridge: &Link,
        rollback: &mut Rollback<'a>,
    ) -> Result<Connected, Error> {
        match port {
            Port::New => self.create_pair(ends, bridge, rollback),
            Port::Taken(earlier) => self.take(&mut ends.host, *earlier, bridge, rollback),
        }
    }

    /// Creates the pair, with its host end on the bridge.
    fn create_pair(
        &self,
        ends: &mut Ends,
        bridge: &Link,
        rollback: &mut Rollback<'a>,
    ) -> Result<Connected, Error> {
        let config = self.config;
        let Ends { host, container } = ends;
        let new = NewPair {
            id: self.id,
            master: Some(bridge),
            host_mac: mac::of_port(bridge.mac),
            if_name: &self.attachment.if_name,
            container_mac: config.mac.unwrap_or_else(random_mac),
            netns: self.netns,
            // The kernel gives a bridge the least MTU of its ports (br_mtu_auto_adjust in
            // net/bridge/br_if.c): a port with less would take all others down.
            mtu: Some(config.mtu.unwrap_or(bridge.mtu)),
        };
        let name = pair::create(host, container, &new, rollback)?;
        host::configure_port(host, &name, config, self.id)?;
        vlan::confine_port(host, bridge, &name, config)?;
        let if_name = &self.attachment.if_name;
        let removed = || {
            Error::new(
                Code::TRY_AGAIN,
                format!("{if_name} was removed from the container"),
            )
        };
        let inside = container.find_link(if_name)?.ok_or_else(removed)?;
        self.check_spoofing(&name, &inside, rollback)?;
        Ok(Connected {
            host: forwarding::current(host, &name)?,
            inside: Some(inside),
            taken: None,
        })
    }

    /// Attaches an earlier plugin's interface to the bridge.
    fn take(
        &self,
        host: &mut Rtnl,
        earlier: Earlier,
        bridge: &Link,
        rollback: &mut Rollback<'a>,
    ) -> Result<Connected, Error> {
        let Earlier {
            link: before,
            inside,
        } = earlier;
        // Before it is a port, so that no frame passes unchecked.
        match &inside {
            Some(inside) => self.check_spoofing(&before.name, inside, rollback)?,
            None if self.config.spoof_check => return Err(self.unknown_mac()),
            None => {}
        }
        let earlier = before.clone();
        rollback.on_failure("taking the interface off the bridge", move || {
            chain::restore(&mut Rtnl::open()?, &earlier)
        });
        chain::attach(host, &before, bridge, self.id, self.config)?;
        host::configure_taken_port(host, &before.name, self.config, rollback)?;
        let mut link = forwarding::current(host, &before.name)?;
        // Without carrier, for instance a tap whose guest has not started, it does not forward yet.
        if link.oper_up {
            link = forwarding::wait_forwarding(host, &before.name, &self.call.stop)?;
        }
        Ok(Connected {
            host: link,
            inside,
            taken: Some(before),
        })
    }

    /// Creates the macspoofchk rules, if configured.
    fn check_spoofing(
        &self,
        host_name: &IfName,
        inside: &Link,
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        if !self.config.spoof_check {
            return Ok(());
        }
        let id = self.id;
        // Before the request: the kernel may execute it, and its answer be lost.
        rollback.on_failure("removing macspoofchk rules", move || {
            mac_check::remove(&mut mac_check::open()?, id)
        });
        mac_check::create(id, &MacCheck::new(host_name, inside.mac)?)
    }

    /// Returns the error for macspoofchk on a port without an interface in the container.
    fn unknown_mac(&self) -> Error {
        let msg = format!(
            "macspoofchk needs the interface {} in the container",
            self.attachment.if_name
        );
        Error::new(Code::INVALID_CONFIG, msg)
            .with_details("without it the address that a guest may send from is not known")
    }

    /// Sets the sysctls of an interface that gets addresses. Called before the IPAM plugin: one
    /// that asks by DHCP sets the interface up.
    ///
    /// # Errors
    /// Fails if a sysctl cannot be set.
    pub(super) fn harden(
        &self,
        connected: &Connected,
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        if self.config.ipam().is_none() || connected.inside.is_none() {
            return Ok(());
        }
        let origin = self.origin(connected, rollback);
        self.interface().set_parameters(origin)
    }

    /// Returns the origin of the container's interface: made by this ADD or by an earlier plugin.
    pub(super) fn origin<'r>(
        &self,
        connected: &Connected,
        rollback: &'r mut Rollback<'a>,
    ) -> Origin<'a, 'r> {
        match connected.taken {
            None => Origin::New,
            Some(_) => Origin::Earlier {
                netns: Some(self.netns),
                rollback,
            },
        }
    }
}
