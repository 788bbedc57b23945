//! Netfilter rules of attachments, as the reference writes them by each backend, so that each suite
//! can find and remove the other's.
//!
//! The mechanism (tables, expressions, transactions, programs) is in cni-net; the content and the
//! ownership of rules are decided here. [`names`] has all names, comments and hashes of the
//! reference.

pub mod mac_check;
pub mod masquerade;
pub mod names;

use crate::stale::Stale;
use cni_net::{Feature, NetError};
use cni_types::{AttachmentId, Error};
use std::net::IpAddr;

/// The remedy if a program of iptables is missing.
const NO_IPTABLES: &str =
    "install iptables, or leave ipMasqBackend out: nf_tables needs no program";

/// The remedies if the kernel lacks a part of nf_tables.
const NO_NF_TABLES: &str = "build or load the modules of nf_tables, or set \"ipMasqBackend\": \"iptables\"; \
     macspoofchk needs nf_tables";
const NO_INET_NAT: &str = "run Linux 5.2 or later, or set \"ipMasqBackend\": \"iptables\"; left out, \
     iptables is taken if it is installed";

/// Converts a refusal to an error, with the remedy if the kernel or the host lacks a part.
#[must_use]
pub fn refusal(cause: NetError) -> Error {
    let remedy = match &cause {
        NetError::NoProgram(_) => NO_IPTABLES,
        NetError::Lacking {
            feature: Feature::NfTables,
            ..
        } => NO_NF_TABLES,
        NetError::Lacking {
            feature: Feature::InetNat,
            ..
        } => NO_INET_NAT,
        _ => return cause.into(),
    };
    Error::from(cause).with_details(remedy)
}

/// Returns true if an address is removed with the attachment. For rules that name a container and
/// an address, but no interface; called only if there are such rules.
pub type Leaving<'a> = &'a dyn Fn(IpAddr) -> bool;

/// The rules of one purpose, in one backend.
pub trait RuleSet {
    /// The content of an attachment's rules.
    type Spec: ?Sized;

    /// Adds the rules of an attachment.
    ///
    /// # Errors
    /// Fails if the rules cannot be written; some of them may exist then.
    fn create(&mut self, id: AttachmentId<'_>, spec: &Self::Spec) -> Result<(), Error>;

    /// Returns the deviations of an attachment's rules, each as the wanted and the found value.
    ///
    /// # Errors
    /// Fails if the rules cannot be read.
    fn differences(
        &mut self,
        id: AttachmentId<'_>,
        spec: &Self::Spec,
    ) -> Result<Vec<String>, Error>;

    /// Removes the rules of an attachment, regardless of their content; succeeds if there are none.
    ///
    /// # Errors
    /// Fails if rules cannot be read or removed.
    fn remove(&mut self, id: AttachmentId<'_>, leaving: Leaving<'_>) -> Result<(), Error>;

    /// Removes the rules of a network's invalid attachments.
    ///
    /// # Errors
    /// Fails if rules cannot be read or removed.
    fn remove_stale(&mut self, stale: &Stale<'_>) -> Result<(), Error>;
}
