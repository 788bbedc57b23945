//! A delegate that fails, is missing, or prints no readable result: the plugin must fail too.

use super::scene::{Scene, without_ipam};
use crate::suite::{
    Case, Clause, Context, Failure, Fault, Kind, Need, Versions, at, double::Reply, fault::Answer,
    require, require_same,
};
use cni_types::{Code, Command};
use serde_json::{Value, json};

/// The code of the double's errors.
const CODE: u32 = 117;
/// The text of the double's errors.
pub(super) const TEXT: &str = "the double is out of luck";

pub(super) const NEEDS: &[Need] = &[Need::Ipam, Need::Double];
const EXECUTION: &str = "4 Delegated plugin execution procedure";
pub(super) const CHECK_PASSES_ON: Clause = Clause::new(
    "2 CHECK",
    "the plugin should run CHECK of its delegates and pass their errors on to its caller",
);
const FAILS_TOO: Clause = Clause::new(
    EXECUTION,
    "if a delegate returns an error, the plugin should return one",
);

pub(super) const CASES: &[Case] = &[
    ADD_FAILS,
    DEL_FAILS,
    CHECK_FAILS,
    GC_FAILS,
    STATUS_FAILS,
    ERROR_WORD_FOR_WORD,
    NOT_FOUND,
    UNREADABLE_RESULT,
];

const ADD_FAILS: Case = Case::must(
    "delegation/add-fails",
    "ADD fails if the delegate's fails",
    Clause::new(
        EXECUTION,
        "a plugin whose delegate fails on ADD returns failure",
    ),
)
.kinds(&[Kind::Interface])
.needs(NEEDS)
.faults(&[Fault::new(
    "does without an address if its delegate fails",
    |real, call| {
        let answer = real.run(&call)?;
        if answer.status == 0 {
            Ok(answer)
        } else {
            real.run(&without_ipam(call))
        }
    },
)])
.body(|context| require_failure(context, Command::Add));

const DEL_FAILS: Case = Case::should(
    "delegation/del-fails",
    "DEL fails if the delegate's fails, so that it is tried again",
    FAILS_TOO,
)
.kinds(&[Kind::Interface])
.needs(NEEDS)
.faults(&[Fault::new(
    "ignores the delegate's error at DEL",
    |real, call| {
        real.run(&call)?;
        Ok(Answer::default())
    },
)])
.body(|context| require_failure(context, Command::Del));

const CHECK_FAILS: Case = Case::should(
    "delegation/check-fails",
    "CHECK fails if the delegate's fails, and passes on what it said",
    CHECK_PASSES_ON,
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Check), Need::Ipam, Need::Double])
.faults(&[
    Fault::new("ignores the delegate's error at CHECK", |real, call| {
        let answer = real.run(&call)?;
        Ok(if call.is(Command::Check) {
            Answer::default()
        } else {
            answer
        })
    }),
    Fault::new(
        "does not pass on the delegate's error at CHECK",
        |real, call| {
            let answer = real.run(&call)?;
            Ok(if answer.status == 0 {
                answer
            } else {
                Answer::error(999, "check failed")
            })
        },
    ),
])
.body(|context| {
    let scene = scene(context, Command::Check)?;
    let result = scene.add()?;
    let error = scene
        .request_after(Command::Check, &result)
        .run()?
        .error_with(Code(CODE))?;
    let said = format!("{} {}", at(&error, "/msg"), at(&error, "/details"));
    require(
        said.contains(TEXT),
        format!("an error that says {TEXT:?}"),
        &error,
    )
});

const GC_FAILS: Case = Case::should(
    "delegation/gc-fails",
    "GC fails if the delegate's fails",
    FAILS_TOO,
)
.versions(Versions::WITH_GC)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Gc), Need::Ipam, Need::Double])
.faults(&[Fault::new(
    "ignores the delegate's error at GC",
    |real, call| {
        real.run(&call)?;
        Ok(Answer::default())
    },
)])
.body(|context| require_failure(context, Command::Gc));

