//! The Container Network Interface protocol, versions 0.1.0 to 1.1.0, as plugins see it.
//!
//! A plugin implements [`Plugin`] and calls [`main`]. Environment and stdin become a checked and
//! typed [`Call`] with an [`Attachment`] or a [`Detachment`]. The plugin's return value becomes
//! exactly one JSON document on stdout and an exit status, even on a panic and on SIGTERM. The
//! crate uses only the environment, stdin, stdout, stderr, and the delegates that it runs; the
//! kernel's network configuration belongs to `cni-net`.

mod args;
mod attachment;
mod call;
mod delegate;
mod environment;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
pub mod hash;
pub mod ipam;
mod json;
mod keep;
mod key;
pub mod log;
mod plugin;
mod program;
mod result;
mod signals;
mod stop;
mod value;
mod version;

pub use args::CniArgs;
pub use attachment::{Attachment, AttachmentId, AttachmentList, Detachment, ValidAttachments};
pub use call::{Call, Command};
pub use delegate::{Delegate, RunningAdd};
pub use environment::Environment;
pub use error::{Code, Error};
pub use json::{DecodeError, Json, Number};
pub use keep::KeepAddresses;
pub use key::{Key, KeyKind};
pub use plugin::{Plugin, Reply, answer, main, refuse};
pub use program::{Output, Program, Running, Stderr};
pub use result::{AddResult, Dns, Encoded, Interface, IpConfig, Route};
pub use signals::set_signal_dispositions;
pub use stop::{Stop, WaitOutcome};
pub use value::{
    Cidr, ContainerId, IfName, InvalidCidr, InvalidMac, MacAddr, NetnsPath, NetworkName, VlanId,
};
pub use version::{SpecVersion, UnknownVersion};
