//! GC and STATUS of a whole network: they concern no attachment, so there is no prevResult.

use super::{CHAINABLE, scene::Chain};
use crate::suite::{Case, Clause, Fault, Need, Versions, double::Reply, fault::Answer};
use cni_types::Command;
use serde_json::json;

pub(super) const CASES: &[Case] = &[GC_LIST, STATUS_LIST];

const GC_LIST: Case = Case::must(
    "chains/gc-list",
    "GC of the network leaves an attachment alone that is valid",
    Clause::new(
        "2 GC",
        "a plugin may remove what belongs to attachments that are not among the valid ones",
    ),
)
.versions(Versions::WITH_GC)
.kinds(CHAINABLE)
.needs(&[Need::Verb(Command::Gc), Need::Double])
.faults(&[
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
])
.body(|context| {
    let chain = Chain::new(context, Reply::passing_on(json!({})))?;
    chain.add()?;
    let before = context.state()?;
    chain.gc()?;
    context.require_unchanged(&before, "the GC")
});

const STATUS_LIST: Case = Case::must(
    "chains/status-list",
    "STATUS of the network succeeds before and after an ADD has",
    Clause::new(
        "2 STATUS",
        "a plugin that is ready to service ADD must exit with 0; its input holds no prevResult",
    ),
)
.versions(Versions::WITH_GC)
.kinds(CHAINABLE)
.needs(&[Need::Verb(Command::Status), Need::Double])
.faults(&[Fault::new("wants a prevResult for STATUS", |real, call| {
    if call.is(Command::Status) && call.config().get("prevResult").is_none() {
        return Ok(Answer::error(7, "required prevResult missing"));
    }
    real.run(&call)
})])
.body(|context| {
    let chain = Chain::new(context, Reply::passing_on(json!({})))?;
    chain.status()?;
    chain.add()?;
    chain.status()
});
