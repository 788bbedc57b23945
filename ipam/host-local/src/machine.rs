//! This machine: which of its boots is running, which file systems are its own, and which network
//! namespaces are mounted.

mod boot;
mod file_system;
mod netns;

pub use boot::SystemPaths;
pub(crate) use boot::{Boot, CurrentBoot, Id};
pub use file_system::FileSystem;
pub(crate) use netns::{Netns, identify, is_gone};
