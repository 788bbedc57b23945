//! The names by which rules are found: the chains, comments and hashes of the reference, and our
//! changes to those that could not be read back.
//!
//! - Masquerading by nf_tables: chain `masq_checks` of table `inet cni_plugins_masquerade`, for
//!   all; comment `HASH16(network)-HASH16(interface:id), net: …, if: …, id: …`.
//! - Masquerading by iptables: chain `CNI-HASH24(network id)` of table `nat`; comment
//!   `name: "NETWORK" id: "ID"`.
//! - MAC check: chains `cni-br-iface-ID-INTERFACE` and `…-mac` of table `bridge nat`; comment
//!   `macspoofchk-ID-INTERFACE`.

use cni_net::nft::cut;
use cni_types::{AttachmentId, hash::sha512_hex};
use std::borrow::Cow;

/// The longest comment that nft(8) accepts, in bytes.
const MAX_NFT_COMMENT: usize = 128;

/// The longest comment of iptables, in bytes: XT_MAX_COMMENT_LEN of
/// include/uapi/linux/netfilter/xt_comment.h, minus the terminating NUL.
pub(super) const MAX_XT_COMMENT: usize = 255;

/// The longest name of a chain, in bytes: NFT_NAME_MAXLEN of
/// include/uapi/linux/netfilter/nf_tables.h, minus the terminating NUL.
const MAX_CHAIN_NAME: usize = 255;

const CHAIN_PREFIX: &str = "CNI-";
const CHAIN_DIGITS: usize = 24;

pub(super) const MAC_CHECK_PREFIX: &str = "cni-br-iface-";
const MAC_CHAIN_SUFFIX: &str = "-mac";

/// Returns the first 16 hexadecimal digits of the SHA-512 of a text.
fn hash16(text: &str) -> String {
    sha512_hex(text, 16)
}

/// Returns the start of the comments of a network's masquerade rules in nf_tables.
pub(super) fn network_tag(network: &str) -> String {
    format!("{}-", hash16(network))
}

/// Returns the start of the comments of an attachment's masquerade rules in nf_tables.
pub(super) fn attachment_tag(id: AttachmentId<'_>) -> String {
    let of_interface = hash16(&format!("{}:{}", id.if_name, id.container_id));
    format!("{}{of_interface}", network_tag(id.network))
}

/// Returns the comment of an attachment's masquerade rules in nf_tables.
pub(super) fn nft_comment(id: AttachmentId<'_>) -> String {
    let comment = format!(
        "{}, net: {}, if: {}, id: {}",
        attachment_tag(id),
        id.network,
        quotable(id.if_name),
        id.container_id
    );
    cut(&comment, MAX_NFT_COMMENT).to_owned()
}

/// Returns the chain of an attachment's masquerade rules in iptables. All attachments of a
/// container to one network share it.
pub(super) fn xt_chain(id: AttachmentId<'_>) -> String {
    let text = format!("{}{}", id.network, id.container_id);
    format!("{CHAIN_PREFIX}{}", sha512_hex(text, CHAIN_DIGITS))
}

/// Returns true if an iptables chain holds masquerade rules. The names of the portmap plugin's
/// chains start with the same letters.
pub(super) fn is_xt_chain(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix(CHAIN_PREFIX)
        .is_some_and(|digits| digits.len() == CHAIN_DIGITS && digits.bytes().all(is_digit))
}

/// Returns the comment of an attachment's masquerade rules in iptables. It is the reference's text,
/// in which a long id is cut, since nothing reads it. GC recognizes the rules by the network's
/// name, which is therefore never cut; one that is too long is hashed, behind a `#`, with which no
/// name begins.
pub(super) fn xt_comment(id: AttachmentId<'_>) -> String {
    let [plain, hashed] = xt_comment_prefixes(id.network);
    let prefix = if plain.len() < MAX_XT_COMMENT {
        plain
    } else {
        hashed
    };
    let comment = format!("{prefix}{}\"", id.container_id);
    comment.chars().take(MAX_XT_COMMENT).collect()
}

/// Returns the starts of the comments of a network's masquerade rules in iptables: with its name,
/// and with its hash.
pub(super) fn xt_comment_prefixes(network: &str) -> [String; 2] {
    [
        format!("name: \"{network}\" id: \""),
        format!("name: \"#{}\" id: \"", sha512_hex(network, 32)),
    ]
}

/// The names of the chains of an attachment's MAC check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MacCheckNames {
    /// The chain to which the base chain jumps.
    pub(super) chain: String,
    /// The chain with the addresses.
    pub(super) mac_chain: String,
    /// The comment of all rules.
    pub(super) comment: String,
}

impl MacCheckNames {
    /// The most bytes that container id and interface name may have together.
    pub(super) const MAX_IDENTITY: usize =
        MAX_CHAIN_NAME - MAC_CHECK_PREFIX.len() - "-".len() - MAC_CHAIN_SUFFIX.len();

    /// Returns the names for an attachment, or `None` if they are too long for the kernel. They are
    /// the reference's, unless nft(8) could not read them back from its own output.
    pub(super) fn of(id: AttachmentId<'_>) -> Option<Self> {
        Self::named(id, &word(id.if_name), &quotable(id.if_name))
    }

    /// Returns the reference's names for an attachment, or `None` if they are the same.
    pub(super) fn of_reference(id: AttachmentId<'_>) -> Option<Self> {
        let reference = Self::named(id, id.if_name, id.if_name)?;
        (word(id.if_name) != id.if_name).then_some(reference)
    }

