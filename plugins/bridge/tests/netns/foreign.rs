//! Pairs without a valid mark of ours, above all the reference's: GC removes those that are
//! certainly stale, and frees no address that a container still uses.

use crate::{
    kernel,
    nat::Flavour,
    network::{Network, V4, V6, host_local, id},
};
use cni_attachment::netfilter::{RuleSet, masquerade::NftRules};
use cni_net::nft::Nft;
use cni_types::{AttachmentId, Command, KeepAddresses};
use serde_json::{Value, json};
use testkit::{self, Host, Outcome, Pod, Suite, Test};

/// The backend with which the reference masquerades.
#[derive(Clone, Copy, Debug)]
enum Way {
    Nftables,
    Iptables(Flavour),
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = testkit::tests![
        gc_leaves_a_valid_pod_whose_address_a_stale_rule_names,
        gc_leaves_pods_alone_while_a_valid_attachment_may_be_one_of_them,
        gc_keeps_an_address_that_moved_behind_a_bridge_in_the_container,
        gc_keeps_the_addresses_of_a_pair_of_the_reference_that_somebody_gave_an_alias,
        gc_hands_ipam_nothing_to_keep_where_every_pair_says_whose_it_is,
        gc_frees_the_address_of_a_foreign_pair_once_its_namespace_is_gone,
    ];
    let ways = [
        (Suite::Sid, Way::Nftables),
        (Suite::Sid, Way::Iptables(Flavour::Nft)),
        (Suite::Bookworm, Way::Iptables(Flavour::Nft)),
        (Suite::Bookworm, Way::Iptables(Flavour::Legacy)),
    ];
    for (suite, way) in ways {
        let name = format!(
            "{}::{way:?}::gc_removes_a_stale_pod_of_the_reference_whole",
            suite.name()
        );
        tests.push(Test::new(name, move |host| {
            gc_removes_a_stale_pod_of_the_reference_whole(host, suite, way)
        }));
    }
    for suite in Suite::ALL {
        let name = format!(
            "{}::gc_keeps_the_address_of_a_living_pod_without_rules",
            suite.name()
        );
        tests.push(Test::new(name, move |host| {
            gc_keeps_the_address_of_a_living_pod_without_rules(host, suite)
        }));
    }
    tests
}

fn network<'a>(host: &'a Host, keys: Value) -> Network<'a> {
    Network::new(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4, V6])}),
    )
    .with(keys)
}

fn path(way: Way) -> String {
    match way {
        Way::Nftables => "/usr/sbin:/sbin:/usr/bin:/bin".to_owned(),
        Way::Iptables(flavour) => flavour.path(),
    }
}

/// An ADD by the reference, with its own IPAM plugin.
fn add_by_reference(network: &Network<'_>, suite: Suite, way: Way, pod: &Pod) {
    let folder = suite.require();
    let request = network
        .with(json!({"cniVersion": "1.0.0"}))
        .attachment(Command::Add, pod);
    let request = request
        .program(folder.join("bridge"))
        .env("CNI_PATH", folder)
        .env("PATH", path(way));
    request.run().success();
}

fn gc(network: &Network<'_>, way: Way, valid: &[&Pod]) -> Outcome {
    let list: Vec<Value> = valid
        .iter()
        .map(|pod| json!({"containerID": id(pod), "ifname": "eth0"}))
        .collect();
    let network = network.with(json!({"cni.dev/valid-attachments": list}));
    network
        .request(Command::Gc, "")
        .env("PATH", path(way))
        .run()
}

/// Returns the container's addresses, if it has its interface.
fn addresses(pod: &Pod) -> Vec<String> {
    pod.inside(|| kernel::find_link("eth0").map(|_| kernel::addresses("eth0")))
        .unwrap_or_default()
}

fn is_reserved(host: &Host, address: &str) -> bool {
    host.data_dir().join("net").join(address).exists()
}

fn rules(way: Way, pod: &Pod) -> usize {
    match way {
        Way::Nftables => kernel::rules_of(&id(pod)),
        Way::Iptables(flavour) => {
            let comment = format!("id: \\\"{}\\\"", id(pod));
            flavour
                .rules()
                .iter()
                .filter(|rule| rule.contains(&comment))
                .count()
        }
    }
}

