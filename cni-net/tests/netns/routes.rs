//! Routes, with everything that spec 1.1.0 can say about one.

use crate::scene::{bridge, cidr, connected, find, name, run};
use cni_net::{Errno, InstalledRoute, LinkRef, NetError, RouteSpec, Rtnl};
use cni_types::Route;
use std::{net::IpAddr, process::Command};
use testkit::{Host, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        only_packets_to_the_hosts_own_addresses_are_taken_in,
        default_routes_of_both_families_are_added,
        every_field_reaches_the_kernel,
        every_field_reaches_the_kernel_for_v6,
        a_route_without_a_gateway_is_on_the_link,
        a_route_twice_is_refused,
        host_bits_of_a_destination_do_not_matter,
        an_unreachable_gateway_is_refused_in_the_kernels_words,
        a_gateway_of_the_other_family_is_refused,
        a_high_table_number_is_kept,
    ]
}

const MAIN: u32 = 254;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn spec(dst: &str, gateway: Option<&str>) -> RouteSpec {
    RouteSpec {
        route: Route::new(cidr(dst), None),
        gateway: gateway.map(address),
    }
}

fn create(rtnl: &mut Rtnl, spec: &RouteSpec) -> Result<(), NetError> {
    let index = find(rtnl, "eth0").index;
    run(rtnl, |batch| {
        batch.create_route(LinkRef::new(index, &name("eth0")), spec)
    })
}

fn installed(rtnl: &mut Rtnl, dst: &str) -> Vec<InstalledRoute> {
    rtnl.routes()
        .unwrap()
        .into_iter()
        .filter(|route| route.dst == cidr(dst))
        .collect()
}

/// Returns the output of ip(8) for the routes of a table.
fn shown(pod: &Pod, arguments: &[&str]) -> String {
    let output = pod.inside(|| Command::new("ip").args(arguments).output());
    testkit::require("the ip program", output.is_ok());
    String::from_utf8(output.unwrap().stdout).unwrap()
}

fn default_routes_of_both_families_are_added(host: &Host) {
    let pod = host.pod("a");
    let mut inside = connected(&pod, "10.1.0.1/16", "10.1.0.5/16");
    crate::scene::add_address(&mut inside, "eth0", "fd00::5/64");
    let link = Some(find(&mut inside, "eth0").index);
    for (dst, gateway, priority) in [("0.0.0.0/0", "10.1.0.1", 0), ("::/0", "fd00::1", 1024)] {
        create(&mut inside, &spec(dst, Some(gateway))).unwrap();
        let dst = cidr(dst);
        let gateway = Some(address(gateway));
        let wanted = InstalledRoute {
            dst,
            gateway,
            link,
            table: MAIN,
            priority,
            source: None,
        };
        assert_eq!(installed(&mut inside, &dst.to_string()), [wanted]);
    }
}

fn full(dst: &str, gateway: &str) -> RouteSpec {
    let route = Route {
        mtu: Some(1400),
        advmss: Some(1360),
        priority: Some(77),
        table: Some(100),
        scope: Some(0),
        ..Route::new(cidr(dst), None)
    };
    RouteSpec {
        route,
        gateway: Some(address(gateway)),
    }
}

fn every_field_reaches_the_kernel(host: &Host) {
    let pod = host.pod("a");
    let mut inside = connected(&pod, "10.1.0.1/16", "10.1.0.5/16");
    create(&mut inside, &full("192.0.2.0/24", "10.1.0.1")).unwrap();
    let found = installed(&mut inside, "192.0.2.0/24");
    assert_eq!(
        (found.len(), found[0].table, found[0].priority),
        (1, 100, 77)
    );
    let text = shown(&pod, &["-4", "-d", "route", "show", "table", "100"]);
    let wanted = "unicast 192.0.2.0/24 via 10.1.0.1 dev eth0 proto boot scope global metric 77 mtu 1400 advmss 1360";
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>().join(" "),
        wanted
    );
}

