//! The delegate's result and its log: both must reach the runtime.

use super::scene::{ADDRESS, GATEWAY, Scene, result, without_ipam};
use crate::suite::{
    Case, Clause, Context, Failure, Fault, Kind, Made, Need, decode,
    double::Reply,
    fault::{Answer, put},
    require,
};
use cni_net::{Link, Rtnl};
use cni_types::{Command, IfName};
use serde_json::json;

pub(super) const CASES: &[Case] = &[RESULT_IS_USED, ROUTES_ARE_USED, STDERR];

const RESULT_IS_USED: Case = Case::must(
    "delegation/result-is-used",
    "the delegate's address is in the result and on the interface",
    Clause::new(
        "4 Plugin Delegation",
        "the IPAM plugin determines the address and returns it to the plugin, which applies it",
    ),
)
.kinds(&[Kind::Interface])
.needs(&[
    Need::Ipam,
    Need::Double,
    Need::Makes(Made::Interface),
    Need::Makes(Made::Address),
])
.faults(&[
    Fault::new(
        "keeps the delegate's address out of its result",
        |real, call| {
            Ok(real
                .run(&call)?
                .edited(|result| put(result, "/ips", json!([]))))
        },
    ),
    Fault::new("promises an address that it does not give", |real, call| {
        let answer = real.run(&call)?;
        real.run(&call.clone().with_env("CNI_COMMAND", "DEL"))?;
        real.run(&without_ipam(call))?;
        Ok(answer)
    }),
])
.body(|context| {
    let scene = Scene::new(context, &[])?;
    let printed = scene.add()?;
    let told = decode(&printed)?.ips;
    require(
        told.iter().any(|ip| ip.address.to_string() == ADDRESS),
        format!("a result with {ADDRESS}"),
        &printed,
    )?;
    let there = scene.attachment().netns().run(|| {
        let mut rtnl = Rtnl::open()?;
        let link = interface(context, &mut rtnl)?;
        Ok::<_, Failure>(rtnl.addresses(link.index)?)
    })??;
    let there: Vec<String> = there
        .iter()
        .map(|address| address.cidr.to_string())
        .collect();
    require(
        there.iter().any(|address| address == ADDRESS),
        format!("{ADDRESS} on the interface"),
        there.join(", "),
    )
});

const ROUTES_ARE_USED: Case = Case::must(
    "delegation/routes-are-used",
    "the delegate's routes are in the result and in the container",
    Clause::new(
        "4 Plugin Delegation",
        "the IPAM plugin determines the routes and returns them to the plugin, which applies \
         them",
    ),
)
.kinds(&[Kind::Interface])
.needs(&[
    Need::Ipam,
    Need::Double,
    Need::Makes(Made::Interface),
    Need::Makes(Made::Route),
])
.faults(&[
    Fault::new(
        "keeps the delegate's routes out of its result",
        |real, call| {
            Ok(real
                .run(&call)?
                .edited(|result| put(result, "/routes", json!([]))))
        },
    ),
    Fault::new("promises a route that it does not make", |real, call| {
        let answer = real.run(&call)?;
        real.run(&call.clone().with_env("CNI_COMMAND", "DEL"))?;
        real.run(&without_ipam(call))?;
        Ok(answer)
    }),
])
.body(|context| {
    const DST: &str = "203.0.113.0/24";
    let routes = json!([{"dst": DST, "gw": GATEWAY}]);
    let reply = Reply::success(result(context.version(), &routes));
    let scene = Scene::new(context, &[(Command::Add, reply)])?;
    let printed = scene.add()?;
    let told = decode(&printed)?.routes;
    require(
        told.iter().any(|route| route.dst.to_string() == DST),
        format!("a result with a route to {DST}"),
        &printed,
    )?;
    let there = scene
        .attachment()
        .netns()
        .run(|| Rtnl::open()?.routes())??;
    let is_it =
        |gateway: Option<std::net::IpAddr>| gateway.is_some_and(|ip| ip.to_string() == GATEWAY);
    require(
        there
            .iter()
            .any(|route| route.dst.to_string() == DST && is_it(route.gateway)),
        format!("a route to {DST} via {GATEWAY} in the container"),
        format!("{there:?}"),
    )
});

const STDERR: Case = Case::should(
    "delegation/stderr",
    "what the delegate prints on stderr is on the plugin's stderr",
    Clause::new(
        "4 Delegated plugin execution procedure",
        "the delegate's stderr should be output to the stderr of the calling plugin",
    ),
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam, Need::Double])
.faults(&[
    Fault::new("swallows the delegate's log", |real, call| {
        Ok(Answer {
            stderr: Vec::new(),
            ..real.run(&call)?
        })
    }),
    Fault::new("swallows the delegate's log at DEL", |real, call| {
        let answer = real.run(&call)?;
        Ok(if call.is(Command::Del) {
            Answer {
                stderr: Vec::new(),
                ..answer
            }
        } else {
            answer
        })
    }),
])
.body(|context| {
    let log = |text: &str, stdout: String| Reply {
        stdout,
        stderr: format!("{text}\n"),
        ..Reply::default()
    };
    let added = result(context.version(), &json!([])).to_string();
    let replies = [
        (Command::Add, log("an address is given", added)),
        (Command::Del, log("it is back", String::new())),
    ];
    let scene = Scene::new(context, &replies)?;
    for (command, text) in [
        (Command::Add, "an address is given"),
        (Command::Del, "it is back"),
    ] {
        let run = scene.request(command).run()?;
        run.succeeded()?;
        let wanted = format!("{text:?} on stderr of {}", command.as_str());
        require(
            run.stderr_text().contains(text),
            wanted,
            format!("{:?}", run.stderr_text()),
        )?;
    }
    Ok(())
});

/// The interface in the container, and the kernel to ask about it.
fn interface(context: &Context<'_>, rtnl: &mut Rtnl) -> Result<Link, Failure> {
    let ifname = &context.profile().ifname;
    let name = IfName::parse(ifname).map_err(|e| Failure::suite("read the interface's name", e))?;
    rtnl.find_link(&name)?
        .ok_or_else(|| Failure::mismatch(format!("an interface {ifname}"), "none"))
}
