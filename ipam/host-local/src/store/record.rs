//! The content of one file of the data directory, byte for byte as the reference writes it: the
//! owner of the address that the file is named after. The reference compares whole contents, so
//! nothing may be added.

use cni_types::AttachmentId;
use std::{ffi::OsString, net::IpAddr};

/// The size of the largest record, in bytes, written or read. No id from an environment variable is
/// longer: the kernel limits one to 128 KiB (MAX_ARG_STRLEN in
/// linux/binfmts.h), `CNI_CONTAINERID=` included, which is longer than the interface's name.
pub(crate) const MAX_CONTENT: usize = 128 << 10;

/// Returns the content of a record that the attachment owns. The network is not in it: it is the
/// name of the folder.
pub(crate) fn content(attachment: AttachmentId<'_>) -> String {
    format!("{}\r\n{}", attachment.container_id, attachment.if_name)
}

/// The owner of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An attachment.
    Attachment {
        /// The container's id.
        container_id: String,
        /// The interface's name.
        if_name: String,
    },
    /// A container: old plugins wrote the id alone. A text that a person wrote by hand, to keep an
    /// address from being allocated, reads as one too.
    Container(String),
    /// Nobody: a writer died, or the power failed, before the content was there.
    Nobody,
    /// Somebody: the file could not be read, or is longer than a record. Not ours to free.
    Unknown,
}

impl Owner {
    /// Reads a record's content.
    pub(crate) fn parse(content: &[u8]) -> Self {
        let text = std::str::from_utf8(content)
            .map(str::trim)
            .unwrap_or_default();
        if text.is_empty() || text.contains('\0') {
            return Self::Nobody;
        }
        match text.split_once("\r\n") {
            Some((id, if_name)) if !if_name.contains(['\r', '\n']) => Self::Attachment {
                container_id: id.to_owned(),
                if_name: if_name.to_owned(),
            },
            _ => Self::Container(text.to_owned()),
        }
    }

    /// The id of the container that owns the address; `None` if it is not known, or nobody does.
    pub(crate) fn container_id(&self) -> Option<&str> {
        match self {
            Self::Attachment { container_id, .. } | Self::Container(container_id) => {
                Some(container_id)
            }
            Self::Nobody | Self::Unknown => None,
        }
    }

    /// Returns true if this is exactly `attachment`, in the network of the record's folder.
    pub(crate) fn is(&self, attachment: AttachmentId<'_>) -> bool {
        matches!(self, Self::Attachment { container_id, if_name }
            if container_id == attachment.container_id && if_name == attachment.if_name)
    }

    /// Returns true if this may be `attachment`: it is, or it is its container and no interface is
    /// named.
    pub(crate) fn may_be(&self, attachment: AttachmentId<'_>) -> bool {
        self.is(attachment) || matches!(self, Self::Container(id) if id == attachment.container_id)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attachment {
                container_id,
                if_name,
            } => write!(f, "container {container_id} ({if_name})"),
            Self::Container(id) => write!(f, "container {id}"),
            Self::Nobody => f.write_str("nobody"),
            Self::Unknown => f.write_str("somebody, in a record that cannot be read"),
        }
    }
}

/// One address and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The address that the file is named after.
    pub(crate) address: IpAddr,
    /// The owner.
    pub(crate) owner: Owner,
    /// The file's name: not always the usual spelling of the address.
    pub(crate) file_name: OsString,
}

impl Record {
    /// Returns true if the address has no owner, in spite of the record.
    pub(crate) fn has_no_owner(&self) -> bool {
        self.owner == Owner::Nobody
    }
}

/// The records of `attachment`: those that name it, or else the old ones of its container. If one
/// interface of a container has a record of its own, an old record belongs to another interface.
pub(crate) fn held_by<'a>(records: &'a [Record], attachment: AttachmentId<'_>) -> Vec<&'a Record> {
    let exact: Vec<_> = records
        .iter()
        .filter(|record| record.owner.is(attachment))
        .collect();
    if exact.is_empty() {
        return records
            .iter()
            .filter(|record| record.owner.may_be(attachment))
            .collect();
    }
    exact
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACHMENT: AttachmentId<'_> = AttachmentId {
        network: "n",
        container_id: "c1",
        if_name: "eth0",
    };

    fn record(host: u8, content: &str) -> Record {
        let address = IpAddr::from([10, 0, 0, host]);
        Record {
            address,
            owner: Owner::parse(content.as_bytes()),
            file_name: address.to_string().into(),
        }
    }

    #[test]
    fn an_owner_is_read_as_it_was_written() {
        assert_eq!(content(ATTACHMENT), "c1\r\neth0");
        assert!(Owner::parse(content(ATTACHMENT).as_bytes()).is(ATTACHMENT));
    }

    #[test]
    fn content_matches_whole_and_trimmed_as_in_the_reference() {
        for (content, exact, maybe) in [
            ("c1\r\neth0", true, true),
            (" c1\r\neth0\r\n", true, true),
            ("c1", false, true),
            ("c1\r\n", false, true),
            ("c1\neth0", false, false),
            ("c1\r\neth1", false, false),
            ("c1\r\neth0\r\nx", false, false),
            ("c10", false, false),
            ("", false, false),
        ] {
            let owner = Owner::parse(content.as_bytes());
            assert_eq!(
                (owner.is(ATTACHMENT), owner.may_be(ATTACHMENT)),
                (exact, maybe),
                "{content:?}"
            );
        }
    }

    #[test]
    fn only_a_record_without_content_belongs_to_nobody() {
        for content in [
            &b""[..],
            b" \r\n",
            b"\0\0\0\0",
            b"c1\r\n\0\0\0\0",
            b"\xff\xfe",
        ] {
            assert_eq!(Owner::parse(content), Owner::Nobody, "{content:?}");
        }
        let by_hand = "reserved for the printer";
        assert_eq!(
            Owner::parse(by_hand.as_bytes()),
            Owner::Container(by_hand.into())
        );
    }

    #[test]
    fn an_old_record_counts_only_if_no_record_names_the_interface() {
        let old = [record(2, "c1"), record(3, "c2\r\neth0")];
        assert_eq!(held_by(&old, ATTACHMENT), [&old[0]]);
        let both = [record(2, "c1"), record(3, "c1\r\neth0")];
        assert_eq!(held_by(&both, ATTACHMENT), [&both[1]]);
        assert_eq!(
            held_by(&[record(2, "c2")], ATTACHMENT),
            Vec::<&Record>::new()
        );
    }
}
