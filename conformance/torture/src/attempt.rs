//! One point: the operation is disturbed there, its end is judged, and what it leaves.

use crate::{
    calls,
    point::{Kind, Point, Site},
    request::{Ended, ToolError},
    scene::{self, Scene},
    subject::Way,
};
use cni_types::Command;
use nix::sys::signal::Signal;
use sandbox::trace::Action;
use sandbox::{Mismatch, Run, State};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    time::Duration,
};

/// The lines left of an attachment that was added and removed undisturbed, by the way in which it
/// was removed: nothing but parameters of the container's namespace.
pub(crate) type Kept = BTreeMap<Way, BTreeSet<String>>;

/// A kind of defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Defect {
    /// A failed ADD left something, or CHECK changed something.
    Unclean,
    /// Something is left after the attachment was removed in this way.
    Left(Way),
    /// The operation, or one after it, did not end in time.
    Hung,
    /// There was no JSON document, or more than one, or another than is wanted.
    Document,
    /// An operation after it that was not disturbed failed.
    Refused,
    /// The operation reported success and had not done its work.
    FalseSuccess,
}

/// The verdict on one point.
pub(crate) struct Verdict {
    /// False if the run did not come to the point.
    pub(crate) is_reached: bool,
    /// True if the plugin died before its own code began, which it cannot prevent, and changed
    /// nothing.
    pub(crate) ended_before_main: bool,
    /// The system call with its arguments.
    pub(crate) call: String,
    /// From the start to the end of the disturbed run.
    pub(crate) duration: Duration,
    /// The defects, with the differing lines or the texts.
    pub(crate) defects: Vec<(Defect, String)>,
}

/// The torture of one operation at one point.
pub(crate) struct Attempt<'a, 's> {
    scene: &'a Scene<'s>,
    kept: &'a Kept,
    operation: Command,
    point: &'a Point,
    /// True if the call that was disturbed is how the plugin prints its answer.
    is_silenced: bool,
    verdict: Verdict,
}

impl<'a, 's> Attempt<'a, 's> {
    pub(crate) fn new(
        scene: &'a Scene<'s>,
        kept: &'a Kept,
        operation: Command,
        point: &'a Point,
    ) -> Self {
        let verdict = Verdict {
            is_reached: false,
            ended_before_main: false,
            call: String::new(),
            duration: Duration::ZERO,
            defects: Vec::new(),
        };
        Self {
            scene,
            kept,
            operation,
            point,
            is_silenced: false,
            verdict,
        }
    }

    /// Does it all. If there are defects, the scene is of no further use.
    pub(crate) fn run(mut self) -> Result<Verdict, ToolError> {
        let mut result = None;
        if self.operation != Command::Add {
            let Some(added) = self.succeeds(Command::Add, None, "the undisturbed ADD before")?
            else {
                return Ok(self.verdict);
            };
            result = added.document().ok();
        }
        let before = scene::state()?;
        let request = self.scene.request(self.operation, result.as_ref())?;
        let point = self.point;
        let call = &mut self.verdict.call;
        let is_silenced = &mut self.is_silenced;
        let ended = request.run_disturbed(&mut |seen| {
            if !point.is_at(seen) {
                return Action::Proceed;
            }
            *call = calls::describe(seen);
            *is_silenced = point.silences(&Site::new(seen));
            point.action()
        })?;
        match ended {
            Ended::Hung => {
                self.verdict.is_reached = true;
                self.add(
                    Defect::Hung,
                    "the disturbed operation does not end".to_owned(),
                );
            }
            Ended::Run {
                was_injected: false,
                ..
            } => {}
            Ended::Run {
                run,
                was_injected: true,
            } => {
                self.verdict.is_reached = true;
                self.verdict.duration = run.duration;
                self.judge(&run, result.as_ref(), &before)?;
            }
        }
        Ok(self.verdict)
    }

