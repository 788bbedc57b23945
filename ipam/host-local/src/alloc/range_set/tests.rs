//! The order in which addresses are tried, and the refusals of sets.

use super::*;
use crate::alloc::{Count, RangeSpec};
use proptest::prelude::*;
use std::collections::HashSet;

fn range(subnet: &str, start: &str, end: &str, gateway: &str) -> Range {
    let address = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    let (start, end, gateway) = (address(start), address(end), address(gateway));
    Range::new(RangeSpec {
        subnet: subnet.parse().unwrap(),
        start,
        end,
        gateway,
    })
    .unwrap()
}

fn v4(third: u8, start: u8, end: u8) -> Range {
    let address = |host| format!("10.0.{third}.{host}");
    range(
        &format!("10.0.{third}.0/24"),
        &address(start),
        &address(end),
        "",
    )
}

fn each(spans: impl Iterator<Item = Span>) -> Vec<IpAddr> {
    let after = |span: &Span| span.after(span.first);
    spans
        .flat_map(|span| std::iter::successors(Some(span), after).map(|rest| rest.first))
        .collect()
}

fn candidates(set: &RangeSet, last: &str) -> Vec<String> {
    each(set.candidates(last.parse().ok()))
        .iter()
        .map(IpAddr::to_string)
        .collect()
}

fn span(first: &str, last: &str) -> Span {
    Span::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
}

#[test]
fn round_robin_goes_on_after_the_last_one_through_all_ranges() {
    let set = RangeSet::new(vec![v4(0, 2, 4), v4(1, 2, 3)], &Spans::default()).unwrap();
    let all = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.1.2", "10.0.1.3"];
    for (last, first) in [
        ("", 0),
        ("garbage", 0),
        ("10.0.0.9", 0),
        ("fd00::1", 0),
        ("10.0.0.2", 1),
        ("10.0.0.4", 3),
        ("10.0.1.2", 4),
        ("10.0.1.3", 0),
    ] {
        let mut wanted = all;
        wanted.rotate_left(first);
        assert_eq!(candidates(&set, last), wanted, "{last}");
    }
}

#[test]
fn the_gateway_of_one_range_is_not_allocated_from_another() {
    let set = RangeSet::new(
        vec![
            range("10.0.0.0/29", "10.0.0.4", "10.0.0.4", ""),
            range("10.0.0.0/29", "10.0.0.1", "10.0.0.2", "10.0.0.4"),
        ],
        &Spans::default(),
    );
    let set = set.unwrap();
    assert_eq!(candidates(&set, ""), ["10.0.0.2"]);
    assert_eq!(set.capacity(), Count::from(1_u64));
    assert!(
        set.is_gateway("10.0.0.4".parse().unwrap())
            && !set.is_allocatable("10.0.0.1".parse().unwrap())
    );
}

#[test]
fn a_set_of_nothing_but_its_gateway_has_no_address() {
    let set = RangeSet::new(vec![v4(0, 1, 1)], &Spans::default()).unwrap();
    assert_eq!(candidates(&set, ""), [""; 0]);
    assert_eq!(candidates(&set, "10.0.0.1"), [""; 0]);
    assert!(set.capacity().is_zero());
}

#[test]
fn what_is_excluded_is_not_allocated_and_is_counted() {
    let excluded = Spans::from_iter([
        span("10.0.0.0", "10.0.0.2"),
        span("10.0.1.3", "10.0.1.3"),
        span("10.9.0.0", "10.9.0.9"),
    ]);
    let set = RangeSet::new(vec![v4(0, 1, 4), v4(1, 2, 3)], &excluded).unwrap();
    assert_eq!(
        candidates(&set, "10.0.0.2"),
        ["10.0.0.3", "10.0.0.4", "10.0.1.2"]
    );
    let counts = (Count::from(3_u64), Count::from(2_u64));
    assert_eq!(
        (set.capacity(), set.excluded()),
        counts,
        "the gateway counts as no address"
    );
    let all = RangeSet::new(
        vec![v4(0, 1, 4)],
        &Spans::from_iter([span("10.0.0.0", "10.0.0.9")]),
    );
    assert_eq!(all.unwrap_err(), InvalidRangeSet::NothingLeft);
}

