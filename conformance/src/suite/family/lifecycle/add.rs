//! ADD, and ADD where something is there already.

use super::NAME_IS_TAKEN;
use crate::suite::{
    Case, Clause, Context, EVERY_KIND, Failure, Fault, Kind, Level, Made, Need, Versions,
    family::ADD_ATTACHES, fault::Answer, ids::ADD_SUCCEEDS, require,
};
use cni_net::Rtnl;
use cni_types::{Command, IfName};
use serde_json::json;

pub(super) const CASES: &[Case] = &[
    Case {
        id: ADD_SUCCEEDS,
        title: "ADD succeeds with the configuration of the profile",
        clause: ADD_ATTACHES,
        level: Level::Must,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new("never succeeds", |real, call| {
            let is_add = call.is(Command::Add);
            if is_add {
                Ok(Answer::error(999, "operation not supported"))
            } else {
                real.run(&call)
            }
        })],
        body: |context| context.attachment("c1")?.add().map(drop),
    },
    Case {
        id: "lifecycle/add-makes-interface",
        title: "ADD makes the interface CNI_IFNAME in the container",
        clause: Clause {
            section: "2 ADD",
            rule: "the plugin creates the interface defined by CNI_IFNAME inside the container at CNI_NETNS",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: &[Need::Makes(Made::Interface)],
        faults: &[
            Fault::new("prints a result and does nothing", |real, call| {
                let answer = real.run(&call)?;
                real.run(&call.with_env("CNI_COMMAND", "DEL"))?;
                Ok(answer)
            }),
            Fault::new("gives the interface another name", |real, call| {
                real.run(&call.with_env("CNI_IFNAME", "net9"))
            }),
        ],
        body: add_makes_the_interface,
    },
    Case {
        id: "lifecycle/add-existing-ifname",
        title: "ADD is refused where an interface of that name exists, and leaves everything as it was",
        clause: NAME_IS_TAKEN,
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: &[Need::Makes(Made::Interface)],
        faults: &[Fault::new(
            "takes the interface that is there for its own",
            |real, call| {
                let answer = real.run(&call)?;
                Ok(if answer.status == 0 {
                    answer
                } else {
                    Answer::success(json!({"cniVersion": "1.0.0"}).to_string())
                })
            },
        )],
        body: an_existing_ifname_is_refused,
    },
];

fn add_makes_the_interface(context: &Context<'_>) -> Result<(), Failure> {
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
}

fn an_existing_ifname_is_refused(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    // Another container's request for the same namespace: nothing but the interface stands in its way.
    attachment
        .request(Command::Add)
        .env("CNI_CONTAINERID", "c2")
        .run()?
        .failed()?;
    context.require_unchanged(&before, "the refused ADD")
}
