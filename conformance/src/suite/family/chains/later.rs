//! Later plugins of the chain, which add to the result or fail. Neither may impair this plugin.

use super::{CHAINABLE, scene::Chain};
use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Kind, Need, Versions,
    double::Reply,
    fault::{Answer, put},
};
use cni_net::{Batch, RouteSpec, Rtnl};
use cni_types::{Cidr, Command, IfName, Route};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// The route that a later plugin adds.
const DST: (Ipv4Addr, u8) = (Ipv4Addr::new(203, 0, 113, 0), 24);

pub(super) const CASES: &[Case] = &[DEL_FINAL_RESULT, CHECK_FINAL_RESULT, FAILED_NEXT_IS_UNDONE];

const DEL_FINAL_RESULT: Case = Case::must(
    "chains/del-final-result",
    "DEL with the result of the whole chain, to which a later plugin has added, leaves nothing",
    Clause::new(
        "2 DEL",
        "the prevResult of DEL is the final result of the ADD, not the plugin's own",
    ),
)
.versions(Versions::WITH_CHECK)
.kinds(CHAINABLE)
.needs(&[Need::Double])
.faults(&[
    Fault::new("refuses a result that is not its own", |real, call| {
        let is_foreign = call.config().to_string().contains("later0");
        if call.is(Command::Del) && is_foreign {
            return Ok(Answer::error(7, "unexpected interface later0"));
        }
        real.run(&call)
    }),
    Fault::new("does nothing if the result is not its own", |real, call| {
        let is_foreign = call.config().to_string().contains("later0");
        if call.is(Command::Del) && is_foreign {
            Ok(Answer::default())
        } else {
            real.run(&call)
        }
    }),
])
.body(|context| {
    let chain = Chain::new(context, Reply::passing_on(additions()))?;
    let before = context.state()?;
    chain.add()?;
    chain.del()?;
    context.require_unchanged(&before, "ADD and DEL of the chain")
});

const CHECK_FINAL_RESULT: Case = Case::must(
    "chains/check-final-result",
    "CHECK allows for a route that a later plugin has added",
    Clause::new(
        "2 CHECK",
        "a plugin must allow for a later plugin to have modified resources, for example routes",
    ),
)
.versions(Versions::WITH_CHECK)
.kinds(CHAINABLE)
.needs(&[Need::Verb(Command::Check), Need::Double])
.faults(&[Fault::new(
    "finds a route that it did not make",
    |real, call| {
        let is_foreign = call.config().to_string().contains("203.0.113.0/24");
        if call.is(Command::Check) && is_foreign {
            return Ok(Answer::error(100, "unexpected route 203.0.113.0/24"));
        }
        real.run(&call)
    },
)])
.body(|context| {
    let gateway = gateway(context)?;
    let (address, prefix) = DST;
    let mut route = json!({"dst": format!("{address}/{prefix}")});
    if let Some(gateway) = gateway {
        put(&mut route, "/gw", gateway.to_string());
    }
    let chain = Chain::new(context, Reply::passing_on(json!({"routes": [route]})))?;
    chain.add()?;
    add_route(context, chain.attachment(), gateway)?;
    chain.check()
});

const FAILED_NEXT_IS_UNDONE: Case = Case::should(
    "chains/failed-next-is-undone",
    "if a later plugin's ADD fails, DEL leaves nothing, though there is no result of the chain",
    Clause::new(
        "3 Lifecycle & Ordering",
        "DEL is executed even if ADD fails; a plugin returns without error if its prevResult is \
         empty",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(CHAINABLE)
.needs(&[Need::Double])
.faults(&[
    Fault::new("deletes only what a chain has finished", |real, call| {
        if call.is(Command::Del) && call.config().get("prevResult").is_none() {
            return Ok(Answer::default());
        }
        real.run(&call)
    }),
    Fault::new("knows no DEL of a chain that failed", |real, call| {
        if call.is(Command::Del) && call.config().get("prevResult").is_none() {
            return Ok(Answer::error(3, "unknown container"));
        }
        real.run(&call)
    }),
])
.body(|context| {
    let chain = Chain::new(context, Reply::error(11, "not now"))?;
    let before = context.state()?;
    chain.add_failing()?;
    chain.del()?;
    match context.require_unchanged(&before, "the failed ADD and the DEL of the chain") {
        // A chained plugin may keep no records and depend on prevResult, which is missing here.
        Err(Failure::Mismatch { found, .. }) if context.profile().kind == Kind::Chained => {
            context.note(format!("without a result of the chain it leaves {found}"));
            Ok(())
        }
        other => other,
    }
});

/// Returns the additions of a later plugin to the result: a route, an interface, and a key that no
/// plugin knows.
fn additions() -> Value {
    let (address, prefix) = DST;
    let interface = json!({"name": "later0", "mac": "02:00:00:00:00:77"});
    json!({"routes": [{"dst": format!("{address}/{prefix}")}], "interfaces": [interface], "x-later": {"a": 1}})
}

/// Returns the IPv4 gateway in the result of another container of the network, whose CHECK must
/// succeed. The added route names it as its next hop, because plugins differ in the next hop that
/// they assume for a route without one.
fn gateway(context: &Context<'_>) -> Result<Option<IpAddr>, Failure> {
    let other = context.attachment("c0")?;
    let result = other.add_decoded()?;
    other.check_succeeds()?;
    other.del()?;
    Ok(result
        .ips
        .iter()
        .filter_map(|ip| ip.gateway)
        .find(IpAddr::is_ipv4))
}

/// Creates the route that the double has added to the result, since a plugin's CHECK may look for
/// every route of the result.
fn add_route(
    context: &Context<'_>,
    attachment: &Attachment<'_>,
    gateway: Option<IpAddr>,
) -> Result<(), Failure> {
    let failed = |e: cni_types::Error| Failure::suite("make a route", e);
    let name = IfName::parse(&context.profile().ifname).map_err(failed)?;
    let dst = Cidr::new(DST.0.into(), DST.1).map_err(|e| Failure::suite("make a route", e))?;
    attachment.netns().run(|| {
        let mut rtnl = Rtnl::open()?;
        let link = rtnl.find_link(&name)?;
        let link = link.ok_or_else(|| Failure::skip("there is no interface for a route"))?;
        let mut batch = Batch::new();
        batch.create_route(
            &link,
            &RouteSpec {
                route: Route::new(dst, None),
                gateway,
            },
        );
        Ok::<_, Failure>(rtnl.run(batch)?)
    })?
}
