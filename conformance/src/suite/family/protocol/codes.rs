//! Error codes that promise something. The specification does not say in which situation a plugin
//! must give which code, but it says what holds for some: code 2 names what it does not support,
//! code 3 leaves nothing to be cleaned up.

use crate::suite::{
    Case, Clause, Context, Failure, Fault, Run, State, fault::Answer, fault::put, require,
};
use cni_types::{Code, Command};
use serde_json::{Value, json};
use std::fs::{self, File};

pub(super) const CASES: &[Case] = &[UNSUPPORTED_FIELD, UNKNOWN_CONTAINER, UNREADABLE_STDIN];

const UNSUPPORTED_FIELD: Case = Case::must(
    "protocol/unsupported-field",
    "an error with code 2 names the key and the value that are not supported",
    Clause::new(
        "5 Error",
        "code 2 stands for an unsupported field, and the message contains its key and its value",
    ),
)
.faults(&[
    Fault::new(
        "does not say which field it does not support",
        |real, call| {
            Ok(real.run(&call)?.edited(|answer| {
                if answer.get("code").is_some() {
                    *answer = json!({"cniVersion": "1.1.0", "code": 2, "msg": "unsupported field"});
                }
            }))
        },
    ),
    Fault::new("names the field and not its value", |real, call| {
        let config = call.config();
        let odd = config
            .as_object()
            .into_iter()
            .flatten()
            .find(|(_, value)| is_odd(value));
        Ok(match odd {
            Some((key, _)) => Answer::error(2, &format!("unsupported field {key}")),
            None => real.run(&call)?,
        })
    }),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let request = || attachment.request(Command::Add);
    let own = request().config();
    let of_protocol = ["cniVersion", "name", "type", "prevResult"];
    let own = own
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.clone());
    let keys = own.filter(|key| !of_protocol.contains(&key.as_str()));
    for key in keys.chain(["x-unknown".to_owned(), "mtu".to_owned(), "dns".to_owned()]) {
        for value in [json!(ODD), json!({ODD: [ODD]})] {
            let run = request().key(&key, value).run()?;
            if run.status.success() {
                attachment.request(Command::Del).run()?;
            } else if code(&run) == Some(Code::UNSUPPORTED_FIELD.0.into()) {
                let error = run.document()?;
                let text = error.to_string();
                let wanted = format!("a message with the key {key:?} and its value, {ODD:?}");
                require(text.contains(&key) && text.contains(ODD), wanted, &error)?;
            }
        }
    }
    Ok(())
});

const UNKNOWN_CONTAINER: Case = Case::must(
    "protocol/unknown-container",
    "an error with code 3 is given only if there is nothing to clean up",
    Clause::new(
        "5 Error",
        "code 3 stands for an unknown container, and the runtime need not clean up, by DEL for \
         example",
    ),
)
.faults(&[
    Fault::new(
        "keeps a record of a container that it does not know",
        |real, call| {
            let answer = real.run(&call)?;
            if answer.status == 0 {
                return Ok(answer);
            }
            fs::write("/var/lib/cni/unknown", call.env("CNI_CONTAINERID"))?;
            Ok(answer.edited(|error| put(error, "/code", 3)))
        },
    ),
    Fault::new(
        "does not know a container whose address it keeps",
        |real, call| {
            if call.is(Command::Check) && File::open(call.env("CNI_NETNS")).is_err() {
                return Ok(Answer::error(3, "unknown container"));
            }
            real.run(&call)
        },
    ),
])
.body(|context| {
    let never = context.attachment("c1")?;
    let before = context.state()?;
    let run = never
        .request(Command::Add)
        .env("CNI_NETNS", "/run/netns/there-is-none")
        .run()?;
    nothing_is_left_by_code_3(context, &run, &before)?;
    never
        .request(Command::Del)
        .env("CNI_NETNS", "/run/netns/there-is-none")
        .run()?;
    if !context.version().has_check() || !context.profile().verbs.contains(&Command::Check) {
        return Ok(());
    }
    let before = context.state()?;
    let gone = context.attachment("c2")?;
    gone.add()?;
    gone.remove_netns()?;
    nothing_is_left_by_code_3(context, &gone.check()?, &before)
});

const UNREADABLE_STDIN: Case = Case::should(
    "protocol/unreadable-stdin",
    "if stdin cannot be read, ADD fails with code 5",
    Clause::new(
        "5 Error",
        "code 5 stands for a failure of input or output, for example a configuration that cannot be \
         read from stdin",
    ),
)
.faults(&[Fault::new(
    "takes a stdin that cannot be read for an empty one",
    |real, call| real.run(&call),
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    // A folder can be opened, and read(2) gives EISDIR.
    let folder = File::open("/")?;
    let run = attachment.request(Command::Add).run_with(|command| {
        command.stdin(folder);
    })?;
    run.error_with(Code::IO)?;
    Ok(())
});

/// A value that no field has, and that is known again in a text.
const ODD: &str = "odd-7f3a";

fn is_odd(value: &Value) -> bool {
    value.to_string().contains(ODD)
}

fn code(run: &Run) -> Option<u64> {
    run.document()
        .ok()
        .filter(|_| !run.status.success())?
        .get("code")?
        .as_u64()
}

/// The lines of the state that the runtime would not clean up.
fn nothing_is_left_by_code_3(
    context: &Context<'_>,
    run: &Run,
    before: &State,
) -> Result<(), Failure> {
    if code(run) != Some(Code::UNKNOWN_CONTAINER.0.into()) {
        return Ok(());
    }
    context.require_unchanged(before, "the container that is said to be unknown")
}
