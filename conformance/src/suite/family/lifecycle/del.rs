//! DEL: it succeeds whatever is missing, and leaves nothing.

use super::missing::OWN_RESOURCES;
use crate::suite::{Case, Clause, Fault, fault::Answer};
use cni_types::Command;

pub(super) const CASES: &[Case] = &[
    DEL_LEAVES_NOTHING,
    DEL_TWICE,
    DEL_BEFORE_ADD,
    DEL_NETNS_GONE,
];

const DEL_LEAVES_NOTHING: Case = Case::must(
    "lifecycle/del-leaves-nothing",
    "after ADD and DEL everything is as it was",
    Clause::new(
        "2 DEL",
        "the plugin deletes its interface, or undoes the modifications of its ADD",
    ),
)
.faults(&[
    Fault::new("does nothing on DEL", |real, call| {
        if call.is(Command::Del) {
            Ok(Answer::default())
        } else {
            real.run(&call)
        }
    }),
    Fault::new("leaves a file behind", |real, call| {
        let answer = real.run(&call)?;
        if call.is(Command::Del) {
            std::fs::write("/var/lib/cni/forgotten", call.env("CNI_CONTAINERID"))?;
        }
        Ok(answer)
    }),
    Fault::new("leaves the file of its lock in /run", |real, call| {
        std::fs::write("/run/plugin.lock", "")?;
        real.run(&call)
    }),
    Fault::new("leaves a mount", |real, call| {
        let folder = std::path::Path::new("/run/cni-conformance/files/mounted");
        if call.is(Command::Add) {
            std::fs::create_dir_all(folder)?;
            sandbox::mount_tmpfs_over(folder).map_err(std::io::Error::other)?;
        }
        real.run(&call)
    }),
    Fault::new(
        "leaves a rule that chooses a routing table",
        |real, call| {
            if call.is(Command::Add) {
                let mut ip = std::process::Command::new("ip");
                ip.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
                ip.args(["rule", "add", "from", "10.77.0.2", "table", "100"])
                    .output()?;
            }
            real.run(&call)
        },
    ),
    Fault::new("leaves a bridge behind", |real, call| {
        if call.is(Command::Add)
            && let (Ok(mut rtnl), Ok(name)) =
                (cni_net::Rtnl::open(), cni_types::IfName::parse("leaked0"))
        {
            let _ = rtnl.create_bridge(&name, cni_types::MacAddr([2, 0, 0, 0, 0, 9]), None);
        }
        real.run(&call)
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment.add()?;
    attachment.del()?;
    context.require_unchanged(&before, "ADD and DEL")
});

const DEL_TWICE: Case = Case::must(
    "lifecycle/del-twice",
    "a second DEL succeeds, and changes nothing",
    Clause::new(
        "2 DEL",
        "several DELs for one container and interface succeed, though what they are to remove is \
         missing",
    ),
)
.faults(&[Fault::new(
    "misses what an earlier DEL removed",
    |real, call| {
        let answer = real.run(&call)?;
        let mark = format!(
            "/run/cni-conformance/files/deleted-{}",
            call.env("CNI_CONTAINERID")
        );
        if call.is(Command::Del) && std::fs::File::create_new(mark).is_err() {
            return Ok(Answer::error(3, "unknown container"));
        }
        Ok(answer)
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    attachment.del()?;
    let before = context.state()?;
    attachment.del()?;
    context.require_unchanged(&before, "the second DEL")
});

const DEL_BEFORE_ADD: Case = Case::must(
    "lifecycle/del-before-add",
    "DEL of a container that was never added succeeds",
    Clause::new(
        "2 DEL",
        "DEL completes without error, even if some resources or state are missing",
    ),
)
.faults(&[Fault::new("deletes only what it knows", |real, call| {
    let mark = format!(
        "/run/cni-conformance/files/added-{}",
        call.env("CNI_CONTAINERID")
    );
    if call.is(Command::Add) {
        std::fs::write(&mark, "")?;
    } else if call.is(Command::Del) && !std::path::Path::new(&mark).exists() {
        return Ok(Answer::error(3, "unknown container"));
    }
    real.run(&call)
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment.del()?;
    context.require_unchanged(&before, "the DEL")
});

const DEL_NETNS_GONE: Case = Case::should(
    "lifecycle/del-netns-gone",
    "DEL succeeds after the namespace went away, and leaves nothing on the host",
    OWN_RESOURCES,
)
.faults(&[
    Fault::new("needs the namespace", |real, call| {
        if call.is(Command::Del) && !std::path::Path::new(&call.env("CNI_NETNS")).exists() {
            return Ok(Answer::error(8, "failed to open netns"));
        }
        real.run(&call)
    }),
    Fault::new("forgets its IPAM without the namespace", |real, call| {
        if call.is(Command::Del) && !std::path::Path::new(&call.env("CNI_NETNS")).exists() {
            return Ok(Answer::default());
        }
        real.run(&call)
    })
    .of("bridge"),
])
.body(|context| {
    let before = context.state()?;
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    attachment.remove_netns()?;
    attachment.del()?;
    context.require_unchanged(&before, "ADD and DEL")
});
