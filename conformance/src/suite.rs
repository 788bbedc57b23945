//! The black-box suite: what a CNI plugin must do, shown on the plugin itself, whatever it is written in.
//!
//! A [`Case`] states one rule of the specification and how to see whether a plugin keeps it. Cases are written by
//! family, one module each ([`family`]). A [`Profile`] tells how a plugin is to be used. [`plan`] pairs the two,
//! [`run`] gives every pair a host of its own, in namespaces and without root, and the [`Report`] can be printed for
//! people and for machines.
//!
//! A case is given a [`Context`]: it makes [`Attachment`]s, sends [`Request`]s, looks at the [`Run`] and at the
//! [`State`] of everything. It returns a [`Failure`] that says what was wanted and what was found. Each case also
//! names [`Fault`]s: ways to be wrong that it must notice. A test breaks a good plugin in each of these ways.

mod attachment;
mod case;
mod codes;
mod context;
pub mod diff;
pub mod double;
mod failure;
pub mod family;
pub mod fault;
mod fixture;
mod gate;
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
mod spoken;
mod subject;
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
pub use plan::{Item, Selection, plan, settled};
pub use profile::{Made, Profile, ProfileError};
pub use reading::Reading;
pub use report::Report;
pub use request::Request;
pub use runner::{Options, Progress, run};
pub use sandbox::{Run, RunError, Spawned, State, decode};
pub use subject::Subject;
