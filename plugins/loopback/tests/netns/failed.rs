//! ADDs that fail: `lo` is down, as it was before.

use super::{is_up, loopback, result_before, with_result};
use cni_types::{Code, Command};
use serde_json::json;
use testkit::{Host, bin_dir};

/// The kernel did what it was asked for, and the plugin does not know.
pub(super) fn an_add_that_fails_over_a_lost_answer_leaves_lo_down(host: &Host) {
    let path = std::env::var("PATH").unwrap_or_default();
    let there = path
        .split(':')
        .any(|folder| std::path::Path::new(folder).join("strace").is_file());
    testkit::require("the program strace", there);
    let mut failures = 0;
    for number in 1..=4 {
        let pod = host.pod("a");
        let inject = format!("-e trace=recvfrom -e inject=recvfrom:error=ENOBUFS:when={number}");
        let body = format!(
            "exec strace -qq -o /dev/null {inject} {}/loopback",
            bin_dir().display()
        );
        let outcome = loopback(host, Command::Add, &pod)
            .program(host.script("traced", &body))
            .run();
        failures += usize::from(!outcome.status.success());
        assert_eq!(is_up(&pod), outcome.status.success(), "{outcome}");
        pod.remove();
    }
    assert!(
        failures >= 2,
        "the look-up and the setting up each have an answer"
    );
}

pub(super) fn a_result_before_that_cannot_be_read_leaves_lo_down(host: &Host) {
    let pod = host.pod("a");
    let outcome = loopback(host, Command::Add, &pod)
        .conf(with_result("1.0.0", json!({"ips": 7})))
        .run();
    assert_eq!(outcome.code(), Code::DECODE);
    assert!(
        outcome.msg().starts_with("could not parse prevResult"),
        "{}",
        outcome.msg()
    );
    assert!(!is_up(&pod));
}

pub(super) fn a_result_before_that_the_version_cannot_say_leaves_lo_down(host: &Host) {
    let pod = host.pod("a");
    let mut before = result_before("1.0.0");
    before["ips"]
        .as_array_mut()
        .unwrap()
        .push(json!({"address": "10.1.0.6/16"}));
    let add = loopback(host, Command::Add, &pod).conf(with_result("0.2.0", before));
    let text = "CNI version 0.2.0 does not support more than 1 address per family";
    assert_eq!(add.run().msg(), text);
    assert!(!is_up(&pod));
    // Where it was up before, that is not this ADD's to undo.
    loopback(host, Command::Add, &pod).run().success();
    assert_eq!(add.run().msg(), text);
    assert!(is_up(&pod));
}