fn every_field_reaches_the_kernel_for_v6(host: &Host) {
    let pod = host.pod("a");
    let mut inside = connected(&pod, "fd00::1/64", "fd00::5/64");
    create(&mut inside, &full("2001:db8::/32", "fd00::1")).unwrap();
    let found = installed(&mut inside, "2001:db8::/32");
    assert_eq!(
        (found.len(), found[0].table, found[0].priority),
        (1, 100, 77)
    );
    let text = shown(&pod, &["-6", "route", "show", "table", "100"]);
    for part in [
        "via fd00::1 dev eth0",
        "metric 77",
        "mtu 1400",
        "advmss 1360",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn a_route_without_a_gateway_is_on_the_link(host: &Host) {
    let pod = host.pod("a");
    let mut inside = connected(&pod, "10.1.0.1/16", "10.1.0.5/16");
    crate::scene::add_address(&mut inside, "eth0", "fd00::5/64");
    for dst in ["192.0.2.0/24", "2001:db8::/32"] {
        create(&mut inside, &spec(dst, None)).unwrap();
        assert_eq!(installed(&mut inside, dst)[0].gateway, None);
    }
    let text = shown(&pod, &["-4", "route", "show", "192.0.2.0/24"]);
    assert!(
        text.starts_with("192.0.2.0/24 dev eth0 scope link"),
        "{text}"
    );
    // A gateway that is reached only by the route on the link, as for a /32 address.
    create(&mut inside, &spec("198.51.100.0/24", Some("192.0.2.1"))).unwrap();
    let mut scoped = spec("203.0.113.0/24", None);
    scoped.route.scope = Some(253);
    create(&mut inside, &scoped).unwrap();
    let text = shown(&pod, &["-4", "route", "show", "203.0.113.0/24"]);
    assert!(text.contains("scope link"), "{text}");
}

fn a_route_twice_is_refused(host: &Host) {
    let mut inside = connected(&host.pod("a"), "10.1.0.1/16", "10.1.0.5/16");
    let default = spec("0.0.0.0/0", Some("10.1.0.1"));
    create(&mut inside, &default).unwrap();
    let error = create(&mut inside, &default).unwrap_err();
    assert!(error.is_exists(), "{error}");
    let text = r#"failed to add route "0.0.0.0/0 via 10.1.0.1 dev eth0": file exists"#;
    assert!(error.to_string().starts_with(text), "{error}");
    assert_eq!(installed(&mut inside, "0.0.0.0/0").len(), 1);
}

fn host_bits_of_a_destination_do_not_matter(host: &Host) {
    let mut inside = connected(&host.pod("a"), "10.1.0.1/16", "10.1.0.5/16");
    create(&mut inside, &spec("192.0.2.77/24", Some("10.1.0.1"))).unwrap();
    assert_eq!(installed(&mut inside, "192.0.2.0/24").len(), 1);
}

fn an_unreachable_gateway_is_refused_in_the_kernels_words(host: &Host) {
    let mut inside = connected(&host.pod("a"), "10.1.0.1/16", "10.1.0.5/16");
    let error = create(&mut inside, &spec("0.0.0.0/0", Some("192.0.2.1"))).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENETUNREACH));
    assert_eq!(
        error.to_string(),
        "failed to add route \"0.0.0.0/0 via 192.0.2.1 dev eth0\": network is unreachable \
         (kernel: Nexthop has invalid gateway)"
    );
    assert_eq!(installed(&mut inside, "0.0.0.0/0"), []);
}

fn a_gateway_of_the_other_family_is_refused(host: &Host) {
    let mut inside = connected(&host.pod("a"), "10.1.0.1/16", "10.1.0.5/16");
    create(&mut inside, &spec("0.0.0.0/0", Some("fd00::1"))).unwrap_err();
    assert_eq!(installed(&mut inside, "0.0.0.0/0"), []);
}

/// The header holds only eight bits of the number.
fn a_high_table_number_is_kept(host: &Host) {
    let mut inside = connected(&host.pod("a"), "10.1.0.1/16", "10.1.0.5/16");
    let mut high = spec("192.0.2.0/24", Some("10.1.0.1"));
    high.route.table = Some(70_000);
    create(&mut inside, &high).unwrap();
    let found: Vec<u32> = installed(&mut inside, "192.0.2.0/24")
        .iter()
        .map(|route| route.table)
        .collect();
    assert_eq!(found, [70_000]);
}

fn only_packets_to_the_hosts_own_addresses_are_taken_in(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    bridge(&mut rtnl);
    for address in ["10.1.0.1/16", "fd00::1/64"] {
        crate::scene::add_address(&mut rtnl, "br0", address);
    }
    let is_local = |address: &str| {
        Rtnl::open()
            .unwrap()
            .is_local(address.parse().unwrap())
            .unwrap()
    };
    let start = std::time::Instant::now();
    while !is_local("fd00::1") {
        assert!(
            start.elapsed().as_secs() < 20,
            "the address never came into use"
        );
    }
    for (address, wanted) in [
        ("10.1.0.1", true),
        ("10.1.0.2", false),
        ("fd00::2", false),
        ("192.0.2.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(is_local(address), wanted, "{address}");
    }
}
