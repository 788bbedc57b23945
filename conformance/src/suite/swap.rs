//! Two builds of the same plugin on one host, as on a node that is upgraded, or rolled back, with
//! its containers running: the one ADDs, the other does the rest. By the words of the specification
//! a plugin need only undo its own work; so all of this is SHOULD, for those who say that the one
//! can take the other's place.

use super::{
    attachment::Attachment,
    case::{Case, Clause, Need, Versions},
    context::Context,
    failure::{Failure, at, require},
    fault::{Answer, Fault},
};
use cni_types::Command;
use sandbox::Run;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The rule of all cases.
const RULE: Clause = Clause::new(
    "2",
    "DEL, CHECK and GC work on what an ADD made, whichever build made it",
);

/// The cases, for subjects that name another folder ([`super::Subject::other`]).
pub const CASES: &[Case] = &[CHECK, DEL, GC, BESIDE];

const CHECK: Case = Case::should(
    "swap/check",
    "the other finds the attachment in order",
    RULE,
)
.versions(Versions::WITH_CHECK)
.needs(&[Need::Other, Need::Verb(Command::Check)])
.faults(&[Fault::new(
    "finds fault with what it has not made",
    |real, call| {
        if call.is(Command::Check) {
            Ok(Answer::error(999, "not mine"))
        } else {
            real.run(&call)
        }
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    by_other(context, &attachment, Command::Check)?.succeeded()?;
    Ok(())
});

const DEL: Case = Case::should(
    "swap/del",
    "the other deletes the attachment, and nothing of either is left",
    RULE,
)
.needs(&[Need::Other])
.faults(&[Fault::new("leaves what it has not made", |real, call| {
    if call.is(Command::Del) {
        Ok(Answer::default())
    } else {
        real.run(&call)
    }
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment.add()?;
    by_other(context, &attachment, Command::Del)?.succeeded()?;
    context.require_unchanged(&before, "ADD by the one and DEL by the other")
});

const GC: Case = Case::should(
    "swap/gc",
    "the other collects the attachment once it is not valid any more",
    RULE,
)
.versions(Versions::WITH_GC)
.needs(&[
    Need::Other,
    Need::Verb(Command::Gc),
    Need::Makes(super::Made::Reservation),
])
.faults(&[Fault::new("collects nothing", |real, call| {
    if call.is(Command::Gc) {
        Ok(Answer::default())
    } else {
        real.run(&call)
    }
})])
.body(|context| {
    let stale = context.attachment("c1")?;
    let valid = context.attachment("c2")?;
    valid.add()?;
    let before = context.state()?;
    stale.add()?;
    stale.remove_netns()?;
    let folder = context.other()?;
    let list = json!([{"containerID": "c2", "ifname": context.profile().ifname}]);
    let request = context
        .request(Command::Gc)
        .program(folder.join(&context.profile().binary));
    request
        .env("CNI_PATH", folder)
        .key("cni.dev/valid-attachments", list)
        .run()?
        .succeeded()?;
    let changes = context.state()?.changes_since(&before);
    let left: Vec<&String> = changes
        .iter()
        .filter(|line| line.starts_with("+ file:") && line.contains("c1"))
        .collect();
    require(
        left.is_empty(),
        "no record of the stale attachment",
        format!("{left:?}"),
    )?;
    if context.profile().verbs.contains(&Command::Check) {
        by_other(context, &valid, Command::Check)?.succeeded()?;
    }
    Ok(())
});

const BESIDE: Case = Case::should(
    "swap/beside",
    "attachments of both live beside each other, each deleted by the one that did not make it",
    RULE,
)
.needs(&[Need::Other])
.faults(&[Fault::new(
    "deletes what is another container's",
    |real, call| {
        if call.is(Command::Del) {
            let others = call
                .clone()
                .with_env("CNI_CONTAINERID", "c2")
                .with_env("CNI_NETNS", "/run/netns/c2");
            real.run(&others)?;
        }
        real.run(&call)
    },
)])
.body(|context| {
    let ours = context.attachment("c1")?;
    let others = context.attachment("c2")?;
    let before = context.state()?;
    let first = ours.add()?;
    let run = by_other(context, &others, Command::Add)?;
    let second = run.result()?;
    others.remember(second.clone());
    let first = addresses(&first);
    let second = addresses(&second);
    let both: Vec<_> = first.intersection(&second).collect();
    require(
        both.is_empty() || !context.profile().makes.contains(&super::Made::Reservation),
        "no address given twice",
        format!("{both:?}"),
    )?;
    let between = context.state()?;
    by_other(context, &ours, Command::Del)?.succeeded()?;
    let lost: Vec<String> = context.state()?.changes_since(&between);
    let lost: Vec<&String> = lost
        .iter()
        .filter(|line| line.starts_with("- pod c2:"))
        .collect();
    require(
        lost.is_empty(),
        "nothing taken from the other container",
        format!("{lost:?}"),
    )?;
    others.del()?;
    context.require_unchanged(&before, "ADD by both and DEL of each by the other")
});

/// The same request, to the other build.
fn by_other(
    context: &Context<'_>,
    attachment: &Attachment<'_>,
    command: Command,
) -> Result<Run, Failure> {
    let folder = context.other()?;
    context.step(format!("{} by {}", command.as_str(), folder.display()));
    let request = attachment
        .request(command)
        .program(folder.join(&context.profile().binary));
    request.env("CNI_PATH", folder).run()
}

/// The addresses of a result of any version.
fn addresses(result: &Value) -> BTreeSet<String> {
    let listed = at(result, "/ips").as_array().into_iter().flatten();
    let mut found: BTreeSet<String> = listed
        .filter_map(|ip| Some(ip.get("address")?.as_str()?.to_owned()))
        .collect();
    for family in ["/ip4/ip", "/ip6/ip"] {
        found.extend(at(result, family).as_str().map(str::to_owned));
    }
    found
}