#[test]
fn the_last_address_of_all_does_not_overflow() {
    let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let set = RangeSet::new(vec![range("::/0", "::", "", "fd00::1")], &Spans::default()).unwrap();
    let first = set.candidates(last.parse().ok()).next().unwrap().first;
    assert_eq!(first, "::".parse::<IpAddr>().unwrap());
    assert_eq!(set.capacity(), Count::from(u128::MAX));
    // No address of the range is the gateway, so all 2^128 can be given away.
    let all = RangeSet::new(vec![range("::/0", "::", "", "10.0.0.1")], &Spans::default()).unwrap();
    assert_eq!(all.capacity(), Count::from(u128::MAX) + Count::from(1_u64));
    let set = RangeSet::new(
        vec![range("255.255.255.0/24", "", "255.255.255.255", "")],
        &Spans::default(),
    )
    .unwrap();
    assert_eq!(
        candidates(&set, "255.255.255.255").first().unwrap(),
        "255.255.255.2"
    );
}

#[test]
fn what_is_no_set_is_refused_with_the_reference_s_text() {
    let refused = |ranges| {
        RangeSet::new(ranges, &Spans::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused(vec![]), "empty range set");
    assert_eq!(
        refused(vec![v4(0, 1, 9), range("fd00::/64", "", "", "")]),
        "mixed address families"
    );
    assert_eq!(
        refused(vec![v4(0, 1, 9), v4(1, 1, 9), v4(0, 9, 20)]),
        "subnets 10.0.0.1-10.0.0.9 and 10.0.0.9-10.0.0.20 overlap"
    );
    assert!(RangeSet::new(vec![v4(0, 1, 9), v4(0, 10, 20)], &Spans::default()).is_ok());
}

#[test]
fn a_set_is_written_as_the_reference_writes_it() {
    let set = RangeSet::new(vec![v4(0, 2, 4), v4(1, 2, 3)], &Spans::default()).unwrap();
    assert_eq!(set.to_string(), "10.0.0.2-10.0.0.4,10.0.1.2-10.0.1.3");
}

fn sets() -> impl Strategy<Value = RangeSet> {
    let range =
        (0u8..4, 0u8..=254, 0u8..16, 0u8..=255).prop_map(|(third, start, length, gateway)| {
            let (start, end) = (start, start.saturating_add(length));
            let address = |host| format!("10.0.{third}.{host}");
            range(
                &format!("10.0.{third}.0/24"),
                &address(start),
                &address(end),
                &address(gateway),
            )
        });
    let excluded = (0u8..4, 0u8..=254, 0u8..8).prop_map(|(third, start, length)| Span {
        first: [10, 0, third, start].into(),
        last: [10, 0, third, start.saturating_add(length)].into(),
    });
    let parts = (
        prop::collection::vec(range, 1..5),
        prop::collection::vec(excluded, 0..3),
    );
    parts.prop_filter_map("overlap", |(ranges, excluded)| {
        RangeSet::new(ranges, &excluded.into_iter().collect()).ok()
    })
}

proptest! {
    #[test]
    fn candidates_are_each_allocatable_address_once(set in sets(), third in 0u8..4, host: u8, has_last: bool) {
        let last = has_last.then(|| IpAddr::from([10, 0, third, host]));
        let all = each(set.candidates(last));
        prop_assert_eq!(Count::from(all.len() as u64), set.capacity());
        prop_assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        prop_assert!(all.iter().all(|address| set.is_allocatable(*address)));
        if let Some(last) = last.filter(|last| set.is_allocatable(*last)) {
            prop_assert_eq!(all.last(), Some(&last), "the last one comes last");
        }
        for address in (0..4).flat_map(|third| (0..=255).map(move |host| IpAddr::from([10, 0, third, host]))) {
            let range = set.ranges().iter().find(|range| range.span().contains(address));
            prop_assert_eq!(set.range_of(address), range);
        }
    }

    #[test]
    fn candidates_keep_their_cyclic_order_wherever_they_start(set in sets(), pick: prop::sample::Index) {
        let all = each(set.candidates(None));
        prop_assume!(!all.is_empty());
        let at = pick.index(all.len());
        let mut rotated = all.clone();
        rotated.rotate_left((at + 1) % all.len());
        prop_assert_eq!(each(set.candidates(Some(all[at]))), rotated);
    }
}
