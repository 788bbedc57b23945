//! Names and comments in a form that nft(8) reads back from what it prints.
//!
//! `nft list ruleset` prints chain names as they are and comments between quotes, without any
//! escape, and interface names may hold nearly everything.

use cni_types::hash::sha512_hex;
use std::borrow::Cow;

/// An interface name as a part of a comment: the same, but for quotes, which stand as in a URL.
pub(super) fn quotable(if_name: &str) -> Cow<'_, str> {
    if if_name.contains('"') {
        if_name.replace('"', "%22").into()
    } else {
        if_name.into()
    }
}

/// An interface name as a part of a chain's name: the same if nft's scanner takes it for a word,
/// else its hash.
pub(super) fn word(if_name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if if_name.chars().all(is_plain) {
        if_name.into()
    } else {
        hash16(if_name).into()
    }
}

/// The first 16 hexadecimal digits of the SHA-512 of a text.
pub(super) fn hash16(text: &str) -> String {
    sha512_hex(text, 16)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(
                word(name).len() == 16 && word(name).bytes().all(|b| b.is_ascii_hexdigit()),
                "{name}"
            );
        }
    }
}
