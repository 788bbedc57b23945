//! The state of the kernel in the thread's network namespace.

use cni_net::{Batch, InstalledRoute, Link, Netns, NewLink, Rtnl};
use cni_types::{IfName, MacAddr};
use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};
use testkit::{Host, OrFail, Pod, fail};

pub(crate) fn find_link(name: &str) -> Option<Link> {
    Rtnl::open()
        .unwrap()
        .find_link(&if_name(name))
        .or_fail("look up a link")
}

pub(crate) fn link(name: &str) -> Link {
    find_link(name).or_fail(&format!("find the link {name}"))
}

/// Returns the container's interface.
pub(crate) fn eth0(pod: &Pod) -> Link {
    pod.inside(|| link("eth0"))
}

pub(crate) fn mac(name: &str) -> String {
    link(name).mac.or_fail("read a MAC address").to_string()
}

/// Returns the names of all links, in order.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = Rtnl::open()
        .unwrap()
        .links()
        .or_fail("list links")
        .into_iter()
        .map(|link| link.name.to_string())
        .collect();
    names.sort();
    names
}

/// Returns the addresses with their prefixes, except link-local ones.
pub(crate) fn addresses(name: &str) -> Vec<String> {
    let all = Rtnl::open()
        .unwrap()
        .addresses(link(name).index)
        .or_fail("list addresses");
    all.iter()
        .filter(|address| !address.link_local)
        .map(|address| address.cidr.to_string())
        .collect()
}

pub(crate) fn link_locals(name: &str) -> Vec<String> {
    let all = Rtnl::open()
        .unwrap()
        .addresses(link(name).index)
        .or_fail("list addresses");
    all.iter()
        .filter(|address| address.link_local)
        .map(|address| address.cidr.to_string())
        .collect()
}

/// Returns the addresses that still wait for duplicate address detection.
pub(crate) fn tentative(name: &str) -> Vec<String> {
    let all = Rtnl::open()
        .unwrap()
        .addresses(link(name).index)
        .or_fail("list addresses");
    all.iter()
        .filter(|address| address.tentative)
        .map(|address| address.cidr.to_string())
        .collect()
}

/// Returns the routes of the main table to `dst`.
pub(crate) fn routes_to(dst: &str) -> Vec<InstalledRoute> {
    let mut routes = Rtnl::open().unwrap().routes().or_fail("list routes");
    routes.retain(|route| route.table == 254 && route.dst.to_string() == dst);
    routes
}

/// Returns the next hops of the routes to `dst`.
pub(crate) fn hops(dst: &str) -> Vec<String> {
    routes_to(dst)
        .iter()
        .map(|route| route.gateway.map(|hop| hop.to_string()).unwrap_or_default())
        .collect()
}

/// Returns a sysctl by its path below `/proc/sys/net`.
pub(crate) fn sysctl(path: &str) -> String {
    let value =
        std::fs::read_to_string(format!("/proc/sys/net/{path}")).or_fail(&format!("read {path}"));
    value.trim().to_owned()
}

pub(crate) fn set_sysctl(path: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{path}"), value).or_fail(&format!("write {path}"));
}

/// Returns the comments of all masquerade rules.
pub(crate) fn rules() -> Vec<String> {
    testkit::rules::masquerade_comments().or_fail("list rules")
}

/// Returns the number of masquerade rules of a container, found by the end of their comments.
pub(crate) fn rules_of(container: &str) -> usize {
    rules()
        .iter()
        .filter(|comment| comment.ends_with(&format!(", id: {container}")))
        .count()
}

/// Returns the addresses that host-local has reserved in network `net`.
pub(crate) fn records(data_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data_dir.join("net"))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.parse::<IpAddr>().is_ok())
        .collect()
}

/// Changes a link with the requests that `fill` puts into the batch.
pub(crate) fn change(name: &str, fill: impl FnOnce(&mut Batch, &Link)) {
    let mut batch = Batch::new();
    fill(&mut batch, &link(name));
    Rtnl::open()
        .unwrap()
        .run(batch)
        .or_fail(&format!("change {name}"));
}

