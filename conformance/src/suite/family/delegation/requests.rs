//! The requests that the delegate gets.

use super::scene::{Scene, without_ipam};
use crate::suite::{
    Case, Clause, Context, Failure, Fault, Kind, Need, Versions,
    fault::{Answer, Call, Real},
    require_same,
};
use cni_types::Command;
use serde_json::json;
use std::io;

pub(super) const CASES: &[Case] = &[
    WHOLE_CONFIG,
    SAME_ENVIRONMENT,
    DEL_REACHES,
    CHECK_REACHES,
    GC_REACHES,
    STATUS_REACHES,
];

const WHOLE_CONFIG: Case = Case::must(
    "delegation/whole-config",
    "the delegate gets the whole configuration, as the plugin got it",
    Clause::new(
        "4 Delegated Plugin protocol",
        "a delegate is given the complete configuration that the plugin got, not only its own \
         section",
    ),
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam, Need::Double])
.faults(&[Fault::new("passes on only what it knows", |real, call| {
    real.run(&call.edited(|config| {
        config
            .as_object_mut()
            .map(|config| config.remove("x-for-the-delegate"));
    }))
})])
.body(|context| {
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
});

const SAME_ENVIRONMENT: Case = Case::must(
    "delegation/same-environment",
    "the delegate gets every variable of the environment that the plugin got",
    Clause::new(
        "4 Delegated Plugin protocol",
        "a delegate receives all the environment variables that were passed to the plugin",
    ),
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam, Need::Double])
.faults(&[
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
])
.body(|context| {
    let scene = Scene::new(context, &[])?;
    for command in [Command::Add, Command::Del] {
        // Runtimes put the pod's name into CNI_ARGS; by `IgnoreUnknown` plugins that do not know it
        // are to ignore it.
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
});

const DEL_REACHES: Case = Case::must(
    "delegation/del-reaches",
    "DEL runs the delegate's DEL with the same configuration",
    Clause::new(
        "4 Delegated plugin execution procedure",
        "a plugin run with DEL must also run its delegates",
    ),
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam, Need::Double])
.faults(&[
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
])
.body(|context| after_add_it_reaches(context, Command::Del));

const CHECK_REACHES: Case = Case::must(
    "delegation/check-reaches",
    "CHECK runs the delegate's CHECK with the same configuration",
    Clause::new(
        "4 Delegated plugin execution procedure",
        "a plugin run with CHECK must also run its delegates",
    ),
)
.versions(Versions::WITH_CHECK)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Check), Need::Ipam, Need::Double])
.faults(&[Fault::new(
    "does not look at the delegate at CHECK",
    |_, call| match call.is(Command::Add) {
        true => call.delegate()?.run(&call),
        false => Ok(Answer::default()),
    },
)])
.body(|context| after_add_it_reaches(context, Command::Check));

const GC_REACHES: Case = Case::must(
    "delegation/gc-reaches",
    "GC runs the delegate's GC with the same list of attachments",
    Clause::new(
        "2 GC",
        "plugins must forward GC calls to the delegates that they are configured to use",
    ),
)
.versions(Versions::WITH_GC)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Gc), Need::Ipam, Need::Double])
.faults(&[
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
])
.body(|context| it_reaches(context, Command::Gc));

const STATUS_REACHES: Case = Case::must(
    "delegation/status-reaches",
    "STATUS runs the delegate's STATUS with the same configuration",
    Clause::new(
        "2 STATUS",
        "a plugin that relies on a delegate for ADD must run its STATUS when it gets one",
    ),
)
.versions(Versions::WITH_GC)
.kinds(&[Kind::Interface])
.needs(&[Need::Verb(Command::Status), Need::Ipam, Need::Double])
.faults(&[Fault::new(
    "answers STATUS for itself alone",
    |real, call| real.run(&without_ipam(call)),
)])
.body(|context| it_reaches(context, Command::Status));

fn without_delegate_at_del(real: &Real, call: Call) -> io::Result<Answer> {
    if call.is(Command::Del) {
        real.run(&without_ipam(call))
    } else {
        real.run(&call)
    }
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
