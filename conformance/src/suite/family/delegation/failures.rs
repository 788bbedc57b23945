//! A delegate that fails, is missing, or says what nobody can read: the plugin fails too.

use super::scene::{Scene, without_ipam};
use crate::suite::{
    Case, Clause, Context, Failure, Fault, Kind, Level, Need, Versions, at, double::Reply,
    fault::Answer, require, require_same,
};
use cni_types::{Code, Command};
use serde_json::{Value, json};

/// What the double answers where it is to fail.
const CODE: u32 = 117;
pub(super) const TEXT: &str = "the double is out of luck";

pub(super) const NEEDS: &[Need] = &[Need::Ipam, Need::Double];
const EXECUTION: &str = "4 Delegated plugin execution procedure";
pub(super) const CHECK_PASSES_ON: Clause = Clause {
    section: "2 CHECK",
    rule: "the plugin should run CHECK of its delegates and pass their errors on to its caller",
};
const FAILS_TOO: Clause = Clause {
    section: EXECUTION,
    rule: "where a delegate returns an error, the plugin should return one",
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "delegation/add-fails",
        title: "ADD fails where the delegate's fails",
        clause: Clause {
            section: EXECUTION,
            rule: "a plugin whose delegate fails on ADD returns failure",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: NEEDS,
        faults: &[Fault::new(
            "does without an address where there is none to be had",
            |real, call| {
                let answer = real.run(&call)?;
                if answer.status == 0 {
                    Ok(answer)
                } else {
                    real.run(&without_ipam(call))
                }
            },
        )],
        body: |context| it_fails(context, Command::Add),
    },
    Case {
        id: "delegation/del-fails",
        title: "DEL fails where the delegate's fails, so that it is tried again",
        clause: FAILS_TOO,
        level: Level::Should,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: NEEDS,
        faults: &[Fault::new(
            "keeps quiet about a delegate's failed DEL",
            |real, call| {
                real.run(&call)?;
                Ok(Answer::default())
            },
        )],
        body: |context| it_fails(context, Command::Del),
    },
    Case {
        id: "delegation/check-fails",
        title: "CHECK fails where the delegate's fails, and passes on what it said",
        clause: CHECK_PASSES_ON,
        level: Level::Should,
        versions: Versions::WITH_CHECK,
        kinds: &[Kind::Interface],
        needs: &[Need::Verb(Command::Check), Need::Ipam, Need::Double],
        faults: &[
            Fault::new("is content with its own part at CHECK", |real, call| {
                let answer = real.run(&call)?;
                Ok(if call.is(Command::Check) {
                    Answer::default()
                } else {
                    answer
                })
            }),
            Fault::new("keeps to itself why CHECK failed", |real, call| {
                let answer = real.run(&call)?;
                Ok(if answer.status == 0 {
                    answer
                } else {
                    Answer::error(999, "check failed")
                })
            }),
        ],
        body: check_fails_with_the_delegates_error,
    },
    Case {
        id: "delegation/gc-fails",
        title: "GC fails where the delegate's fails",
        clause: FAILS_TOO,
        level: Level::Should,
        versions: Versions::WITH_GC,
        kinds: &[Kind::Interface],
        needs: &[Need::Verb(Command::Gc), Need::Ipam, Need::Double],
        faults: &[Fault::new(
            "keeps quiet about a delegate's failed GC",
            |real, call| {
                real.run(&call)?;
                Ok(Answer::default())
            },
        )],
        body: |context| it_fails(context, Command::Gc),
    },
    Case {
        id: "delegation/status-fails",
        title: "STATUS fails where the delegate's fails",
        clause: Clause {
            section: "2 STATUS",
            rule: "where the delegate returns an error, the plugin should return an error",
        },
        level: Level::Should,
        versions: Versions::WITH_GC,
        kinds: &[Kind::Interface],
        needs: &[Need::Verb(Command::Status), Need::Ipam, Need::Double],
        faults: &[Fault::new(
            "is ready though its delegate is not",
            |real, call| {
                real.run(&call)?;
                Ok(Answer::default())
            },
        )],
        body: |context| it_fails(context, Command::Status),
    },
    Case {
        id: "delegation/error-word-for-word",
        title: "the error of a failed ADD has the delegate's code and text",
        clause: Clause {
            section: "silent",
            rule: "what the error says where a delegate's ADD failed",
        },
        level: Level::May,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: NEEDS,
        faults: &[Fault::new(
            "has one error for all failures",
            |real, call| {
                let answer = real.run(&call)?;
                Ok(if answer.status == 0 {
                    answer
                } else {
                    Answer::error(999, "ipam failed")
                })
            },
        )],
        body: the_error_is_the_delegates,
    },
    Case {
        id: "delegation/not-found",
        title: "ADD fails where CNI_PATH has no such delegate",
        clause: Clause {
            section: EXECUTION,
            rule: "the delegate is looked for in the folders of CNI_PATH",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: NEEDS,
        faults: &[
            Fault::new("does without a delegate that is not there", |real, call| {
                let answer = real.run(&call)?;
                if answer.status == 0 {
                    Ok(answer)
                } else {
                    real.run(&without_ipam(call))
                }
            }),
            Fault::new("looks beside itself for delegates", |real, call| {
                let program =
                    call.env("CNI_PATH") + ":/run/cni-conformance/files/double-double-ipam";
                real.run(&call.with_env("CNI_PATH", program))
            }),
        ],
        body: a_missing_delegate_is_an_error,
    },
    Case {
        id: "delegation/unreadable-result",
        title: "ADD fails where the delegate's output is no result",
        clause: Clause {
            section: "4 Delegated Plugin protocol",
            rule: "a delegate's success is an exit status of 0 and a result on stdout",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: NEEDS,
        faults: &[Fault::new(
            "takes rubbish for a result without addresses",
            |real, call| {
                let answer = real.run(&call)?;
                if answer.status == 0 {
                    Ok(answer)
                } else {
                    real.run(&without_ipam(call))
                }
            },
        )],
        body: rubbish_is_an_error,
    },
];

/// A double that fails at this operation and succeeds at all others.
fn scene<'c>(context: &'c Context<'c>, command: Command) -> Result<Scene<'c>, Failure> {
    Scene::new(context, &[(command, Reply::error(CODE, TEXT))])
}

fn it_fails(context: &Context<'_>, command: Command) -> Result<(), Failure> {
    let scene = scene(context, command)?;
    let result = if command == Command::Del {
        scene.add()?
    } else {
        Value::Null
    };
    let run = scene.request_after(command, &result).run()?;
    scene.call(command)?;
    run.failed().map(drop)
}

fn check_fails_with_the_delegates_error(context: &Context<'_>) -> Result<(), Failure> {
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
}

fn the_error_is_the_delegates(context: &Context<'_>) -> Result<(), Failure> {
    let scene = scene(context, Command::Add)?;
    let error = scene.request(Command::Add).run()?.error_with(Code(CODE))?;
    require_same("the error's msg", &json!(TEXT), at(&error, "/msg"))
}

fn a_missing_delegate_is_an_error(context: &Context<'_>) -> Result<(), Failure> {
    let scene = Scene::new(context, &[])?;
    let other = context.double("another-ipam", &[])?;
    scene
        .request(Command::Add)
        .env("CNI_PATH", other.folder())
        .run()?
        .failed()
        .map(drop)
}

fn rubbish_is_an_error(context: &Context<'_>) -> Result<(), Failure> {
    let scene = Scene::new(context, &[(Command::Add, Reply::success("10.77.0.9/24"))])?;
    let run = scene.request(Command::Add).run()?;
    scene.call(Command::Add)?;
    run.failed().map(drop)
}
