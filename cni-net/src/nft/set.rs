//! Sets and maps, in which rules look packets up.

use super::{
    attribute::{self, Attributes, Fields},
    expr::{Verdict, verdict_data, verdict_of_data},
    table::{Table, TableFamily, split},
};
use crate::netlink::Answer;

// include/uapi/linux/netfilter/nf_tables.h
const TABLE: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 3;
const KEY_TYPE: u16 = 4;
const KEY_LENGTH: u16 = 5;
const DATA_TYPE: u16 = 6;
const DATA_LENGTH: u16 = 7;
const ID: u16 = 10;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
const ELEMENT_KEY_END: u16 = 10;
const DATA_VALUE: u16 = 1;

/// `NFT_SET_MAP`
const MAP: u32 = 8;
/// `NFT_DATA_VERDICT`
const VERDICT_TYPE: u32 = 0xffff_ff00;

/// The type of a key or a value: its number in nft(8), which the kernel only stores, and its length
/// in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataType {
    /// The number (`enum datatypes` of nft's datatype.h).
    pub number: u32,
    /// The length in bytes; each part of a concatenation is padded to four.
    pub length: u32,
}

impl DataType {
    /// `ipv4_addr`
    pub const IPV4_ADDRESS: Self = Self::new(7, 4);
    /// `ipv6_addr`
    pub const IPV6_ADDRESS: Self = Self::new(8, 16);
    /// `inet_proto`
    pub const PROTOCOL: Self = Self::new(12, 1);
    /// `inet_service`
    pub const PORT: Self = Self::new(13, 2);

    /// The bits of a number in a concatenation (`TYPE_BITS` of nft's datatype.h).
    const BITS: u32 = 6;

    const fn new(number: u32, length: u32) -> Self {
        Self { number, length }
    }

    /// Returns the concatenation with a further type.
    #[must_use]
    pub const fn and(self, next: Self) -> Self {
        Self::new(
            self.number << Self::BITS | next.number,
            self.length.next_multiple_of(4) + next.length.next_multiple_of(4),
        )
    }
}

/// The kind of value that a map leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapData {
    /// A verdict.
    Verdict,
    /// A value.
    Value(DataType),
}

/// A set, or a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// The type of its keys.
    pub key: DataType,
    /// The kind of value that a key leads to, if it is a map.
    pub data: Option<MapData>,
}

impl Set {
    pub(super) fn attributes(&self) -> Attributes {
        let attributes = set_name(self.table.name, self.name);
        let with_flags = attributes.flags(FLAGS, self.data.map_or(0, |_| MAP));
        let with_key = with_flags
            .u32(KEY_TYPE, self.key.number)
            .u32(KEY_LENGTH, self.key.length);
        let with_data = match self.data {
            None => with_key,
            Some(MapData::Verdict) => with_key.u32(DATA_TYPE, VERDICT_TYPE),
            Some(MapData::Value(data)) => with_key
                .u32(DATA_TYPE, data.number)
                .u32(DATA_LENGTH, data.length),
        };
        // A number by which rules of the same transaction can refer to the set; ours refer to its
        // name.
        with_data.u32(ID, 1)
    }

    pub(super) fn name_attributes(&self) -> Attributes {
        set_name(self.table.name, self.name)
    }

    pub(super) fn element_attributes(&self, elements: &[Element]) -> Attributes {
        elements_of(self.table.name, self.name)
            .list(ELEMENTS, elements.iter().map(Element::attributes))
    }
}

fn set_name(table: &str, set: &str) -> Attributes {
    Attributes::new().text(TABLE, table).text(NAME, set)
}

/// Returns the attributes of a request for the elements of a set.
pub(super) fn elements_of(table: &str, set: &str) -> Attributes {
    Attributes::new()
        .text(ELEMENTS_TABLE, table)
        .text(ELEMENTS_SET, set)
}

/// The value that a key of a map leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// A verdict.
    Verdict(Verdict),
    /// A value.
    Value(Vec<u8>),
}

/// An element of a set, or of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key.
    pub key: Vec<u8>,
    /// The value that the key leads to, in a map.
    pub data: Option<ElementData>,
}

impl Element {
    /// Returns an element of a set.
    #[must_use]
    pub fn key(key: Vec<u8>) -> Self {
        Self { key, data: None }
    }

