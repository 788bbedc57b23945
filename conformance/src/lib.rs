//! The other side of the CNI protocol: what calls plugins, and what they are tested with.
//!
//! [`runtime`] is the runtime's side of the specification: configuration files, chains, cached results.
//! [`suite`] is the black-box suite `cni-conformance`, for any plugin.
//! [`binaries`] builds the plugins, [`probe`] shows whether packets get through, [`wire`] what is sent besides,
//! [`trace`] follows a program from system call to system call, [`frame`] whether frames get through that should not. [`sandbox`] makes the namespaces in which network plugins
//! can run without root. With the feature `testbed`
//! (on by default), `testbed` runs tests of plugins in them.

pub mod binaries;
pub mod frame;
mod inventory;
pub mod probe;
pub mod runtime;
pub mod sandbox;
#[cfg(any(test, feature = "testbed"))]
mod script;
pub mod suite;
#[cfg(feature = "testbed")]
pub mod testbed;
pub mod trace;
pub mod wire;
