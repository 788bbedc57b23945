//! Addresses that an IPAM plugin's GC must leave reserved, passed by a plugin to its delegate.
//!
//! GC's list (spec section 2, `cni.dev/valid-attachments`) names attachments. It has no place for
//! an address that is known to be in use by an unknown attachment. So such addresses are passed in
//! an environment variable of our own, which other delegates ignore.

use crate::{
    environment::Environment,
    error::{Code, Error},
};
use std::{collections::BTreeSet, fmt, net::IpAddr};

/// Addresses that are in use, regardless of the list of valid attachments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepAddresses(BTreeSet<IpAddr>);

impl KeepAddresses {
    /// The name of the environment variable. Its value is addresses separated by commas.
    pub const VARIABLE: &str = "CNI_KEEP_ADDRESSES";

    /// Reads the variable; empty if it is not set.
    ///
    /// # Errors
    /// Fails with code 4 if it contains anything but addresses: skipping one would free it.
    pub fn of(environment: &Environment) -> Result<Self, Error> {
        let text = environment.text(Self::VARIABLE);
        let addresses = text
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty());
        let parse = |address: &str| address.parse().map_err(|_| invalid(address));
        addresses.map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns true if the address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Returns true if no address is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<IpAddr> for KeepAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

/// Writes the value of the variable.
impl fmt::Display for KeepAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.0.iter().map(IpAddr::to_string).collect();
        f.write_str(&addresses.join(","))
    }
}

fn invalid(address: &str) -> Error {
    let msg = format!(
        "invalid {}: {address:?} is not an IP address",
        KeepAddresses::VARIABLE
    );
    Error::new(Code::INVALID_ENVIRONMENT, msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<KeepAddresses, Error> {
        KeepAddresses::of(&Environment::default().with(KeepAddresses::VARIABLE, value))
    }

    #[test]
    fn addresses_of_both_families_read_back_as_they_were_written() {
        let addresses = ["10.1.0.2", "fd01::2", "10.1.0.10"].map(|text| text.parse().unwrap());
        let keep: KeepAddresses = addresses.into_iter().collect();
        assert_eq!(keep.to_string(), "10.1.0.2,10.1.0.10,fd01::2");
        let again = read(&keep.to_string()).unwrap();
        assert_eq!(again, keep);
        assert!(addresses.into_iter().all(|address| again.contains(address)));
        assert!(!again.contains("10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn nothing_is_kept_if_the_variable_is_missing_or_empty() {
        assert!(
            KeepAddresses::of(&Environment::default())
                .unwrap()
                .is_empty()
        );
        assert!(read("").unwrap().is_empty() && read(" , ").unwrap().is_empty());
    }

    #[test]
    fn an_address_that_cannot_be_read_is_refused_and_not_passed_over() {
        let error = read("10.1.0.2,10.1.0.0/24").unwrap_err();
        assert_eq!(error.code, Code::INVALID_ENVIRONMENT);
        assert_eq!(
            error.msg,
            r#"invalid CNI_KEEP_ADDRESSES: "10.1.0.0/24" is not an IP address"#
        );
    }
}
