//! Documents: what is in an error, in a chained plugin's result, and what VERSION promises.

use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Kind, Need, Run, Versions, at, decode,
    error_codes, fault::put, ids::ERROR_CODES, require,
};
use cni_types::{AddResult, Command, SpecVersion};
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    ERROR_CODES_CASE,
    ERROR_DETAILS,
    PREVRESULT,
    VERSION_TRUE,
    VERSION_BARE,
    STDERR_QUIET,
];

const ERROR_CODES_CASE: Case = Case::should(
    ERROR_CODES,
    "the code of an error is one that the specification lists, or 100 and above",
    Clause::new(
        "5 Error",
        "codes below 100 are reserved for well-known errors, those above are the plugin's own",
    ),
)
.faults(&[
    Fault::new("numbers its errors from 20", |real, call| {
        Ok(real.run(&call)?.edited(|answer| {
            if let Some(code) = answer["code"].as_u64() {
                put(answer, "/code", code + 20);
            }
        }))
    }),
    Fault::new("gives code 0", |real, call| {
        Ok(real.run(&call)?.edited(|answer| {
            if answer.get("code").is_some() {
                put(answer, "/code", 0);
            }
        }))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    for run in failures(&attachment)? {
        let error = run.error()?;
        let code = error
            .get("code")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        if code == error_codes::NAMESPACE {
            context.note(format!(
                "code 8, for a namespace that cannot be used, is a convention: {error}"
            ));
            continue;
        }
        require(
            error_codes::is_known(code),
            "a code that the specification lists, or one from 100 on",
            &error,
        )?;
    }
    Ok(())
});

const ERROR_DETAILS: Case = Case::must(
    "protocol/error-details",
    "the details of an error, if there are any, are a text",
    Clause::new("5 Error", "details is a longer text about the error"),
)
.faults(&[Fault::new(
    "puts an object into the details",
    |real, call| {
        Ok(real.run(&call)?.edited(|answer| {
            if answer.get("code").is_some() {
                put(answer, "/details", json!({"file": "main"}));
            }
        }))
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    for run in failures(&attachment)? {
        let error = run.error()?;
        let details = error.get("details");
        require(
            details.is_none_or(Value::is_string),
            "details that are a text, or none",
            &error,
        )?;
    }
    Ok(())
});

const PREVRESULT: Case = Case::must(
    "protocol/prevresult",
    "what prevResult says is in the result, with what the plugin adds or changes",
    Clause::new(
        "5 ADD Success",
        "a plugin that is given a prevResult prints it as its result, with its own modifications",
    ),
)
.versions(Versions::WITH_INTERFACES)
.kinds(&[Kind::Interface, Kind::Chained])
.faults(&[
    Fault::new("ignores prevResult", |real, call| {
        real.run(&call.edited(|config| {
            config
                .as_object_mut()
                .map(|config| config.remove("prevResult"));
        }))
    }),
    Fault::new("loses what a resolver needs", |real, call| {
        Ok(real.run(&call)?.edited(|result| {
            result.as_object_mut().map(|result| result.remove("dns"));
        }))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let given = earlier_result(context, &attachment);
    let run = attachment
        .request(Command::Add)
        .key("prevResult", given.clone())
        .run()?;
    let printed = run.result()?;
    let wanted = decode(&given)?;
    let found = decode(&printed)?;
    match lost(&wanted, &found) {
        Some(what) => Err(Failure::mismatch(
            format!("{what} of prevResult in the result"),
            printed,
        )),
        None => Ok(()),
    }
});

const VERSION_TRUE: Case = Case::must(
    "protocol/version-true",
    "every version that VERSION lists is served",
    Clause::new(
        "5 VERSION Success",
        "supportedVersions lists the versions that the plugin supports",
    ),
)
.versions(Versions::since(SpecVersion::LATEST))
.kinds(&[Kind::Interface, Kind::Ipam])
.needs(&[Need::Verb(Command::Version)])
.faults(&[Fault::new(
    "lists a version that it refuses",
    |real, call| {
        let is_version = call.is(Command::Version);
        Ok(real.run(&call)?.edited(|answer| {
            if let (true, Some(list)) = (is_version, answer["supportedVersions"].as_array_mut()) {
                list.push(json!("0.0.1"));
            }
        }))
    },
)])
.body(|context| {
    let answer = ask_version(context, "{\"cniVersion\":\"1.1.0\"}")?;
    let list = at(&answer, "/supportedVersions")
        .as_array()
        .cloned()
        .unwrap_or_default();
    let attachment = context.attachment("c1")?;
    for version in list {
        for command in [Command::Add, Command::Del] {
            attachment
                .request(command)
                .key("cniVersion", version.clone())
                .run()?
                .succeeded()?;
        }
    }
    Ok(())
});

const VERSION_BARE: Case = Case::may(
    "protocol/version-bare",
    "VERSION needs no configuration on stdin, and no version that it knows",
    Clause::silent(
        "VERSION is given cniVersion; what it says without, or with one it does not know, is \
         open",
    ),
)
.versions(Versions::since(SpecVersion::LATEST))
.needs(&[Need::Verb(Command::Version)])
.faults(&[Fault::new(
    "tells its versions to those only who know them",
    |real, call| {
        if call.config().get("cniVersion") == Some(&json!("9.9.9")) {
            return Ok(crate::suite::fault::Answer::error(
                1,
                "incompatible CNI version",
            ));
        }
        real.run(&call)
    },
)])
.body(|context| {
    for stdin in ["", "{}", "{\"cniVersion\":\"9.9.9\"}"] {
        let answer = ask_version(context, stdin)?;
        let list = at(&answer, "/supportedVersions");
        require(
            list.is_array(),
            format!("supportedVersions for the stdin {stdin:?}"),
            &answer,
        )?;
    }
    Ok(())
});

const STDERR_QUIET: Case = Case::may(
    "protocol/stderr-quiet",
    "a plugin that succeeds prints nothing on stderr",
    Clause::silent("stderr is for logs, and free; runtimes keep it"),
)
.versions(Versions::since(SpecVersion::LATEST))
.faults(&[Fault::new("logs each of its steps", |real, call| {
    let mut answer = real.run(&call)?;
    answer.stderr.extend(b"INFO adding\n");
    Ok(answer)
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let add = attachment.request(Command::Add).run()?;
    add.succeeded()?;
    let del = attachment.del()?;
    let said = add.stderr_text() + &del.stderr_text();
    require(said.is_empty(), "an empty stderr", format!("{said:?}"))
});

/// Requests that cannot be served, each for another reason.
fn failures(attachment: &Attachment<'_>) -> Result<Vec<Run>, Failure> {
    let add = || attachment.request(Command::Add);
    let requests = [
        add().key("cniVersion", "0.0.9").without_key("prevResult"),
        add().stdin("{"),
        add().without_key("name"),
        add().without_env("CNI_CONTAINERID"),
        add().env("CNI_COMMAND", "FROB"),
        add().env("CNI_NETNS", "/run/netns/there-is-none"),
        add().env("CNI_PATH", "/nowhere"),
        add().key("ipam", 5),
        add().key("prevResult", "text"),
    ];
    let mut runs = Vec::new();
    for request in requests {
        let run = request.run()?;
        if run.status.success() {
            // Not every plugin needs all of that.
            attachment.request(Command::Del).run()?;
        } else {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The result of an earlier plugin of the chain: for a chained plugin about the interface that is
/// there, for others about one that is not their business.
fn earlier_result(context: &Context<'_>, attachment: &Attachment<'_>) -> Value {
    let version = context.version().as_str();
    let mut address =
        json!({"address": "198.51.100.7/24", "gateway": "198.51.100.1", "interface": 0});
    if let (true, Some(address)) = (
        context.version() < SpecVersion::V1_0_0,
        address.as_object_mut(),
    ) {
        address.insert("version".to_owned(), json!("4"));
    }
    let other = json!({
        "cniVersion": version,
        "interfaces": [{"name": "net7", "mac": "02:00:00:00:07:07", "sandbox": attachment.netns().path()}],
        "ips": [address],
        "routes": [{"dst": "203.0.113.0/24", "gw": "198.51.100.1"}],
    });
    let mut result = attachment.fixture().cloned().unwrap_or(other);
    if let Some(result) = result.as_object_mut() {
        result.insert(
            "dns".to_owned(),
            json!({"nameservers": ["198.51.100.53"], "search": ["example.org"]}),
        );
    }
    result
}

/// Returns the parts of the one result that are missing from the other. Properties of interfaces
/// may be changed.
fn lost(given: &AddResult, result: &AddResult) -> Option<String> {
    let interface = given.interfaces.iter().find(|wanted| {
        !result
            .interfaces
            .iter()
            .any(|found| (&found.name, &found.sandbox) == (&wanted.name, &wanted.sandbox))
    });
    let ip = given.ips.iter().find(|wanted| {
        !result
            .ips
            .iter()
            .any(|found| found.address == wanted.address)
    });
    let route = given
        .routes
        .iter()
        .find(|wanted| !result.routes.iter().any(|found| found.dst == wanted.dst));
    let dns = given
        .dns
        .nameservers
        .iter()
        .find(|wanted| !result.dns.nameservers.contains(wanted));
    interface
        .map(|interface| format!("the interface {}", interface.name))
        .or_else(|| ip.map(|ip| format!("the address {}", ip.address)))
        .or_else(|| route.map(|route| format!("the route to {}", route.dst)))
        .or_else(|| dns.map(|server| format!("the name server {server}")))
}

fn ask_version(context: &Context<'_>, stdin: &str) -> Result<Value, Failure> {
    Ok(context
        .request(Command::Version)
        .stdin(stdin)
        .run()?
        .succeeded()?
        .document()?)
}
