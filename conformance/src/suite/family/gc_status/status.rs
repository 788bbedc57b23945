//! STATUS: whether the next ADD could succeed.

use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Kind, Made, Need, Run, Versions,
    fault::{Answer, Call, Real},
    require,
};
use cni_types::{Code, Command};
use std::{io, path::Path};

/// As many containers are added before a pool counts as one that does not run out.
const MAX_CONTAINERS: usize = 300;

pub(super) const CASES: &[Case] = &[
    STATUS_READY,
    STATUS_CHANGES_NOTHING,
    STATUS_PRINTS_NOTHING,
    STATUS_EXHAUSTED,
];

const STATUS_READY: Case = Case::must(
    "gc_status/status-ready",
    "STATUS succeeds if ADD does, before and after it",
    Clause::new(
        "2 STATUS",
        "the exit status is 0 if the plugin can serve an ADD",
    ),
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Status)])
.faults(&[
    Fault::new("does not know STATUS", |real, call| {
        if call.is(Command::Status) {
            Ok(Answer::error(4, "unknown command"))
        } else {
            real.run(&call)
        }
    }),
    Fault::new("is ready only before the first ADD", |real, call| {
        if call.is(Command::Add) {
            std::fs::write("/run/cni-conformance/files/added", "")?;
        }
        let is_late =
            call.is(Command::Status) && Path::new("/run/cni-conformance/files/added").exists();
        if is_late {
            Ok(Answer::error(50, "busy"))
        } else {
            real.run(&call)
        }
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    status(context)?.succeeded()?;
    attachment.add()?;
    status(context)?.succeeded()?;
    Ok(())
});

const STATUS_CHANGES_NOTHING: Case = Case::should(
    "gc_status/status-changes-nothing",
    "STATUS has no effect",
    Clause::new("2 STATUS", "STATUS is purely informational"),
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Status)])
.faults(&[Fault::new("makes a folder on STATUS", |real, call| {
    if call.is(Command::Status) {
        std::fs::create_dir_all("/var/lib/cni/probe")?;
    }
    real.run(&call)
})])
.body(|context| {
    let before = context.state()?;
    status(context)?;
    // Not even what the profile allows to an ADD.
    let changes = context.state()?.changes_since(&before);
    require(changes.is_empty(), "no change", changes.join("\n"))?;
    context.attachment("c1")?.add()?;
    let before = context.state()?;
    status(context)?;
    let changes = context.state()?.changes_since(&before);
    require(
        changes.is_empty(),
        "no change after an ADD",
        changes.join("\n"),
    )
});

const STATUS_PRINTS_NOTHING: Case = Case::may(
    "gc_status/status-prints-nothing",
    "a STATUS that succeeds prints nothing on stdout",
    Clause::silent("an output is described for a STATUS that fails only"),
)
.versions(Versions::WITH_GC)
.needs(&[Need::Verb(Command::Status)])
.faults(&[Fault::new("prints ok", |real, call| {
    let mut answer = real.run(&call)?;
    if call.is(Command::Status) {
        answer.stdout.extend(b"ok\n");
    }
    Ok(answer)
})])
.body(|context| {
    let run = status(context)?;
    run.succeeded()?;
    require(run.stdout.is_empty(), "no output", run.stdout_text())
});

const STATUS_EXHAUSTED: Case = Case::should(
    "gc_status/status-exhausted",
    "if no address is left, STATUS succeeds or fails with 50 or 51; DEL makes room",
    // The next sentence of the clause ("should return an error if those resources are
    // exhausted") is not held against a plugin: conformance/README.md, "A full pool", has the
    // reasons.
    Clause::new(
        "2 STATUS",
        "50 and 51 are the codes of a plugin that is not available; whatever STATUS returns, DEL \
         is served",
    ),
)
.versions(Versions::WITH_GC)
.kinds(&[Kind::Ipam])
.needs(&[Need::Verb(Command::Status), Need::Makes(Made::Reservation)])
.faults(&[
    Fault::new("has a code of its own for a full pool", |real, call| {
        status_once_full(real, call, Answer::error(111, "full"))
    }),
    Fault::new("stays full", |real, call| {
        status_once_full(real, call, Answer::error(50, "full"))
    }),
    Fault::new("serves no DEL while the pool is full", |real, call| {
        if call.is(Command::Del) && Path::new(FULL).exists() {
            return Ok(Answer::error(50, "full"));
        }
        status_once_full(real, call, Answer::default())
    }),
    Fault::new("keeps the address that DEL gives back", |real, call| {
        if call.is(Command::Del) {
            Ok(Answer::default())
        } else {
            real.run(&call)
        }
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    add_until_full(&attachment)?;
    let run = status(context)?;
    if run.status.success() {
        context.note("STATUS succeeds though no address is left");
    } else {
        let error = run.error()?;
        let code = error.get("code").and_then(serde_json::Value::as_u64);
        let listed = [Code::UNAVAILABLE, Code::LIMITED_CONNECTIVITY].map(|code| u64::from(code.0));
        let is_listed = code.is_some_and(|code| listed.contains(&code));
        require(is_listed, "success, or an error with code 50 or 51", &error)?;
    }
    attachment
        .request(Command::Del)
        .env("CNI_CONTAINERID", "many0")
        .run()?
        .succeeded()?;
    status(context)?.succeeded()?;
    let again = attachment
        .request(Command::Add)
        .env("CNI_CONTAINERID", "again");
    again.run()?.succeeded()?;
    Ok(())
});

/// For faults: the file that marks a pool that was seen full.
const FULL: &str = "/run/cni-conformance/files/full";

/// For faults: answers STATUS with `full` once an ADD has failed; serves everything else well.
fn status_once_full(real: &Real, call: Call, full: Answer) -> io::Result<Answer> {
    if call.is(Command::Status) && Path::new(FULL).exists() {
        return Ok(full);
    }
    let answer = real.run(&call)?;
    if call.is(Command::Add) && answer.status != 0 {
        std::fs::write(FULL, "")?;
    }
    Ok(answer)
}

fn status(context: &Context<'_>) -> Result<Run, Failure> {
    context.request(Command::Status).run()
}

/// One namespace does for all of them: an IPAM plugin makes nothing in it.
fn add_until_full(attachment: &Attachment<'_>) -> Result<(), Failure> {
    for number in 0..MAX_CONTAINERS {
        let request = attachment
            .request(Command::Add)
            .env("CNI_CONTAINERID", format!("many{number}"));
        if !request.run()?.status.success() {
            return require(number > 0, "one ADD that succeeds", "the first fails");
        }
    }
    Err(Failure::skip(format!(
        "{MAX_CONTAINERS} containers do not use up the addresses of the profile's configuration"
    )))
}
