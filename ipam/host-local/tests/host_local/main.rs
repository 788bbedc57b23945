//! The plugin from outside: the real binary in [`requests`] and [`crash`], the library in
//! [`model`].
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

mod crash;
mod healing;
mod kill;
mod model;
mod program;
mod requests;
mod scale;
mod traced;
