//! Things that a plugin opens to containers and to its callers: routers, rules, the host's own
//! namespace.

use crate::suite::{Case, Clause, Failure, Fault, Kind, Made, Need, Versions, at, require};
use cni_net::Rtnl;
use cni_types::{Command, IfName, MacAddr, SpecVersion};
use sandbox::wire::RogueRouter;
use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
    process,
    time::{Duration, Instant},
};

const ONCE: Versions = Versions::since(SpecVersion::LATEST);
/// The prefix that the rogue router advertises (RFC 3849).
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
/// Advertisements enough for the host to take one, and how long they may take: the container needs
/// an address first.
const ENOUGH: u64 = 100;
const TIMEOUT: Duration = Duration::from_secs(10);
const CHAINS: [&str; 3] = ["PREROUTING", "OUTPUT", "POSTROUTING"];
const OWN_RULE: &str = "-p tcp -m tcp --dport 9 -j ACCEPT";
const HOST: &str = "/proc/self/ns/net";

pub(super) const CASES: &[Case] = &[
    ROUTER_ADVERTISEMENTS,
    RULE_ORDER,
    HOST_NETNS,
    HOST_NETNS_DEL,
];

const ROUTER_ADVERTISEMENTS: Case = Case::should(
    "security/router-advertisements",
    "a container's router advertisements change nothing on the host",
    Clause::new(
        "CVE-2020-10749",
        "the host's side of an attachment accepts no router advertisements; otherwise a \
         container makes itself the host's default router",
    ),
)
.versions(ONCE)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::HostInterface)])
.faults(&[Fault::new("lets the host believe routers", |real, call| {
    let answer = real.run(&call)?;
    if call.is(Command::Add) {
        for interface in at(&answer.document(), "/interfaces")
            .as_array()
            .into_iter()
            .flatten()
        {
            let name = interface["name"].as_str().unwrap_or_default();
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"), "2");
        }
    }
    Ok(answer)
})])
.body(|context| {
    // A host that is no router itself believes others.
    for key in ["all", "default"] {
        let written = fs::write(format!("/proc/sys/net/ipv6/conf/{key}/forwarding"), "0");
        written.map_err(|e| Failure::skip(format!("no IPv6 here: {e}")))?;
    }
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let name =
        IfName::parse(&context.profile().ifname).map_err(|e| Failure::suite("read a name", e))?;
    let start = || -> Result<RogueRouter, Failure> {
        let link = Rtnl::open()?.find_link(&name)?;
        let index = link.ok_or_else(|| Failure::suite("find", &name))?.index;
        Ok(RogueRouter::start(index, PREFIX)?)
    };
    let router = attachment.netns().run(start)??;
    context.step("the container advertises itself as a router");
    let begin = Instant::now();
    while router.sent() < ENOUGH && learnt()?.is_empty() {
        if begin.elapsed() > TIMEOUT {
            return Err(Failure::skip("the container cannot send by IPv6"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(50));
    let learnt = learnt()?;
    require(
        learnt.is_empty(),
        "no address and no route from the container's advertisements",
        learnt.join(", "),
    )
});

const RULE_ORDER: Case = Case::should(
    "security/rule-order",
    "rules of address translation that were there come first",
    Clause::new(
        "CVE-2019-9946",
        "a plugin's rules that lead packets elsewhere do not go before those of others, which \
         would lose their effect",
    ),
)
.versions(ONCE)
.kinds(&[Kind::Interface, Kind::Chained])
.needs(&[Need::Makes(Made::Rule), Need::Program("iptables")])
.faults(&[Fault::new(
    "puts its rule before all others",
    |real, call| {
        if call.is(Command::Add) {
            iptables(&[
                "-I",
                "PREROUTING",
                "-p",
                "tcp",
                "--dport",
                "80",
                "-j",
                "ACCEPT",
            ])?;
        }
        real.run(&call)
    },
)])
.body(|context| {
    let own: Vec<&str> = OWN_RULE.split(' ').collect();
    for chain in CHAINS {
        let output = iptables(&[&["-A", chain], own.as_slice()].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if !output.status.success() {
            return Err(Failure::skip(format!(
                "iptables does not work here: {said}"
            )));
        }
    }
    context.attachment("c1")?.add()?;
    for chain in CHAINS {
        let listed = String::from_utf8_lossy(&iptables(&["-S", chain])?.stdout).into_owned();
        let first = listed
            .lines()
            .find(|line| line.starts_with("-A"))
            .unwrap_or_default();
        let wanted = format!("-A {chain} {OWN_RULE}");
        if chain == "POSTROUTING" && first != wanted {
            // The advisory is about the ways of packets. Their source address is another question.
            context.note(format!(
                "before the rule of POSTROUTING that was there comes {first:?}"
            ));
            continue;
        }
        require(
            first == wanted,
            format!("{wanted:?} as the first rule, as before ADD"),
            &listed,
        )?;
    }
    Ok(())
});

const HOST_NETNS: Case = Case::may(
    "security/host-netns",
    "ADD to the namespace that the plugin runs in is refused",
    Clause::silent(
        "nothing says what CNI_NETNS must not be; a container's interface in the host's \
         namespace is a mistake of the runtime (containernetworking/plugins#714)",
    ),
)
.versions(ONCE)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[Fault::new(
    "takes the host for a container",
    |real, call| real.run(&call.with_env("CNI_NETNS_OVERRIDE", "1")),
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment
        .request(Command::Add)
        .env("CNI_NETNS", HOST)
        .run()?
        .error()?;
    context.require_unchanged(&before, "the refused ADD")
});

const HOST_NETNS_DEL: Case = Case::may(
    "security/host-netns-del",
    "DEL with the host's namespace does not take away an interface of the host",
    Clause::silent(
        "nothing says what CNI_NETNS must not be; an interface of the host is nobody's to delete \
         (containernetworking/plugins#714)",
    ),
)
.versions(ONCE)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[Fault::new("deletes what has the name", |real, call| {
    if let (true, Ok(name)) = (
        call.is(Command::Del),
        IfName::parse(&call.env("CNI_IFNAME")),
    ) {
        let _ = Rtnl::open().and_then(|mut rtnl| rtnl.remove_link_named(&name));
    }
    real.run(&call)
})])
.body(|context| {
    let name =
        IfName::parse(&context.profile().ifname).map_err(|e| Failure::suite("read a name", e))?;
    Rtnl::open()?.create_bridge(&name, MacAddr([2, 0, 0, 0, 9, 9]), None)?;
    let attachment = context.attachment("c1")?;
    attachment
        .request(Command::Del)
        .env("CNI_NETNS", HOST)
        .run()?;
    let found = Rtnl::open()?.find_link(&name)?;
    require(
        found.is_some(),
        format!("the host's interface {name} as it was"),
        "it is gone",
    )
});

/// Returns the routes and addresses that the host has from the rogue.
fn learnt() -> Result<Vec<String>, Failure> {
    let mut rtnl = Rtnl::open()?;
    let is_rogue =
        |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.segments().starts_with(&[0x2001, 0xdb8]));
    let mut lines = Vec::new();
    for link in rtnl.links()? {
        let addresses = rtnl.addresses(link.index)?.into_iter();
        let addresses = addresses.filter(|address| is_rogue(address.cidr.address()));
        lines.extend(addresses.map(|address| format!("address {} on {}", address.cidr, link.name)));
    }
    let routes = rtnl.routes()?.into_iter();
    let routes = routes.filter(|route| {
        is_rogue(route.dst.address()) || !route.dst.is_ipv4() && route.dst.is_default()
    });
    lines.extend(routes.map(|route| format!("route to {} via {:?}", route.dst, route.gateway)));
    Ok(lines)
}

fn iptables(arguments: &[&str]) -> std::io::Result<process::Output> {
    process::Command::new("iptables")
        .args(["-w", "-t", "nat"])
        .args(arguments)
        .output()
}
