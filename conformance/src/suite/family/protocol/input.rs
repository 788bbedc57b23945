//! Stdin: what is refused, and what is no obstacle.

use crate::suite::{
    Case, Clause, Fault, Kind, Made, Need, Versions,
    fault::{Answer, put},
    require,
};
use cni_types::{Code, Command, SpecVersion};
use serde_json::{Value, json};

const CODE_6: Clause = Clause::new(
    "5 Error",
    "code 6 stands for content that cannot be decoded",
);

pub(super) const CASES: &[Case] = &[
    EMPTY_STDIN,
    NO_OBJECT,
    TRAILING_TEXT,
    BYTE_ORDER_MARK,
    NO_VERSION,
    MALFORMED_VERSION,
    NO_NAME,
    UNDECODABLE_PREVRESULT,
    RUNTIME_KEYS,
];

const EMPTY_STDIN: Case = Case::must(
    "protocol/empty-stdin",
    "an empty stdin is refused with code 6",
    CODE_6,
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new("does without a configuration", |real, call| {
    if call.stdin.is_empty() {
        Ok(Answer::success("{}"))
    } else {
        real.run(&call)
    }
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    for command in [Command::Add, Command::Del] {
        attachment
            .request(command)
            .stdin("")
            .run()?
            .error_with(Code::DECODE)?;
    }
    Ok(())
});

const NO_OBJECT: Case = Case::must(
    "protocol/no-object",
    "a configuration that is JSON but no object is refused with code 6 or 7",
    Clause::new(
        "5 Error",
        "code 6 stands for content that cannot be decoded, code 7 for an invalid configuration",
    ),
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[
    Fault::new("takes null for an empty configuration", |real, call| {
        if call.stdin == b"null" {
            Ok(Answer::success("{}"))
        } else {
            real.run(&call)
        }
    }),
    Fault::new("falls over a list", |real, call| {
        if call.config().is_array() {
            return Ok(Answer {
                status: 2,
                stderr: b"panic".to_vec(),
                ..Answer::default()
            });
        }
        real.run(&call)
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    for text in ["[]", "null", "1", "\"text\"", "[{}]"] {
        let error = attachment
            .request(Command::Add)
            .stdin(text)
            .run()?
            .error()?;
        let code = error.get("code").and_then(Value::as_u64);
        require(
            matches!(code, Some(6 | 7)),
            format!("code 6 or 7 for the configuration {text}"),
            &error,
        )?;
    }
    Ok(())
});

const TRAILING_TEXT: Case = Case::may(
    "protocol/trailing-text",
    "a configuration with something behind it is refused",
    Clause::silent("stdin holds one JSON object; what a plugin does with more is open"),
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new(
    "reads the first object only",
    |real, mut call| {
        let mut values = serde_json::Deserializer::from_slice(&call.stdin).into_iter::<Value>();
        if let Some(Ok(first)) = values.next() {
            call.stdin = first.to_string().into_bytes();
        }
        real.run(&call)
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let request = attachment.request(Command::Add);
    let text = format!("{0}{0}", request.config());
    request.stdin(text).run()?.error()?;
    Ok(())
});

const BYTE_ORDER_MARK: Case = Case::may(
    "protocol/byte-order-mark",
    "a configuration behind a byte order mark is taken",
    Clause::silent(
        "RFC 8259, 8.1: who writes JSON must not put a byte order mark before it; who reads may \
         ignore it",
    ),
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new("says nothing of it", |real, call| {
    let answer = real.run(&call)?;
    Ok(if answer.status == 0 {
        answer
    } else {
        Answer {
            stdout: Vec::new(),
            ..answer
        }
    })
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let request = attachment.request(Command::Add);
    let text = format!("\u{feff}{}", request.config());
    let run = request.stdin(text).run()?;
    if run.status.success() {
        run.result()?;
        Ok(())
    } else {
        run.error_with(Code::DECODE)?;
        Ok(())
    }
});

const NO_VERSION: Case = Case::may(
    "protocol/no-version",
    "a configuration without cniVersion is taken as 0.1.0, or refused with an error object",
    Clause::silent(
        "cniVersion is there for the versions to differ; plugins of the first version knew it \
         not",
    ),
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new("answers in the newest version", |real, call| {
    real.run(&call.edited(|config| {
        if config.get("cniVersion").is_none() {
            put(config, "/cniVersion", "1.1.0");
        }
    }))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let run = attachment
        .request(Command::Add)
        .without_key("cniVersion")
        .without_key("prevResult")
        .run()?;
    if !run.status.success() {
        run.error()?;
        return Ok(());
    }
    let result = run.result()?;
    let version = result
        .get("cniVersion")
        .and_then(Value::as_str)
        .unwrap_or("0.1.0");
    require(
        matches!(version, "0.1.0" | "0.2.0"),
        "a result of the first versions",
        &result,
    )
});

const MALFORMED_VERSION: Case = Case::must(
    "protocol/malformed-version",
    "a cniVersion that is no version is refused",
    Clause::new(
        "1 Configuration format",
        "cniVersion is a text with the version of the specification that the configuration \
         conforms to",
    ),
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new(
    "takes what it cannot read for the newest",
    |real, call| {
        real.run(&call.edited(|config| {
            if config["cniVersion"]
                .as_str()
                .is_none_or(|text| text.split('.').count() != 3)
            {
                put(config, "/cniVersion", "1.1.0");
            }
        }))
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    for version in [
        json!("banana"),
        json!("1"),
        json!("1.x.0"),
        json!(1),
        json!(["1.0.0"]),
    ] {
        let request = attachment
            .request(Command::Add)
            .key("cniVersion", version)
            .without_key("prevResult");
        request.run()?.error()?;
    }
    context.require_unchanged(&before, "the refused ADDs")
});

const NO_NAME: Case = Case::should(
    "protocol/no-name",
    "a configuration without a name is refused with code 7",
    Clause::new(
        "5 Error",
        "code 7 stands for an invalid configuration; every configuration has a name (section 3), \
         which binds who writes it rather than a plugin that does without",
    ),
)
.faults(&[Fault::new("does without a name", |real, call| {
    real.run(&call.edited(|config| {
        if config.get("name").is_none() {
            put(config, "/name", "default");
        }
    }))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    attachment
        .request(Command::Add)
        .without_key("name")
        .run()?
        .error_with(Code::INVALID_CONFIG)?;
    context.require_unchanged(&before, "the refused ADD")
});

const UNDECODABLE_PREVRESULT: Case = Case::must(
    "protocol/undecodable-prevresult",
    "CHECK with a prevResult that is no result is refused with an error object",
    Clause::new(
        "2 CHECK",
        "the plugin consults prevResult for the interfaces and addresses that it expects",
    ),
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Check), Need::Makes(Made::Interface)])
.faults(&[Fault::new(
    "does without what it cannot read",
    |real, call| {
        let readable = call.config().get("prevResult").is_none_or(Value::is_object);
        if call.is(Command::Check) && !readable {
            Ok(Answer::default())
        } else {
            real.run(&call)
        }
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    for value in [json!("text"), json!([1])] {
        attachment
            .request(Command::Check)
            .key("prevResult", value)
            .run()?
            .error()?;
    }
    Ok(())
});

const RUNTIME_KEYS: Case = Case::must(
    "protocol/runtime-keys",
    "what a runtime adds to a configuration is no obstacle, used or not",
    Clause::new(
        "1 Plugin configuration objects",
        "runtimeConfig, args and keys that begin with cni.dev/ are reserved for the runtime",
    ),
)
.faults(&[Fault::new(
    "refuses a runtimeConfig that it has no use for",
    |real, call| {
        if call
            .config()
            .pointer("/runtimeConfig/of.tomorrow")
            .is_some()
        {
            return Ok(Answer::error(
                2,
                "runtimeConfig of.tomorrow is not supported",
            ));
        }
        real.run(&call)
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    for command in [Command::Add, Command::Del] {
        let request = attachment.request(command);
        let mut runtime_config = request
            .config()
            .get("runtimeConfig")
            .cloned()
            .unwrap_or_else(|| json!({}));
        if let Some(config) = runtime_config.as_object_mut() {
            config.insert("of.tomorrow".to_owned(), json!([{"a": 1}]));
        }
        request
            .key("runtimeConfig", runtime_config)
            .key(
                "args",
                json!({"cni": {"labels": [{"key": "app", "value": "web"}]}, "x.org": 1}),
            )
            .key("cni.dev/of-tomorrow", json!({"a": null}))
            .run()?
            .succeeded()?;
    }
    Ok(())
});
