//! The choice of an address from a range set, given the ones that are taken. No I/O: the caller
//! reserves the address, and chooses again if somebody was faster.

use super::{
    count::Count,
    range_set::RangeSet,
    span::{Span, Spans},
};
use cni_types::{Cidr, Code, Error};
use std::net::IpAddr;

/// The address that an attachment wants of a range set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The next one after the last that was reserved.
    Next {
        /// The last one, if it is known. It may be of other ranges, if the configuration changed.
        after: Option<IpAddr>,
    },
    /// This one and no other.
    Exactly(IpAddr),
}

/// The addresses that have an owner.
pub(crate) trait Occupancy {
    /// The first address of the span that has no owner; `None` if all have one.
    ///
    /// # Errors
    /// Fails if the records cannot be read.
    fn first_free(&self, span: Span) -> Result<Option<IpAddr>, Error>;

    /// The number of addresses in the spans that have an owner.
    ///
    /// # Errors
    /// Fails if the records cannot be read.
    fn count(&self, spans: &Spans) -> Result<u64, Error>;
}

/// An address that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// The address with the prefix of its subnet.
    pub(crate) address: Cidr,
    /// The gateway of that subnet.
    pub(crate) gateway: IpAddr,
}

/// The reason for which there is no address. The texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAddress {
    /// Everything is taken.
    #[error("no IP addresses available in range set: {set}")]
    Exhausted {
        /// The set, as the reference writes it.
        set: String,
        /// The number of addresses that have an owner.
        used: u64,
        /// The number of addresses that can be given away at all.
        total: Count,
        /// The number of addresses that the configuration excludes beside them.
        excluded: Count,
    },
    /// The attachment has an address of this set already.
    #[error("{0} has been allocated to {1}, duplicate allocation is not allowed")]
    Duplicate(IpAddr, String),
    /// The wanted address has an owner.
    #[error("requested IP address {0} is not available in range set {1}")]
    RequestedTaken(IpAddr, String),
    /// The wanted address is excluded by the configuration.
    #[error("requested IP address {0} is not available in range set {1}")]
    RequestedExcluded(IpAddr, String),
    /// The wanted address is a gateway.
    #[error("requested ip {0} is subnet's gateway")]
    RequestedGateway(IpAddr),
}

/// Chooses an address for `container_id`, which has the addresses `own`, from `set`.
///
/// # Errors
/// The outer error if the records cannot be read, the inner one if no address is for this
/// attachment.
pub(crate) fn choose(
    set: &RangeSet,
    wanted: Wanted,
    occupancy: &impl Occupancy,
    own: &[IpAddr],
    container_id: &str,
) -> Result<Result<Allocation, NoAddress>, Error> {
    if let Wanted::Exactly(address) = wanted {
        if let Some(refused) = refused(set, address) {
            return Ok(Err(refused));
        }
        if occupancy.first_free(Span::of(address))?.is_none() {
            return Ok(Err(NoAddress::RequestedTaken(address, set.to_string())));
        }
    }
    // The protocol allows one ADD per attachment. The reference lets a second one pass that asks
    // for another address.
    if let Some(own) = own.iter().find(|address| set.contains(**address)) {
        return Ok(Err(NoAddress::Duplicate(*own, container_id.to_owned())));
    }
    let address = match wanted {
        Wanted::Exactly(address) => Some(address),
        Wanted::Next { after } => {
            let found = set.candidates(after).map(|span| occupancy.first_free(span));
            found.filter_map(Result::transpose).next().transpose()?
        }
    };
    match address.and_then(|address| allocation(set, address)) {
        Some(allocation) => Ok(Ok(allocation)),
        None => Ok(Err(exhausted(set, occupancy.count(set.allocatable())?))),
    }
}

/// The reason for which an address cannot be given away, owner or not.
fn refused(set: &RangeSet, address: IpAddr) -> Option<NoAddress> {
    if set.is_gateway(address)
        || set
            .range_of(address)
            .is_some_and(|r| r.gateway() == address)
    {
        return Some(NoAddress::RequestedGateway(address));
    }
    (!set.is_allocatable(address)).then(|| NoAddress::RequestedExcluded(address, set.to_string()))
}

/// The answer to an ADD with this address; `None` if it is not in the set.
pub(crate) fn allocation(set: &RangeSet, address: IpAddr) -> Option<Allocation> {
    let range = set.range_of(address)?;
    Some(Allocation {
        address: range.with_prefix(address),
        gateway: range.gateway(),
    })
}

/// The error of a set all of whose addresses are taken.
fn exhausted(set: &RangeSet, used: u64) -> NoAddress {
    NoAddress::Exhausted {
        set: set.to_string(),
        used,
        total: set.capacity(),
        excluded: set.excluded(),
    }
}

