//! CHECK right after ADD, and after damage to what ADD made.

use super::kernel::{Kernel, name};
use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Kind, Made, Need, Versions,
    fault::{Answer, Call, Real},
    ids::CHECK_AFTER_ADD,
};
use cni_net::{Batch, Link, RouteSpec, Rtnl};
use cni_types::{Cidr, Command, MacAddr, Route};
use serde_json::Value;
use std::{io, net::Ipv4Addr, path::Path};

const BROKEN: Clause = Clause::new(
    "2 CHECK",
    "an error if an interface, an address or a route that the plugin made and prevResult \
     lists is missing or in an invalid state",
);
const CHECK: Need = Need::Verb(Command::Check);
const ALWAYS_SUCCEEDS: Fault = Fault::new("always succeeds at CHECK", always_succeeds);

fn always_succeeds(real: &Real, call: Call) -> io::Result<Answer> {
    if call.is(Command::Check) {
        Ok(Answer::default())
    } else {
        real.run(&call)
    }
}

const UNREACHABLE: Clause = Clause::new(
    "2 CHECK",
    "an error if an interface is in an invalid state, or the container cannot be reached",
);
const OTHER_RESOURCES: Clause = Clause::new(
    "2 CHECK",
    "an error if a resource that no result lists is missing: a rule of a firewall, a \
     reservation",
);

pub(super) const CASES: &[Case] = &[
    CHECK_AFTER_ADD_CASE,
    CHECK_LATER_PLUGIN,
    CHECK_INTERFACE_GONE,
    CHECK_HOST_INTERFACE_GONE,
    CHECK_ADDRESS_GONE,
    CHECK_ROUTE_GONE,
    CHECK_INTERFACE_DOWN,
    CHECK_HOST_INTERFACE_DOWN,
    CHECK_MAC_CHANGED,
    CHECK_RESERVATION_GONE,
    CHECK_RULES_GONE,
    CHECK_WITHOUT_PREVRESULT,
];

const CHECK_AFTER_ADD_CASE: Case = Case::must(
    CHECK_AFTER_ADD,
    "CHECK succeeds right after ADD, and changes nothing",
    Clause::new("2 CHECK", "CHECK can be called immediately after ADD"),
)
.versions(Versions::WITH_CHECK)
.needs(&[CHECK])
.faults(&[
    Fault::new("is not ready right after ADD", |real, call| {
        if call.is(Command::Check) {
            return Ok(Answer::error(11, "try again later"));
        }
        real.run(&call)
    }),
    Fault::new("leaves a file at CHECK", |real, call| {
        if call.is(Command::Check) {
            std::fs::write("/var/lib/cni/checked", "")?;
        }
        real.run(&call)
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    attachment.check()?.succeeded()?;
    context.require_unchanged(&before, "CHECK")
});

const CHECK_LATER_PLUGIN: Case = Case::must(
    "lifecycle/check-later-plugin",
    "CHECK tolerates changes of a later plugin of the chain: an additional route, another MTU",
    Clause::new(
        "2 CHECK",
        "the plugin allows for a later plugin of the chain to have modified resources, routes \
         for example",
    ),
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[
    CHECK,
    Need::Makes(Made::Address),
    Need::Makes(Made::Interface),
])
.faults(&[Fault::new("wants the MTU that it set", |real, call| {
    let mtu = || -> Option<u32> {
        let netns = cni_net::Netns::open(Path::new(&call.env("CNI_NETNS"))).ok()?;
        let name = cni_types::IfName::parse(&call.env("CNI_IFNAME")).ok()?;
        Some(
            netns
                .run(|| Rtnl::open()?.find_link(&name))
                .ok()?
                .ok()??
                .mtu,
        )
    };
    if call.is(Command::Check) && mtu() != Some(1500) {
        return Ok(Answer::error(100, "wrong MTU"));
    }
    real.run(&call)
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let result = attachment.add_decoded()?;
    let gateway = result.ips.first().and_then(|ip| ip.gateway);
    let dst = Cidr::new(Ipv4Addr::new(203, 0, 113, 0).into(), 24);
    let dst = dst.map_err(|e| Failure::suite("make a route", e))?;
    change_interface(context, &attachment, |batch, link| {
        batch.set_mtu(link, 1400);
        batch.create_route(
            link,
            &RouteSpec {
                route: Route::new(dst, gateway),
                gateway,
            },
        );
    })?;
    context
        .step("the MTU of the container's interface becomes 1400, a route to 203.0.113.0/24 comes");
    attachment.check()?.succeeded()?;
    Ok(())
});

const CHECK_INTERFACE_GONE: Case = Case::should(
    "lifecycle/check-interface-gone",
    "CHECK notices that the container's interface is gone",
    BROKEN,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[CHECK, Need::Makes(Made::Interface)])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    let name = name(&context.profile().ifname)?;
    require_noticed(
        context,
        "the container's interface is removed",
        |attachment| {
            Ok(attachment
                .netns()
                .run(|| Rtnl::open()?.remove_link_named(&name))??)
        },
    )
});

const CHECK_HOST_INTERFACE_GONE: Case = Case::should(
    "lifecycle/check-host-interface-gone",
    "CHECK notices that an interface of the host is gone",
    BROKEN,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[CHECK, Need::Makes(Made::HostInterface)])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    require_noticed(
        context,
        "the interface of the host is removed",
        |attachment| Ok(Rtnl::open()?.remove_link(host_interface(attachment)?.index)?),
    )
});

