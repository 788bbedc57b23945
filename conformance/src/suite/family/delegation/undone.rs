//! After a failed ADD the delegate is asked to take back what it gave.

use super::scene::{DOUBLE, Scene, result};
use crate::suite::{
    Case, Clause, Failure, Fault, Kind, Need, Versions, at,
    double::Reply,
    fault::{Answer, Call, Real},
};
use cni_types::Command;
use serde_json::json;
use std::io;

const CLAUSE: Clause = Clause::new(
    "4 Delegated plugin execution procedure",
    "if a delegate fails on ADD, the plugin should run it again with DEL before it returns \
     failure",
);

pub(super) const CASES: &[Case] = &[
    FAILED_ADD_IS_UNDONE,
    UNREADABLE_RESULT_IS_UNDONE,
    OWN_FAILURE_IS_UNDONE,
];

const FAILED_ADD_IS_UNDONE: Case = Case::should(
    "delegation/failed-add-is-undone",
    "if the delegate's ADD fails, its DEL is called",
    CLAUSE,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam, Need::Double])
.faults(&[Fault::new(
    "leaves it at the delegate's failed ADD",
    fails_after_the_delegate,
)])
.body(|context| {
    let scene = Scene::new(context, &[(Command::Add, Reply::error(117, "no luck"))])?;
    scene.request(Command::Add).run()?.failed()?;
    scene.require_undone()
});

const UNREADABLE_RESULT_IS_UNDONE: Case = Case::should(
    "delegation/unreadable-result-is-undone",
    "if the delegate's output is no result, its DEL is called",
    CLAUSE,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam, Need::Double])
.faults(&[Fault::new(
    "leaves it at a result that it cannot read",
    fails_after_the_delegate,
)])
.body(|context| {
    let scene = Scene::new(context, &[(Command::Add, Reply::success("10.77.0.9/24"))])?;
    scene.request(Command::Add).run()?.failed()?;
    scene.require_undone()
});

/// The next hop of the route is not on the link, so the kernel refuses it.
const OWN_FAILURE_IS_UNDONE: Case = Case::may(
    "delegation/own-failure-is-undone",
    "if the plugin fails after its delegate has succeeded, the delegate's DEL is called",
    Clause::silent("what a plugin undoes whose own part of ADD failed"),
)
.versions(Versions::WITH_INTERFACES)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam, Need::Double])
.faults(&[Fault::new(
    "keeps an address that it could not use",
    fails_after_the_delegate,
)])
.body(|context| {
    let routes = json!([{"dst": "203.0.113.0/24", "gw": "198.51.100.1"}]);
    let reply = Reply::success(result(context.version(), &routes));
    let scene = Scene::new(context, &[(Command::Add, reply)])?;
    let run = scene.request(Command::Add).run()?;
    if run.status.success() {
        return Err(Failure::skip(
            "the plugin does not fail for a next hop that cannot be reached",
        ));
    }
    scene.require_undone()
});

/// For faults: gets as far as the double, and gives up.
fn fails_after_the_delegate(real: &Real, call: Call) -> io::Result<Answer> {
    if at(&call.config(), "/ipam/type") != DOUBLE {
        return real.run(&call);
    }
    call.delegate()?.run(&call)?;
    Ok(Answer::error(999, "failed"))
}
