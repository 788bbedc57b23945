//! Which address an attachment gets from a range set, given the ones that are taken. No I/O: what is chosen here
//! is only reserved elsewhere, and chosen anew where somebody was faster.

use crate::range_set::RangeSet;
use cni_types::Cidr;
use std::{collections::HashSet, net::IpAddr};

/// What an attachment wants of a range set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The next one after the last that was reserved.
    Next {
        /// The last one, if it is known. It may be of other ranges, when the configuration changed.
        after: Option<IpAddr>,
    },
    /// This one and no other.
    Exactly(IpAddr),
}

/// The addresses that cannot be given away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// Every address that has an owner.
    pub(crate) all: HashSet<IpAddr>,
    /// Those of them whose owner is the attachment that asks.
    pub(crate) own: Vec<IpAddr>,
}

/// An address that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// The address with the prefix of its subnet.
    pub(crate) address: Cidr,
    /// The gateway of that subnet.
    pub(crate) gateway: IpAddr,
}

/// Why there is no address. The texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAddress {
    /// Everything is taken.
    #[error("no IP addresses available in range set: {set}")]
    Exhausted {
        /// The set, as the reference writes it.
        set: String,
        /// How many addresses have an owner.
        used: usize,
        /// How many addresses there are.
        total: u128,
    },
    /// The attachment has one of this set already.
    #[error("{0} has been allocated to {1}, duplicate allocation is not allowed")]
    Duplicate(IpAddr, String),
    /// The wanted one has an owner.
    #[error("requested IP address {0} is not available in range set {1}")]
    RequestedTaken(IpAddr, String),
    /// The wanted one is a gateway.
    #[error("requested ip {0} is subnet's gateway")]
    RequestedGateway(IpAddr),
}

/// Chooses an address for `container_id` from `set`.
///
/// # Errors
/// Where there is none for this attachment.
pub(crate) fn choose(
    set: &RangeSet,
    wanted: Wanted,
    taken: &Taken,
    container_id: &str,
) -> Result<Allocation, NoAddress> {
    if let Wanted::Exactly(address) = wanted {
        if set.is_gateway(address) || set.range_of(address).is_some_and(|r| r.gateway() == address) {
            return Err(NoAddress::RequestedGateway(address));
        }
        if taken.all.contains(&address) {
            return Err(NoAddress::RequestedTaken(address, set.to_string()));
        }
    }
    // The protocol allows one ADD per attachment. The reference lets a second one pass that asks for another address.
    if let Some(own) = taken.own.iter().find(|address| set.contains(**address)) {
        return Err(NoAddress::Duplicate(*own, container_id.to_owned()));
    }
    let address = match wanted {
        Wanted::Exactly(address) => Some(address),
        Wanted::Next { after } => set.candidates(after).find(|address| !taken.all.contains(address)),
    };
    address.and_then(|address| allocation(set, address)).ok_or_else(|| exhausted(set, &taken.all))
}

fn allocation(set: &RangeSet, address: IpAddr) -> Option<Allocation> {
    let range = set.range_of(address)?;
    Some(Allocation { address: range.with_prefix(address), gateway: range.gateway() })
}

/// The error of a set all of whose addresses are taken.
fn exhausted(set: &RangeSet, taken: &HashSet<IpAddr>) -> NoAddress {
    NoAddress::Exhausted { set: set.to_string(), used: used(set, taken), total: set.capacity() }
}

/// How many of the set's addresses are taken.
fn used(set: &RangeSet, taken: &HashSet<IpAddr>) -> usize {
    taken.iter().filter(|address| set.is_allocatable(**address)).count()
}

/// Fails where a set has no address left for anybody.
pub(crate) fn require_free(set: &RangeSet, taken: &HashSet<IpAddr>) -> Result<(), NoAddress> {
    if (used(set, taken) as u128) < set.capacity() { Ok(()) } else { Err(exhausted(set, taken)) }
}