fn gc_removes_a_stale_pod_of_the_reference_whole(host: &Host, suite: Suite, way: Way) {
    let backend = match way {
        Way::Nftables => {
            kernel::require_tool("nft");
            "nftables"
        }
        Way::Iptables(flavour) => {
            flavour.require();
            "iptables"
        }
    };
    let network = network(host, json!({"ipMasq": true, "ipMasqBackend": backend}));
    let pods = ["a", "b"].map(|name| host.pod(name));
    pods.iter()
        .for_each(|pod| add_by_reference(&network, suite, way, pod));
    assert_eq!(addresses(&pods[0]), ["10.1.0.2/24", "fd01::2/64"]);
    let rules_of_b = rules(way, &pods[1]);
    assert!(rules_of_b > 0 && rules(way, &pods[0]) == rules_of_b);

    gc(&network, way, &[&pods[1]]).silent_success();
    assert_eq!((addresses(&pods[0]), rules(way, &pods[0])), (Vec::new(), 0));
    assert!(!is_reserved(host, "10.1.0.2") && !is_reserved(host, "fd01::2"));
    assert_eq!(addresses(&pods[1]), ["10.1.0.3/24", "fd01::3/64"]);
    assert_eq!(rules(way, &pods[1]), rules_of_b);
    assert!(is_reserved(host, "10.1.0.3") && is_reserved(host, "fd01::3"));

    gc(&network, way, &[]).silent_success();
    assert_eq!(
        (kernel::names(), rules(way, &pods[1])),
        (vec!["cni0".to_owned(), "lo".to_owned()], 0)
    );
    assert!(!is_reserved(host, "10.1.0.3") && !is_reserved(host, "fd01::3"));
}

