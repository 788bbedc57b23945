//! ADD, and ADD in a container in which something is there already.

use super::NAME_IS_TAKEN;
use crate::suite::{
    Case, Clause, Failure, Fault, Kind, Made, Need, family::ADD_ATTACHES, fault::Answer,
    ids::ADD_SUCCEEDS, require,
};
use cni_net::Rtnl;
use cni_types::{Command, IfName};
use serde_json::json;

pub(super) const CASES: &[Case] = &[ADD_SUCCEEDS_CASE, ADD_MAKES_INTERFACE, ADD_EXISTING_IFNAME];

const ADD_SUCCEEDS_CASE: Case = Case::must(
    ADD_SUCCEEDS,
    "ADD succeeds with the configuration of the profile",
    ADD_ATTACHES,
)
.faults(&[Fault::new("never succeeds", |real, call| {
    let is_add = call.is(Command::Add);
    if is_add {
        Ok(Answer::error(999, "operation not supported"))
    } else {
        real.run(&call)
    }
})])
.body(|context| context.attachment("c1")?.add().map(drop));

const ADD_MAKES_INTERFACE: Case = Case::must(
    "lifecycle/add-makes-interface",
    "ADD makes the interface CNI_IFNAME in the container",
    Clause::new(
        "2 ADD",
        "the plugin creates the interface defined by CNI_IFNAME inside the container at \
         CNI_NETNS",
    ),
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[
    Fault::new("prints a result and does nothing", |real, call| {
        let answer = real.run(&call)?;
        real.run(&call.with_env("CNI_COMMAND", "DEL"))?;
        Ok(answer)
    }),
    Fault::new("gives the interface another name", |real, call| {
        real.run(&call.with_env("CNI_IFNAME", "net9"))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let ifname = &context.profile().ifname;
    let name = IfName::parse(ifname).map_err(|e| Failure::suite("read the interface's name", e))?;
    let found = attachment
        .netns()
        .run(|| Rtnl::open()?.find_link(&name))??;
    require(
        found.is_some(),
        format!("an interface {ifname} in the container"),
        "none of that name",
    )
});

const ADD_EXISTING_IFNAME: Case = Case::must(
    "lifecycle/add-existing-ifname",
    "ADD is refused if an interface of that name exists, and leaves everything as it was",
    NAME_IS_TAKEN,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[Fault::new(
    "takes the interface that is there for its own",
    |real, call| {
        let answer = real.run(&call)?;
        Ok(if answer.status == 0 {
            answer
        } else {
            Answer::success(json!({"cniVersion": "1.0.0"}).to_string())
        })
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    // Another container's request for the same namespace: nothing but the interface stands in its
    // way.
    attachment
        .request(Command::Add)
        .env("CNI_CONTAINERID", "c2")
        .run()?
        .failed()?;
    context.require_unchanged(&before, "the refused ADD")
});
