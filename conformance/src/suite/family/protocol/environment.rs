//! The environment: which variables a request must have, and which may be there.

use crate::suite::{
    Attachment, Case, Clause, Context, EVERY_KIND, Failure, Fault, Kind, Level, Made, Need,
    Request, Versions, family::USABLE_IFNAME, fault::Answer, require,
};
use cni_types::{Code, Command};

const CODE_4: Clause = Clause {
    section: "5 Error",
    rule: "code 4 stands for invalid environment variables, and the message names them",
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "protocol/missing-variables-all-named",
        title: "where several variables are missing, the error names each of them",
        clause: CODE_4,
        level: Level::Must,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new("names the first one only", |real, call| {
            Ok(real.run(&call)?.edited(|error| {
                *error = serde_json::json!({"code": 4, "msg": "missing: CNI_CONTAINERID"});
            }))
        })],
        body: all_missing_variables_are_named,
    },
    Case {
        id: "protocol/missing-variables-del",
        title: "a DEL that lacks a required variable is refused with code 4, naming it",
        clause: CODE_4,
        level: Level::Must,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[
            Fault::new("has nothing to do for no container", |real, call| {
                if call.env("CNI_CONTAINERID").is_empty() {
                    return Ok(Answer::default());
                }
                real.run(&call)
            }),
            Fault::new("deletes eth0 where it is told no name", |real, call| {
                let named = !call.env("CNI_IFNAME").is_empty();
                real.run(&if named {
                    call
                } else {
                    call.with_env("CNI_IFNAME", "eth0")
                })
            }),
        ],
        body: a_missing_variable_of_del_is_named,
    },
    Case {
        id: "protocol/missing-variables-check",
        title: "a CHECK that lacks a required variable is refused with code 4, naming it",
        clause: CODE_4,
        level: Level::Must,
        versions: Versions::WITH_CHECK,
        kinds: EVERY_KIND,
        needs: &[Need::Verb(Command::Check)],
        faults: &[Fault::new(
            "finds nothing wrong with no container",
            |real, call| {
                if call.is(Command::Check) && call.env("CNI_NETNS").is_empty() {
                    return Ok(Answer::default());
                }
                real.run(&call)
            },
        )],
        body: a_missing_variable_of_check_is_named,
    },
    Case {
        id: "protocol/invalid-variables-named",
        title: "where a variable has a value that it must not have, the error names the variable",
        clause: CODE_4,
        level: Level::Must,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new("does not say which variable", |real, call| {
            Ok(real
                .run(&call)?
                .edited(|error| *error = serde_json::json!({"code": 4, "msg": "bad characters"})))
        })],
        body: an_invalid_variable_is_named,
    },
    Case {
        id: "protocol/unknown-command",
        title: "an operation that is none is refused with code 4, naming CNI_COMMAND",
        clause: CODE_4,
        level: Level::Must,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[
            Fault::new("ignores what it does not know", |real, call| {
                let known = cni_types::Command::parse(&call.env("CNI_COMMAND")).is_some();
                if known {
                    real.run(&call)
                } else {
                    Ok(Answer::default())
                }
            }),
            Fault::new("takes commands in small letters", |real, call| {
                let command = call.env("CNI_COMMAND").to_uppercase();
                real.run(&call.with_env("CNI_COMMAND", command))
            }),
        ],
        body: an_unknown_command_is_refused,
    },
    Case {
        id: "protocol/no-command",
        title: "without CNI_COMMAND the plugin fails with code 4",
        clause: Clause {
            section: "silent",
            rule: "who calls a plugin without CNI_COMMAND is no runtime; many plugins tell about themselves on \
                   stderr. A runtime's request always has one",
        },
        level: Level::May,
        versions: Versions::since(cni_types::SpecVersion::LATEST),
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new("takes it for VERSION", |real, call| {
            let named = !call.env("CNI_COMMAND").is_empty();
            real.run(&if named {
                call
            } else {
                call.with_env("CNI_COMMAND", "VERSION")
            })
        })],
        body: no_command_changes_nothing,
    },
    Case {
        id: "protocol/bad-ifname",
        title: "an interface name that the kernel cannot take is refused",
        clause: USABLE_IFNAME,
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: &[Need::Makes(Made::Interface)],
        faults: &[Fault::new("cuts long names", |real, call| {
            let short: String = call.env("CNI_IFNAME").chars().take(15).collect();
            real.run(&call.with_env("CNI_IFNAME", short))
        })],
        body: a_long_ifname_is_refused,
    },
    Case {
        id: "protocol/args",
        title: "CNI_ARGS with IgnoreUnknown=1 and keys of a runtime are no obstacle",
        clause: Clause {
            section: "2 Parameters",
            rule: "CNI_ARGS has extra arguments, pairs of key and value separated by semicolons",
        },
        level: Level::Should,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new(
            "refuses arguments that it does not know",
            |real, call| {
                if call.env("CNI_ARGS").contains("K8S_POD_NAME") {
                    return Ok(Answer::error(4, "CNI_ARGS: unknown key K8S_POD_NAME"));
                }
                real.run(&call)
            },
        )],
        body: arguments_are_no_obstacle,
    },
    Case {
        id: "protocol/args-unknown",
        title: "CNI_ARGS with an unknown key and no IgnoreUnknown are no obstacle",
        clause: Clause {
            section: "silent",
            rule: "nothing says whether a plugin may refuse a key in CNI_ARGS; by convention it may, unless \
                   IgnoreUnknown=1 is there",
        },
        level: Level::May,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[
            Fault::new("refuses arguments that it does not know", |real, call| {
                if call.env("CNI_ARGS").is_empty() {
                    return real.run(&call);
                }
                Ok(Answer::error(4, "CNI_ARGS: unknown key"))
            })
            .of("loopback"),
        ],
        body: unknown_arguments_are_no_obstacle,
    },
    Case {
        id: "protocol/foreign-variables",
        title: "variables of tracing, and CNI_ variables that are not known, are no obstacle",
        clause: Clause {
            section: "silent",
            rule: "the environment may hold more than the specification lists; runtimes pass TRACEPARENT",
        },
        level: Level::May,
        versions: Versions::ALL,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new("fails where it is traced", |real, call| {
            if call.env("TRACEPARENT").is_empty() {
                return real.run(&call);
            }
            Ok(Answer::error(100, "no exporter for traces"))
        })],
        body: foreign_variables_are_no_obstacle,
    },
];

