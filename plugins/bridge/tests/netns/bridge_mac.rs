//! Hardware addresses: fixed ones, which udev does not change; and above all that of the bridge.

use crate::{
    kernel,
    network::{Network, V4, host_local, id},
};
use cni_types::MacAddr;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
};
use testkit::{Host, OrFail, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_macs_of_bridge_and_both_ends_are_chosen_ones,
        an_adopted_bridge_keeps_its_mac_over_random_port_churn,
        an_adopted_bridge_with_foreign_ports_keeps_its_mac_over_random_port_churn,
        an_adopted_gateway_keeps_its_mac_over_random_port_churn,
        our_own_bridge_keeps_its_mac_over_random_port_churn,
        our_own_gateway_keeps_its_mac_over_random_port_churn,
        a_bridge_with_an_all_zero_mac_gets_one_without_a_gateway_too,
    ]
}

/// NET_ADDR_SET in include/uapi/linux/netdevice.h: udev and the kernel do not change such an
/// address. `/sys` shows the namespace in which it was mounted.
fn is_chosen(name: &str) -> bool {
    std::fs::create_dir_all("/run/sys").or_fail("make a folder");
    kernel::tool("mount -t sysfs none /run/sys");
    let kind = std::fs::read_to_string(format!("/run/sys/class/net/{name}/addr_assign_type"));
    kernel::tool("umount /run/sys");
    kind.or_fail("read addr_assign_type").trim() == "3"
}

fn the_macs_of_bridge_and_both_ends_are_chosen_ones(host: &Host) {
    kernel::require_tool("mount");
    let pod = host.pod("a");
    let added = Network::new(host, json!({})).add(&pod).result();
    assert!(is_chosen("cni0"));
    assert!(is_chosen(&added.interfaces[1].name));
    assert!(pod.inside(|| is_chosen("eth0")));
}

/// A small pseudo-random generator (Marsaglia's xorshift): a seed reproduces the sequence of
/// events.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn mac(&mut self) -> String {
        // From the whole range of local addresses: any of them may be the lowest.
        let mac = MacAddr::local(
            (self.below(1 << 48) << 16).to_be_bytes()[..6]
                .try_into()
                .unwrap(),
        );
        mac.to_string()
    }
}

/// Ports come and go in random order: ours by ADD and DEL, others by hand.
struct Churn<'a> {
    host: &'a Host,
    network: Network<'a>,
    random: Random,
    pods: BTreeMap<String, Pod>,
    foreign: Vec<String>,
    next: u32,
}

impl Churn<'_> {
    fn step(&mut self) -> String {
        self.next += 1;
        match self.random.below(5) {
            0 | 1 => {
                let pod = self.host.pod(&format!("p{}", self.next));
                self.network.add(&pod).success();
                let name = id(&pod);
                self.pods.insert(name.clone(), pod);
                format!("ADD {name}")
            }
            2 => match self.pods.pop_first() {
                Some((name, pod)) => {
                    self.network.del(&pod).silent_success();
                    pod.remove();
                    format!("DEL {name}")
                }
                None => "nothing".to_owned(),
            },
            3 => {
                let name = format!("f{}", self.next);
                let mac = self.random.mac();
                kernel::tool(&format!(
                    "ip link add {name} address {mac} type veth peer name {name}p"
                ));
                kernel::tool(&format!("ip link set {name} master cni0 up"));
                self.foreign.push(name.clone());
                format!("foreign port {name} {mac}")
            }
            _ => match self.foreign.pop() {
                Some(name) => {
                    kernel::remove_link(&name);
                    format!("foreign port {name} leaves")
                }
                None => "nothing".to_owned(),
            },
        }
    }
}

fn churn(host: &Host, keys: Value, steps: usize) {
    kernel::require_tool("ip");
    let seed = std::env::var("CNI_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() | 1);
    host.note(format!("to repeat this: CNI_TEST_SEED={seed}"));
    let network = Network::new(host, keys);
    let mut churn = Churn {
        host,
        network,
        random: Random(seed),
        pods: BTreeMap::new(),
        foreign: Vec::new(),
        next: 0,
    };
    let first = host.pod("first");
    churn.network.add(&first).success();
    let mac = kernel::mac("cni0");
    assert_ne!(mac, MacAddr::ZERO.to_string());
    churn.pods.insert("first".to_owned(), first);
    for at in 0..steps {
        let what = churn.step();
        host.note(format!("step {at}: {what}"));
        assert_eq!(kernel::mac("cni0"), mac, "seed {seed}, step {at}: {what}");
    }
}

const STEPS: usize = 60;

fn an_adopted_bridge_keeps_its_mac_over_random_port_churn(host: &Host) {
    kernel::tool("ip link add cni0 type bridge");
    churn(host, json!({}), STEPS);
}

/// The bridge inherits the address of a port, and keeps it as long as the port exists.
fn an_adopted_bridge_with_foreign_ports_keeps_its_mac_over_random_port_churn(host: &Host) {
    kernel::tool("ip link add cni0 type bridge");
    kernel::tool("ip link add lowest address 02:07:00:00:00:01 type veth peer name far");
    kernel::tool("ip link set lowest master cni0 up");
    let pod = host.pod("z");
    Network::new(host, json!({})).add(&pod).success();
    let mac = kernel::mac("cni0");
    kernel::remove_link("lowest");
    assert_eq!(kernel::mac("cni0"), mac);
    churn(host, json!({}), STEPS);
    assert_eq!(kernel::mac("cni0"), mac);
}

fn an_adopted_gateway_keeps_its_mac_over_random_port_churn(host: &Host) {
    kernel::tool("ip link add cni0 type bridge");
    kernel::add_address("cni0", "10.1.0.1/24");
    kernel::tool("ip link add lowest address 02:07:00:00:00:01 type veth peer name far");
    kernel::tool("ip link set lowest master cni0 up");
    let keys = json!({"isGateway": true, "ipam": host_local(host, &[V4])});
    Network::new(host, keys.clone())
        .add(&host.pod("z"))
        .success();
    let mac = kernel::mac("cni0");
    kernel::remove_link("lowest");
    assert_eq!(kernel::mac("cni0"), mac);
    churn(host, keys, STEPS);
    assert_eq!(kernel::mac("cni0"), mac);
}

fn our_own_bridge_keeps_its_mac_over_random_port_churn(host: &Host) {
    churn(host, json!({}), STEPS);
}

fn our_own_gateway_keeps_its_mac_over_random_port_churn(host: &Host) {
    churn(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4])}),
        STEPS,
    );
}

/// The reference sets the previous address of such a bridge again, and the kernel refuses that
/// (nerdctl#4283).
fn a_bridge_with_an_all_zero_mac_gets_one_without_a_gateway_too(host: &Host) {
    kernel::require_tool("ip");
    kernel::tool("ip link add cni0 type bridge");
    kernel::tool("ip link add p0 type veth peer name p1");
    kernel::tool("ip link set p0 master cni0");
    kernel::tool("ip link del p0");
    assert_eq!(kernel::mac("cni0"), MacAddr::ZERO.to_string());
    let pod = host.pod("a");
    let network = Network::new(host, json!({}));
    let mac = network.add(&pod).result().interfaces[0].mac.clone();
    assert_ne!(mac, MacAddr::ZERO.to_string());
    network.del(&pod).silent_success();
    assert_eq!(kernel::mac("cni0"), mac);
}
