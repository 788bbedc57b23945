//! What the delegate is asked.

use super::scene::{Scene, without_ipam};
use crate::suite::{
    Case, Clause, Context, Failure, Fault, Kind, Level, Need, Versions,
    fault::{Answer, Call, Real},
    require_same,
};
use cni_types::Command;
use serde_json::json;
use std::io;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "delegation/whole-config",
        title: "the delegate gets the whole configuration, as the plugin got it",
        clause: Clause {
            section: "4 Delegated Plugin protocol",
            rule: "a delegate is given the complete configuration that the plugin got, not only its own section",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: &[Need::Ipam, Need::Double],
        faults: &[Fault::new("passes on only what it knows", |real, call| {
            real.run(&call.edited(|config| {
                config
                    .as_object_mut()
                    .map(|config| config.remove("x-for-the-delegate"));
            }))
        })],
        body: the_delegate_gets_the_whole_configuration,
    },
    Case {
        id: "delegation/same-environment",
        title: "the delegate gets every variable of the environment that the plugin got",
        clause: Clause {
            section: "4 Delegated Plugin protocol",
            rule: "a delegate receives all the environment variables that were passed to the plugin",
        },
        level: Level::Must,
        versions: Versions::ALL,
        kinds: &[Kind::Interface],
        needs: &[Need::Ipam, Need::Double],
        faults: &[
            Fault::new(
                "passes on only the variables of the specification",
                |real, mut call| {
                    call.environment
                        .retain(|(name, _)| name.to_string_lossy().starts_with("CNI_"));
                    real.run(&call)
                },
            ),
            Fault::new("keeps CNI_ARGS for itself", |real, call| {
                real.run(&call.with_env("CNI_ARGS", ""))
            }),
            Fault::new("forgets its variables at DEL", |real, mut call| {
                if call.is(Command::Del) {
                    call.environment
                        .retain(|(name, _)| name != "X_FOR_THE_DELEGATE");
                }
                real.run(&call)
            }),
        ],
        body: the_delegate_gets_the_environment,
    },
    reaches(
        "delegation/del-reaches",
        "DEL runs the delegate's DEL with the same configuration",
        Command::Del,
        &[
            Fault::new("forgets the delegate at DEL", without_delegate_at_del),
            Fault::new("keeps prevResult from the delegate's DEL", |real, call| {
                if !call.is(Command::Del) {
                    return real.run(&call);
                }
                real.run(&call.edited(|config| {
                    config
                        .as_object_mut()
                        .map(|config| config.remove("prevResult"));
                }))
            }),
        ],
    ),
    reaches(
        "delegation/check-reaches",
        "CHECK runs the delegate's CHECK with the same configuration",
        Command::Check,
        &[Fault::new(
            "does not look at the delegate at CHECK",
            |_, call| match call.is(Command::Add) {
                true => call.delegate()?.run(&call),
                false => Ok(Answer::default()),
            },
        )],
    ),
    reaches(
        "delegation/gc-reaches",
        "GC runs the delegate's GC with the same list of attachments",
        Command::Gc,
        &[
            Fault::new("forgets the delegate at GC", |real, call| {
                real.run(&without_ipam(call))
            }),
            Fault::new("keeps the list of attachments to itself", |real, call| {
                real.run(&call.edited(|config| {
                    config
                        .as_object_mut()
                        .map(|config| config.remove("cni.dev/valid-attachments"));
                }))
            }),
        ],
    ),
    reaches(
        "delegation/status-reaches",
        "STATUS runs the delegate's STATUS with the same configuration",
        Command::Status,
        &[Fault::new(
            "answers STATUS for itself alone",
            |real, call| real.run(&without_ipam(call)),
        )],
    ),
];

/// How a case looks.
type Body = fn(&Context<'_>) -> Result<(), Failure>;

/// The case that an operation other than ADD runs the delegate's.
const fn reaches(
    id: &'static str,
    title: &'static str,
    command: Command,
    faults: &'static [Fault],
) -> Case {
    let execution = "4 Delegated plugin execution procedure";
    let (section, rule, versions, body): (_, _, _, Body) = match command {
        Command::Check => (
            execution,
            "a plugin run with CHECK must also run its delegates",
            Versions::WITH_CHECK,
            |context| after_add_it_reaches(context, Command::Check),
        ),
        Command::Gc => (
            "2 GC",
            "plugins must forward GC calls to the delegates that they are configured to use",
            Versions::WITH_GC,
            |context| it_reaches(context, Command::Gc),
        ),
        Command::Status => (
            "2 STATUS",
            "a plugin that relies on a delegate for ADD must run its STATUS when it gets one",
            Versions::WITH_GC,
            |context| it_reaches(context, Command::Status),
        ),
        _ => (
            execution,
            "a plugin run with DEL must also run its delegates",
            Versions::ALL,
            |context| after_add_it_reaches(context, Command::Del),
        ),
    };
    let needs: &[Need] = match command {
        Command::Check => &[Need::Verb(Command::Check), Need::Ipam, Need::Double],
        Command::Gc => &[Need::Verb(Command::Gc), Need::Ipam, Need::Double],
        Command::Status => &[Need::Verb(Command::Status), Need::Ipam, Need::Double],
        _ => &[Need::Ipam, Need::Double],
    };
    let clause = Clause { section, rule };
    Case {
        id,
        title,
        clause,
        level: Level::Must,
        versions,
        kinds: &[Kind::Interface],
        needs,
        faults,
        body,
    }
}

fn without_delegate_at_del(real: &Real, call: Call) -> io::Result<Answer> {
    if call.is(Command::Del) {
        real.run(&without_ipam(call))
    } else {
        real.run(&call)
    }
}

fn the_delegate_gets_the_whole_configuration(context: &Context<'_>) -> Result<(), Failure> {
    let scene = Scene::new(context, &[])?;
    let request = scene
        .request(Command::Add)
        .key("x-for-the-delegate", json!({"a": 1}));
    request.run()?.succeeded()?;
    require_same(
        "the delegate's configuration",
        &request.config(),
        &scene.call(Command::Add)?.config(),
    )
}

fn the_delegate_gets_the_environment(context: &Context<'_>) -> Result<(), Failure> {
    let scene = Scene::new(context, &[])?;
    for command in [Command::Add, Command::Del] {
        // Runtimes put the pod's name into CNI_ARGS; plugins that do not know it were told to pass over it.
        let request = scene
            .request(command)
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web");
        let request = request.env("X_FOR_THE_DELEGATE", "a b=c");
        request.run()?.succeeded()?;
        let got = scene.call(command)?.environment;
        for (name, wanted) in request.environment() {
            let found = got.get(name).map_or(json!(null), |value| json!(value));
            let what = format!("{name} of the delegate's {}", command.as_str());
            require_same(&what, &json!(wanted.to_string_lossy()), &found)?;
        }
    }
    Ok(())
}

fn after_add_it_reaches(context: &Context<'_>, command: Command) -> Result<(), Failure> {
    let scene = Scene::new(context, &[])?;
    let result = scene.add()?;
    let request = scene.request_after(command, &result);
    request.run()?.succeeded()?;
    let what = format!("the configuration of the delegate's {}", command.as_str());
    require_same(&what, &request.config(), &scene.call(command)?.config())
}

fn it_reaches(context: &Context<'_>, command: Command) -> Result<(), Failure> {
    let scene = Scene::new(context, &[])?;
    let request = scene.request(command);
    request.run()?.succeeded()?;
    let what = format!("the configuration of the delegate's {}", command.as_str());
    require_same(&what, &request.config(), &scene.call(command)?.config())
}
