//! Kernel parameters that ADD sets, and what becomes of them if it fails.
//!
//! What the configuration asks for is required. What makes the attachment safer, or known sooner,
//! is wished for: a read-only `/proc/sys`, a security module or an old kernel is no reason to leave
//! a pod without a network, so it is given up with a line on stderr.

use crate::undo::Undo;
use cni_net::{Errno, NetError, Netns, Sysctl};
use cni_types::{Code, Error, log};

/// Parameters of one interface, of the namespace that the thread is in.
pub(crate) struct Parameters<'a, 'u> {
    origin: Origin<'a, 'u>,
    given_up: Vec<String>,
    reason: Option<NetError>,
}

/// Whose interface it is.
pub(crate) enum Origin<'a, 'u> {
    /// Made by this ADD: its parameters go with it if ADD fails, and none has the value that is
    /// wanted by chance.
    New,
    /// The network's, like the bridge: it stays as it is then.
    Network,
    /// There before: it gets its values back then. `netns` is `None` on the host.
    Earlier {
        netns: Option<&'a Netns>,
        undo: &'u mut Undo<'a>,
    },
}

impl<'a, 'u> Parameters<'a, 'u> {
    pub(crate) fn of(origin: Origin<'a, 'u>) -> Self {
        Self {
            origin,
            given_up: Vec::new(),
            reason: None,
        }
    }

    /// Sets a parameter without which the configuration cannot be carried out.
    ///
    /// # Errors
    /// Fails if the parameter is not there or cannot be set.
    pub(crate) fn require(&mut self, sysctl: Sysctl, value: &str) -> Result<(), NetError> {
        match &mut self.origin {
            Origin::New => sysctl.write(value),
            Origin::Network => sysctl.ensure(value).map(drop),
            Origin::Earlier { netns, undo } => {
                let (netns, restored) = (*netns, sysctl.clone());
                sysctl.change(value, |before| {
                    undo.on_failure("restoring sysctls", move || {
                        restore(netns, &restored, &before)
                    });
                })
            }
        }
    }

    /// Sets a parameter that an attachment can do without. One that the kernel does not have is
    /// nothing to speak of.
    pub(crate) fn wish(&mut self, sysctl: Sysctl, value: &str) {
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
    /// Says in one line what was given up.
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            let reason = reason
                .errno()
                .map_or_else(|| reason.to_string(), |e| e.desc().to_lowercase());
            log::warn(
                "bridge",
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

/// Makes the namespace route packets of a family.
///
/// # Errors
/// Fails if it does not and that cannot be changed, naming what to do.
pub(crate) fn enable_forwarding(forwarding: &Sysctl) -> Result<(), Error> {
    forwarding
        .ensure("1")
        .map(drop)
        .map_err(|e| no_forwarding(forwarding, &e))
}

/// The refusal to switch forwarding on.
pub(crate) fn no_forwarding(forwarding: &Sysctl, error: &NetError) -> Error {
    let name = forwarding.name();
    let remedy = match error.errno() {
        Some(Errno::ENOENT) => format!("the kernel has no {name}, or /proc/sys is not there"),
        _ => {
            format!("set it on the host (sysctl -w {name}=1), or let the plugin write to /proc/sys")
        }
    };
    Error::new(Code::KERNEL, error.to_string())
        .within("failed to enable forwarding")
        .with_details(format!(
            "containers reach nothing outside without {name}=1; {remedy}"
        ))
}
