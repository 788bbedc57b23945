//! DEL with everything that the runtime may still know: every state of the namespace × with and
//! without a previous result × both backends of masquerading × the address families. Each DEL
//! removes all of the attachment, and touches nothing else.

use crate::{
    nat::Flavour,
    network::{Network, V4, V6, host_local},
    snapshot::Snapshot,
};
use cni_types::Command;
use serde_json::json;
use testkit::{Host, Invocation, Pod, Test};

/// The object that `CNI_NETNS` leads to.
#[derive(Clone, Copy, Debug)]
enum Namespace {
    There,
    Missing,
    Empty,
    PlainFile,
    /// The namespace of another container of the same network.
    AnotherPods,
    /// The namespace of the plugin.
    Own,
}

const NAMESPACES: [Namespace; 6] = [
    Namespace::There,
    Namespace::Missing,
    Namespace::Empty,
    Namespace::PlainFile,
    Namespace::AnotherPods,
    Namespace::Own,
];

const FAMILIES: [(&str, &[&str]); 3] = [("v4", &[V4]), ("v6", &[V6]), ("dual", &[V4, V6])];

/// One case.
#[derive(Clone, Copy)]
struct Case {
    namespace: Namespace,
    with_result: bool,
    backend: &'static str,
    subnets: &'static [&'static str],
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for namespace in NAMESPACES {
        for (with_result, result) in [(true, "result"), (false, "no_result")] {
            for backend in ["nftables", "iptables"] {
                for (family, subnets) in FAMILIES {
                    let case = Case {
                        namespace,
                        with_result,
                        backend,
                        subnets,
                    };
                    let name = format!("del_matrix::{namespace:?}::{result}::{backend}::{family}");
                    tests.push(Test::new(name, move |host| case.run(host)));
                }
            }
        }
    }
    tests
}

impl Case {
    fn run(self, host: &Host) {
        Flavour::Nft.require();
        let ipam = host_local(host, self.subnets);
        let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": self.backend, "ipam": ipam});
        let network = Network::new(host, keys);
        let pod = host.pod("a");
        let other = host.pod("b");
        network.add(&other).success();
        let before = Snapshot::of(host, &[&other]);
        let rules = Flavour::Nft.rules();
        let added = network.add(&pod);
        let prev_result = if self.with_result {
            json!(added.success().json())
        } else {
            json!(null)
        };
        let network = network.with(json!({"prevResult": prev_result}));
        let request = self.request(host, &network, &pod, &other);
        for _ in 0..2 {
            request.run().silent_success();
            before.require_unchanged_but_for_the_last_address();
            assert_eq!(Flavour::Nft.rules(), rules);
        }
    }

    fn request<'a>(
        self,
        host: &Host,
        network: &Network<'a>,
        pod: &Pod,
        other: &Pod,
    ) -> Invocation<'a> {
        let request = network.request(Command::Del, "a");
        if !matches!(self.namespace, Namespace::There) {
            pod.remove();
        }
        match self.namespace {
            Namespace::There | Namespace::Missing => request.netns(pod.path()),
            Namespace::Empty => request.netns(""),
            Namespace::PlainFile => request.netns(host.file("plain", "no namespace")),
            Namespace::AnotherPods => request.netns(other.path()),
            Namespace::Own => request.netns("/proc/self/ns/net"),
        }
    }
}
