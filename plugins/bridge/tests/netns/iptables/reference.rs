//! Rules of iptables beside the reference: both write the same rules, and ours takes over its pods.

use super::{NO_RULES, del, network};
use crate::{
    nat::Flavour,
    network::{Network, V4, V6},
};
use cni_types::Command;
use serde_json::json;
use testkit::{Host, Outcome, Pod, Suite, Test};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for suite in Suite::ALL {
        tests.push(Test::new(
            format!("{}::rules_are_the_same_line_by_line", suite.name()),
            move |host| {
                rules_are_the_same_line_by_line(host, suite);
            },
        ));
        for flavour in Flavour::ALL {
            let name = format!(
                "{}::{flavour:?}::a_pod_of_the_reference_is_taken_over",
                suite.name()
            );
            tests.push(Test::new(name, move |host| {
                a_pod_of_the_reference_is_taken_over(host, suite, flavour)
            }));
        }
    }
    tests
}

/// Runs the reference's plugin with the same configuration.
fn by_reference(
    network: &Network<'_>,
    suite: Suite,
    flavour: Flavour,
    command: Command,
    pod: &Pod,
    id: &str,
) -> Outcome {
    let folder = suite.require();
    let keys = json!({"cniVersion": "1.0.0"});
    let request = network
        .with(keys)
        .attachment(command, pod)
        .container(id)
        .env("PATH", flavour.path());
    request
        .program(folder.join("bridge"))
        .env("CNI_PATH", folder)
        .run()
}

fn rules_are_the_same_line_by_line(host: &Host, suite: Suite) {
    let flavour = Flavour::Nft;
    let pod = host.pod("a");
    flavour.require();
    for (name, id) in [
        ("net".to_owned(), "a".to_owned()),
        ("n".repeat(150), "c".repeat(120)),
        ("n.e_t-1".to_owned(), "0".repeat(64)),
    ] {
        let network = network(host, &[V4, V6]).with(json!({"name": name}));
        by_reference(&network, suite, flavour, Command::Add, &pod, &id).success();
        let theirs = flavour.rules();
        by_reference(&network, suite, flavour, Command::Del, &pod, &id).success();
        assert_eq!(flavour.rules(), NO_RULES);
        network
            .attachment(Command::Add, &pod)
            .container(&id)
            .run()
            .success();
        // Another address was given this time.
        let ours: Vec<String> = flavour
            .rules()
            .iter()
            .map(|rule| {
                rule.replace("0.3/32", "0.2/32")
                    .replace("::3/128", "::2/128")
            })
            .collect();
        assert_eq!(ours, theirs);
        network
            .attachment(Command::Del, &pod)
            .container(&id)
            .run()
            .silent_success();
        assert_eq!(flavour.rules(), NO_RULES);
    }
}

/// With the configuration as it was, and iptables as the default; and with one that names no
/// backend, and nftables as the default.
fn a_pod_of_the_reference_is_taken_over(host: &Host, suite: Suite, flavour: Flavour) {
    flavour.require();
    let iptables = network(host, &[V4, V6]);
    for ours in [&iptables, &iptables.with(json!({"ipMasqBackend": null}))] {
        let pods = ["a", "b"].map(|name| host.pod(name));
        let [first, second] = ["a", "b"].map(|id| {
            let pod = pods.iter().find(|pod| pod.path().ends_with(id)).unwrap();
            by_reference(&iptables, suite, flavour, Command::Add, pod, id)
        });
        ours.check(&pods[0], &first).silent_success();
        del(
            &ours.with(json!({"prevResult": first.json()})),
            flavour,
            &pods[0],
        );
        assert_eq!(flavour.chains(), 2);
        ours.check(&pods[1], &second).silent_success();
        pods[1].remove();
        ours.request(Command::Del, "b")
            .env("PATH", flavour.path())
            .run()
            .silent_success();
        assert_eq!(flavour.rules(), NO_RULES);
        pods[0].remove();
    }
}