impl NoAddress {
    /// What a person can do about it.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Exhausted { used, total, .. } => format!(
                "{used} of {total} addresses are in use; delete attachments, run GC, or add a range to the set"
            ),
            Self::Duplicate(..) => "run DEL for this container and interface first".into(),
            Self::RequestedTaken(..) => "it has an owner; request another address, or none".into(),
            Self::RequestedGateway(_) => "request another address, or none".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::{Range, RangeSpec};
    use proptest::prelude::*;

    fn set(subnet: &str) -> RangeSet {
        let spec = RangeSpec { subnet: subnet.parse().unwrap(), start: None, end: None, gateway: None };
        RangeSet::new(vec![Range::new(spec).unwrap()]).unwrap()
    }

    fn taken(all: &[&str], own: &[&str]) -> Taken {
        let parse = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|t| t.parse().unwrap()).collect() };
        Taken { all: parse(all).into_iter().chain(parse(own)).collect(), own: parse(own) }
    }

    fn exactly(address: &str) -> Wanted {
        Wanted::Exactly(address.parse().unwrap())
    }

    const NEXT: Wanted = Wanted::Next { after: None };

    fn chosen(wanted: Wanted, taken: &Taken) -> Result<String, String> {
        let allocation = choose(&set("10.0.0.0/29"), wanted, taken, "c1").map_err(|e| e.to_string())?;
        assert_eq!(allocation.gateway.to_string(), "10.0.0.1");
        Ok(allocation.address.to_string())
    }

    #[test]
    fn the_first_free_one_is_chosen() {
        assert_eq!(chosen(NEXT, &Taken::default()), Ok("10.0.0.2/29".into()));
        assert_eq!(chosen(NEXT, &taken(&["10.0.0.2", "10.0.0.3"], &[])), Ok("10.0.0.4/29".into()));
        assert_eq!(chosen(exactly("10.0.0.5"), &taken(&["10.0.0.2"], &[])), Ok("10.0.0.5/29".into()));
    }

    #[test]
    fn a_refusal_has_the_reference_s_text() {
        let own = taken(&[], &["10.0.0.4"]);
        for (wanted, taken, text) in [
            (exactly("10.0.0.1"), &Taken::default(), "requested ip 10.0.0.1 is subnet's gateway"),
            (
                exactly("10.0.0.4"),
                &own,
                "requested IP address 10.0.0.4 is not available in range set 10.0.0.1-10.0.0.6",
            ),
            (
                exactly("10.0.0.5"),
                &own,
                "10.0.0.4 has been allocated to c1, duplicate allocation is not allowed",
            ),
            (NEXT, &own, "10.0.0.4 has been allocated to c1, duplicate allocation is not allowed"),
        ] {
            assert_eq!(chosen(wanted, taken), Err(text.to_owned()));
        }
    }

    #[test]
    fn an_address_of_another_set_is_no_duplicate() {
        assert_eq!(chosen(NEXT, &taken(&[], &["10.9.0.4", "fd00::1"])), Ok("10.0.0.2/29".into()));
    }

    #[test]
    fn exhaustion_tells_how_many_are_used() {
        let full = taken(&["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.9.0.1"], &[]);
        let error = choose(&set("10.0.0.0/29"), NEXT, &full, "c1").unwrap_err();
        assert_eq!(error.to_string(), "no IP addresses available in range set: 10.0.0.1-10.0.0.6");
        assert!(error.remedy().starts_with("5 of 5 addresses are in use; "), "{}", error.remedy());
        assert_eq!(require_free(&set("10.0.0.0/29"), &full.all), Err(error));
        assert_eq!(require_free(&set("10.0.0.0/28"), &full.all), Ok(()));
    }

    #[test]
    fn a_huge_range_is_not_walked() {
        let set = set("fd00::/64");
        let taken = taken(&["fd00::2"], &[]);
        assert_eq!(
            choose(&set, NEXT, &taken, "c").map(|a| a.address.to_string()),
            Ok("fd00::3/64".to_owned())
        );
        assert_eq!(require_free(&set, &taken.all), Ok(()));
    }

    proptest! {
        #[test]
        fn an_address_is_found_if_and_only_if_one_is_free(
            prefix in 24u8..=30, hosts in prop::collection::hash_set(0u32..256, 0..260), after in 0u32..256,
        ) {
            let set = set(&format!("10.0.0.0/{prefix}"));
            let address = |host: u32| IpAddr::from((0x0a00_0000 + host).to_be_bytes());
            let taken = Taken { all: hosts.into_iter().map(address).collect(), own: Vec::new() };
            let free = (0..256).map(address).filter(|a| set.is_allocatable(*a) && !taken.all.contains(a)).count();
            match choose(&set, Wanted::Next { after: Some(address(after)) }, &taken, "c") {
                Ok(chosen) => {
                    prop_assert!(set.is_allocatable(chosen.address.address()));
                    prop_assert!(!taken.all.contains(&chosen.address.address()));
                }
                Err(error) => {
                    prop_assert_eq!(free, 0);
                    prop_assert_eq!(require_free(&set, &taken.all), Err(error));
                }
            }
            prop_assert_eq!(require_free(&set, &taken.all).is_ok(), free > 0);
        }
    }
}