    fn attributes(&self) -> Attributes {
        let key = Attributes::new().bytes(DATA_VALUE, &self.key);
        let attributes = Attributes::new().nested(ELEMENT_KEY, key);
        match &self.data {
            None => attributes,
            Some(ElementData::Verdict(verdict)) => {
                attributes.nested(ELEMENT_DATA, verdict_data(verdict))
            }
            Some(ElementData::Value(value)) => {
                attributes.nested(ELEMENT_DATA, Attributes::new().bytes(DATA_VALUE, value))
            }
        }
    }

    /// Reads an element; returns `None` if it is not a plain one, such as the end of an interval.
    fn read(element: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(element)?;
        let mut key = fields.nested(ELEMENT_KEY)?;
        let data = match fields.bytes(ELEMENT_DATA) {
            None => None,
            Some(data) => Some(match verdict_of_data(data) {
                Some(verdict) => ElementData::Verdict(verdict),
                None => ElementData::Value(Fields::of(data)?.bytes(DATA_VALUE)?.to_vec()),
            }),
        };
        fields.all(Self {
            key: key.bytes(DATA_VALUE)?.to_vec(),
            data,
        })
    }
}

/// A set, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedSet {
    pub(super) family: TableFamily,
    pub(super) table: String,
    pub(super) name: String,
    attributes: Vec<u8>,
}

impl ListedSet {
    /// Reads the payload of an NFT_MSG_NEWSET.
    pub(super) fn parse(answer: &Answer) -> Option<Self> {
        let (family, attributes) = split(answer)?;
        Some(Self {
            family,
            table: attribute::text(attributes, TABLE)?,
            name: attribute::text(attributes, NAME)?,
            attributes: attributes.to_vec(),
        })
    }

    /// Returns the bytes that define the kind of the set.
    pub(super) fn shape(&self) -> [&[u8]; 4] {
        [FLAGS, KEY_TYPE, KEY_LENGTH, DATA_TYPE]
            .map(|kind| attribute::value(&self.attributes, kind).unwrap_or_default())
    }
}

/// A part of the list of a set's elements.
pub(super) struct ElementList<'a> {
    pub(super) family: TableFamily,
    pub(super) table: String,
    pub(super) set: String,
    elements: &'a [u8],
}

impl<'a> ElementList<'a> {
    /// Reads the payload of an NFT_MSG_NEWSETELEM.
    pub(super) fn parse(answer: &'a Answer) -> Option<Self> {
        let (family, attributes) = split(answer)?;
        Some(Self {
            family,
            table: attribute::text(attributes, ELEMENTS_TABLE)?,
            set: attribute::text(attributes, ELEMENTS_SET)?,
            elements: attribute::value(attributes, ELEMENTS).unwrap_or_default(),
        })
    }

    /// Returns the plain elements.
    pub(super) fn plain(&self) -> impl Iterator<Item = Element> {
        attribute::each(self.elements).filter_map(|(_, element)| Element::read(element))
    }

    /// Returns the bytes of each element, without its counters.
    pub(super) fn contents(&self) -> impl Iterator<Item = [&'a [u8]; 4]> {
        let kinds = [ELEMENT_KEY, ELEMENT_KEY_END, ELEMENT_DATA, ELEMENT_FLAGS];
        attribute::each(self.elements).map(move |(_, element)| {
            kinds.map(|kind| attribute::value(element, kind).unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, option, prelude::*};

    #[test]
    fn a_concatenation_has_nfts_number_and_is_padded() {
        let both = DataType::PROTOCOL.and(DataType::PORT);
        assert_eq!((both.number, both.length), (781, 8));
    }

    proptest! {
        #[test]
        fn an_element_reads_back_as_it_was_written(
            key in vec(any::<u8>(), 1..40),
            value in option::of(vec(any::<u8>(), 1..40)),
            chain in option::of("[a-z]{1,20}"),
        ) {
            let verdict = chain.map(|chain| ElementData::Verdict(Verdict::Goto(chain)));
            let data = verdict.or(value.map(ElementData::Value));
            let element = Element { key, data };
            prop_assert_eq!(Element::read(&element.attributes().into_bytes()), Some(element));
        }

        #[test]
        fn any_answer_is_a_set_or_passed_over(payload: Vec<u8>) {
            let answer = Answer { payload };
            let _ = ListedSet::parse(&answer).map(|set| set.shape().len());
            let _ = ElementList::parse(&answer)
                .map(|list| (list.plain().count(), list.contents().count()));
        }
    }
}