pub(crate) fn add_address(name: &str, cidr: &str) {
    change(name, |batch, link| {
        batch.create_address(link, cidr.parse().unwrap(), false)
    });
}

pub(crate) fn delete_address(name: &str, cidr: &str) {
    change(name, |batch, link| {
        batch.delete_address(link, cidr.parse().unwrap())
    });
}

pub(crate) fn set_down(name: &str) {
    change(name, |batch, link| batch.set_down(link));
}

pub(crate) fn set_up(name: &str) {
    change(name, |batch, link| batch.set_up(link));
}

pub(crate) fn remove_link(name: &str) {
    let index = link(name).index;
    Rtnl::open()
        .unwrap()
        .remove_link(index)
        .or_fail(&format!("remove {name}"));
}

/// Creates a bridge as another program does, and returns it.
pub(crate) fn create_bridge(name: &str) -> Link {
    let mac = MacAddr([2, 0, 0, 0, 0, 0xbb]);
    Rtnl::open()
        .unwrap()
        .create_bridge(&if_name(name), mac, None)
        .or_fail("make a bridge");
    link(name)
}

/// Creates a pair as another program does: one end on the bridge, the other in the pod.
pub(crate) fn create_veth(name: &str, bridge: &str, pod: &Pod, inside: &str) {
    let netns = Netns::open(pod.path()).or_fail("open a pod");
    let mut batch = Batch::new();
    let port = if_name(name);
    let inner = if_name(inside);
    let bridge = link(bridge);
    let outer = NewLink::named(&port)
        .mac(MacAddr([2, 0, 0, 0, 1, 1]))
        .port_of(&bridge)
        .up();
    let peer = NewLink::named(&inner)
        .mac(MacAddr([2, 0, 0, 0, 1, 2]))
        .in_netns(&netns);
    batch.create_veth(&outer, &peer);
    Rtnl::open()
        .unwrap()
        .run(batch)
        .or_fail(&format!("make the pair {name} and {inside}"));
}

pub(crate) fn if_name(name: &str) -> IfName {
    IfName::parse(name).unwrap()
}

/// Waits until the kernel or another process has done something.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > Duration::from_secs(20) {
            fail(format_args!("waited in vain until {what}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn has_vlan_filtering() -> bool {
    let there = create_bridge("probe0").vlans.is_some();
    remove_link("probe0");
    there
}

/// Ignores a test of speed, or of much work within a time limit, on an emulated machine
/// (`scripts/vlan-vm`).
pub(crate) fn only_at_full_speed() {
    let emulated = std::env::var_os("CNI_TEST_EMULATED").is_some();
    testkit::only_where("the machine is not emulated", !emulated);
}

/// Ignores the test if the kernel has no VLANs on bridges.
pub(crate) fn require_vlan_filtering() {
    let what = "bridge VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)";
    testkit::require(what, has_vlan_filtering());
}

/// Runs a program of the machine in the thread's namespace, and returns its output.
pub(crate) fn tool(line: &str) -> String {
    run(line).unwrap_or_else(|e| fail(format_args!("{line}: {e}")))
}

/// Does the same for a program that may fail.
pub(crate) fn try_tool(line: &str) -> Option<String> {
    run(line).ok()
}

fn run(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let mut command = std::process::Command::new(words.next().unwrap());
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = command.args(words).env("PATH", path).output().or_fail(line);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Makes a program that runs the plugin without the capability to change the network.
pub(crate) fn without_net_admin(host: &Host) -> std::path::PathBuf {
    without_capabilities(host, "-net_admin")
}

/// Makes a program that runs the plugin without these capabilities, named as in setpriv(1).
pub(crate) fn without_capabilities(host: &Host, missing: &str) -> std::path::PathBuf {
    let bridge = testkit::bin_dir().join("bridge");
    let body = format!(
        "exec setpriv --bounding-set {missing} --inh-caps {missing} {}",
        bridge.display()
    );
    host.script("unprivileged", &body)
}

/// Ignores the test if the machine lacks a program that the test needs.
pub(crate) fn require_tool(name: &str) {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let there = path
        .split(':')
        .any(|folder| std::path::Path::new(folder).join(name).is_file());
    testkit::require(&format!("the program {name}"), there);
}