    fn add(&mut self, defect: Defect, text: String) {
        self.verdict.defects.push((defect, text));
    }

    /// Looks at the end of the disturbed run, then at what it leaves.
    fn judge(
        &mut self,
        run: &Run,
        result: Option<&Value>,
        before: &State,
    ) -> Result<(), ToolError> {
        let is_killed = self.is_killed(run);
        if !is_killed {
            self.judge_document(run, before)?;
        }
        match self.operation {
            Command::Add if is_killed => self.remove(self.point.way, None),
            Command::Add if run.status.success() => self.judge_success(run),
            Command::Add => {
                // What needs a call that fails from then on cannot be undone before the next
                // process.
                if self.is_silenced && self.point.kind != Kind::Broken {
                    // All of it was there when its result could not be printed: a DEL took it back,
                    // and keeps what every DEL keeps.
                    self.require_removed(Way::Del)?;
                } else if self.point.kind != Kind::Broken {
                    self.require_unchanged(before)?;
                }
                self.remove(Way::Del, None)
            }
            Command::Check => {
                self.require_unchanged(before)?;
                self.remove(Way::Del, result)
            }
            Command::Gc if run.status.success() => self.require_removed(Way::Gc),
            _ if run.status.success() => self.require_removed(Way::Del),
            Command::Gc if !is_killed => self.remove(Way::Gc, result),
            _ => self.remove(self.point.way, result),
        }?;
        if self.operation == Command::Add && self.verdict.defects.is_empty() {
            self.add_again()?;
        }
        Ok(())
    }

    /// True if SIGKILL of ours ended the plugin.
    fn is_killed(&self, run: &Run) -> bool {
        let is_kill = matches!(self.point.kind, Kind::Kill | Kind::KillOne);
        is_kill && run.status.signal() == Some(Signal::SIGKILL as i32)
    }

    fn judge_document(&mut self, run: &Run, before: &State) -> Result<(), ToolError> {
        let Err(failure) = check_document(self.operation, run) else {
            return Ok(());
        };
        let is_terminated = matches!(self.point.kind, Kind::Term | Kind::TermOne)
            && run.status.signal() == Some(Signal::SIGTERM as i32);
        if is_terminated || self.point.site.is_preparation {
            self.verdict.ended_before_main = true;
            // The others look at it in any case.
            return match self.operation {
                Command::Del | Command::Gc => self.require_unchanged(before),
                _ => Ok(()),
            };
        }
        // The answer cannot be printed. It must not be taken for a success.
        if self.is_silenced && !run.status.success() && run.status.code().is_some() {
            return Ok(());
        }
        let Mismatch { wanted, found } = failure;
        let stderr = run.stderr_text();
        let stderr = stderr.trim_end();
        self.add(
            Defect::Document,
            format!("wanted {wanted}; found {found}; stderr {stderr:?}"),
        );
        Ok(())
    }

    /// An ADD that reports success must have done all that CHECK looks for.
    fn judge_success(&mut self, run: &Run) -> Result<(), ToolError> {
        let result = run.document().ok();
        let checked = self.scene.request(Command::Check, result.as_ref())?.run()?;
        match checked {
            Some(checked) if checked.status.success() => {}
            Some(checked) => {
                self.add(
                    Defect::FalseSuccess,
                    format!("CHECK after it: {}", checked.summary()),
                );
            }
            None => self.add(Defect::Hung, "CHECK after it does not end".to_owned()),
        }
        self.remove(Way::Del, result.as_ref())
    }

    /// The state must be as it was before the operation, but for what belongs to a new network.
    fn require_unchanged(&mut self, before: &State) -> Result<(), ToolError> {
        let mut changes = self.scene.changes_since(before)?;
        changes.retain(|change| !self.scene.may_change(change));
        if !changes.is_empty() {
            self.add(Defect::Unclean, changes.join("\n"));
        }
        Ok(())
    }