const STATUS_FAILS: Case = Case::should(
    "delegation/status-fails",
    "STATUS fails if the delegate's fails",
    Clause::new(
        "2 STATUS",
        "if the delegate returns an error, the plugin should return an error",
    ),
)
.versions(Versions::WITH_GC)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Status), Need::Ipam, Need::Double])
.faults(&[Fault::new(
    "is ready though its delegate is not",
    |real, call| {
        real.run(&call)?;
        Ok(Answer::default())
    },
)])
.body(|context| require_failure(context, Command::Status));

const ERROR_WORD_FOR_WORD: Case = Case::may(
    "delegation/error-word-for-word",
    "the error of a failed ADD has the delegate's code and text",
    Clause::silent("what the error says if a delegate's ADD fails"),
)
.kinds(&[Kind::Interface])
.needs(NEEDS)
.faults(&[Fault::new(
    "has one error for all failures",
    |real, call| {
        let answer = real.run(&call)?;
        Ok(if answer.status == 0 {
            answer
        } else {
            Answer::error(999, "ipam failed")
        })
    },
)])
.body(|context| {
    let scene = scene(context, Command::Add)?;
    let error = scene.request(Command::Add).run()?.error_with(Code(CODE))?;
    require_same("the error's msg", &json!(TEXT), at(&error, "/msg"))
});

const NOT_FOUND: Case = Case::must(
    "delegation/not-found",
    "ADD fails if CNI_PATH has no such delegate",
    Clause::new(
        EXECUTION,
        "the delegate is looked for in the folders of CNI_PATH",
    ),
)
.kinds(&[Kind::Interface])
.needs(NEEDS)
.faults(&[
    Fault::new("does without a delegate that is not there", |real, call| {
        let answer = real.run(&call)?;
        if answer.status == 0 {
            Ok(answer)
        } else {
            real.run(&without_ipam(call))
        }
    }),
    Fault::new("looks beside itself for delegates", |real, call| {
        let program = call.env("CNI_PATH") + ":/run/cni-conformance/files/double-double-ipam";
        real.run(&call.with_env("CNI_PATH", program))
    }),
])
.body(|context| {
    let scene = Scene::new(context, &[])?;
    let other = context.double("another-ipam", &[])?;
    scene
        .request(Command::Add)
        .env("CNI_PATH", other.folder())
        .run()?
        .failed()?;
    Ok(())
});

const UNREADABLE_RESULT: Case = Case::must(
    "delegation/unreadable-result",
    "ADD fails if the delegate's output is no result",
    Clause::new(
        "4 Delegated Plugin protocol",
        "a delegate's success is an exit status of 0 and a result on stdout",
    ),
)
.kinds(&[Kind::Interface])
.needs(NEEDS)
.faults(&[Fault::new(
    "takes an unreadable result for one without addresses",
    |real, call| {
        let answer = real.run(&call)?;
        if answer.status == 0 {
            Ok(answer)
        } else {
            real.run(&without_ipam(call))
        }
    },
)])
.body(|context| {
    let scene = Scene::new(context, &[(Command::Add, Reply::success("10.77.0.9/24"))])?;
    let run = scene.request(Command::Add).run()?;
    scene.call(Command::Add)?;
    run.failed()?;
    Ok(())
});

/// Returns a scene whose delegate fails at this operation and succeeds at all others.
fn scene<'c>(context: &'c Context<'c>, command: Command) -> Result<Scene<'c>, Failure> {
    Scene::new(context, &[(command, Reply::error(CODE, TEXT))])
}

/// Requires that the operation runs the delegate, which fails, and fails too.
fn require_failure(context: &Context<'_>, command: Command) -> Result<(), Failure> {
    let scene = scene(context, command)?;
    let result = if command == Command::Del {
        scene.add()?
    } else {
        Value::Null
    };
    let run = scene.request_after(command, &result).run()?;
    scene.call(command)?;
    run.failed()?;
    Ok(())
}
