//! The delegate's errors by their codes: each kind means something else to a runtime, and should
//! reach it.

use super::{
    failures::{CHECK_PASSES_ON, NEEDS, TEXT},
    scene::Scene,
};
use crate::suite::{
    Case, Clause, Failure, Fault, Kind, Need, Run, Versions, at,
    double::Reply,
    fault::{Answer, put},
    require,
};
use cni_types::Command;
use serde_json::{Value, json};

/// All that the specification lists, and two of a plugin's own.
const CODES: [u32; 12] = [1, 2, 3, 4, 5, 6, 7, 11, 50, 51, 100, 999];

const DETAILS: &str = "its key \"x\" is 5, and it will be better tomorrow";

pub(super) const CASES: &[Case] = &[CHECK_ERROR_KINDS, ERROR_KINDS, STATUS_NOT_FOUND];

const CHECK_ERROR_KINDS: Case = Case::should(
    "delegation/check-error-kinds",
    "CHECK passes on the delegate's error with code, text and details, whatever the code",
    CHECK_PASSES_ON,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Check), Need::Ipam, Need::Double])
.faults(&[
    Fault::new("knows one kind of error", |real, call| {
        let one = |error: &mut Value| put(error, "/code", 999);
        Ok(real.run(&call)?.edited(|answer| {
            if answer.get("code").is_some() {
                one(answer);
            }
        }))
    }),
    Fault::new("keeps the details to itself", |real, call| {
        Ok(real.run(&call)?.edited(|answer| {
            answer
                .as_object_mut()
                .map(|answer| answer.remove("details"));
        }))
    }),
])
.body(|context| {
    let scene = Scene::new(context, &[])?;
    let result = scene.add()?;
    for code in CODES {
        scene.answer(&[(Command::Check, error(code))])?;
        let run = scene.request_after(Command::Check, &result).run()?;
        require_passed_on(Command::Check, code, &run)?;
    }
    Ok(())
});

const ERROR_KINDS: Case = Case::may(
    "delegation/error-kinds",
    "ADD, DEL, GC and STATUS pass on the delegate's error with code, text and details",
    Clause::silent(
        "if a delegate fails the plugin fails; what its error says then is open. A runtime \
         that is to try again (code 11), or to leave a node alone (50, 51), has to be told",
    ),
)
.kinds(&[Kind::Interface])
.needs(NEEDS)
.faults(&[
    Fault::new(
        "takes a delegate that is busy for one that is broken",
        |real, call| {
            Ok(real.run(&call)?.edited(|answer| {
                if answer["code"] == json!(11) {
                    put(answer, "/code", 999);
                }
            }))
        },
    ),
    Fault::new("fails at STATUS for a reason of its own", |real, call| {
        let answer = real.run(&call)?;
        let failed = call.is(Command::Status) && answer.status != 0;
        Ok(if failed {
            Answer::error(100, "IPAM is not ready")
        } else {
            answer
        })
    }),
])
.body(|context| {
    let scene = Scene::new(context, &[])?;
    let verbs = &context.profile().verbs;
    let in_version = |command: &Command| {
        let is_new = matches!(command, Command::Gc | Command::Status);
        !is_new || verbs.contains(command) && context.version() == cni_types::SpecVersion::LATEST
    };
    let commands = [Command::Add, Command::Del, Command::Gc, Command::Status];
    for command in commands.into_iter().filter(in_version) {
        for code in CODES {
            scene.answer(&[(command, error(code))])?;
            require_passed_on(command, code, &scene.request(command).run()?)?;
            // As a runtime does after an ADD that failed.
            scene.answer(&[])?;
            scene.request(Command::Del).run()?.succeeded()?;
        }
    }
    Ok(())
});

const STATUS_NOT_FOUND: Case = Case::should(
    "delegation/status-not-found",
    "STATUS fails if CNI_PATH has no such delegate",
    Clause::new(
        "2 STATUS",
        "a plugin that relies on a delegate asks it for its STATUS; one that cannot serve an ADD \
         says so",
    ),
)
.versions(Versions::WITH_GC)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Status), Need::Ipam, Need::Double])
.faults(&[Fault::new("is ready without its delegate", |real, call| {
    let answer = real.run(&call)?;
    Ok(if call.is(Command::Status) {
        Answer::default()
    } else {
        answer
    })
})])
.body(|context| {
    let scene = Scene::new(context, &[])?;
    let other = context.double("another-ipam", &[])?;
    scene
        .request(Command::Status)
        .env("CNI_PATH", other.folder())
        .run()?
        .error()?;
    Ok(())
});

fn error(code: u32) -> Reply {
    let document = json!({"cniVersion": "1.0.0", "code": code, "msg": TEXT, "details": DETAILS});
    Reply {
        status: 1,
        ..Reply::success(document)
    }
}

/// Requires that all three parts of the delegate's error are in the plugin's.
fn require_passed_on(command: Command, code: u32, run: &Run) -> Result<(), Failure> {
    let failed = format!(
        "{} that fails as its delegate does, with code {code}",
        command.as_str()
    );
    require(!run.status.success(), failed, run.summary())?;
    let error = run.error()?;
    let said = format!("{} {}", at(&error, "/msg"), at(&error, "/details"));
    let details = Value::from(DETAILS).to_string();
    let kept = *at(&error, "/code") == json!(code)
        && said.contains(TEXT)
        && said.contains(details.trim_matches('"'));
    let wanted = format!(
        "{} with the code {code}, {TEXT:?} and {DETAILS:?} of the delegate",
        command.as_str()
    );
    require(kept, wanted, &error)
}
