//! A plugin whose `ipam.type` is its own name.
//!
//! A plugin that runs its IPAM plugin before it makes anything then starts itself, and so on
//! without end. The kernel does not end such a chain, and a runtime that kills the first process
//! does not end the others.

use super::scene::without_ipam;
use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Kind, Need, Request, Run,
    fault::{Answer, Call, Real},
    require,
};
use cni_types::Command;
use serde_json::json;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The number of runs of a plugin that one request may cause. A plugin that refuses to be its own
/// delegate only once it runs as one makes four, with the DEL after each failed ADD.
const MAX_RUNS: usize = 8;

/// The script that stands in for the plugin: it counts each run in the file `CALLS`, then executes
/// `PLUGIN`. After `MAX_RUNS` runs it fails instead, which ends the chain. The words in capitals
/// are replaced by their values.
const COUNTER: &str = r#"#!/bin/sh
echo "$CNI_COMMAND" >>CALLS
runs=0
while read -r _; do runs=$((runs + 1)); done <CALLS
if [ "$runs" -gt MAX_RUNS ]; then
    echo '{"cniVersion":"1.0.0","code":7,"msg":"the suite ends the chain here"}'
    exit 1
fi
exec PLUGIN
"#;

const CLAUSE: Clause = Clause::new(
    "5 Delegated plugins (IPAM)",
    "what an IPAM plugin prints has no interfaces, so a plugin that makes one cannot be its own; \
     without an end to the chain one request fills the machine with processes",
);

pub(super) const CASES: &[Case] = &[OWN_NAME, OWN_NAME_LATER];

const OWN_NAME: Case = Case::should(
    "delegation/own-name",
    "ADD with the plugin's own name as ipam.type fails, and starts no chain of processes",
    CLAUSE,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam])
.faults(&[
    Fault::new("starts itself as its delegate", starts_its_delegate_first),
    Fault::new("does without a delegate that is itself", |real, call| {
        real.run(&without_ipam(call))
    }),
])
.body(|context| {
    let scene = Scene::new(context)?;
    let run = scene.run_bounded(scene.request(Command::Add))?;
    run.failed()?;
    Ok(())
});

const OWN_NAME_LATER: Case = Case::should(
    "delegation/own-name-later",
    "with its own name as ipam.type no operation starts a chain, and STATUS fails",
    CLAUSE,
)
.kinds(&[Kind::Interface])
.needs(&[Need::Ipam])
.faults(&[
    Fault::new("starts itself as its delegate", starts_its_delegate_first),
    Fault::new("starts itself as its delegate at GC only", |real, call| {
        if call.is(Command::Gc) {
            starts_its_delegate_first(real, call)
        } else {
            real.run(&call)
        }
    }),
    Fault::new("is ready with itself as its delegate", |real, call| {
        let is_status = call.is(Command::Status);
        if is_status {
            Ok(Answer::default())
        } else {
            real.run(&call)
        }
    }),
])
.body(|context| {
    let scene = Scene::new(context)?;
    // The attachment was made with the configuration of the profile, whose IPAM plugin works.
    let result = scene.attachment.add()?;
    let verbs = &context.profile().verbs;
    if context.version().has_check() && verbs.contains(&Command::Check) {
        scene.run_bounded(
            scene
                .request(Command::Check)
                .key("prevResult", result.clone()),
        )?;
    }
    if context.version().has_gc_and_status() {
        if verbs.contains(&Command::Status) {
            scene
                .run_bounded(scene.request(Command::Status))?
                .failed()?;
        }
        if verbs.contains(&Command::Gc) {
            let valid = json!([{"containerID": "c1", "ifname": context.profile().ifname}]);
            scene.run_bounded(
                scene
                    .request(Command::Gc)
                    .key("cni.dev/valid-attachments", valid),
            )?;
        }
    }
    let del = scene.request(Command::Del);
    let del = if context.version().has_check() {
        del.key("prevResult", result)
    } else {
        del
    };
    scene.run_bounded(del).map(drop)
});

/// Runs the delegate that the configuration names instead of the plugin: a fault.
fn starts_its_delegate_first(real: &Real, call: Call) -> io::Result<Answer> {
    match call.delegate() {
        Ok(delegate) => delegate.run(&call),
        Err(_) => real.run(&call),
    }
}

/// An attachment whose plugin is its own IPAM plugin; `CNI_PATH` has the script [`COUNTER`] in
/// place of the plugin.
struct Scene<'c> {
    attachment: Attachment<'c>,
    plugin: &'c str,
    /// The folder with the script.
    folder: PathBuf,
    /// The file with a line for each run of the script.
    calls: PathBuf,
}

impl<'c> Scene<'c> {
    fn new(context: &'c Context<'c>) -> Result<Self, Failure> {
        if !Path::new("/bin/sh").exists() {
            return Err(Failure::skip("there is no /bin/sh to count runs with"));
        }
        let calls = context.file("own-name-calls", "")?;
        let folder = calls.with_file_name("own-name");
        let plugin = &context.profile().name;
        let script = COUNTER
            .replace("CALLS", &calls.display().to_string())
            .replace("MAX_RUNS", &MAX_RUNS.to_string())
            .replace("PLUGIN", &quoted(&context.binary()));
        fs::create_dir_all(&folder)?;
        let program = folder.join(plugin);
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(Self {
            attachment: context.attachment("c1")?,
            plugin,
            folder,
            calls,
        })
    }

    /// Returns a request with the plugin's own name as `ipam.type`.
    fn request(&self, command: Command) -> Request<'c> {
        let ipam = json!({ "type": self.plugin });
        self.attachment
            .request(command)
            .env("CNI_PATH", &self.folder)
            .key("ipam", ipam)
    }

    /// Runs a request.
    ///
    /// # Errors
    /// Fails if the request started the plugin as a delegate more than [`MAX_RUNS`] times.
    fn run_bounded(&self, request: Request<'c>) -> Result<Run, Failure> {
        fs::write(&self.calls, "")?;
        let run = request.run()?;
        let runs = fs::read_to_string(&self.calls)?.lines().count();
        require(
            runs <= MAX_RUNS,
            format!("at most {MAX_RUNS} runs of the plugin"),
            format!("{runs} runs"),
        )?;
        Ok(run)
    }
}

/// Returns the path quoted as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
