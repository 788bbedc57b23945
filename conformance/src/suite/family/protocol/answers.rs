//! What a plugin says when it serves a request.

use crate::suite::{
    Case, Clause, Context, EVERY_KIND, Failure, Fault, Kind, Level, Need, Versions, at, require,
    require_same,
};
use cni_types::{Code, Command, SpecVersion};
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "protocol/add-one-document",
        title: "ADD prints one JSON object and nothing else",
        clause: Clause {
            section: "2 ADD",
            rule: "a successful plugin prints a result structure on standard out",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[
            Fault::new("prints its result twice", |real, call| {
                let mut answer = real.run(&call)?;
                answer.stdout = answer.stdout.repeat(2);
                Ok(answer)
            }),
            Fault::new("prints a log line before its result", |real, call| {
                let mut answer = real.run(&call)?;
                answer.stdout.splice(0..0, *b"adding\n");
                Ok(answer)
            }),
            Fault::new("prints nothing", |real, call| {
                let mut answer = real.run(&call)?;
                answer.stdout.clear();
                Ok(answer)
            }),
        ],
        body: add_prints_one_object,
    },
    Case {
        id: "protocol/result-version",
        title: "the result bears the version that was asked for",
        clause: Clause {
            section: "5 ADD Success",
            rule: "cniVersion in the result is the one given on input",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface, Kind::Chained],
        needs: &[],
        faults: &[
            Fault::new("answers in a version of its own", |real, call| {
                Ok(real
                    .run(&call)?
                    .edited(|result| result["cniVersion"] = json!("0.3.1")))
            }),
            Fault::new("does not say the version", |real, call| {
                Ok(real.run(&call)?.edited(|result| {
                    result
                        .as_object_mut()
                        .map(|object| object.remove("cniVersion"));
                }))
            }),
        ],
        body: the_result_bears_the_version,
    },
    Case {
        id: "protocol/del-silent",
        title: "a successful DEL prints no document that a runtime could take for a result",
        clause: Clause {
            section: "silent",
            rule: "no output of a successful DEL is defined",
        },
        level: Level::May,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new(
            "prints an empty object with DEL",
            |real, call| {
                let mut answer = real.run(&call)?;
                if call.is(Command::Del) {
                    answer.stdout = b"{}".to_vec();
                }
                Ok(answer)
            },
        )],
        body: del_is_silent,
    },
    Case {
        id: "protocol/version",
        title: "VERSION lists the supported versions: this one, or ADD refuses it with code 1",
        clause: Clause {
            section: "5 VERSION Success",
            rule: "the answer has supportedVersions, a list of specification versions",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[Need::Verb(Command::Version), Need::AnyVersion],
        faults: &[
            Fault::new("leaves this version out", |real, call| {
                let version = at(&call.config(), "/cniVersion").clone();
                Ok(real.run(&call)?.edited(|answer| {
                    if let Some(list) = answer["supportedVersions"].as_array_mut() {
                        list.retain(|listed| *listed != version);
                    }
                }))
            }),
            Fault::new("lists its versions as one text", |real, call| {
                Ok(real
                    .run(&call)?
                    .edited(|answer| answer["supportedVersions"] = json!("1.0.0, 1.1.0")))
            }),
        ],
        body: version_lists_this_one,
    },
    Case {
        id: "protocol/version-echo",
        title: "VERSION answers with the version that was asked with",
        clause: Clause {
            section: "5 VERSION Success",
            rule: "cniVersion is the value specified on input",
        },
        level: Level::Must,
        // Before, cniVersion was the version of the answer itself.
        versions: Versions::since(SpecVersion::V1_0_0),
        kinds: EVERY_KIND,
        needs: &[Need::Verb(Command::Version)],
        faults: &[Fault::new("always says 0.2.1", |real, call| {
            Ok(real
                .run(&call)?
                .edited(|answer| answer["cniVersion"] = json!("0.2.1")))
        })],
        body: version_echoes,
    },
    Case {
        id: "protocol/unknown-keys",
        title: "keys that the plugin does not know are no obstacle",
        clause: Clause {
            section: "1 Plugin configuration objects",
            rule: "a configuration may have further fields, and reserved ones; a plugin may refuse those that it \
                   does not know, but then no runtime can add any",
        },
        level: Level::Should,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new(
            "refuses keys that it does not know",
            |real, call| {
                if call.config().get("x-unknown").is_some() {
                    return Ok(crate::suite::fault::Answer::error(
                        2,
                        "unknown key x-unknown",
                    ));
                }
                real.run(&call)
            },
        )],
        body: unknown_keys_are_no_obstacle,
    },
];

fn add_prints_one_object(context: &Context<'_>) -> Result<(), Failure> {
    context.attachment("c1")?.add().map(drop)
}

fn the_result_bears_the_version(context: &Context<'_>) -> Result<(), Failure> {
    let result = context.attachment("c1")?.add()?;
    require_same(
        "the result's cniVersion",
        &json!(context.version().as_str()),
        at(&result, "/cniVersion"),
    )
}

fn del_is_silent(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let run = attachment.del()?;
    require(run.stdout.is_empty(), "an empty stdout", run.summary())
}

fn ask_version(context: &Context<'_>) -> Result<Value, Failure> {
    let config = json!({"cniVersion": context.version().as_str()});
    context
        .request(Command::Version)
        .with_config(config)
        .run()?
        .succeeded()?
        .document()
}

fn version_lists_this_one(context: &Context<'_>) -> Result<(), Failure> {
    let answer = ask_version(context)?;
    let list = at(&answer, "/supportedVersions").as_array();
    let list = list.ok_or_else(|| Failure::mismatch("a list as supportedVersions", &answer))?;
    let version = context.version().as_str();
    if list.contains(&json!(version)) {
        return Ok(());
    }
    let refused = context
        .attachment("c1")?
        .request(Command::Add)
        .run()?
        .error_with(Code::INCOMPATIBLE_VERSION);
    require(
        refused.is_ok(),
        format!("supportedVersions with {version:?} in it, which ADD serves"),
        answer,
    )
}

fn version_echoes(context: &Context<'_>) -> Result<(), Failure> {
    let answer = ask_version(context)?;
    require_same(
        "cniVersion",
        &json!(context.version().as_str()),
        at(&answer, "/cniVersion"),
    )
}

fn unknown_keys_are_no_obstacle(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    let more = |command| {
        attachment
            .request(command)
            .key("x-unknown", json!({"a": [1, null]}))
            .key("cni.dev/unknown", true)
            .key("capabilities", json!({"x": true}))
    };
    more(Command::Add).run()?.succeeded()?;
    more(Command::Del).run()?.succeeded().map(drop)
}
