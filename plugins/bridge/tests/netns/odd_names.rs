//! Unusual interface names: the output of the tools that show or list them stays readable.

use crate::{
    kernel,
    network::{Network, V4, host_local, id},
};
use cni_types::{Code, Command};
use serde_json::json;
use testkit::{Host, Suite, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        whatever_the_interface_is_called_nft_reads_its_own_list_back,
        chains_of_the_reference_with_an_odd_name_go_with_del,
        a_port_that_nft_could_not_name_is_refused,
    ]
}

fn network(host: &Host) -> Network<'_> {
    kernel::require_tool("nft");
    Network::new(host, json!({"macspoofchk": true}))
}

fn ruleset() -> String {
    kernel::tool("nft list ruleset")
}

fn whatever_the_interface_is_called_nft_reads_its_own_list_back(host: &Host) {
    kernel::require_tool("ip");
    let network = network(host).with(json!({"ipMasq": true, "ipam": host_local(host, &[V4])}));
    let names = [
        "a\"b",
        "a{b}",
        "a;b",
        "#a",
        "a\\b",
        "a*",
        "\u{e9}t\u{e9}0",
        "$a,@b",
        "-a",
        "eth0.7",
    ];
    for (at, name) in names.into_iter().enumerate() {
        let pod = host.pod(&format!("p{at}"));
        let request = |command| network.attachment(command, &pod).ifname(name);
        let added = request(Command::Add).run();
        added.success();
        let list = host.file("list", &ruleset());
        kernel::tool(&format!("nft --check -f {}", list.display()));
        for links in [
            kernel::tool("ip -j link"),
            pod.inside(|| kernel::tool("ip -j link")),
        ] {
            let read: Result<serde_json::Value, _> = serde_json::from_str(&links);
            assert!(read.is_ok(), "{name}: {links}");
        }
        let check = network.with(json!({"prevResult": added.json()}));
        check
            .attachment(Command::Check, &pod)
            .ifname(name)
            .run()
            .silent_success();
        request(Command::Del).run().silent_success();
        assert!(
            !ruleset().contains("macspoofchk") && kernel::rules().is_empty(),
            "{name}: {}",
            ruleset()
        );
    }
}

fn chains_of_the_reference_with_an_odd_name_go_with_del(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let request = |command| network.attachment(command, &pod).ifname("a;b");
    let reference = Suite::Sid.require();
    request(Command::Add)
        .program(reference.join("bridge"))
        .run()
        .success();
    assert!(
        ruleset().contains("chain cni-br-iface-a-a;b "),
        "{}",
        ruleset()
    );
    request(Command::Del).run().silent_success();
    assert!(!ruleset().contains("cni-br-iface"), "{}", ruleset());
}

fn a_port_that_nft_could_not_name_is_refused(host: &Host) {
    kernel::require_tool("ip");
    let pod = host.pod("a");
    let name = id(&pod);
    kernel::tool(&format!(
        "ip link add po\"rt type veth peer name eth0 netns {name}"
    ));
    let prev = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "po\"rt"}, {"name": "eth0", "sandbox": pod.path()}],
    });
    let error = network(host)
        .with(json!({"prevResult": prev}))
        .add(&pod)
        .error();
    assert_eq!(error.code, Code::INVALID_CONFIG);
    assert!(error.msg.contains("po\"rt contains a quote"), "{error}");
    assert_eq!(
        (ruleset(), kernel::link("po\"rt").master),
        (String::new(), None)
    );
}
