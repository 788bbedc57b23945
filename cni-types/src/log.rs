//! Lines on stderr, for people: "unstructured output such as logs" (spec section 5, "Error").
//!
//! A plugin that goes on without something says so here. Runtimes keep the lines in their own log.

use std::{fmt::Display, io::Write};

/// Prints a line on stderr, headed by the plugin's name. A closed stderr is no reason to fail, as
/// it is for `eprintln!`.
pub fn warn(plugin: &str, text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{plugin}: {text}");
}
