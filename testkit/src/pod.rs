//! A pod: what a plugin attaches to a network.

use super::verdict::OrFail;
use sandbox::Netns;
use std::path::Path;

/// A network namespace at `/run/netns/<name>` of the test's host. Also good for a host outside.
#[derive(Debug)]
pub struct Pod {
    netns: Netns,
}

impl Pod {
    pub(super) fn create(name: &str) -> Self {
        Self {
            netns: Netns::create(name).or_fail("make a pod"),
        }
    }

    /// `CNI_NETNS`.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.netns.path()
    }

    /// The namespace, for a [`Reflector`](sandbox::probe::Reflector).
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Runs `work` on this thread, inside the pod; what it starts is inside too.
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.netns.run(work).or_fail("enter a pod")
    }

    /// Takes the namespace away, as a runtime does which is in a hurry. Does nothing when it is
    /// gone.
    pub fn remove(&self) {
        self.netns.remove().or_fail("remove a pod");
    }
}
