//! Lines on stderr, for people: "unstructured output such as logs" (spec section 5, "Error").
//!
//! A plugin that continues although a step failed reports that here. Runtimes keep the lines in
//! their own log.

use std::{fmt::Display, io::Write};

/// Prints a line on stderr, prefixed with the plugin's name. A closed stderr is no reason to fail,
/// while `eprintln!` panics.
pub fn warn(plugin: &str, text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{plugin}: {text}");
}
