//! The black-box suite: what a CNI plugin must do, shown on the plugin itself, whatever it is
//! written in.
//!
//! A [`Case`] states one rule of the specification and looks if a plugin keeps it. Cases are
//! written by family, one module each ([`family`]). A [`Profile`] describes how a plugin is used.
//! [`plan`] pairs the two, [`run`] gives every pair a host of its own, in namespaces and without
//! root, and the [`Report`] can be printed for people and for machines.
//!
//! A case is given a [`Context`]: it makes [`Attachment`]s, sends [`Request`]s, looks at the
//! [`Run`] and at the [`State`] of everything. It returns a [`Failure`] that says what was wanted
//! and what was found. Each case also names [`Fault`]s: ways to be wrong that it must notice. A
//! test breaks a good plugin in each of these ways.

mod add_probe;
mod attachment;
mod case;
mod context;
pub mod diff;
pub mod double;
mod error_codes;
mod failure;
pub mod family;
pub mod fault;
mod fixture;
mod glob;
mod ids;
mod journal;
mod kind;
pub mod meter;
mod outcome;
mod plan;
mod profile;
mod reading;
pub mod report;
mod request;
mod runner;
mod stand_in;
mod subject;
mod supported_versions;
pub mod swap;

pub use attachment::Attachment;
pub use case::{Case, Clause, Level, Need, Versions};
pub use context::Context;
pub use double::Double;
pub use failure::{Failure, at, require, require_same};
pub use family::cases;
pub use fault::Fault;
pub use glob::matches;
pub use journal::{Entry, RunEntry};
pub use kind::{EVERY_KIND, Kind};
pub use outcome::{Outcome, Verdict};
pub use plan::{Item, Selection, plan, resolve_newest};
pub use profile::{Made, Profile, ProfileError};
pub use reading::Reading;
pub use report::Report;
pub use request::Request;
pub use runner::{Options, Progress, run, run_alone};
pub use sandbox::{Run, RunError, Spawned, State, decode};
pub use subject::Subject;

use stand_in::{Role, StandIn};
use std::process::ExitCode;

/// Serves a request if this program was called by the name of a plugin for which it stands in;
/// returns `None` if it was called by its own name.
#[must_use]
#[expect(
    clippy::print_stderr,
    reason = "the person who calls it by hand should know"
)]
pub fn stand_in() -> Option<ExitCode> {
    let stand_in = StandIn::called()?;
    let mut cases = cases().iter().chain(swap::CASES);
    let faults_of = |id: &str| cases.find(|case| case.id == id).map(|case| case.faults);
    let served = stand_in.role().and_then(|role| match role {
        Role::Double => double::serve(&stand_in),
        Role::Meter => meter::serve(&stand_in),
        Role::Fault => fault::serve(&stand_in, faults_of),
    });
    Some(served.unwrap_or_else(|e| {
        eprintln!("{}: {e}", stand_in.file().display());
        ExitCode::from(u8::MAX)
    }))
}