/// Fails if so many of a set's allocatable addresses are taken that no address is left.
pub(crate) fn require_free(set: &RangeSet, used: u64) -> Result<(), NoAddress> {
    if Count::from(used) < set.capacity() {
        Ok(())
    } else {
        Err(exhausted(set, used))
    }
}

impl NoAddress {
    /// The obstacle, and what a person can do about it.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Exhausted { total, .. } if total.is_zero() => {
                "every address of the set is a gateway, and a gateway is never given away; \
                 make the range larger, or name another gateway"
                    .into()
            }
            Self::Exhausted {
                used,
                total,
                excluded,
                ..
            } => {
                let excluded = if excluded.is_zero() {
                    String::new()
                } else {
                    format!(" ({excluded} more are excluded by the configuration)")
                };
                format!(
                    "{used} of {total} addresses are in use{excluded}; \
                     delete attachments, run GC, or add a range to the set"
                )
            }
            Self::Duplicate(..) => "run DEL for this container and interface first".into(),
            Self::RequestedTaken(..) => "it has an owner; request another address, or none".into(),
            Self::RequestedExcluded(..) => {
                "it is excluded; request another address, or none".into()
            }
            Self::RequestedGateway(_) => "request another address, or none".into(),
        }
    }

    /// The error of ADD, with the holders, if any are known, and the remedy.
    pub(crate) fn explained(&self, holders: Option<String>) -> Error {
        let holders = holders.filter(|text| !text.is_empty());
        let remedy = self.remedy();
        let details = match (self, holders) {
            (_, None) => remedy,
            (Self::Exhausted { .. }, Some(holders)) => format!("{remedy}; {holders}"),
            (_, Some(holder)) => format!("{holder}; {remedy}"),
        };
        Error::new(Code::ADDRESS_UNAVAILABLE, self.to_string()).with_details(details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::{Range, RangeSpec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Addresses that are taken.
    #[derive(Clone, Debug, Default)]
    struct Taken(BTreeSet<IpAddr>);

    impl Occupancy for Taken {
        fn first_free(&self, span: Span) -> Result<Option<IpAddr>, Error> {
            let mut at = Some(span);
            while let Some(span) = at {
                if !self.0.contains(&span.first) {
                    return Ok(Some(span.first));
                }
                at = span.after(span.first);
            }
            Ok(None)
        }

        fn count(&self, spans: &Spans) -> Result<u64, Error> {
            Ok(self
                .0
                .iter()
                .filter(|address| spans.contains(**address))
                .count() as u64)
        }
    }

    fn set(subnet: &str) -> RangeSet {
        set_without(subnet, &[])
    }

    fn set_without(subnet: &str, excluded: &[Span]) -> RangeSet {
        let spec = RangeSpec {
            subnet: subnet.parse().unwrap(),
            start: None,
            end: None,
            gateway: None,
        };
        RangeSet::new(
            vec![Range::new(spec).unwrap()],
            &excluded.iter().copied().collect(),
        )
        .unwrap()
    }

    fn parse(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn taken(texts: &[&str]) -> Taken {
        Taken(parse(texts).into_iter().collect())
    }

    fn exactly(address: &str) -> Wanted {
        Wanted::Exactly(address.parse().unwrap())
    }

    const NEXT: Wanted = Wanted::Next { after: None };

    fn chosen(wanted: Wanted, taken: &Taken, own: &[&str]) -> Result<String, String> {
        let chosen = choose(&set("10.0.0.0/29"), wanted, taken, &parse(own), "c1").unwrap();
        let allocation = chosen.map_err(|e| e.to_string())?;
        assert_eq!(allocation.gateway.to_string(), "10.0.0.1");
        Ok(allocation.address.to_string())
    }

    #[test]
    fn the_first_free_one_is_chosen() {
        assert_eq!(
            chosen(NEXT, &Taken::default(), &[]),
            Ok("10.0.0.2/29".into())
        );
        assert_eq!(
            chosen(NEXT, &taken(&["10.0.0.2", "10.0.0.3"]), &[]),
            Ok("10.0.0.4/29".into())
        );
        assert_eq!(
            chosen(exactly("10.0.0.5"), &taken(&["10.0.0.2"]), &[]),
            Ok("10.0.0.5/29".into())
        );
    }

    #[test]
    fn a_refusal_has_the_reference_s_text() {
        let none = Taken::default();
        let own = taken(&["10.0.0.4"]);
        for (wanted, taken, text) in [
            (
                exactly("10.0.0.1"),
                &none,
                "requested ip 10.0.0.1 is subnet's gateway",
            ),
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
            (
                NEXT,
                &own,
                "10.0.0.4 has been allocated to c1, duplicate allocation is not allowed",
            ),
        ] {
            assert_eq!(chosen(wanted, taken, &["10.0.0.4"]), Err(text.to_owned()));
        }
    }

    #[test]
    fn an_address_of_another_set_is_no_duplicate() {
        let own = ["10.9.0.4", "fd00::1"];
        assert_eq!(chosen(NEXT, &taken(&own), &own), Ok("10.0.0.2/29".into()));
    }

    #[test]
    fn exhaustion_reports_how_many_are_used_and_excluded() {
        let all = [
            "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.9.0.1",
        ];
        let error = choose(&set("10.0.0.0/29"), NEXT, &taken(&all), &[], "c1")
            .unwrap()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no IP addresses available in range set: 10.0.0.1-10.0.0.6"
        );
        assert!(
            error.remedy().starts_with("5 of 5 addresses are in use; "),
            "{}",
            error.remedy()
        );
        assert_eq!(require_free(&set("10.0.0.0/29"), 5), Err(error));
        assert_eq!(require_free(&set("10.0.0.0/29"), 4), Ok(()));
        let excluded = Span::new(parse(&all)[0], parse(&all)[2]).unwrap();
        let set = set_without("10.0.0.0/29", &[excluded]);
        let error = choose(&set, NEXT, &taken(&all), &[], "c1")
            .unwrap()
            .unwrap_err();
        let wanted = "2 of 2 addresses are in use (3 more are excluded by the configuration); ";
        assert!(error.remedy().starts_with(wanted), "{}", error.remedy());
        let error = choose(&set, exactly("10.0.0.3"), &Taken::default(), &[], "c1")
            .unwrap()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("not available in range set 10.0.0.1-10.0.0.6"),
            "{error}"
        );
        assert!(
            error.remedy().starts_with("it is excluded; "),
            "{}",
            error.remedy()
        );
    }

    #[test]
    fn a_pool_of_nothing_but_its_gateway_says_so() {
        let only: Option<IpAddr> = "10.0.0.1".parse().ok();
        let spec = RangeSpec {
            subnet: "10.0.0.0/24".parse().unwrap(),
            start: only,
            end: only,
            gateway: None,
        };
        let set = RangeSet::new(vec![Range::new(spec).unwrap()], &Spans::default()).unwrap();
        let error = choose(&set, NEXT, &Taken::default(), &[], "c1")
            .unwrap()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no IP addresses available in range set: 10.0.0.1-10.0.0.1"
        );
        assert!(
            error
                .remedy()
                .starts_with("every address of the set is a gateway"),
            "{}",
            error.remedy()
        );
        assert_eq!(require_free(&set, 0), Err(error));
    }

    #[test]
    fn a_huge_range_is_not_walked() {
        let half = Span::new(
            "fd00::2".parse().unwrap(),
            "fd00::7fff:ffff:ffff:ffff".parse().unwrap(),
        );
        for (set, wanted) in [
            (set("fd00::/64"), "fd00::3/64"),
            (
                set_without("fd00::/64", half.as_slice()),
                "fd00::8000:0:0:0/64",
            ),
        ] {
            let chosen = choose(&set, NEXT, &taken(&["fd00::2"]), &[], "c").unwrap();
            assert_eq!(chosen.map(|a| a.address.to_string()), Ok(wanted.to_owned()));
            assert_eq!(require_free(&set, 1), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn an_address_is_found_if_and_only_if_one_is_free(
            prefix in 24u8..=30, hosts in prop::collection::hash_set(0u32..256, 0..260), after in 0u32..256,
            excluded in prop::collection::vec((0u32..256, 0u32..40), 0..3),
        ) {
            let address = |host: u32| IpAddr::from((0x0a00_0000 + host).to_be_bytes());
            let span = |(first, size): &(u32, u32)| Span { first: address(*first), last: address(first + size) };
            let excluded: Vec<Span> = excluded.iter().map(span).collect();
            let spec = RangeSpec { subnet: format!("10.0.0.0/{prefix}").parse().unwrap(), start: None, end: None, gateway: None };
            let Ok(set) = RangeSet::new(vec![Range::new(spec).unwrap()], &excluded.iter().copied().collect()) else { return Ok(()) };
            let taken = Taken(hosts.into_iter().map(address).collect());
            let is_free = |a: &IpAddr| set.is_allocatable(*a) && !taken.0.contains(a);
            let free = (0..256).map(address).filter(is_free).count();
            let used = taken.count(set.allocatable()).unwrap();
            prop_assert_eq!(Count::from(used) + Count::from(free as u64), set.capacity());
            match choose(&set, Wanted::Next { after: Some(address(after)) }, &taken, &[], "c").unwrap() {
                Ok(chosen) => {
                    let chosen = chosen.address.address();
                    prop_assert!(is_free(&chosen) && !excluded.iter().any(|span| span.contains(chosen)));
                }
                Err(error) => {
                    prop_assert_eq!(free, 0);
                    prop_assert_eq!(require_free(&set, used), Err(error));
                }
            }
        }
    }
}
