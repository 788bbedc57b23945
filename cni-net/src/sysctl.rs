//! Kernel parameters below `/proc/sys/net`, of the namespace that the thread is in.
//!
//! A value is read before it is written: where `/proc/sys` is read-only, which is common in containers, a value that
//! is right already is no error. Paths are built of fixed words and checked interface names only.

use crate::error::NetError;
use cni_types::{Cidr, IfName};
use nix::errno::Errno;
use std::{
    fs,
    io::{ErrorKind, Read, Write},
};

/// Longer than any number, in bytes.
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
    /// The family of an address.
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
    /// `net.FAMILY.conf.INTERFACE.KEY`
    #[must_use]
    pub fn of_interface(family: Family, interface: &IfName, key: &'static str) -> Self {
        Self(format!("/proc/sys/net/{}/conf/{interface}/{key}", family.directory()))
    }

    /// The switch that makes the namespace route packets of a family.
    #[must_use]
    pub fn forwarding(family: Family) -> Self {
        Self(match family {
            Family::V4 => "/proc/sys/net/ipv4/ip_forward".to_owned(),
            Family::V6 => "/proc/sys/net/ipv6/conf/all/forwarding".to_owned(),
        })
    }

    /// The name in dots, as sysctl(8) takes it.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.trim_start_matches("/proc/sys/").replace('/', ".")
    }

    /// The value, or `None` where the kernel has no such parameter (IPv6 off at boot, an interface that is gone).
    ///
    /// # Errors
    /// Reading failed.
    pub fn read(&self) -> Result<Option<String>, NetError> {
        // The kernel gives the whole value at the first read; those that are looked at here are numbers.
        let mut value = [0; MAX_VALUE];
        match fs::File::open(&self.0).and_then(|mut file| file.read(&mut value)) {
            Ok(length) => {
                let text = String::from_utf8_lossy(value.get(..length).unwrap_or_default());
                Ok(Some(text.trim_end().to_owned()))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(NetError::io("read sysctl", self.name(), e)),
        }
    }

    /// Makes the value `wanted`, and returns the value before, where it was another one.
    ///
    /// # Errors
    /// `ENOENT` where the kernel has no such parameter, `EROFS` where it has another value and `/proc/sys` is
    /// read-only.
    pub fn ensure(&self, wanted: &str) -> Result<Option<String>, NetError> {
        let found = self.read()?.ok_or_else(|| NetError::io("set sysctl", self.name(), Errno::ENOENT))?;
        if found == wanted {
            return Ok(None);
        }
        self.write(wanted)?;
        Ok(Some(found))
    }

    /// Writes a value, and looks at the one before only where it cannot be written: for parameters of an interface that
    /// was just made.
    ///
    /// # Errors
    /// `ENOENT`, `EINVAL`; `EROFS` where another value is there.
    pub fn write(&self, value: &str) -> Result<(), NetError> {
        let write = || fs::OpenOptions::new().write(true).open(&self.0)?.write_all(value.as_bytes());
        match write() {
            Err(e) if e.kind() == ErrorKind::ReadOnlyFilesystem && self.read()?.as_deref() == Some(value) => {
                Ok(())
            }
            outcome => outcome.map_err(|e| NetError::io("set sysctl", format!("{}={value}", self.name()), e)),
        }
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
