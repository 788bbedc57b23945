//! Kernel parameters that ADD sets, and that a rollback restores.
//!
//! A parameter that the configuration requests is required. A parameter that only makes the
//! attachment safer, or known sooner, is optional: a read-only `/proc/sys`, a security module or an
//! old kernel is no reason to leave a pod without a network, so a failure is only logged.

use crate::rollback::Rollback;
use cni_net::{Errno, Family, NetError, Netns, Sysctl};
use cni_types::{Code, Error, IfName, log};

/// Parameters of one interface in the thread's namespace.
pub struct Parameters<'a, 'r> {
    plugin: &'static str,
    origin: Origin<'a, 'r>,
    given_up: Vec<String>,
    reason: Option<NetError>,
}

/// The origin of an interface, which decides what a rollback does with its parameters.
pub enum Origin<'a, 'r> {
    /// Created by this ADD. A rollback removes it with its parameters, and no parameter was set
    /// before, so each is written without reading it.
    New,
    /// Owned by the network, such as the bridge. A rollback leaves it unchanged.
    Network,
    /// Existed before this ADD. A rollback restores its values. `netns` is `None` on the host.
    Earlier {
        /// The namespace that it is in.
        netns: Option<&'a Netns>,
        /// The rollback that restores the values.
        rollback: &'r mut Rollback<'a>,
    },
}

impl<'a, 'r> Parameters<'a, 'r> {
    /// Begins to set parameters. `plugin` prefixes log lines.
    #[must_use]
    pub fn of(plugin: &'static str, origin: Origin<'a, 'r>) -> Self {
        Self {
            plugin,
            origin,
            given_up: Vec::new(),
            reason: None,
        }
    }

    /// Sets a parameter without which the configuration cannot be applied.
    ///
    /// # Errors
    /// Fails if the parameter does not exist or cannot be set.
    pub fn require(&mut self, sysctl: Sysctl, value: &str) -> Result<(), NetError> {
        match &mut self.origin {
            Origin::New => sysctl.write(value),
            Origin::Network => sysctl.ensure(value).map(drop),
            Origin::Earlier { netns, rollback } => {
                let netns = *netns;
                let restored = sysctl.clone();
                sysctl.change(value, |before| {
                    rollback.on_failure("restoring sysctls", move || {
                        restore(netns, &restored, &before)
                    });
                })
            }
        }
    }

    /// Sets an optional parameter. One that the kernel does not have is ignored silently.
    pub fn wish(&mut self, sysctl: Sysctl, value: &str) {
        let name = sysctl.name();
        match self.require(sysctl, value) {
            Err(e) if !e.is_absent() => {
                self.given_up.push(format!("{name}={value}"));
                self.reason.get_or_insert(e);
            }
            _ => {}
        }
    }
}

impl Drop for Parameters<'_, '_> {
    /// Logs all failures in one line.
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            let reason = reason
                .errno()
                .map_or_else(|| reason.to_string(), |e| e.desc().to_lowercase());
            log::warn(
                self.plugin,
                format_args!(
                    "given up, cannot be set here: {} ({reason}); new interfaces take what is set for \
                     \"default\" in place of their name",
                    self.given_up.join(", ")
                ),
            );
        }
    }
}

fn restore(netns: Option<&Netns>, sysctl: &Sysctl, value: &str) -> Result<(), Error> {
    let write = || NetError::absent_is_ok(sysctl.write(value));
    Ok(match netns {
        Some(netns) => netns.run(write)?,
        None => write(),
    }?)
}

/// Refuses router advertisements on an interface of the host: a container that sends them must not
/// become the host's default gateway (CVE-2020-10749).
pub fn refuse_router_advertisements(
    plugin: &'static str,
    interface: &IfName,
    origin: Origin<'_, '_>,
) {
    let accept = Sysctl::of_interface(Family::V6, interface, "accept_ra");
    Parameters::of(plugin, origin).wish(accept, "0");
}

/// Enables forwarding of a family's packets in the namespace.
///
/// # Errors
/// Fails if forwarding is disabled and cannot be enabled, with a remedy.
pub fn enable_forwarding(forwarding: &Sysctl) -> Result<(), Error> {
    forwarding
        .ensure("1")
        .map(drop)
        .map_err(|e| no_forwarding(forwarding, &e))
}

/// Returns the error for a refusal to enable forwarding.
#[must_use]
pub fn no_forwarding(forwarding: &Sysctl, error: &NetError) -> Error {
    let name = forwarding.name();
    let remedy = match error.errno() {
        Some(Errno::ENOENT) => format!("the kernel has no {name}, or /proc/sys is not there"),
        _ => {
            format!("set it on the host (sysctl -w {name}=1), or let the plugin write to /proc/sys")
        }
    };
    Error::new(Code::KERNEL, error.to_string())
        .context("failed to enable forwarding")
        .with_details(format!(
            "containers reach nothing outside without {name}=1; {remedy}"
        ))
}
