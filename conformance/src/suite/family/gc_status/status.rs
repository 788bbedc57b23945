//! STATUS: whether the next ADD could succeed.

use crate::suite::{
    Attachment, Case, Clause, Context, EVERY_KIND, Failure, Fault, Kind, Level, Made, Need, Run, Versions,
    fault::Answer, require,
};
use cni_types::{Code, Command};

/// As many containers are added before a pool counts as one that does not run out.
const MOST: usize = 300;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "gc_status/status-ready",
        title: "STATUS succeeds where ADD does, before and after it",
        clause: Clause {
            section: "2 STATUS",
            rule: "the exit status is 0 where the plugin can serve an ADD",
        },
        level: Level::Must,
        versions: Versions::WITH_GC,
        kinds: EVERY_KIND,
        needs: &[Need::Verb(Command::Status)],
        faults: &[
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
                let is_late = call.is(Command::Status)
                    && std::path::Path::new("/run/cni-conformance/files/added").exists();
                if is_late { Ok(Answer::error(50, "busy")) } else { real.run(&call) }
            }),
        ],
        body: status_succeeds_where_add_does,
    },
    Case {
        id: "gc_status/status-changes-nothing",
        title: "STATUS has no effect",
        clause: Clause { section: "2 STATUS", rule: "STATUS is purely informational" },
        level: Level::Should,
        versions: Versions::WITH_GC,
        kinds: EVERY_KIND,
        needs: &[Need::Verb(Command::Status)],
        faults: &[Fault::new("makes a folder on STATUS", |real, call| {
            if call.is(Command::Status) {
                std::fs::create_dir_all("/var/lib/cni/probe")?;
            }
            real.run(&call)
        })],
        body: status_changes_nothing,
    },
    Case {
        id: "gc_status/status-prints-nothing",
        title: "a STATUS that succeeds prints nothing on stdout",
        clause: Clause { section: "silent", rule: "an output is described for a STATUS that fails only" },
        level: Level::May,
        versions: Versions::WITH_GC,
        kinds: EVERY_KIND,
        needs: &[Need::Verb(Command::Status)],
        faults: &[Fault::new("prints ok", |real, call| {
            let mut answer = real.run(&call)?;
            if call.is(Command::Status) {
                answer.stdout.extend(b"ok\n");
            }
            Ok(answer)
        })],
        body: status_prints_nothing,
    },
    Case {
        id: "gc_status/status-exhausted",
        title: "where no address is left, STATUS fails with 50 or 51, and DEL still works and makes room",
        clause: Clause {
            section: "2 STATUS",
            rule: "a plugin with a limited number of resources fails once they are used up; 50 and 51 are for that",
        },
        level: Level::Should,
        versions: Versions::WITH_GC,
        kinds: &[Kind::Ipam],
        needs: &[Need::Verb(Command::Status), Need::Makes(Made::Reservation)],
        faults: &[
            Fault::new("is always ready", |real, call| {
                if call.is(Command::Status) { Ok(Answer::default()) } else { real.run(&call) }
            }),
            Fault::new("has a code of its own", |real, call| {
                let answer = real.run(&call)?;
                let failed = call.is(Command::Status) && answer.status != 0;
                Ok(if failed { Answer::error(111, "full") } else { answer })
            }),
            Fault::new("stays full", |real, call| {
                let answer = real.run(&call)?;
                if answer.status != 0 {
                    std::fs::write("/run/cni-conformance/files/full", "")?;
                }
                let full = call.is(Command::Status)
                    && std::path::Path::new("/run/cni-conformance/files/full").exists();
                Ok(if full { Answer::error(50, "full") } else { answer })
            }),
        ],
        body: a_full_pool_is_told,
    },
];

fn status(context: &Context<'_>) -> Result<Run, Failure> {
    context.request(Command::Status).run()
}

fn status_succeeds_where_add_does(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    status(context)?.succeeded()?;
    attachment.add()?;
    status(context)?.succeeded()?;
    Ok(())
}

fn status_changes_nothing(context: &Context<'_>) -> Result<(), Failure> {
    let before = context.state()?;
    status(context)?;
    // Not even what the profile allows to an ADD.
    let changes = context.state()?.changes_since(&before);
    require(changes.is_empty(), "no change", changes.join("\n"))?;
    context.attachment("c1")?.add()?;
    let before = context.state()?;
    status(context)?;
    let changes = context.state()?.changes_since(&before);
    require(changes.is_empty(), "no change after an ADD", changes.join("\n"))
}

fn status_prints_nothing(context: &Context<'_>) -> Result<(), Failure> {
    let run = status(context)?;
    run.succeeded()?;
    require(run.stdout.is_empty(), "no output", run.stdout_text())
}

/// One namespace does for all of them: an IPAM plugin makes nothing in it.
fn add_until_full(attachment: &Attachment<'_>) -> Result<(), Failure> {
    for number in 0..MOST {
        let request = attachment.request(Command::Add).env("CNI_CONTAINERID", format!("many{number}"));
        if !request.run()?.status.success() {
            return require(number > 0, "one ADD that succeeds", "the first fails");
        }
    }
    Err(Failure::skip(format!(
        "{MOST} containers do not use up the addresses of the profile's configuration"
    )))
}

fn a_full_pool_is_told(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    add_until_full(&attachment)?;
    let error = status(context)?.error()?;
    let code = error.get("code").and_then(serde_json::Value::as_u64);
    let wanted = [Code::UNAVAILABLE, Code::LIMITED_CONNECTIVITY].map(|code| u64::from(code.0));
    require(code.is_some_and(|code| wanted.contains(&code)), "an error with code 50 or 51", &error)?;
    attachment.request(Command::Del).env("CNI_CONTAINERID", "many0").run()?.succeeded()?;
    status(context)?.succeeded()?;
    Ok(())
}
