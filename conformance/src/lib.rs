//! The other side of the CNI protocol: what calls plugins, and what they are tested with.
//!
//! [`sandbox`] makes the namespaces in which network plugins can run without root. With the feature `testbed`
//! (on by default), `testbed` runs tests of plugins in them.

pub mod sandbox;
#[cfg(feature = "testbed")]
pub mod testbed;
