//! The template as a runtime runs it: on `lo`, which every container has.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use cni_net::Rtnl;
use cni_types::{Code, Command, IfName};
use serde_json::{Value, json};
use std::process::ExitCode;
use testkit::{Host, Invocation, Pod};

fn main() -> ExitCode {
    testkit::main(testkit::tests![
        add_sets_the_mtu_and_passes_the_earlier_result_on,
        an_add_that_is_refused_changes_nothing,
        check_finds_another_mtu,
        del_succeeds_when_the_namespace_is_gone,
        status_and_gc_succeed,
    ])
}

fn request<'a>(host: &'a Host, command: Command, pod: &Pod, keys: Value) -> Invocation<'a> {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "n", "type": "plugin"});
    conf.as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    host.plugin("plugin", command)
        .ifname("lo")
        .pod(pod)
        .conf(conf)
}

fn earlier(pod: &Pod) -> Value {
    json!({"cniVersion": "1.1.0", "interfaces": [{"name": "lo", "sandbox": pod.path()}]})
}

fn mtu(pod: &Pod) -> u32 {
    let name = IfName::parse("lo").unwrap();
    let link = pod.inside(|| Rtnl::open().unwrap().find_link(&name));
    link.unwrap().unwrap().mtu
}

fn add_sets_the_mtu_and_passes_the_earlier_result_on(host: &Host) {
    let pod = host.pod("a");
    let keys = json!({"mtu": 1400, "prevResult": earlier(&pod)});
    let added = request(host, Command::Add, &pod, keys).run().json();
    assert_eq!(added, earlier(&pod));
    assert_eq!(mtu(&pod), 1400);
}

fn an_add_that_is_refused_changes_nothing(host: &Host) {
    let pod = host.pod("a");
    let before = mtu(&pod);
    for (keys, code) in [
        (json!({"mtu": 1400}), Code::INVALID_CONFIG),
        (json!({"mtu": 0, "prevResult": earlier(&pod)}), Code::DECODE),
        (json!({"prevResult": earlier(&pod)}), Code::DECODE),
    ] {
        assert_eq!(request(host, Command::Add, &pod, keys).run().code(), code);
    }
    let keys = json!({"mtu": 1400, "prevResult": earlier(&pod)});
    let no_such_link = request(host, Command::Add, &pod, keys).ifname("eth9").run();
    assert_eq!(no_such_link.code(), Code::KERNEL);
    assert_eq!(mtu(&pod), before);
}

fn check_finds_another_mtu(host: &Host) {
    let pod = host.pod("a");
    let keys = |mtu: u32| json!({"mtu": mtu, "prevResult": earlier(&pod)});
    request(host, Command::Add, &pod, keys(1400))
        .run()
        .success();
    request(host, Command::Check, &pod, keys(1400))
        .run()
        .silent_success();
    let checked = request(host, Command::Check, &pod, keys(1500)).run();
    assert_eq!(checked.msg(), "lo has MTU 1400, wanted 1500");
}

fn del_succeeds_when_the_namespace_is_gone(host: &Host) {
    let pod = host.pod("a");
    pod.remove();
    request(host, Command::Del, &pod, json!({}))
        .run()
        .silent_success();
}

fn status_and_gc_succeed(host: &Host) {
    let pod = host.pod("a");
    for command in [Command::Status, Command::Gc] {
        let keys = json!({"mtu": 1400, "cni.dev/valid-attachments": []});
        request(host, command, &pod, keys).run().silent_success();
    }
}
