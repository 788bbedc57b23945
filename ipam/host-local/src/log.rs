//! Lines on stderr, for people (see [`cni_types::log`]).

use std::fmt::Display;

/// The plugin's name, as in `type`; it heads every line.
pub(crate) const NAME: &str = "host-local";

/// Prints a line that is no error.
pub(crate) fn warn(text: impl Display) {
    cni_types::log::warn(NAME, text);
}
