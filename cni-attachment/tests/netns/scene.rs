//! The base of the tests: attachments, GC's list, nf_tables and nft(8).

use cni_attachment::stale::Stale;
use cni_net::nft::Nft;
use cni_types::{AttachmentId, AttachmentList, Cidr, ValidAttachments};

pub(crate) const A: AttachmentId<'_> = id("a");
pub(crate) const B: AttachmentId<'_> = id("b");

/// Returns the attachment of a container's eth0 to the network `net`.
pub(crate) const fn id(container_id: &str) -> AttachmentId<'_> {
    AttachmentId {
        network: "net",
        container_id,
        if_name: "eth0",
    }
}

/// Calls `body` with GC's list for the network `net`: these containers, each with its eth0.
pub(crate) fn with_valid<T>(containers: &[&str], body: impl FnOnce(&Stale<'_>) -> T) -> T {
    let names = containers.iter().map(|id| (*id, "eth0"));
    let valid = ValidAttachments::Only(AttachmentList::new("net", names));
    body(&Stale::of(&valid).unwrap())
}

pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub(crate) fn open() -> Nft {
    let mut nft = Nft::open().unwrap();
    testkit::require("nf_tables", nft.probe().is_ok());
    nft
}
