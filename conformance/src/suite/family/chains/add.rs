//! ADD in a chain: what the next plugin gets from this one.

use super::{CHAINABLE, scene::Chain};
use crate::suite::{
    Case, Clause, Context, Failure, Fault, Kind, Made, Need, Versions, at, decode,
    double::Reply,
    fault::{Answer, put},
    require, require_same,
};
use cni_types::{AddResult, Command};
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    RESULT_GOES_ON,
    NEXT_FINDS_INTERFACE,
    ADDRESSES_KEEP_INTERFACES,
    ADD_WITHOUT_PREVRESULT,
];

const RESULT_GOES_ON: Case = Case::must(
    "chains/result-goes-on",
    "the next plugin gets the result as it was printed: it is of the network's version",
    Clause::new(
        "5 ADD Success",
        "a result has the version that was supplied on input; it is the next plugin's prevResult",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(CHAINABLE)
.needs(&[Need::Double])
.faults(&[
    Fault::new("answers in the version that it likes best", |real, call| {
        Ok(real
            .run(&call)?
            .edited(|result| put(result, "/cniVersion", "0.4.0")))
    }),
    Fault::new("says nothing on success", |real, call| {
        Ok(Answer {
            stdout: Vec::new(),
            ..real.run(&call)?
        })
    }),
])
.body(|context| {
    let chain = Chain::new(context, Reply::passing_on(json!({})))?;
    let printed = chain.add()?;
    let version = json!(context.version().as_str());
    require_same(
        "the result's cniVersion",
        &version,
        at(&printed, "/cniVersion"),
    )?;
    let config = chain.next_call(Command::Add)?.config();
    require_same(
        "the next plugin's prevResult",
        &printed,
        at(&config, "/prevResult"),
    )
});

const NEXT_FINDS_INTERFACE: Case = Case::must(
    "chains/next-finds-interface",
    "the next plugin finds the interface and the container that it is in",
    Clause::new(
        "5 ADD Success",
        "a result has all interfaces that were created, with the sandbox of those in the \
         container",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(&[Kind::Interface])
.needs(&[Need::Double, Need::Makes(Made::Interface)])
.faults(&[
    Fault::new("names no interfaces", |real, call| {
        Ok(real
            .run(&call)?
            .edited(|result| put(result, "/interfaces", json!([]))))
    }),
    Fault::new("does not say where its interfaces are", |real, call| {
        Ok(real.run(&call)?.edited(|result| {
            for number in 0..9 {
                put(result, &format!("/interfaces/{number}/sandbox"), "");
            }
        }))
    }),
])
.body(|context| {
    let chain = Chain::new(context, Reply::passing_on(json!({})))?;
    chain.add()?;
    let config = chain.next_call(Command::Add)?.config();
    let prev_result = at(&config, "/prevResult");
    let ifname = &context.profile().ifname;
    let interfaces = decode(prev_result)?.interfaces;
    let found = interfaces
        .iter()
        .any(|it| it.name == *ifname && !it.sandbox.is_empty());
    require(
        found,
        format!("an interface {ifname} with a sandbox in prevResult"),
        prev_result,
    )
});

const ADDRESSES_KEEP_INTERFACES: Case = Case::must(
    "chains/addresses-keep-interfaces",
    "the addresses of prevResult belong to the interfaces that they belonged to",
    Clause::new(
        "5 ADD Success",
        "a plugin that is given a prevResult prints it, with its own modifications",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(CHAINABLE)
.faults(&[Fault::new(
    "puts an interface before the others and leaves the numbers",
    |real, call| {
        let is_add = call.is(Command::Add);
        Ok(real.run(&call)?.edited(|result| {
            if let (true, Some(Value::Array(list))) = (is_add, result.get_mut("interfaces")) {
                list.insert(0, json!({"name": "mine0"}));
            }
        }))
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let given = attachment
        .fixture()
        .cloned()
        .unwrap_or_else(|| earlier(context));
    let run = attachment
        .request(Command::Add)
        .key("prevResult", given.clone())
        .run()?;
    let printed = run.result()?;
    let before = owners(&decode(&given)?);
    let after = owners(&decode(&printed)?);
    let is_there = |address: &str| after.iter().any(|(found, _)| found == address);
    let kept: Vec<_> = before
        .iter()
        .filter(|(address, _)| is_there(address))
        .collect();
    if kept.is_empty() {
        return Err(Failure::skip(
            "no address of prevResult is in the result: protocol/prevresult tells",
        ));
    }
    let moved = kept.into_iter().find(|owner| !after.contains(owner));
    let wanted = moved
        .map(|(address, name)| format!("{address} on {name:?}"))
        .unwrap_or_default();
    require(moved.is_none(), wanted, printed)
});

const ADD_WITHOUT_PREVRESULT: Case = Case::may(
    "chains/add-without-prevresult",
    "ADD of a chained plugin fails without prevResult",
    Clause::silent("what a chained plugin does that comes first"),
)
.versions(Versions::WITH_INTERFACES)
.kinds(&[Kind::Chained])
.faults(&[Fault::new(
    "makes up a result if it got none",
    |real, call| {
        if call.config().get("prevResult").is_none() {
            return Ok(Answer::success(json!({"cniVersion": "1.1.0"}).to_string()));
        }
        real.run(&call)
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment
        .request(Command::Add)
        .without_key("prevResult")
        .run()?
        .failed()?;
    Ok(())
});

/// The result of a plugin that made another interface, for an interface plugin that is not the
/// first.
fn earlier(context: &Context<'_>) -> Value {
    let mut ip = json!({"address": "192.0.2.99/24", "interface": 1});
    if context.version() < cni_types::SpecVersion::V1_0_0 {
        put(&mut ip, "/version", "4");
    }
    let interface = |name: &str| json!({"name": name, "sandbox": "/run/netns/c1"});
    let interfaces = [interface("inner8"), interface("inner9")];
    json!({"cniVersion": context.version().as_str(), "interfaces": interfaces, "ips": [ip]})
}

/// Addresses with the names of their interfaces.
fn owners(result: &AddResult) -> Vec<(String, Option<String>)> {
    let name = |index: Option<i64>| {
        let interface = result.interfaces.get(usize::try_from(index?).ok()?)?;
        Some(interface.name.clone())
    };
    result
        .ips
        .iter()
        .map(|ip| (ip.address.to_string(), name(ip.interface)))
        .collect()
}