fn gc_keeps_the_address_of_a_living_pod_without_rules(host: &Host, suite: Suite) {
    let network = network(host, json!({}));
    let old = host.pod("a");
    let new = host.pod("b");
    add_by_reference(&network, suite, Way::Nftables, &old);
    let outcome = gc(&network, Way::Nftables, &[]);
    let said = &outcome.success().stderr;
    assert!(
        said.contains("10.1.0.2, fd01::2") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(addresses(&old), ["10.1.0.2/24", "fd01::2/64"]);
    assert!(is_reserved(host, "10.1.0.2") && is_reserved(host, "fd01::2"));
    // Without this file the reference starts again with the first address.
    std::fs::remove_file(host.data_dir().join("net/last_reserved_ip.0")).unwrap();
    network.add(&new).success();
    assert_eq!(
        addresses(&new).first().map(String::as_str),
        Some("10.1.0.3/24")
    );
}

/// Makes a pair as the reference does, with an address of the container; returns its host end's
/// name.
fn create_foreign(pod: &Pod, number: u8, address: &str) -> String {
    let name = format!("vethfeedbee{number}");
    kernel::create_veth(&name, "cni0", pod, "eth0");
    pod.inside(|| {
        kernel::set_up("eth0");
        kernel::add_address("eth0", address);
    });
    name
}

fn reserve(host: &Host, address: &str, pod: &Pod) {
    std::fs::create_dir_all(host.data_dir().join("net")).unwrap();
    std::fs::write(
        host.data_dir().join("net").join(address),
        format!("{}\r\neth0", id(pod)),
    )
    .unwrap();
}

fn masquerade(container_id: &str, address: &str) {
    let owner = AttachmentId {
        network: "net",
        container_id,
        if_name: "eth0",
    };
    let mut nft = Nft::open().unwrap();
    NftRules::new(&mut nft)
        .create(owner, &[address.parse().unwrap()])
        .unwrap();
}

/// The DEL of its owner left a rule behind, and the address is in use again.
fn gc_leaves_a_valid_pod_whose_address_a_stale_rule_names(host: &Host) {
    let network = network(host, json!({}));
    let pod = host.pod("b");
    kernel::create_bridge("cni0");
    create_foreign(&pod, 1, "10.1.0.2/24");
    reserve(host, "10.1.0.2", &pod);
    masquerade("a", "10.1.0.2/24");
    masquerade("b", "10.1.0.2/24");
    gc(&network, Way::Nftables, &[&pod]).silent_success();
    assert_eq!(
        (
            addresses(&pod),
            kernel::rules_of("a"),
            kernel::rules_of("b")
        ),
        (vec!["10.1.0.2/24".into()], 0, 1)
    );
    assert!(is_reserved(host, "10.1.0.2"));
}

/// `ipMasq` was switched off before the pod came that has the address now, so that pod has no rule.
fn gc_leaves_pods_alone_while_a_valid_attachment_may_be_one_of_them(host: &Host) {
    let network = network(host, json!({}));
    let pods = ["b", "c"].map(|name| host.pod(name));
    kernel::create_bridge("cni0");
    create_foreign(&pods[0], 1, "10.1.0.2/24");
    reserve(host, "10.1.0.2", &pods[0]);
    masquerade("a", "10.1.0.2/24");
    network.add(&pods[1]).success();
    gc(&network, Way::Nftables, &[&pods[0], &pods[1]]).silent_success();
    assert_eq!(addresses(&pods[0]), ["10.1.0.2/24"]);
    assert!(is_reserved(host, "10.1.0.2"));
    // If all valid attachments are known, the rule is proof.
    masquerade("a", "10.1.0.2/24");
    gc(&network, Way::Nftables, &[&pods[1]]).silent_success();
    assert_eq!(addresses(&pods[0]), [""; 0]);
    assert!(!is_reserved(host, "10.1.0.2") && !addresses(&pods[1]).is_empty());
}

/// KubeVirt's bridge binding does this: a guest behind the new bridge answers.
fn gc_keeps_an_address_that_moved_behind_a_bridge_in_the_container(host: &Host) {
    let network = network(host, json!({}));
    let pod = host.pod("a");
    kernel::create_bridge("cni0");
    create_foreign(&pod, 1, "10.1.0.2/24");
    reserve(host, "10.1.0.2", &pod);
    pod.inside(|| {
        kernel::delete_address("eth0", "10.1.0.2/24");
        kernel::create_bridge("k6t-eth0");
        kernel::add_address("k6t-eth0", "10.1.0.2/24");
    });
    assert!(
        gc(&network, Way::Nftables, &[])
            .success()
            .stderr
            .contains("10.1.0.2")
    );
    assert!(is_reserved(host, "10.1.0.2"));
}

fn gc_keeps_the_addresses_of_a_pair_of_the_reference_that_somebody_gave_an_alias(host: &Host) {
    let network = network(host, json!({}));
    let pod = host.pod("a");
    kernel::create_bridge("cni0");
    let name = create_foreign(&pod, 1, "10.1.0.2/24");
    kernel::change(&name, |batch, link| batch.set_alias(link, "pod of team 7"));
    reserve(host, "10.1.0.2", &pod);
    masquerade("a", "10.1.0.2/24");
    assert!(
        gc(&network, Way::Nftables, &[])
            .success()
            .stderr
            .contains("10.1.0.2")
    );
    assert_eq!(addresses(&pod), ["10.1.0.2/24"]);
    assert!(is_reserved(host, "10.1.0.2"));
}

fn gc_hands_ipam_nothing_to_keep_where_every_pair_says_whose_it_is(host: &Host) {
    let variable = KeepAddresses::VARIABLE;
    let body = r#"[ "$CNI_COMMAND" = GC ] && env >"${0%/*}/gc-env"
echo '{"ips": [{"address": "10.1.0.2/24"}]}'"#;
    let script = host.script("noted", body);
    let network = Network::new(host, json!({"ipam": {"type": "noted"}}));
    let pods = ["a", "b"].map(|name| host.pod(name));
    network.add(&pods[0]).success();
    let handed = || {
        drop(gc(&network, Way::Nftables, &[&pods[0]]));
        let text = std::fs::read_to_string(script.with_file_name("gc-env")).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(variable).map(str::to_owned))
    };
    assert_eq!(handed(), None);
    create_foreign(&pods[1], 1, "10.1.0.7/24");
    assert_eq!(handed().as_deref(), Some("=10.1.0.7"));
}

fn gc_frees_the_address_of_a_foreign_pair_once_its_namespace_is_gone(host: &Host) {
    let network = network(host, json!({}));
    let pod = host.pod("a");
    kernel::create_bridge("cni0");
    create_foreign(&pod, 1, "10.1.0.2/24");
    reserve(host, "10.1.0.2", &pod);
    pod.remove();
    kernel::wait_until("the kernel has taken the namespace down", || {
        gc(&network, Way::Nftables, &[]).success();
        !is_reserved(host, "10.1.0.2")
    });
}
