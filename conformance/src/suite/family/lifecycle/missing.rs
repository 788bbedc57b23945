//! DEL if an input is missing that runtimes usually pass, or a thing that ADD made.

use crate::suite::{
    Case, Clause, Context, Failure, Fault, Kind, Made, Need, State, Versions,
    fault::{Answer, Call},
};
use cni_types::Command;
use std::{fs, path::Path};

pub(super) const OWN_RESOURCES: Clause = Clause::new(
    "2 DEL",
    "a plugin cleans up its own resources even if the container's namespace or interface no \
     longer exists",
);

pub(super) const CASES: &[Case] = &[
    DEL_WITHOUT_NETNS,
    DEL_WITHOUT_NETNS_FREES,
    DEL_NETNS_IS_FILE,
    DEL_WITHOUT_PREVRESULT,
    DEL_WITHOUT_BOTH,
    DEL_INTERFACE_GONE,
    DEL_INTERFACE_GONE_FREES,
];

const DEL_WITHOUT_NETNS: Case = Case::must(
    "lifecycle/del-without-netns",
    "DEL succeeds without CNI_NETNS",
    Clause::new("2 DEL", "CNI_NETNS is one of the optional variables of DEL"),
)
.faults(&[Fault::new("wants CNI_NETNS", |real, call| {
    if call.is(Command::Del) && call.env("CNI_NETNS").is_empty() {
        return Ok(Answer::error(4, "missing CNI_NETNS"));
    }
    real.run(&call)
})])
.body(del_needs_no_netns);

const DEL_WITHOUT_NETNS_FREES: Case = Case::should(
    "lifecycle/del-without-netns-frees",
    "DEL without CNI_NETNS leaves nothing on the host",
    OWN_RESOURCES,
)
.faults(&[Fault::new(
    "has nothing to do without CNI_NETNS",
    |real, call| {
        if call.is(Command::Del) && call.env("CNI_NETNS").is_empty() {
            return Ok(Answer::default());
        }
        real.run(&call)
    },
)])
.body(|context| {
    let before = context.state()?;
    del_needs_no_netns(context)?;
    context.require_unchanged(&before, "ADD and DEL")
});

const DEL_NETNS_IS_FILE: Case = Case::should(
    "lifecycle/del-netns-is-file",
    "DEL succeeds if CNI_NETNS is a file that is no namespace any more",
    OWN_RESOURCES,
)
.faults(&[Fault::new(
    "wants a namespace at CNI_NETNS",
    |real, call| {
        let path = call.env("CNI_NETNS");
        if call.is(Command::Del) && cni_net::Netns::open(Path::new(&path)).is_err() {
            return Ok(Answer::error(8, "unknown FS magic"));
        }
        real.run(&call)
    },
)])
.body(|context| {
    let before = context.state()?;
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    attachment.remove_netns()?;
    fs::write(attachment.netns().path(), "")?;
    attachment.del()?;
    fs::remove_file(attachment.netns().path())?;
    context.require_unchanged(&before, "ADD and DEL")
});

const DEL_WITHOUT_PREVRESULT: Case = Case::should(
    "lifecycle/del-without-prevresult",
    "DEL succeeds without prevResult, and leaves nothing",
    Clause::new(
        "2 DEL",
        "a plugin returns without error if prevResult is empty",
    ),
)
.versions(Versions::WITH_CHECK)
.faults(&[
    Fault::new("wants prevResult", |real, call| {
        if call.is(Command::Del) && call.config().get("prevResult").is_none() {
            return Ok(Answer::error(7, "required prevResult missing"));
        }
        real.run(&call)
    }),
    Fault::new("deletes only what prevResult names", |real, call| {
        if call.is(Command::Del) && call.config().get("prevResult").is_none() {
            return Ok(Answer::default());
        }
        real.run(&call)
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment.add()?;
    attachment
        .request(Command::Del)
        .without_key("prevResult")
        .run()?
        .succeeded()?;
    context.require_freed(&before, "ADD and DEL")
});

const DEL_WITHOUT_BOTH: Case = Case::should(
    "lifecycle/del-without-both",
    "DEL succeeds without CNI_NETNS and prevResult, as after a crash, and leaves nothing on the \
     host",
    Clause::new(
        "2 DEL",
        "DEL is best effort: it completes although state is missing, and frees what it can",
    ),
)
.versions(Versions::WITH_CHECK)
.faults(&[Fault::new("does nothing without both", |real, call| {
    let lacks_both = call.env("CNI_NETNS").is_empty() && call.config().get("prevResult").is_none();
    if call.is(Command::Del) && lacks_both {
        Ok(Answer::default())
    } else {
        real.run(&call)
    }
})])
.body(|context| {
    let before = context.state()?;
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    attachment.remove_netns()?;
    let del = attachment
        .request(Command::Del)
        .without_key("prevResult")
        .env("CNI_NETNS", "");
    del.run()?.succeeded()?;
    context.require_freed(&before, "ADD and DEL")
});

const DEL_INTERFACE_GONE: Case = Case::must(
    "lifecycle/del-interface-gone",
    "DEL succeeds if the container's interface is gone",
    Clause::new("2 DEL", "DEL succeeds if the interface is missing"),
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[Fault::new("wants to see the interface", |real, call| {
    if call.is(Command::Del) && is_interface_gone(&call) {
        return Ok(Answer::error(999, "Link not found"));
    }
    real.run(&call)
})])
.body(|context| del_after_interface_is_gone(context).map(drop));

const DEL_INTERFACE_GONE_FREES: Case = Case::should(
    "lifecycle/del-interface-gone-frees",
    "DEL leaves nothing if the container's interface is gone",
    OWN_RESOURCES,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[
    Fault::new("has nothing to do without the interface", |real, call| {
        if call.is(Command::Del) && is_interface_gone(&call) {
            return Ok(Answer::default());
        }
        real.run(&call)
    })
    .of("bridge"),
])
.body(|context| {
    let before = del_after_interface_is_gone(context)?;
    context.require_unchanged(&before, "ADD and DEL")
});

/// Returns true if the container's namespace exists without its interface. Faults use it.
fn is_interface_gone(call: &Call) -> bool {
    let found = || -> Option<bool> {
        let netns = cni_net::Netns::open(Path::new(&call.env("CNI_NETNS"))).ok()?;
        let name = cni_types::IfName::parse(&call.env("CNI_IFNAME")).ok()?;
        Some(
            netns
                .run(|| cni_net::Rtnl::open()?.find_link(&name))
                .ok()?
                .ok()?
                .is_some(),
        )
    };
    found() == Some(false)
}

/// Makes two attachments, removes their namespaces and requires that DEL succeeds, once without
/// `CNI_NETNS` and once with an empty one.
fn del_needs_no_netns(context: &Context<'_>) -> Result<(), Failure> {
    for (container, empty) in [("c1", false), ("c2", true)] {
        let attachment = context.attachment(container)?;
        attachment.add()?;
        attachment.remove_netns()?;
        let del = attachment.request(Command::Del);
        let del = if empty {
            del.env("CNI_NETNS", "")
        } else {
            del.without_env("CNI_NETNS")
        };
        del.run()?.succeeded()?;
    }
    Ok(())
}

/// Makes an attachment, removes its interface and requires that DEL succeeds. Returns the state
/// before the ADD.
fn del_after_interface_is_gone(context: &Context<'_>) -> Result<State, Failure> {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment.add()?;
    let name = super::kernel::name(&context.profile().ifname)?;
    attachment
        .netns()
        .run(|| cni_net::Rtnl::open()?.remove_link_named(&name))??;
    attachment.del()?;
    Ok(before)
}