const CHECK_ADDRESS_GONE: Case = Case::should(
    "lifecycle/check-address-gone",
    "CHECK notices that an address is gone",
    BROKEN,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[CHECK, Need::Makes(Made::Address)])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    require_noticed(context, "the address is removed", |attachment| {
        let result = crate::suite::decode(&attachment.last_result().unwrap_or_default())?;
        let ip = result
            .ips
            .first()
            .ok_or_else(|| Failure::skip("the result has no address"))?;
        change_interface(context, attachment, |batch, link| {
            batch.delete_address(link, ip.address)
        })
    })
});

const CHECK_ROUTE_GONE: Case = Case::should(
    "lifecycle/check-route-gone",
    "CHECK notices that the routes are gone",
    BROKEN,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[CHECK, Need::Makes(Made::Route)])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    require_noticed(
        context,
        "the interface is set down and up, which takes its routes",
        |attachment| {
            change_interface(context, attachment, |batch, link| {
                batch.set_down(link);
                batch.set_up(link);
            })
        },
    )
});

const CHECK_INTERFACE_DOWN: Case = Case::should(
    "lifecycle/check-interface-down",
    "CHECK notices that the container's interface is down",
    UNREACHABLE,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[CHECK])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    require_noticed(
        context,
        "the container's interface is set down",
        |attachment| change_interface(context, attachment, |batch, link| batch.set_down(link)),
    )
});

const CHECK_HOST_INTERFACE_DOWN: Case = Case::should(
    "lifecycle/check-host-interface-down",
    "CHECK notices that an interface of the host is down",
    UNREACHABLE,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[CHECK, Need::Makes(Made::HostInterface)])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    require_noticed(
        context,
        "the interface of the host is set down",
        |attachment| {
            let link = host_interface(attachment)?;
            let mut batch = Batch::new();
            batch.set_down(&link);
            Ok(Rtnl::open()?.run(batch)?)
        },
    )
});

const CHECK_MAC_CHANGED: Case = Case::may(
    "lifecycle/check-mac-changed",
    "CHECK notices another hardware address",
    Clause::silent(
        "a later plugin may have changed the hardware address, and then said so in prevResult",
    ),
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[CHECK, Need::Makes(Made::Interface)])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    require_noticed(
        context,
        "the container's interface gets another hardware address",
        |attachment| {
            let mac = MacAddr([2, 0, 0, 0, 0, 7]);
            change_interface(context, attachment, |batch, link| batch.set_mac(link, mac))
        },
    )
});

