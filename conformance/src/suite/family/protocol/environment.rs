//! The environment: the variables that a request must have, and those that a plugin must tolerate.

use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Kind, Made, Need, Request, Versions,
    family::USABLE_IFNAME, fault::Answer, require,
};
use cni_types::{Code, Command};

const CODE_4: Clause = Clause::new(
    "5 Error",
    "code 4 stands for invalid environment variables, and the message names them",
);

pub(super) const CASES: &[Case] = &[
    MISSING_VARIABLES_ALL_NAMED,
    MISSING_VARIABLES_DEL,
    MISSING_VARIABLES_CHECK,
    INVALID_VARIABLES_NAMED,
    UNKNOWN_COMMAND,
    NO_COMMAND,
    BAD_IFNAME,
    ARGS,
    ARGS_UNKNOWN,
    FOREIGN_VARIABLES,
];

const MISSING_VARIABLES_ALL_NAMED: Case = Case::must(
    "protocol/missing-variables-all-named",
    "if several variables are missing, the error names each of them",
    CODE_4,
)
.faults(&[Fault::new("names the first one only", |real, call| {
    Ok(real.run(&call)?.edited(|error| {
        *error = serde_json::json!({"code": 4, "msg": "missing: CNI_CONTAINERID"});
    }))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let variables = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
    let bare = |request: Request<'_>| {
        let request = variables
            .iter()
            .fold(request, |request, name| request.without_env(name));
        request.run()
    };
    let run = bare(attachment.request(Command::Add))?;
    variables
        .iter()
        .try_for_each(|variable| require_named(&run, variable))
});

const MISSING_VARIABLES_DEL: Case = Case::must(
    "protocol/missing-variables-del",
    "a DEL that lacks a required variable is refused with code 4, naming it",
    CODE_4,
)
.faults(&[
    Fault::new("succeeds without a container id", |real, call| {
        if call.env("CNI_CONTAINERID").is_empty() {
            return Ok(Answer::default());
        }
        real.run(&call)
    }),
    Fault::new("deletes eth0 if it gets no name", |real, call| {
        let named = !call.env("CNI_IFNAME").is_empty();
        real.run(&if named {
            call
        } else {
            call.with_env("CNI_IFNAME", "eth0")
        })
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    require_each_named(
        &attachment,
        Command::Del,
        &["CNI_CONTAINERID", "CNI_IFNAME"],
    )?;
    context.require_unchanged(&before, "the refused DELs")
});

const MISSING_VARIABLES_CHECK: Case = Case::must(
    "protocol/missing-variables-check",
    "a CHECK that lacks a required variable is refused with code 4, naming it",
    CODE_4,
)
.versions(Versions::WITH_CHECK)
.needs(&[Need::Verb(Command::Check)])
.faults(&[Fault::new("succeeds without a namespace", |real, call| {
    if call.is(Command::Check) && call.env("CNI_NETNS").is_empty() {
        return Ok(Answer::default());
    }
    real.run(&call)
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    require_each_named(
        &attachment,
        Command::Check,
        &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    )
});

const INVALID_VARIABLES_NAMED: Case = Case::must(
    "protocol/invalid-variables-named",
    "if a variable has a value that it must not have, the error names the variable",
    CODE_4,
)
.faults(&[Fault::new("does not say which variable", |real, call| {
    Ok(real
        .run(&call)?
        .edited(|error| *error = serde_json::json!({"code": 4, "msg": "bad characters"})))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    for command in [Command::Add, Command::Del] {
        require_named(
            &attachment
                .request(command)
                .env("CNI_CONTAINERID", "../c1")
                .run()?,
            "CNI_CONTAINERID",
        )?;
    }
    Ok(())
});

const UNKNOWN_COMMAND: Case = Case::must(
    "protocol/unknown-command",
    "a CNI_COMMAND that is no operation is refused with code 4, naming CNI_COMMAND",
    CODE_4,
)
.faults(&[
    Fault::new("ignores what it does not know", |real, call| {
        let known = cni_types::Command::parse(&call.env("CNI_COMMAND")).is_some();
        if known {
            real.run(&call)
        } else {
            Ok(Answer::default())
        }
    }),
    Fault::new("accepts operations in lower case", |real, call| {
        let command = call.env("CNI_COMMAND").to_uppercase();
        real.run(&call.with_env("CNI_COMMAND", command))
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    for command in ["FROB", "add", "ADD ", "ADDDEL"] {
        let run = attachment
            .request(Command::Add)
            .env("CNI_COMMAND", command)
            .run()?;
        require_named(&run, "CNI_COMMAND")?;
    }
    context.require_unchanged(&before, "the refused operations")
});

const NO_COMMAND: Case = Case::may(
    "protocol/no-command",
    "without CNI_COMMAND the plugin fails with code 4",
    Clause::silent(
        "a request of a runtime always has CNI_COMMAND; without it, many plugins print \
         information about themselves on stderr",
    ),
)
.versions(Versions::since(cni_types::SpecVersion::LATEST))
.faults(&[Fault::new("takes it for VERSION", |real, call| {
    let named = !call.env("CNI_COMMAND").is_empty();
    real.run(&if named {
        call
    } else {
        call.with_env("CNI_COMMAND", "VERSION")
    })
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    let run = attachment
        .request(Command::Add)
        .without_env("CNI_COMMAND")
        .run()?;
    context.require_unchanged(&before, "the request without CNI_COMMAND")?;
    if run.stdout.is_empty() && !run.stderr.is_empty() {
        // The plugin has printed information about itself, which is no answer to a runtime.
        return Ok(());
    }
    run.error_with(Code::INVALID_ENVIRONMENT)?;
    Ok(())
});

const BAD_IFNAME: Case = Case::must(
    "protocol/bad-ifname",
    "an interface name that the kernel does not accept is refused",
    USABLE_IFNAME,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Makes(Made::Interface)])
.faults(&[Fault::new("cuts long names", |real, call| {
    let short: String = call.env("CNI_IFNAME").chars().take(15).collect();
    real.run(&call.with_env("CNI_IFNAME", short))
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    // IFNAMSIZ is 16, with the zero at the end.
    attachment
        .request(Command::Add)
        .env("CNI_IFNAME", "sixteen-letters0")
        .run()?
        .error()?;
    context.require_unchanged(&before, "the refused ADD")
});

const ARGS: Case = Case::should(
    "protocol/args",
    "ADD and DEL succeed if CNI_ARGS has IgnoreUnknown=1 and the keys of a runtime",
    Clause::new(
        "2 Parameters",
        "CNI_ARGS has extra arguments, pairs of key and value separated by \
         semicolons",
    ),
)
.faults(&[Fault::new(
    "refuses arguments that it does not know",
    |real, call| {
        if call.env("CNI_ARGS").contains("K8S_POD_NAME") {
            return Ok(Answer::error(4, "CNI_ARGS: unknown key K8S_POD_NAME"));
        }
        real.run(&call)
    },
)])
.body(|context| {
    let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;\
                K8S_POD_INFRA_CONTAINER_ID=0f";
    require_served_with(context, &[("CNI_ARGS", text)])
});

const ARGS_UNKNOWN: Case = Case::may(
    "protocol/args-unknown",
    "ADD and DEL succeed if CNI_ARGS has an unknown key and no IgnoreUnknown",
    Clause::silent(
        "nothing says if a plugin may refuse a key in CNI_ARGS; by convention it may, unless \
         IgnoreUnknown=1 is set",
    ),
)
.faults(&[
    Fault::new("refuses arguments that it does not know", |real, call| {
        if call.env("CNI_ARGS").is_empty() {
            return real.run(&call);
        }
        Ok(Answer::error(4, "CNI_ARGS: unknown key"))
    })
    .of("loopback"),
])
.body(|context| require_served_with(context, &[("CNI_ARGS", "FOO=BAR;ABC=123")]));

const FOREIGN_VARIABLES: Case = Case::may(
    "protocol/foreign-variables",
    "ADD and DEL succeed if the environment has variables of tracing and unknown CNI_ variables",
    Clause::silent(
        "the environment may have more variables than the specification lists; runtimes pass \
         TRACEPARENT",
    ),
)
.faults(&[Fault::new("fails if it is traced", |real, call| {
    if call.env("TRACEPARENT").is_empty() {
        return real.run(&call);
    }
    Ok(Answer::error(100, "no exporter for traces"))
})])
.body(|context| {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long = "x".repeat(100_000);
    let variables = [
        ("TRACEPARENT", parent),
        ("TRACESTATE", "a=1"),
        ("CNI_OF_TOMORROW", ""),
        ("LONG", &long),
    ];
    require_served_with(context, &variables)
});

/// Requires an error with code 4 that names the variable.
fn require_named(run: &crate::suite::Run, variable: &str) -> Result<(), Failure> {
    let error = run.error_with(Code::INVALID_ENVIRONMENT)?;
    require(
        error.to_string().contains(variable),
        format!("an error that names {variable}"),
        &error,
    )
}

/// Requires that each variable is named by the error if it is missing, and if it is empty.
fn require_each_named(
    attachment: &Attachment<'_>,
    command: Command,
    variables: &[&str],
) -> Result<(), Failure> {
    for variable in variables {
        require_named(
            &attachment.request(command).without_env(variable).run()?,
            variable,
        )?;
        require_named(
            &attachment.request(command).env(variable, "").run()?,
            variable,
        )?;
    }
    Ok(())
}

/// Requires that ADD and DEL succeed with additional variables.
fn require_served_with(context: &Context<'_>, variables: &[(&str, &str)]) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    for command in [Command::Add, Command::Del] {
        let request = attachment.request(command);
        let request = variables
            .iter()
            .fold(request, |request, (name, value)| request.env(name, value));
        request.run()?.succeeded()?;
    }
    Ok(())
}
