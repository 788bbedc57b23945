//! The answer of a plugin that serves a request.

use crate::suite::{
    Case, Clause, Context, Failure, Fault, Kind, Need, Versions, at, require, require_same,
};
use cni_types::{Code, Command, SpecVersion};
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    ADD_ONE_DOCUMENT,
    RESULT_VERSION,
    DEL_SILENT,
    VERSION,
    VERSION_ECHO,
    UNKNOWN_KEYS,
];

const ADD_ONE_DOCUMENT: Case = Case::must(
    "protocol/add-one-document",
    "ADD prints one JSON object and nothing else",
    Clause::new(
        "2 ADD",
        "a successful plugin prints a result structure on standard out",
    ),
)
.faults(&[
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
])
.body(|context| context.attachment("c1")?.add().map(drop));

const RESULT_VERSION: Case = Case::must(
    "protocol/result-version",
    "the result bears the version that was asked for",
    Clause::new(
        "5 ADD Success",
        "cniVersion in the result is the one given on input",
    ),
)
.kinds(&[Kind::Interface, Kind::Chained])
.faults(&[
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
])
.body(|context| {
    let result = context.attachment("c1")?.add()?;
    require_same(
        "the result's cniVersion",
        &json!(context.version().as_str()),
        at(&result, "/cniVersion"),
    )
});

const DEL_SILENT: Case = Case::may(
    "protocol/del-silent",
    "a successful DEL prints no document that a runtime could take for a result",
    Clause::silent("no output of a successful DEL is defined"),
)
.faults(&[Fault::new(
    "prints an empty object with DEL",
    |real, call| {
        let mut answer = real.run(&call)?;
        if call.is(Command::Del) {
            answer.stdout = b"{}".to_vec();
        }
        Ok(answer)
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let run = attachment.del()?;
    require(run.stdout.is_empty(), "an empty stdout", run.summary())
});

const VERSION: Case = Case::must(
    "protocol/version",
    "VERSION lists the supported versions: this one, or ADD refuses it with code 1",
    Clause::new(
        "5 VERSION Success",
        "the answer has supportedVersions, a list of specification versions",
    ),
)
.needs(&[Need::Verb(Command::Version), Need::AnyVersion])
.faults(&[
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
])
.body(|context| {
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
});

const VERSION_ECHO: Case = Case::must(
    "protocol/version-echo",
    "VERSION answers with the version that was asked with",
    Clause::new(
        "5 VERSION Success",
        "cniVersion is the value specified on input",
    ),
)
// Before, cniVersion was the version of the answer itself.
.versions(Versions::since(SpecVersion::V1_0_0))
.needs(&[Need::Verb(Command::Version)])
.faults(&[Fault::new("always says 0.2.1", |real, call| {
    Ok(real
        .run(&call)?
        .edited(|answer| answer["cniVersion"] = json!("0.2.1")))
})])
.body(|context| {
    let answer = ask_version(context)?;
    require_same(
        "cniVersion",
        &json!(context.version().as_str()),
        at(&answer, "/cniVersion"),
    )
});

const UNKNOWN_KEYS: Case = Case::should(
    "protocol/unknown-keys",
    "keys that the plugin does not know are no obstacle",
    Clause::new(
        "1 Plugin configuration objects",
        "a configuration may have further fields, and reserved ones; a plugin may refuse those \
         that it does not know, but then no runtime can add any",
    ),
)
.faults(&[Fault::new(
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
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let more = |command| {
        attachment
            .request(command)
            .key("x-unknown", json!({"a": [1, null]}))
            .key("cni.dev/unknown", true)
            .key("capabilities", json!({"x": true}))
    };
    more(Command::Add).run()?.succeeded()?;
    more(Command::Del).run()?.succeeded()?;
    Ok(())
});

fn ask_version(context: &Context<'_>) -> Result<Value, Failure> {
    let config = json!({"cniVersion": context.version().as_str()});
    Ok(context
        .request(Command::Version)
        .with_config(config)
        .run()?
        .succeeded()?
        .document()?)
}
