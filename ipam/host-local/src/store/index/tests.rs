//! The index against a map, at the edges of its blocks and of the numbers.

use super::*;
use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn build(records: &[IndexedRecord]) -> Index {
    let file = memfd_create(c"test", MFdFlags::empty()).unwrap();
    Index::build(file.into(), [1; 16], &mut records.to_vec()).unwrap()
}

fn reopened(index: &Index) -> Index {
    Index::open(index.file.duplicate(), [1; 16]).unwrap()
}

fn id(n: u64) -> Option<ContainerHash> {
    NonZeroU64::new(n + 1).map(ContainerHash)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn spans(spans: &[Span]) -> Spans {
    spans.iter().copied().collect()
}

fn span(first: &str, last: &str) -> Span {
    Span::new(ip(first), ip(last)).unwrap()
}

/// An address near the edges of blocks, groups and number spaces.
fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..5000).prop_map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())),
        (0u32..200).prop_map(|n| IpAddr::from((u32::MAX - n).to_be_bytes())),
        (0u128..5000).prop_map(|n| IpAddr::V6(n.into())),
        (0u128..200).prop_map(|n| IpAddr::V6((u128::MAX - n).into())),
    ]
}

proptest! {
    #[test]
    fn an_index_is_a_set_of_pairs(
        initial in prop::collection::vec((addresses(), 0u64..6), 0..300),
        steps in prop::collection::vec((addresses(), 0u64..6, any::<bool>()), 0..300),
        ends in (addresses(), addresses()),
    ) {
        // An address has one owner.
        let mut model: std::collections::BTreeMap<IpAddr, u64> = initial.into_iter().collect();
        let item = |(address, container): (&IpAddr, &u64)| IndexedRecord { address: *address, container: id(*container) };
        let mut index = build(&model.iter().map(item).collect::<Vec<_>>());
        for (address, container, insert) in steps {
            match model.get(&address).copied() {
                None if insert => {
                    index.insert(IndexedRecord { address, container: id(container) }).unwrap();
                    model.insert(address, container);
                }
                Some(owner) if !insert => {
                    index.remove(IndexedRecord { address, container: id(owner) }).unwrap();
                    model.remove(&address);
                }
                _ => {}
            }
        }
        index.seal(Stamp([3; 6])).unwrap();
        let mut index = reopened(&index);
        prop_assert!(index.is_of(Stamp([3; 6])) && !index.is_of(Stamp([4; 6])));
        prop_assert_eq!(index.taken(), model.len() as u64);
        for container in 0..6 {
            let found: BTreeSet<IpAddr> = index.addresses_of(id(container).unwrap()).unwrap().into_iter().collect();
            let wanted = model.iter().filter(|(_, owner)| **owner == container).map(|(address, _)| *address);
            prop_assert_eq!(found, wanted.collect::<BTreeSet<_>>());
        }
        if let Some(span) = Span::new(ends.0, ends.1) {
            let inside = model.keys().filter(|address| span.contains(**address)).count();
            prop_assert_eq!(index.count(&[&spans(&[span])]).unwrap(), [inside as u64]);
            let mut at = Some(span);
            let free = loop {
                match at {
                    Some(rest) if model.contains_key(&rest.first) => at = rest.after(rest.first),
                    rest => break rest.map(|rest| rest.first),
                }
            };
            prop_assert_eq!(index.first_free(span).unwrap(), free);
        }
    }
}

#[test]
fn the_last_free_address_of_a_full_16_is_found() {
    let all: Vec<IndexedRecord> = (0..=u16::MAX)
        .filter(|n| *n != 54_321)
        .map(|n| IndexedRecord {
            address: [10, 1, (n >> 8) as u8, n as u8].into(),
            container: id(u64::from(n)),
        })
        .collect();
    let mut index = build(&all);
    let whole = span("10.1.0.0", "10.1.255.255");
    assert_eq!(index.first_free(whole).unwrap(), Some(ip("10.1.212.49")));
    index.set_taken(ip("10.1.212.49")).unwrap();
    assert_eq!(index.first_free(whole).unwrap(), None);
    assert_eq!(
        index
            .count(&[&spans(&[whole]), &spans(&[span("10.1.0.0", "10.1.0.255")])])
            .unwrap(),
        [65_536, 256]
    );
    assert_eq!(
        index.first_free(span("10.1.0.0", "10.2.0.255")).unwrap(),
        Some(ip("10.2.0.0"))
    );
}

#[test]
fn a_container_with_very_many_addresses_and_a_sparse_range_are_found_too() {
    let address = |n: u128| IpAddr::V6(((0xfd << 120) | (n << 40)).into());
    let items: Vec<IndexedRecord> = (0..3000)
        .map(|n| IndexedRecord {
            address: address(n),
            container: id(7),
        })
        .collect();
    let mut index = build(&items);
    assert_eq!(index.addresses_of(id(7).unwrap()).unwrap().len(), 3000);
    let all = Span::new(address(0), address(3000)).unwrap();
    assert_eq!(index.first_free(all).unwrap(), Some(ip("fd00::1")));
    assert_eq!(index.count(&[&spans(&[all])]).unwrap(), [3000]);
}

#[test]
fn another_boot_or_a_changed_header_is_noticed() {
    let mut index = build(&[]);
    index.seal(Stamp([1; 6])).unwrap();
    let reader = reopened(&index);
    assert!(Index::open(index.file.duplicate(), [2; 16]).is_none());
    assert!(reader.is_unchanged());
    index.seal(Stamp([2; 6])).unwrap();
    assert!(!reader.is_unchanged());
    index.file.write_at(b"x", 40).unwrap();
    assert!(Index::open(index.file.duplicate(), [1; 16]).is_none());
}

#[test]
fn figures_that_cannot_be_right_are_damage_and_nothing_overflows() {
    let item = IndexedRecord {
        address: ip("10.0.0.2"),
        container: id(1),
    };
    let hostile: [fn(&mut Header); 5] = [
        |header| header.taken = u64::MAX,
        |header| header.blocks = u64::MAX,
        |header| header.owners = u64::MAX,
        |header| header.owner_pages = u64::from(u32::MAX),
        |header| header.block_pages = 0,
    ];
    for (n, change) in hostile.into_iter().enumerate() {
        let mut index = build(&[]);
        change(&mut index.header);
        index.seal(Stamp([1; 6])).unwrap();
        match Index::open(index.file.duplicate(), [1; 16]) {
            Some(mut index) => {
                assert_eq!(
                    index.insert(item).unwrap_err().kind(),
                    ErrorKind::InvalidData,
                    "{n}"
                )
            }
            None => assert!(n > 2, "{n}"),
        }
    }
    // Fewer than are taken away.
    let mut index = build(&[item]);
    index.header.taken = 0;
    assert_eq!(
        index.remove(item).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    let mut index = build(&[item]);
    index.header.owners = 0;
    assert_eq!(
        index.remove(item).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}

#[test]
fn an_entry_of_no_address_is_damage() {
    let mut index = build(&[]);
    let number = Key {
        number: u128::MAX,
        is_ipv4: true,
    };
    let container = id(1).unwrap().number();
    index
        .owners
        .put(
            &mut index.file,
            container,
            &entry(number, container),
            |_| false,
        )
        .unwrap();
    assert_eq!(
        index.addresses_of(id(1).unwrap()).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    index
        .blocks
        .put(&mut index.file, 0, &entry(number, u64::MAX), |_| false)
        .unwrap();
    assert_eq!(
        index
            .count(&[&spans(&[span("0.0.0.0", "255.255.255.255")])])
            .unwrap(),
        [0]
    );
}
