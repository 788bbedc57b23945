//! The base of the tests: attachments, GC's list, nf_tables and nft(8).

use cni_attachment::stale::Stale;
use cni_net::nft::Nft;
use cni_types::{AttachmentId, AttachmentList, Cidr, ValidAttachments};
use std::{
    io::Write,
    process::{Command, Stdio},
};

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

/// Runs commands by nft(8), and returns its output with runs of blanks as one blank.
pub(crate) fn nft(commands: &str) -> String {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let child = nft
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    testkit::require("the nft program", child.is_ok());
    let mut child = child.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(commands.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}
