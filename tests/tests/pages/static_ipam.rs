//! Requests that static refuses.

use crate::page::Page;
use cni_types::Command;
use serde_json::{Value, json};
use testkit::{Host, Invocation};

fn request<'a>(host: &'a Host, command: Command, keys: Value) -> Invocation<'a> {
    let base =
        json!({"cniVersion": "1.1.0", "name": "n", "type": "bridge", "ipam": {"type": "static"}});
    crate::request(host, "static", command, &base, keys).netns("/run/none")
}

pub(crate) fn configurations(host: &Host, page: &mut Page) {
    let add = |keys: Value| request(host, Command::Add, keys);
    let ipam = |addresses: Value| json!({"ipam": {"addresses": addresses}});
    let two = json!([{"address": "10.0.0.1/8"}, {"address": "10.0.0.2/8"}]);
    for keys in [
        json!({"ipam": null}),
        ipam(json!([{"address": "10.0.0.1"}])),
        ipam(json!([{"address": "10.0.0.1/8", "gateway": "here"}])),
        json!({"args": {"cni": {"ips": ["10.0.0.1"]}}}),
        json!({"runtimeConfig": {"ips": ["10.0.0.1"]}}),
        json!({"cniVersion": "0.2.0"}),
        json!({"cniVersion": "0.2.0", "ipam": {"addresses": two}}),
    ] {
        page.sees(add(keys));
    }
    page.sees(add(json!({})).args("IP=10.0.0.1"));
    page.sees(add(json!({})).args("GATEWAY=here"));
    let mut keys = ipam(json!([{"address": "10.0.0.1/8"}]));
    page.sees(request(host, Command::Check, keys.clone()));
    keys["prevResult"] = json!({"cniVersion": "1.1.0"});
    page.sees(request(host, Command::Check, keys));
}