    /// Removes the attachment undisturbed, after which nothing may be left.
    fn remove(&mut self, way: Way, result: Option<&Value>) -> Result<(), ToolError> {
        match self.scene.remove(way, result)? {
            Some(run) if run.status.success() => {}
            Some(run) => self.add(
                Defect::Refused,
                format!("{way} after it: {}", run.summary()),
            ),
            None => self.add(Defect::Hung, format!("{way} after it does not end")),
        }
        self.require_removed(way)
    }

    fn require_removed(&mut self, way: Way) -> Result<(), ToolError> {
        let mut changes = self.scene.changes()?;
        let kept = self.kept.get(&way);
        changes.retain(|change| {
            !kept.is_some_and(|kept| kept.contains(change)) && !self.scene.may_change(change)
        });
        if !changes.is_empty() {
            self.add(Defect::Left(way), changes.join("\n"));
        }
        Ok(())
    }

    /// The container can be attached again.
    fn add_again(&mut self) -> Result<(), ToolError> {
        if let Some(run) = self.succeeds(Command::Add, None, "a new ADD after it")? {
            let result = run.document().ok();
            self.succeeds(
                Command::Del,
                result.as_ref(),
                "the DEL of a new ADD after it",
            )?;
        }
        Ok(())
    }

    /// Runs an operation undisturbed. Returns `None`, and notes the defect, if it fails.
    fn succeeds(
        &mut self,
        command: Command,
        result: Option<&Value>,
        what: &str,
    ) -> Result<Option<Run>, ToolError> {
        match self.scene.request(command, result)?.run()? {
            Some(run) if run.status.success() => return Ok(Some(run)),
            Some(run) => self.add(Defect::Refused, format!("{what}: {}", run.summary())),
            None => self.add(Defect::Hung, format!("{what} does not end")),
        }
        Ok(None)
    }
}

/// Checks stdout by the protocol: a result after a successful ADD, nothing after the success of
/// another operation, one error object after a failure (spec section 5).
fn check_document(operation: Command, run: &Run) -> Result<(), Mismatch> {
    match (run.status.code(), operation) {
        (Some(0), Command::Add) => {
            let result = run.result()?;
            let is_result = result.get("cniVersion").is_some() && result.get("code").is_none();
            Mismatch::unless(is_result, "a result on stdout", result)
        }
        (Some(0), _) => Mismatch::unless(run.stdout.is_empty(), "nothing on stdout", run.summary()),
        (Some(_), _) => {
            let error = run.error()?;
            let has_code = error.get("code").and_then(Value::as_u64) != Some(0);
            Mismatch::unless(has_code, "an error with a code other than 0", error)
        }
        (None, _) => Err(Mismatch::new("an exit status", run.summary())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitStatus;

    fn run(status: i32, stdout: &str) -> Run {
        let status = ExitStatus::from_raw(status);
        Run {
            stdout: stdout.into(),
            stderr: Vec::new(),
            status,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn a_document_is_wanted_exactly_once_and_of_the_right_kind() {
        let result = r#"{"cniVersion":"1.1.0"}"#;
        let error = r#"{"code":7,"msg":"no"}"#;
        for (operation, status, stdout, is_right) in [
            (Command::Add, 0, result, true),
            (Command::Add, 0, "", false),
            (Command::Add, 0, error, false),
            (Command::Add, 256, error, true),
            (Command::Add, 256, "", false),
            (Command::Add, 256, &(error.to_owned() + error), false),
            (Command::Add, 256, r#"{"code":0,"msg":"no"}"#, false),
            (Command::Add, 6, error, false),
            (Command::Del, 0, "", true),
            (Command::Del, 0, result, false),
            (Command::Del, 256, error, true),
        ] {
            let found = check_document(operation, &run(status, stdout)).is_ok();
            assert_eq!(found, is_right, "{operation:?} {status} {stdout}");
        }
    }
}