const CHECK_RESERVATION_GONE: Case = Case::should(
    "lifecycle/check-reservation-gone",
    "CHECK notices that the reservation of the address is gone",
    OTHER_RESOURCES,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Ipam])
.needs(&[CHECK, Need::Makes(Made::Reservation)])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    let config = context.config();
    let folder = config.pointer("/ipam/dataDir").and_then(Value::as_str);
    let folder = folder.ok_or_else(|| Failure::skip("the configuration names no ipam.dataDir"))?;
    require_noticed(
        context,
        "the folder with the reservations is removed",
        |_| Ok(std::fs::remove_dir_all(folder)?),
    )
});

const CHECK_RULES_GONE: Case = Case::should(
    "lifecycle/check-rules-gone",
    "CHECK notices that its rules are gone",
    OTHER_RESOURCES,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface, Kind::Chained])
.needs(&[CHECK, Need::Makes(Made::Rule), Need::Program("nft")])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    require_noticed(context, "all rules of nf_tables are removed", |_| {
        let before = context.state()?;
        let flushed = std::process::Command::new("nft")
            .args(["flush", "ruleset"])
            .output()?;
        let said = String::from_utf8_lossy(&flushed.stderr).into_owned();
        if !flushed.status.success() {
            return Err(Failure::suite("nft flush ruleset", said));
        }
        // A plugin that uses the legacy iptables has no rules in nf_tables.
        let is_rule = |line: &String| line.starts_with("- ") && line.contains(": nft rule ");
        let gone = context.state()?.changes_since(&before).iter().any(is_rule);
        if gone {
            Ok(())
        } else {
            Err(Failure::skip("its rules are not in nf_tables"))
        }
    })
});

const CHECK_WITHOUT_PREVRESULT: Case = Case::may(
    "lifecycle/check-without-prevresult",
    "CHECK without prevResult fails",
    Clause::silent(
        "a runtime always passes prevResult with CHECK; what a plugin does without it is open",
    ),
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[CHECK, Need::Makes(Made::Interface)])
.faults(&[ALWAYS_SUCCEEDS])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    attachment
        .request(Command::Check)
        .without_key("prevResult")
        .run()?
        .error()?;
    Ok(())
});

/// Requires that CHECK succeeds after ADD, and fails with an error object after `damage`, which
/// `what` describes.
fn require_noticed(
    context: &Context<'_>,
    what: &str,
    damage: impl FnOnce(&Attachment<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    attachment.check_succeeds()?;
    damage(&attachment)?;
    context.step(what);
    attachment.check()?.error()?;
    Ok(())
}

/// Changes the container's interface by the requests that `change` adds to the batch.
fn change_interface(
    context: &Context<'_>,
    attachment: &Attachment<'_>,
    change: impl FnOnce(&mut Batch, &Link),
) -> Result<(), Failure> {
    let name = name(&context.profile().ifname)?;
    attachment.netns().run(|| {
        let mut rtnl = Rtnl::open()?;
        let link = rtnl.find_link(&name)?;
        let link = link.ok_or_else(|| Failure::suite("find", &name))?;
        let mut batch = Batch::new();
        change(&mut batch, &link);
        Ok(rtnl.run(batch)?)
    })?
}

/// Returns the first interface of the host that the result names.
///
/// # Errors
/// Skips the case if the result names none; fails if the host does not have the interface.
fn host_interface(attachment: &Attachment<'_>) -> Result<cni_net::Link, Failure> {
    let result = crate::suite::decode(&attachment.last_result().unwrap_or_default())?;
    let first = result
        .interfaces
        .iter()
        .find(|interface| interface.sandbox.is_empty());
    let first = first.ok_or_else(|| Failure::skip("the result names no interface of the host"))?;
    let link = Kernel::of_host()?
        .links
        .into_iter()
        .find(|link| link.name == first.name.as_str());
    link.ok_or_else(|| {
        Failure::mismatch(format!("an interface {} on the host", first.name), "none")
    })
}
