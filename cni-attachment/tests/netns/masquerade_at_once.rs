//! Masquerade rules that several processes add and remove at the same time.

use crate::{
    masquerade::{count, create},
    scene::{cidr, id, open, with_valid},
};
use cni_attachment::netfilter::{RuleSet, masquerade::NftRules};
use cni_types::Cidr;
use std::{sync::Barrier, thread};
use testkit::{Host, Test, rules::masquerade_comments, rules::nft};

const THREADS: usize = 20;

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        first_rules_at_once_leave_one_skeleton,
        rules_come_and_go_at_once_without_an_error,
        the_same_rules_may_be_removed_by_several,
        a_count_is_right_while_a_thousand_rules_are_disturbed,
    ]
}

/// Runs `work` in many threads, each with its number, all at the same moment.
fn at_once(work: impl Fn(usize) + Sync) {
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let start = &start;
            let work = &work;
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
        let address = format!("10.1.0.{number}/16");
        create(&mut open(), id(&format!("c{number}")), &[&address]);
    });
    assert_eq!(masquerade_comments().unwrap().len(), THREADS);
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
        let container = format!("c{number}");
        let own = id(&container);
        let address = cidr(&format!("10.1.0.{number}/16"));
        let mut nft = open();
        let mut rules = NftRules::new(&mut nft);
        for _ in 0..5 {
            rules.create(own, &[address]).unwrap();
            assert_eq!(rules.differences(own, &[address]).unwrap(), [""; 0]);
            rules.remove(own, &|_| true).unwrap();
        }
    });
    assert_eq!(masquerade_comments().unwrap(), [""; 0]);
}

/// GC and the DELs of the attachments that it collects.
fn the_same_rules_may_be_removed_by_several(_: &Host) {
    let mut kernel = open();
    for number in 0..THREADS {
        let address = cidr(&format!("10.1.0.{number}/16"));
        let container = format!("c{number}");
        let mut rules = NftRules::new(&mut kernel);
        rules.create(id(&container), &[address; 10]).unwrap();
    }
    at_once(|number| {
        let mut nft = open();
        let mut rules = NftRules::new(&mut nft);
        let outcome = if number % 2 == 0 {
            with_valid(&[], |stale| rules.remove_stale(stale))
        } else {
            rules.remove(id(&format!("c{number}")), &|_| true)
        };
        outcome.unwrap();
    });
    assert_eq!(masquerade_comments().unwrap(), [""; 0]);
}

/// The restart of a whole node: a count and a removal need the whole list, which keeps changing.
fn a_count_is_right_while_a_thousand_rules_are_disturbed(_: &Host) {
    let mut kernel = open();
    let addresses = |block: usize| -> Vec<Cidr> {
        let address = |n| cidr(&format!("10.1.{block}.{n}/16"));
        (0..100).map(address).collect()
    };
    for block in 0..10 {
        let container = format!("old{block}");
        let mut rules = NftRules::new(&mut kernel);
        rules.create(id(&container), &addresses(block)).unwrap();
    }
    at_once(|number| {
        let container = format!("new{number}");
        let mut nft = open();
        let mut rules = NftRules::new(&mut nft);
        rules
            .create(id(&container), &[cidr("10.2.0.1/16")])
            .unwrap();
        let found = rules.differences(id("old5"), &addresses(5)).unwrap();
        assert_eq!(found, [""; 0]);
        rules.remove(id(&container), &|_| true).unwrap();
        assert_eq!(count(id(&container)), 0);
    });
    assert_eq!(masquerade_comments().unwrap().len(), 1000);
}
