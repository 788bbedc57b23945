//! A GC that is killed: the next one finishes its work, and frees nothing that lives.

use super::killed::{at_many_points, traced_request};
use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Need, Request, Versions, fault::Answer,
};
use cni_types::Command;
use nix::sys::signal::Signal;
use sandbox::trace::Injection;
use serde_json::json;
use std::fs;

const VALID: &str = "cni.dev/valid-attachments";

pub(super) const CASES: &[Case] = &[KILLED_GC];

const KILLED_GC: Case = Case::should(
    "faults/killed-gc",
    "after a GC that was killed at any system call, another GC removes what is stale, and \
     nothing that lives",
    Clause::new(
        "2 GC",
        "a plugin removes as many stale resources as possible, and generally completes without \
         error",
    ),
)
.versions(Versions::NEWEST_WITH_GC)
.needs(&[Need::Verb(Command::Gc)])
.faults(&[
    Fault::new(
        "takes a GC that was begun for one that was done",
        |real, call| {
            if !call.is(Command::Gc) {
                return real.run(&call);
            }
            if fs::File::create_new("/run/cni-conformance/files/collected").is_err() {
                return Ok(Answer::default());
            }
            let answer = real.run(&call);
            fs::remove_file("/run/cni-conformance/files/collected")?;
            answer
        },
    ),
    Fault::new("begins anew with an empty list", |real, call| {
        if !call.is(Command::Gc) {
            return real.run(&call);
        }
        let is_second = fs::File::create_new("/run/cni-conformance/files/collected").is_err();
        let call = if is_second {
            call.edited(|config| config[VALID] = json!([]))
        } else {
            call
        };
        let answer = real.run(&call);
        fs::remove_file("/run/cni-conformance/files/collected")?;
        answer
    }),
])
.body(|context| {
    let lives = context.attachment("c1")?;
    lives.add()?;
    let before = context.state()?;
    leave_stale(context)?;
    let whole = traced_request(context, &gc(context, &lives), None)?;
    if context
        .require_unchanged(&before, "the container that is gone")
        .is_err()
    {
        return Err(Failure::skip(
            "a GC that is not killed leaves what is stale, too: gc_status/gc-frees-the-stale",
        ));
    }
    at_many_points(context, whole.system_calls, &|before_call| {
        leave_stale(context)?;
        let injection = Injection {
            before: before_call,
            signal: Signal::SIGKILL,
        };
        traced_request(context, &gc(context, &lives), Some(injection))?;
        gc(context, &lives).run()?.succeeded()?;
        context.require_unchanged(&before, "the container that is gone")
    })
});

fn gc<'c>(context: &'c Context<'c>, lives: &Attachment<'_>) -> Request<'c> {
    let valid = json!([{"containerID": lives.container(), "ifname": context.profile().ifname}]);
    context.request(Command::Gc).key(VALID, valid)
}

/// Something for GC to remove.
fn leave_stale(context: &Context<'_>) -> Result<(), Failure> {
    let stale = context.attachment("stale")?;
    stale.add()?;
    stale.remove_netns()
}
