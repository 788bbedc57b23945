//! The pages of docs/: an error that can be brought about here stands there, with its code, and
//! their examples work. So what people look up is what they see.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

#[path = "pages/bridge.rs"]
mod bridge;
#[path = "pages/host_local.rs"]
mod host_local;
#[path = "pages/keys.rs"]
mod keys;
#[path = "pages/page.rs"]
mod page;
#[path = "pages/protocol.rs"]
mod protocol;
#[path = "pages/static_ipam.rs"]
mod static_ipam;

use cni_types::Command;
use page::{Page, path_of, text};
use serde_json::{Value, json};
use std::process::ExitCode;
use testkit::{Host, Invocation, bin_dir, fail};

fn main() -> ExitCode {
    testkit::main(testkit::tests![
        errors_of_bridge_are_on_its_page,
        differences_that_check_reports_are_on_the_page,
        errors_of_host_local_are_on_its_page,
        errors_of_static_are_on_its_page,
        errors_of_loopback_are_on_its_page,
        errors_of_the_protocol_are_on_their_page,
        the_keys_of_each_plugin_are_on_its_page,
        the_examples_of_the_pages_work,
        the_configurations_of_the_examples_work,
    ])
}

fn errors_of_bridge_are_on_its_page(host: &Host) {
    let mut page = Page::of("bridge.md", "text begins with", &["CHECK reports"]);
    bridge::configurations(host, &mut page);
    bridge::surroundings(host, &mut page);
    bridge::delegates(host, &mut page);
    bridge::chains(host, &mut page);
    page.require_all_seen(bridge::NOT_HERE);
}

fn differences_that_check_reports_are_on_the_page(host: &Host) {
    let mut page = Page::of("bridge.md", "CHECK reports", &["## Where it differs"]);
    bridge::differences(host, &mut page);
    page.require_all_seen(bridge::DIFFERENCES_NOT_HERE);
}

fn errors_of_host_local_are_on_its_page(host: &Host) {
    let mut page = Page::of("host-local.md", "## Errors", &["## Where it differs"]);
    host_local::configurations(host, &mut page);
    host_local::requests(host, &mut page);
    page.require_all_seen(host_local::NOT_HERE);
}

fn errors_of_static_are_on_its_page(host: &Host) {
    let mut page = Page::of("static.md", "## Errors", &["## Where it differs"]);
    static_ipam::configurations(host, &mut page);
    page.require_all_seen(&[]);
}

fn errors_of_loopback_are_on_its_page(host: &Host) {
    let mut page = Page::of("loopback.md", "## Errors", &["## Where it differs"]);
    let conf = |keys: Value| {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "lo", "type": "loopback"});
        conf.as_object_mut()
            .unwrap()
            .extend(keys.as_object().unwrap().clone());
        conf
    };
    let pod = host.pod("a");
    let request = |command, keys| host.plugin("loopback", command).pod(&pod).conf(conf(keys));
    page.sees(request(Command::Check, json!({})));
    let added = request(Command::Add, json!({})).run().json();
    let mut told = added.clone();
    told["ips"][0]["address"] = "127.9.9.9/8".into();
    page.sees(request(Command::Check, json!({"prevResult": told})));
    request(Command::Check, json!({"prevResult": added}))
        .run()
        .silent_success();
    page.sees(request(Command::Add, json!({})).netns("/run/none"));
    page.sees(request(Command::Add, json!({})).netns("/proc/self/ns/net"));
    page.require_all_seen(&[]);
}

fn errors_of_the_protocol_are_on_their_page(host: &Host) {
    let mut page = Page::of("errors.md", "## Errors", &[]);
    protocol::errors(host, &mut page);
    page.require_all_seen(protocol::NOT_HERE);
}

/// The blocks of JSON in a file, those that are a part of a network made whole.
fn networks_in(file: &str) -> Vec<Value> {
    let text = text(file);
    let blocks = text
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let whole = blocks.map(|block| match block.trim_start().starts_with('{') {
        true => block.to_owned(),
        false => format!(
            r#"{{"cniVersion": "1.1.0", "name": "part", "plugins": [{{"type": "bridge", "isGateway": true, {block}}}]}}"#
        ),
    });
    whole
        .map(|block| serde_json::from_str(&block).unwrap())
        .collect()
}

fn the_keys_of_each_plugin_are_on_its_page(_: &Host) {
    for plugin in cni_plugins::PLUGINS {
        keys::require_on_page(plugin.name, plugin.keys);
    }
}

