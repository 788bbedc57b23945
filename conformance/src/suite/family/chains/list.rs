//! GC and STATUS of a whole network: they concern no attachment, so there is no prevResult.

use super::{CHAINABLE, scene::Chain};
use crate::suite::{
    Case, Clause, Context, Failure, Fault, Level, Need, Versions, double::Reply, fault::Answer,
};
use cni_types::Command;
use serde_json::json;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "chains/gc-list",
        title: "GC of the network leaves an attachment alone that is valid",
        clause: Clause {
            section: "2 GC",
            rule: "a plugin may remove what belongs to attachments that are not among the valid ones",
        },
        level: Level::Must,
        versions: Versions::WITH_GC,
        kinds: CHAINABLE,
        needs: &[Need::Verb(Command::Gc), Need::Double],
        faults: &[
            Fault::new("frees everything at GC", |real, call| {
                let is_gc = call.is(Command::Gc);
                real.run(&call.edited(|config| {
                    if let (true, Some(config)) = (is_gc, config.as_object_mut()) {
                        config.insert("cni.dev/valid-attachments".to_owned(), json!([]));
                    }
                }))
            }),
            Fault::new("wants a prevResult for GC", |real, call| {
                if call.is(Command::Gc) && call.config().get("prevResult").is_none() {
                    return Ok(Answer::error(7, "required prevResult missing"));
                }
                real.run(&call)
            }),
        ],
        body: gc_leaves_the_valid_alone,
    },
    Case {
        id: "chains/status-list",
        title: "STATUS of the network succeeds before and after an ADD has",
        clause: Clause {
            section: "2 STATUS",
            rule: "a plugin that is ready to service ADD must exit with 0; its input holds no prevResult",
        },
        level: Level::Must,
        versions: Versions::WITH_GC,
        kinds: CHAINABLE,
        needs: &[Need::Verb(Command::Status), Need::Double],
        faults: &[Fault::new("wants a prevResult for STATUS", |real, call| {
            if call.is(Command::Status) && call.config().get("prevResult").is_none() {
                return Ok(Answer::error(7, "required prevResult missing"));
            }
            real.run(&call)
        })],
        body: status_of_a_chain_succeeds,
    },
];

fn gc_leaves_the_valid_alone(context: &Context<'_>) -> Result<(), Failure> {
    let chain = Chain::new(context, Reply::passing_on(json!({})))?;
    chain.add()?;
    let before = context.state()?;
    chain.gc()?;
    context.require_unchanged(&before, "the GC")
}

fn status_of_a_chain_succeeds(context: &Context<'_>) -> Result<(), Failure> {
    let chain = Chain::new(context, Reply::passing_on(json!({})))?;
    chain.status()?;
    chain.add()?;
    chain.status()
}
