//! Masquerade rules that several processes add and remove at the same time.

use crate::{
    masquerade::{nft, valid},
    scene::cidr,
};
use cni_net::nft::Nft;
use cni_types::AttachmentId;
use std::{sync::Barrier, thread};
use testkit::{Host, Test};

const THREADS: usize = 20;

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        first_rules_at_once_leave_one_skeleton,
        rules_come_and_go_at_once_without_an_error,
        the_same_rules_may_be_removed_by_several,
        a_count_is_right_while_a_thousand_rules_are_disturbed,
    ]
}

fn owner(id: &str) -> AttachmentId<'_> {
    AttachmentId {
        network: "net",
        container_id: id,
        if_name: "eth0",
    }
}

fn open() -> Nft {
    let mut nft = Nft::open().unwrap();
    testkit::require("nf_tables", nft.probe().is_ok());
    nft
}

/// Every thread does `work` with its number, all at the same moment.
fn at_once(work: impl Fn(usize) + Sync) {
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(number);
            });
        }
    });
}

fn first_rules_at_once_leave_one_skeleton(_: &Host) {
    open();
    at_once(|number| {
        let (id, address) = (format!("c{number}"), cidr(&format!("10.1.0.{number}/16")));
        Nft::open()
            .unwrap()
            .create_masquerade(owner(&id), &[address])
            .unwrap();
    });
    assert_eq!(open().masquerade_entries().unwrap().len(), THREADS);
    assert_eq!(
        nft("list chain inet cni_plugins_masquerade postrouting"),
        "table inet cni_plugins_masquerade {\n\
         chain postrouting {\n\
         type nat hook postrouting priority srcnat; policy accept;\n\
         ip daddr 224.0.0.0/4 return\n\
         ip6 daddr ff00::/8 return\n\
         goto masq_checks\n\
         }\n\
         }"
    );
}

fn rules_come_and_go_at_once_without_an_error(_: &Host) {
    open();
    at_once(|number| {
        let (id, address) = (format!("c{number}"), cidr(&format!("10.1.0.{number}/16")));
        let mut nft = Nft::open().unwrap();
        for _ in 0..5 {
            nft.create_masquerade(owner(&id), &[address]).unwrap();
            assert_eq!(nft.count_masquerade(owner(&id)).unwrap(), (1, true));
            assert_eq!(nft.remove_masquerade(owner(&id)).unwrap(), 1);
        }
    });
    assert_eq!(open().masquerade_entries().unwrap(), []);
}

/// GC and the DELs of what it collects.
fn the_same_rules_may_be_removed_by_several(_: &Host) {
    let mut kernel = open();
    for number in 0..THREADS {
        let (id, address) = (format!("c{number}"), cidr(&format!("10.1.0.{number}/16")));
        kernel
            .create_masquerade(owner(&id), &[address; 10])
            .unwrap();
    }
    at_once(|number| {
        let mut nft = Nft::open().unwrap();
        if number % 2 == 0 {
            nft.remove_stale_masquerade(&valid(&[])).unwrap();
        } else {
            nft.remove_masquerade(owner(&format!("c{number}"))).unwrap();
        }
    });
    assert_eq!(kernel.masquerade_entries().unwrap(), []);
}

/// The mass restart of a node: a count and a removal need the whole list, which is never at rest.
fn a_count_is_right_while_a_thousand_rules_are_disturbed(_: &Host) {
    let mut kernel = open();
    for block in 0..10 {
        let id = format!("old{block}");
        let addresses: Vec<_> = (0..100)
            .map(|n| cidr(&format!("10.1.{block}.{n}/16")))
            .collect();
        kernel.create_masquerade(owner(&id), &addresses).unwrap();
    }
    at_once(|number| {
        let id = format!("new{number}");
        let mut nft = Nft::open().unwrap();
        nft.create_masquerade(owner(&id), &[cidr("10.2.0.1/16")])
            .unwrap();
        assert_eq!(nft.count_masquerade(owner("old5")).unwrap(), (100, true));
        assert_eq!(nft.remove_masquerade(owner(&id)).unwrap(), 1);
    });
    assert_eq!(kernel.masquerade_entries().unwrap().len(), 1000);
}
