//! ADD and DEL again: of the same container, of another one, and with something in the way.

use super::{NAME_IS_TAKEN, kernel::name};
use crate::suite::{Case, Clause, Context, Failure, Fault, Kind, Made, Need, fault::Answer};
use cni_net::Rtnl;
use cni_types::{Command, MacAddr};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

const DIRECTORY: fn(&Value) -> PathBuf = |config| {
    let text = config
        .pointer("/ipam/dataDir")
        .and_then(Value::as_str)
        .unwrap_or("/var/lib/cni/networks");
    PathBuf::from(text).join("conformance")
};

const SEVERAL_TIMES: Clause = Clause::new(
    "2 ADD",
    "a container may be added to a network more than once, each time with another interface name",
);

pub(super) const CASES: &[Case] = &[
    SECOND_ADD,
    FOREIGN_IFNAME,
    ADD_AGAIN,
    TWO_CONTAINERS,
    TWO_INTERFACES,
    TWO_RESERVATIONS,
];

const SECOND_ADD: Case = Case::must(
    "lifecycle/second-add",
    "a second ADD of the same attachment is refused, and does the first no harm",
    NAME_IS_TAKEN,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[
    Fault::new("says once more what it did", |real, call| {
        let answer = real.run(&call)?;
        let refused = call.is(Command::Add) && answer.status != 0;
        let result = json!({"cniVersion": "1.1.0", "interfaces": []}).to_string();
        Ok(if refused {
            Answer::success(result)
        } else {
            answer
        })
    }),
    Fault::new("cleans up what the first ADD made", |real, call| {
        let answer = real.run(&call)?;
        if call.is(Command::Add) && answer.status != 0 {
            real.run(&call.with_env("CNI_COMMAND", "DEL"))?;
        }
        Ok(answer)
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    attachment.request(Command::Add).run()?.error()?;
    context.require_unchanged(&before, "the second ADD")
});

const FOREIGN_IFNAME: Case = Case::must(
    "lifecycle/foreign-ifname",
    "ADD is refused if somebody else's interface has the name, and keeps nothing",
    NAME_IS_TAKEN,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[
    Fault::new("keeps the address of an ADD that failed", |real, call| {
        let answer = real.run(&call)?;
        if call.is(Command::Add) && answer.status != 0 {
            let folder = DIRECTORY(&call.config());
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("10.77.0.2"), "c1\neth0")?;
        }
        Ok(answer)
    }),
    Fault::new("takes the interface away", |real, call| {
        real.run(&call.clone().with_env("CNI_COMMAND", "DEL"))?;
        if let Ok(netns) = cni_net::Netns::open(call.env("CNI_NETNS").as_ref())
            && let Ok(name) = cni_types::IfName::parse(&call.env("CNI_IFNAME"))
        {
            let _ = netns.run(|| Rtnl::open()?.remove_link_named(&name));
        }
        real.run(&call)
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let name = name(&context.profile().ifname)?;
    let mac = MacAddr([2, 0, 0, 0, 9, 9]);
    attachment
        .netns()
        .run(|| Rtnl::open()?.create_bridge(&name, mac, None))??;
    let before = context.state()?;
    attachment.request(Command::Add).run()?.error()?;
    context.require_unchanged(&before, "the refused ADD")
});

const ADD_AGAIN: Case = Case::must(
    "lifecycle/add-again",
    "after ADD and DEL the same container can be added again",
    Clause::new(
        "2 ADD",
        "only an ADD without a DEL since the last one is not to be expected",
    ),
)
.faults(&[
    Fault::new("does not want a container twice", |real, call| {
        let mark = format!(
            "/run/cni-conformance/files/seen-{}",
            call.env("CNI_CONTAINERID")
        );
        if call.is(Command::Add) && std::path::Path::new(&mark).exists() {
            return Ok(Answer::error(100, "container was there already"));
        }
        fs::write(&mark, "")?;
        real.run(&call)
    }),
    Fault::new("forgets the second DEL", |real, call| {
        let mark = format!(
            "/run/cni-conformance/files/deleted-{}",
            call.env("CNI_CONTAINERID")
        );
        if call.is(Command::Del) && std::path::Path::new(&mark).exists() {
            return Ok(Answer::default());
        }
        if call.is(Command::Del) {
            fs::write(&mark, "")?;
        }
        real.run(&call)
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    for _ in 0..2 {
        attachment.add()?;
        attachment.del()?;
    }
    context.require_unchanged(&before, "ADD, DEL, ADD and DEL")
});

const TWO_CONTAINERS: Case = Case::must(
    "lifecycle/two-containers",
    "ADD and DEL of one container leave another one's attachment as it was",
    Clause::new(
        "2 DEL",
        "DEL concerns the attachment that CNI_CONTAINERID and CNI_IFNAME name",
    ),
)
.faults(&[
    Fault::new("frees everything of the network", |real, call| {
        let answer = real.run(&call)?;
        if call.is(Command::Del) {
            fs::remove_dir_all(DIRECTORY(&call.config()))?;
        }
        Ok(answer)
    }),
    Fault::new("thinks that there is one container only", |real, call| {
        real.run(&call.with_env("CNI_CONTAINERID", "c1"))
    }),
])
.body(|context| {
    let first = context.attachment("c1")?;
    let second = context.attachment("c2")?;
    first.add()?;
    let before = context.state()?;
    second.add()?;
    second.del()?;
    context.require_unchanged(&before, "ADD and DEL of another container")
});

const TWO_INTERFACES: Case = Case::must(
    "lifecycle/two-interfaces",
    "a container can be added twice under two names, and DEL of one leaves the other",
    SEVERAL_TIMES,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[
    Fault::new("frees all addresses of a container", |real, call| {
        if call.is(Command::Del) {
            real.run(&call.clone().with_env("CNI_IFNAME", "eth0"))?;
        }
        real.run(&call)
    }),
    Fault::new("knows a container by its id alone", |real, call| {
        if call.is(Command::Add) && call.env("CNI_IFNAME") != "eth0" {
            return Ok(Answer::error(100, "container is added already"));
        }
        real.run(&call)
    }),
])
.body(interfaces_are_apart);

const TWO_RESERVATIONS: Case = Case::must(
    "lifecycle/two-reservations",
    "an IPAM plugin keeps addresses apart that are for two interfaces of one container",
    SEVERAL_TIMES,
)
.kinds(&[Kind::Ipam])
.needs(&[Need::Makes(Made::Reservation)])
.faults(&[Fault::new(
    "frees all addresses of a container",
    |real, call| {
        if call.is(Command::Del) {
            real.run(&call.clone().with_env("CNI_IFNAME", "eth0"))?;
        }
        real.run(&call)
    },
)])
.body(interfaces_are_apart);

fn interfaces_are_apart(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    let other = |command| {
        attachment
            .request(command)
            .env("CNI_IFNAME", "net1")
            .without_key("prevResult")
    };
    let result = other(Command::Add).run()?.result()?;
    let del = other(Command::Del);
    let del = if context.version().has_check() {
        del.key("prevResult", result)
    } else {
        del
    };
    del.run()?.succeeded()?;
    context.require_unchanged(&before, "ADD and DEL of net1")
}