fn require_named(run: &crate::suite::Run, variable: &str) -> Result<(), Failure> {
    let error = run.error_with(Code::INVALID_ENVIRONMENT)?;
    require(
        error.to_string().contains(variable),
        format!("an error that names {variable}"),
        &error,
    )
}

fn all_missing_variables_are_named(context: &Context<'_>) -> Result<(), Failure> {
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
}

fn each_is_named(
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

fn a_missing_variable_of_del_is_named(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    let before = context.state()?;
    each_is_named(
        &attachment,
        Command::Del,
        &["CNI_CONTAINERID", "CNI_IFNAME"],
    )?;
    context.require_unchanged(&before, "the refused DELs")
}

fn a_missing_variable_of_check_is_named(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    attachment.add()?;
    each_is_named(
        &attachment,
        Command::Check,
        &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    )
}

fn an_invalid_variable_is_named(context: &Context<'_>) -> Result<(), Failure> {
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
}

fn an_unknown_command_is_refused(context: &Context<'_>) -> Result<(), Failure> {
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
}

fn no_command_changes_nothing(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    let run = attachment
        .request(Command::Add)
        .without_env("CNI_COMMAND")
        .run()?;
    context.require_unchanged(&before, "the request without CNI_COMMAND")?;
    if run.stdout.is_empty() && !run.stderr.is_empty() {
        return Ok(()); // It tells about itself, to a person.
    }
    run.error_with(Code::INVALID_ENVIRONMENT).map(drop)
}

fn a_long_ifname_is_refused(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    // IFNAMSIZ is 16, with the zero at the end.
    attachment
        .request(Command::Add)
        .env("CNI_IFNAME", "sixteen-letters0")
        .run()?
        .error()?;
    context.require_unchanged(&before, "the refused ADD")
}

/// ADD and DEL with more in the environment than is needed.
fn serve_with(context: &Context<'_>, variables: &[(&str, &str)]) -> Result<(), Failure> {
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

fn arguments_are_no_obstacle(context: &Context<'_>) -> Result<(), Failure> {
    let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=0f";
    serve_with(context, &[("CNI_ARGS", text)])
}

fn unknown_arguments_are_no_obstacle(context: &Context<'_>) -> Result<(), Failure> {
    serve_with(context, &[("CNI_ARGS", "FOO=BAR;ABC=123")])
}

fn foreign_variables_are_no_obstacle(context: &Context<'_>) -> Result<(), Failure> {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long = "x".repeat(100_000);
    let variables = [
        ("TRACEPARENT", parent),
        ("TRACESTATE", "a=1"),
        ("CNI_OF_TOMORROW", ""),
        ("LONG", &long),
    ];
    serve_with(context, &variables)
}