    fn named(id: AttachmentId<'_>, in_chain: &str, in_comment: &str) -> Option<Self> {
        let chain = format!("{MAC_CHECK_PREFIX}{}-{in_chain}", id.container_id);
        let comment = format!("macspoofchk-{}-{in_comment}", id.container_id);
        let names = Self::behind(&chain, &comment);
        (names.mac_chain.len() <= MAX_CHAIN_NAME).then_some(names)
    }

    /// Returns the names of the chains to which a jump leads.
    pub(super) fn behind(chain: &str, comment: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            mac_chain: format!("{chain}{MAC_CHAIN_SUFFIX}"),
            comment: comment.to_owned(),
        }
    }
}

/// Returns an interface name as a part of a comment. `nft list ruleset` prints comments between
/// quotes without any escape, and interface names may contain nearly any character, so quotes are
/// encoded as in a URL.
fn quotable(if_name: &str) -> Cow<'_, str> {
    if if_name.contains('"') {
        if_name.replace('"', "%22").into()
    } else {
        if_name.into()
    }
}

/// Returns an interface name as a part of a chain's name, which nft(8) prints unquoted: the name
/// itself if nft's scanner accepts it as a word, else its hash.
fn word(if_name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if if_name.chars().all(is_plain) {
        if_name.into()
    } else {
        hash16(if_name).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: AttachmentId<'_> = AttachmentId {
        network: "mynet",
        container_id: "abc",
        if_name: "eth0",
    };

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["eth0", "net1", "eth0.100", "a_b-c"] {
            assert_eq!((word(name), quotable(name)), (name.into(), name.into()));
        }
    }

    #[test]
    fn a_name_that_nft_would_not_read_back_is_hashed() {
        assert_eq!(word("a\"b"), hash16("a\"b"));
        assert_eq!(quotable("a\"b"), "a%22b");
        for name in ["a;b", "a{b", "#a", "ét0", "a\\b", "a*", "a,b", "$a", "@a"] {
            let word = word(name);
            let is_hash = word.len() == 16 && word.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(is_hash, "{name}: {word}");
        }
    }

    #[test]
    fn the_comment_of_nf_tables_is_the_references() {
        // printf mynet | sha512sum | cut -c-16; printf eth0:abc | sha512sum | cut -c-16
        let wanted = "d23676b4f2d9fe04-e65086f8a75535c6, net: mynet, if: eth0, id: abc";
        assert_eq!(nft_comment(ID), wanted);
        let odd = AttachmentId {
            if_name: "a\"b",
            ..ID
        };
        let comment = nft_comment(odd);
        assert!(
            comment.ends_with(", net: mynet, if: a%22b, id: abc"),
            "{comment}"
        );
    }

    #[test]
    fn a_long_comment_of_nf_tables_is_cut_between_characters() {
        let network = "n".repeat(60);
        let container_id = "c".repeat(64);
        let long = AttachmentId {
            network: &network,
            container_id: &container_id,
            if_name: "ét\u{e9}0",
        };
        assert!(nft_comment(long).len() <= MAX_NFT_COMMENT);
        let network = "n".repeat(81);
        let in_a_name = AttachmentId {
            network: &network,
            if_name: "éééé",
            ..ID
        };
        assert!(nft_comment(in_a_name).starts_with(&attachment_tag(in_a_name)));
    }

    #[test]
    fn chain_and_comment_of_iptables_are_the_references() {
        let id = AttachmentId {
            network: "net",
            container_id: "a",
            ..ID
        };
        // printf neta | sha512sum | cut -c-24
        assert_eq!(xt_chain(id), "CNI-c3a99edf74e2fcceab44dece");
        assert_eq!(xt_comment(id), "name: \"net\" id: \"a\"");
        let long = "c".repeat(250);
        let long = AttachmentId {
            container_id: &long,
            ..id
        };
        assert_eq!(xt_comment(long).len(), MAX_XT_COMMENT);
    }

    #[test]
    fn chains_of_other_plugins_are_no_masquerade_chains() {
        assert!(is_xt_chain(&xt_chain(ID)));
        for other in [
            "CNI-DN-c3a99edf74e2fcceab44d",
            "CNI-FORWARD",
            "CNI-C3A99EDF74E2FCCEAB44DECE",
        ] {
            assert!(!is_xt_chain(other), "{other}");
        }
    }

    #[test]
    fn names_of_a_mac_check_are_the_references() {
        let names = MacCheckNames::of(ID).unwrap();
        assert_eq!(names.chain, "cni-br-iface-abc-eth0");
        assert_eq!(names.mac_chain, "cni-br-iface-abc-eth0-mac");
        assert_eq!(names.comment, "macspoofchk-abc-eth0");
        assert_eq!(MacCheckNames::of_reference(ID), None);
    }

    #[test]
    fn chains_of_an_odd_interface_name_can_be_read_back_and_the_references_are_known() {
        let odd = AttachmentId {
            if_name: "a;\"b",
            ..ID
        };
        let names = MacCheckNames::of(odd).unwrap();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        assert!(names.chain.bytes().all(is_plain), "{names:?}");
        assert_eq!(names.comment, "macspoofchk-abc-a;%22b");
        let reference = MacCheckNames::of_reference(odd).unwrap();
        assert_eq!(reference.chain, "cni-br-iface-abc-a;\"b");
    }

    #[test]
    fn names_that_the_kernel_refuses_are_not_made() {
        let of_length = |length: usize| {
            let container_id = "c".repeat(length);
            MacCheckNames::of(AttachmentId {
                container_id: &container_id,
                ..ID
            })
        };
        let longest = MacCheckNames::MAX_IDENTITY - "eth0".len();
        assert_eq!(of_length(longest).unwrap().mac_chain.len(), 255);
        assert_eq!(of_length(longest + 1), None);
    }
}
