//! Kernel parameters below `/proc/sys/net`, of the namespace that the thread is in.
//!
//! A value is read before it is written: in many containers `/proc/sys` is read-only, and a value
//! that is already right is no error there. Paths consist of fixed words and checked interface
//! names.

use crate::error::NetError;
use cni_types::{Cidr, IfName};
use nix::errno::Errno;
use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
};

/// The size of the buffer for a value, in bytes; longer than any number.
const MAX_VALUE: usize = 64;

/// A parameter of an interface or of the whole namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl(String);

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `net.ipv4`
    V4,
    /// `net.ipv6`
    V6,
}

impl Family {
    /// Returns the family of an address.
    #[must_use]
    pub fn of(cidr: Cidr) -> Self {
        if cidr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl Sysctl {
    /// The parameter `net.FAMILY.conf.INTERFACE.KEY`.
    #[must_use]
    pub fn of_interface(family: Family, interface: &IfName, key: &'static str) -> Self {
        Self(format!(
            "/proc/sys/net/{}/conf/{interface}/{key}",
            family.directory()
        ))
    }

    /// The switch that makes the namespace route packets of a family.
    #[must_use]
    pub fn forwarding(family: Family) -> Self {
        Self(match family {
            Family::V4 => "/proc/sys/net/ipv4/ip_forward".to_owned(),
            Family::V6 => "/proc/sys/net/ipv6/conf/all/forwarding".to_owned(),
        })
    }

    /// The parameter from which interfaces that are created later take their initial value.
    #[must_use]
    pub fn default_of(family: Family, key: &'static str) -> Self {
        Self(format!(
            "/proc/sys/net/{}/conf/default/{key}",
            family.directory()
        ))
    }

    /// Returns the dotted name, as sysctl(8) takes it.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.trim_start_matches("/proc/sys/").replace('/', ".")
    }

    /// Returns the value, or `None` if the kernel has no such parameter (IPv6 disabled at boot, or
    /// the interface is gone).
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub fn read(&self) -> Result<Option<String>, NetError> {
        // The kernel returns a whole value at the first read; the values read here are numbers.
        let mut value = [0; MAX_VALUE];
        match fs::File::open(&self.0).and_then(|mut file| file.read(&mut value)) {
            Ok(length) => {
                #[expect(clippy::indexing_slicing, reason = "no more is read than fits")]
                let text = String::from_utf8_lossy(&value[..length]);
                Ok(Some(text.trim_end().to_owned()))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(NetError::io("read sysctl", self.name(), e)),
        }
    }

    /// Sets the value to `wanted`, and returns the previous value if it was another one.
    ///
    /// # Errors
    /// Fails with `ENOENT` if the kernel has no such parameter, with `EROFS` if it has another
    /// value and `/proc/sys` is read-only, and with `EACCES` or `EPERM` if a security module or a
    /// user namespace refuses.
    pub fn ensure(&self, wanted: &str) -> Result<Option<String>, NetError> {
        let mut before = None;
        self.change(wanted, |found| before = Some(found))
            .map(|()| before)
    }

    /// Sets the value to `wanted`. Calls `remember` with the previous value just before the change,
    /// so that it can be restored even if the outcome of the change is unknown.
    ///
    /// # Errors
    /// Fails as [`Self::ensure`] does.
    pub fn change(&self, wanted: &str, remember: impl FnOnce(String)) -> Result<(), NetError> {
        match self.read()? {
            None => Err(NetError::io("set sysctl", self.name(), Errno::ENOENT)),
            Some(found) if found == wanted => Ok(()),
            Some(found) => {
                remember(found);
                self.write(wanted)
            }
        }
    }

    /// Writes a value, and reads the previous one only if that fails: for parameters of an
    /// interface that was just created.
    ///
    /// # Errors
    /// Fails with `ENOENT` or `EINVAL`, and with `EROFS`, `EACCES` or `EPERM` if the parameter has
    /// another value.
    pub fn write(&self, value: &str) -> Result<(), NetError> {
        let refuse = |e| NetError::io("set sysctl", format!("{}={value}", self.name()), e);
        let written = self
            .open()
            .and_then(|mut file| file.write_all(value.as_bytes()));
        written.or_else(|e| {
            if self.is(value) {
                Ok(())
            } else {
                Err(refuse(e))
            }
        })
    }

    /// Checks that [`Self::ensure`] would succeed with `wanted`, and changes nothing.
    ///
    /// # Errors
    /// Fails as [`Self::ensure`] does.
    pub fn require(&self, wanted: &str) -> Result<(), NetError> {
        if self.is(wanted) {
            return Ok(());
        }
        let refuse = |e| NetError::io("set sysctl", format!("{}={wanted}", self.name()), e);
        // Opening the file changes nothing; the kernel sets the parameter on write(2).
        self.open().map(drop).map_err(refuse)
    }

    fn is(&self, value: &str) -> bool {
        matches!(self.read(), Ok(Some(found)) if found == value)
    }

    fn open(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().write(true).open(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_an_interface_name_stays_one_path_component() {
        let interface = IfName::parse("eth0.100").unwrap();
        let sysctl = Sysctl::of_interface(Family::V6, &interface, "accept_ra");
        assert_eq!(sysctl.0, "/proc/sys/net/ipv6/conf/eth0.100/accept_ra");
    }

    #[test]
    fn a_parameter_that_the_kernel_lacks_is_none() {
        let interface = IfName::parse("nosuchif0").unwrap();
        let sysctl = Sysctl::of_interface(Family::V4, &interface, "arp_notify");
        assert_eq!(sysctl.read().unwrap(), None);
        assert!(sysctl.ensure("1").unwrap_err().is_absent());
    }
}
