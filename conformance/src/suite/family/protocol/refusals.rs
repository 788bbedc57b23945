//! The answer of a plugin that does not serve a request.

use crate::suite::{Case, Clause, Fault, Kind, Need, fault::Answer, profile::Made, require};
use cni_types::{Code, Command};
use serde_json::json;

pub(super) const CASES: &[Case] = &[
    UNKNOWN_VERSION,
    UNDECODABLE,
    MISSING_VARIABLES,
    ERROR_VERSION,
    BAD_NETNS,
];

const UNKNOWN_VERSION: Case = Case::must(
    "protocol/unknown-version",
    "a version that the plugin does not speak is refused with code 1",
    Clause::new("5 Error", "code 1 stands for an incompatible CNI version"),
)
.needs(&[Need::AnyVersion])
.faults(&[
    Fault::new("takes any version for the newest", |real, call| {
        let call = call.edited(|config| {
            if config["cniVersion"] == json!(UNKNOWN) {
                config["cniVersion"] = json!("1.0.0");
            }
        });
        real.run(&call)
    }),
    Fault::new("gives another code", |real, call| {
        Ok(real.run(&call)?.edited(|error| error["code"] = json!(7)))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment
        .request(Command::Add)
        .key("cniVersion", UNKNOWN)
        .without_key("prevResult")
        .run()?
        .error_with(Code::INCOMPATIBLE_VERSION)?;
    context.require_unchanged(&before, "the refused ADD")
});

const UNDECODABLE: Case = Case::must(
    "protocol/undecodable",
    "a configuration that is no JSON is refused with code 6",
    Clause::new(
        "5 Error",
        "code 6 stands for content that cannot be decoded",
    ),
)
.faults(&[Fault::new(
    "says nothing but an exit status",
    |real, call| {
        let answer = real.run(&call)?;
        Ok(if answer.status == 0 {
            answer
        } else {
            Answer {
                stdout: Vec::new(),
                ..answer
            }
        })
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment
        .request(Command::Add)
        .stdin("{\"cniVersion\": ")
        .run()?
        .error_with(Code::DECODE)?;
    Ok(())
});

const MISSING_VARIABLES: Case = Case::must(
    "protocol/missing-variables",
    "a request that lacks a required variable is refused with code 4, naming it",
    Clause::new(
        "5 Error",
        "code 4 stands for invalid environment variables, and the message names them",
    ),
)
.faults(&[
    Fault::new("does without a container id", |real, call| {
        let id = call.env("CNI_CONTAINERID");
        real.run(&if id.is_empty() {
            call.with_env("CNI_CONTAINERID", "none")
        } else {
            call
        })
    }),
    Fault::new("does not say which variable", |real, call| {
        Ok(real
            .run(&call)?
            .edited(|error| error["msg"] = json!("a variable is missing")))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    for variable in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
        let run = attachment
            .request(Command::Add)
            .without_env(variable)
            .run()?;
        let error = run.error_with(Code::INVALID_ENVIRONMENT)?;
        let named = error.to_string().contains(variable);
        require(named, format!("an error that names {variable}"), &error)?;
    }
    context.require_unchanged(&before, "the refused ADDs")
});

const ERROR_VERSION: Case = Case::should(
    "protocol/error-version",
    "an error bears the protocol's version",
    Clause::new("5 Error", "an error object should have the key cniVersion"),
)
.faults(&[Fault::new(
    "leaves cniVersion out of errors",
    |real, call| {
        Ok(real.run(&call)?.edited(|error| {
            error
                .as_object_mut()
                .map(|object| object.remove("cniVersion"));
        }))
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let error = attachment
        .request(Command::Add)
        .without_env("CNI_CONTAINERID")
        .run()?
        .error()?;
    let version = error.get("cniVersion").and_then(|version| version.as_str());
    require(
        version.is_some_and(|text| !text.is_empty()),
        "an error object with \"cniVersion\"",
        &error,
    )
});

const BAD_NETNS: Case = Case::must(
    "protocol/bad-netns",
    "ADD to a namespace that is not there fails with one error object",
    Clause::new(
        "2 Errors",
        "the exit status of a failure is not zero, and an error structure should be printed",
    ),
)
.kinds(&[Kind::Interface, Kind::Chained])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[
    Fault::new("succeeds all the same", |real, call| {
        let answer = real.run(&call)?;
        Ok(if answer.status == 0 {
            answer
        } else {
            Answer::success("{}")
        })
    }),
    Fault::new("prints two error objects", |real, call| {
        let mut answer = real.run(&call)?;
        if answer.status != 0 {
            answer.stdout = answer.stdout.repeat(2);
        }
        Ok(answer)
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    let netns = "/run/netns/there-is-none";
    attachment
        .request(Command::Add)
        .env("CNI_NETNS", netns)
        .run()?
        .error()?;
    context.require_unchanged(&before, "the failed ADD")
});

/// Well-formed, and never to be released.
const UNKNOWN: &str = "0.0.9";