fn the_examples_of_the_pages_work(host: &Host) {
    let pages = cni_plugins::names().map(|name| format!("docs/{name}.md"));
    let mut files: Vec<String> = pages.collect();
    for file in &files {
        assert!(!networks_in(file).is_empty(), "{file} has no example");
    }
    files.extend(readmes());
    for file in &files {
        for network in networks_in(file) {
            try_network(host, file, &network);
        }
    }
}

/// The pages beside the plugins' sources.
fn readmes() -> Vec<String> {
    let folders = ["plugins", "ipam"].into_iter().flat_map(|folder| {
        let entries = std::fs::read_dir(path_of(folder)).unwrap();
        entries.map(move |entry| (folder, entry.unwrap().file_name().into_string().unwrap()))
    });
    let files: Vec<String> = folders
        .map(|(folder, name)| format!("{folder}/{name}/README.md"))
        .collect();
    assert!(files.len() >= cni_plugins::names().count(), "{files:?}");
    files
}

fn the_configurations_of_the_examples_work(host: &Host) {
    for file in [
        "cri-o/05-crio.conflist",
        "nerdctl/nerdctl-pods.conflist",
        "podman/pods.conflist",
    ] {
        try_network(
            host,
            file,
            &serde_json::from_str(&text(&format!("examples/{file}"))).unwrap(),
        );
    }
    let node = host.file("ready", "").with_file_name("node");
    let mut install = std::process::Command::new(path_of("examples/kubernetes/install"));
    install
        .env("PLUGINS", bin_dir())
        .env("BIN", node.join("bin"))
        .env("CONF", node.join("net.d"));
    let output = install
        .env("POD_CIDRS", "10.244.1.0/24,fd00:244:1::/64")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let installed = std::fs::read(node.join("net.d/10-pods.conflist")).unwrap();
    try_network(
        host,
        "kubernetes/install",
        &serde_json::from_slice(&installed).unwrap(),
    );
}

/// By cnictl: ADD, CHECK, DEL, STATUS, and doctor has nothing to say against it. Plugins of a chain
/// that are not ours are left out.
fn try_network(host: &Host, file: &str, network: &Value) {
    let mut network = network.clone();
    if let Some(plugins) = network.get_mut("plugins") {
        plugins
            .as_array_mut()
            .unwrap()
            .retain(|plugin| bin_dir().join(plugin["type"].as_str().unwrap()).exists());
    }
    let label = file.replace(['/', '.'], "-");
    let pod = host.pod(&label);
    let ending = if network.get("plugins").is_some() {
        "conflist"
    } else {
        "conf"
    };
    let folder = host.file("ready", "").with_file_name(format!("{label}.d"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join(format!("10-pods.{ending}")),
        network.to_string(),
    )
    .unwrap();
    let cnictl = |arguments: &[&str]| {
        let mut command = std::process::Command::new(bin_dir().join("cnictl"));
        command
            .args(arguments)
            .env("NETCONFPATH", &folder)
            .env("CNI_PATH", bin_dir());
        let output = command.output().unwrap();
        if !output.status.success() {
            fail(format_args!("{file}: cnictl {arguments:?}: {output:?}"));
        }
        String::from_utf8(output.stdout).unwrap()
    };
    let name = network["name"].as_str().unwrap();
    let path = pod.path().to_str().unwrap();
    for command in ["add", "check", "del"] {
        cnictl(&[command, name, path]);
    }
    if network["cniVersion"] == "1.1.0" {
        cnictl(&["status", name]);
    }
    let report: Value = serde_json::from_str(&cnictl(&["doctor", "--json"])).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let told: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["severity"] != "note")
        .collect();
    assert!(told.is_empty(), "{file}: {told:?}");
    remove_bridge(
        network
            .pointer("/plugins/0/bridge")
            .map_or("cni0", |name| name.as_str().unwrap()),
    );
}

/// The next network has another address on it.
fn remove_bridge(name: &str) {
    let name = cni_types::IfName::parse(name).unwrap();
    cni_net::Rtnl::open()
        .unwrap()
        .remove_link_named(&name)
        .unwrap();
}

/// Makes a request of `plugin` with these keys over others, for the modules.
fn request<'a>(
    host: &'a Host,
    plugin: &str,
    command: Command,
    base: &Value,
    keys: Value,
) -> Invocation<'a> {
    let mut conf = base.clone();
    conf.as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    conf.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    let scripts = host.file("ready", "").parent().unwrap().to_owned();
    let path = format!("{}:{}", scripts.display(), bin_dir().display());
    host.plugin(plugin, command)
        .env("CNI_PATH", path)
        .conf(conf)
}
