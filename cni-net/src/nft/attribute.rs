//! Attributes of nfnetlink: written, and read from the kernel's answers.
//!
//! Numbers are in network byte order. Answers are not trusted: a malformed attribute reads as
//! absent.

use crate::netlink::c_string;
use netlink_packet_core::{NLA_F_NESTED, NlasIterator};

/// `struct nlattr` of include/uapi/linux/netlink.h
const HEADER_LEN: usize = 4;

/// An attribute that holds a list of attributes of this kind (`enum nft_list_attributes` of
/// include/uapi/linux/netfilter/nf_tables.h).
pub(super) const LIST_ELEMENT: u16 = 1;

/// Attributes to send, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute, padded to a multiple of four bytes.
    ///
    /// # Panics
    /// Panics if the value is longer than an attribute can be (64 KiB). Names, comments and
    /// expressions are far shorter, and lists of elements are sent in parts.
    #[expect(
        clippy::expect_used,
        reason = "a length that is cut would be another message"
    )]
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(HEADER_LEN + value.len()).expect("an attribute below 64 KiB");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn u8(self, kind: u16, value: u8) -> Self {
        self.bytes(kind, &[value])
    }

    pub(super) fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn u64(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a number if there is one.
    pub(super) fn some_u32(self, kind: u16, value: Option<u32>) -> Self {
        match value {
            Some(value) => self.u32(kind, value),
            None => self,
        }
    }

    /// Adds a number unless it is 0, as the kernel does with flags.
    pub(super) fn flags(self, kind: u16, flags: u32) -> Self {
        self.some_u32(kind, Some(flags).filter(|flags| *flags != 0))
    }

    /// Adds a text, terminated by NUL.
    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    pub(super) fn nested(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &inner.bytes)
    }

    /// Adds a list of attributes.
    pub(super) fn list(self, kind: u16, elements: impl IntoIterator<Item = Self>) -> Self {
        let list = |list: Self, element| list.nested(LIST_ELEMENT, element);
        self.nested(kind, elements.into_iter().fold(Self::new(), list))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Returns the kinds and values of attributes, in order; those behind a malformed one are left out.
pub(super) fn each(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .map_while(|attribute| {
            let kind = attribute.kind();
            let length = usize::from(attribute.length());
            Some((kind, attribute.into_inner().get(HEADER_LEN..length)?))
        })
}

/// Returns the value of the first attribute of a kind.
pub(super) fn value(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    each(attributes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

pub(super) fn u32(attributes: &[u8], kind: u16) -> Option<u32> {
    value(attributes, kind).and_then(as_u32)
}

pub(super) fn u64(attributes: &[u8], kind: u16) -> Option<u64> {
    value(attributes, kind).and_then(as_u64)
}

/// Returns a text up to its NUL, or `None` if there is no attribute of this kind.
pub(super) fn text(attributes: &[u8], kind: u16) -> Option<String> {
    value(attributes, kind).map(c_string)
}

fn as_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn as_u64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// Attributes that are taken one by one, so that a reader can check that it knows all of them: an
/// object with an unknown attribute must not be taken for a plain one.
pub(super) struct Fields<'a> {
    left: Vec<(u16, &'a [u8])>,
}

impl<'a> Fields<'a> {
    /// Reads attributes; returns `None` if they are malformed.
    pub(super) fn of(attributes: &'a [u8]) -> Option<Self> {
        let left: Vec<(u16, &[u8])> = each(attributes).collect();
        let padded = |(_, value): &(u16, &[u8])| HEADER_LEN + value.len().next_multiple_of(4);
        let whole: usize = left.iter().map(padded).sum();
        (whole == attributes.len().next_multiple_of(4)).then_some(Self { left })
    }

    /// Takes the first attribute of a kind.
    pub(super) fn bytes(&mut self, kind: u16) -> Option<&'a [u8]> {
        self.read(kind, Some)
    }

    pub(super) fn u32(&mut self, kind: u16) -> Option<u32> {
        self.read(kind, as_u32)
    }

    pub(super) fn u64(&mut self, kind: u16) -> Option<u64> {
        self.read(kind, as_u64)
    }

    pub(super) fn text(&mut self, kind: u16) -> Option<String> {
        self.read(kind, |value| Some(c_string(value)))
    }

    /// Takes nested attributes.
    pub(super) fn nested(&mut self, kind: u16) -> Option<Self> {
        self.read(kind, Self::of)
    }

    /// Takes the first attribute of a kind; leaves it if it cannot be read.
    fn read<T>(&mut self, kind: u16, read: impl FnOnce(&'a [u8]) -> Option<T>) -> Option<T> {
        let at = self.left.iter().position(|(found, _)| *found == kind)?;
        let value = read(self.left.get(at)?.1)?;
        self.left.remove(at);
        Some(value)
    }

    /// Returns `read` if no attribute is left, else `None`.
    pub(super) fn all<T>(&self, read: T) -> Option<T> {
        self.left.is_empty().then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        Attributes::new()
            .u8(1, 7)
            .u32(2, 0x0102_0304)
            .u64(3, 5)
            .text(4, "ab")
            .nested(5, Attributes::new().u32(1, 9))
            .into_bytes()
    }

    #[test]
    fn attributes_read_back() {
        let bytes = sample();
        let mut fields = Fields::of(&bytes).unwrap();
        assert_eq!(fields.bytes(1), Some(&[7][..]));
        assert_eq!(fields.u32(2), Some(0x0102_0304));
        assert_eq!(fields.u64(3), Some(5));
        assert_eq!(fields.text(4).as_deref(), Some("ab"));
        assert_eq!(fields.all(()), None);
        assert_eq!(fields.nested(5).unwrap().u32(1), Some(9));
        assert_eq!(fields.all(()), Some(()));
        assert_eq!(
            (u32(&bytes, 2), u64(&bytes, 3)),
            (Some(0x0102_0304), Some(5))
        );
        assert_eq!((value(&bytes, 6), text(&bytes, 6)), (None, None));
    }

    #[test]
    fn what_is_malformed_is_absent() {
        let bytes = sample();
        assert!(Fields::of(&bytes[..bytes.len() - 4]).is_none());
        assert_eq!(u64(&bytes, 2), None);
        assert_eq!(Fields::of(&bytes).unwrap().u32(1), None);
    }

    #[test]
    #[should_panic(expected = "an attribute below 64 KiB")]
    fn an_attribute_that_is_too_long_is_no_shorter_one() {
        let _ = Attributes::new().bytes(1, &vec![0; 1 << 16]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_passed_over(bytes: Vec<u8>) {
            let _ = Fields::of(&bytes);
            let _ = (each(&bytes).count(), text(&bytes, 1), u32(&bytes, 1));
        }
    }
}
