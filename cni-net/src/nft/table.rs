//! Tables and chains.

use super::{
    attribute::{self, Attributes},
    message::HEADER_LEN,
};
use crate::{netlink::Answer, sysctl::Family};

// include/uapi/linux/netfilter/nf_tables.h
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

/// The address family of a table, by its number (NFPROTO_* of include/uapi/linux/netfilter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFamily(u8);

impl TableFamily {
    /// IPv4 and IPv6.
    pub const INET: Self = Self(1);
    /// IPv4.
    pub const IP: Self = Self(2);
    /// IPv6.
    pub const IP6: Self = Self(10);
    /// Frames on bridges.
    pub const BRIDGE: Self = Self(7);

    /// All families, in a request for a list.
    pub(super) const ANY: Self = Self(0);

    /// Returns the number.
    pub(super) const fn number(self) -> u8 {
        self.0
    }

    /// Returns the family of the addresses that its rules see, or `None` if it is not a single one.
    #[must_use]
    pub fn addresses(self) -> Option<Family> {
        match self {
            Self::IP => Some(Family::V4),
            Self::IP6 => Some(Family::V6),
            _ => None,
        }
    }

    /// Returns the word for it in nft(8), or its number.
    #[must_use]
    pub fn name(self) -> String {
        match self.0 {
            1 => "inet".to_owned(),
            2 => "ip".to_owned(),
            3 => "arp".to_owned(),
            5 => "netdev".to_owned(),
            7 => "bridge".to_owned(),
            10 => "ip6".to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<Family> for TableFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::IP,
            Family::V6 => Self::IP6,
        }
    }
}

/// A table of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its family.
    pub family: TableFamily,
    /// Its name.
    pub name: &'static str,
}

impl Table {
    pub(super) fn attributes(self) -> Attributes {
        Attributes::new().text(TABLE_NAME, self.name)
    }

    pub(super) fn chain_attributes(self, chain: &str) -> Attributes {
        Attributes::new()
            .text(CHAIN_TABLE, self.name)
            .text(CHAIN_NAME, chain)
    }
}

/// A point on a packet's way (`enum nf_inet_hooks` of include/uapi/linux/netfilter.h; those of
/// bridges have the same numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// On arrival, before routing.
    Prerouting = 0,
    /// On its way to the host itself.
    Input = 1,
    /// On its way through the host.
    Forward = 2,
    /// From the host itself.
    Output = 3,
    /// Before it leaves, after routing.
    Postrouting = 4,
}

/// The point at which a base chain sees packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// The type: `filter`, `nat` or `route`.
    pub kind: &'static str,
    /// The hook.
    pub hook: Hook,
    /// The position among the chains of a hook; lower ones come first.
    pub priority: i32,
}

impl BaseChain {
    pub(super) fn attributes(self, chain: Attributes) -> Attributes {
        let hook = Attributes::new()
            .u32(HOOK_NUMBER, self.hook as u32)
            .u32(HOOK_PRIORITY, self.priority.cast_unsigned());
        chain.nested(CHAIN_HOOK, hook).text(CHAIN_TYPE, self.kind)
    }
}

/// The fate of a packet at the end of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The packet passes.
    Accept,
    /// The packet is dropped.
    Drop,
}

/// The properties of a base chain, as the kernel lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBase {
    /// The type.
    pub kind: String,
    /// The number of the hook.
    pub hook: u32,
    /// The position among the chains of a hook; lower ones come first.
    pub priority: i32,
    /// The policy.
    pub policy: Policy,
}

impl ListedBase {
    /// Returns true if type, hook and priority are those of `base`.
    #[must_use]
    pub fn is(&self, base: BaseChain) -> bool {
        self.kind == base.kind && self.hook == base.hook as u32 && self.priority == base.priority
    }
}

/// A chain, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The family of its table.
    pub family: TableFamily,
    /// The name of its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its properties as a base chain, if it is one.
    pub base: Option<ListedBase>,
}

impl Chain {
    /// Reads the payload of an NFT_MSG_NEWCHAIN.
    pub(super) fn parse(answer: &Answer) -> Option<Self> {
        let (family, attributes) = split(answer)?;
        Some(Self {
            family,
            table: attribute::text(attributes, CHAIN_TABLE)?,
            name: attribute::text(attributes, CHAIN_NAME)?,
            base: base(attributes),
        })
    }
}

fn base(chain: &[u8]) -> Option<ListedBase> {
    let hook = attribute::value(chain, CHAIN_HOOK)?;
    let policy = attribute::u32(chain, CHAIN_POLICY);
    Some(ListedBase {
        kind: attribute::text(chain, CHAIN_TYPE)?,
        hook: attribute::u32(hook, HOOK_NUMBER)?,
        priority: attribute::u32(hook, HOOK_PRIORITY)?.cast_signed(),
        policy: if policy == Some(0) {
            Policy::Drop
        } else {
            Policy::Accept
        },
    })
}

/// Reads the family and the name of a table from the payload of an NFT_MSG_NEWTABLE.
pub(super) fn table_name(answer: &Answer) -> Option<(TableFamily, String)> {
    let (family, attributes) = split(answer)?;
    Some((family, attribute::text(attributes, TABLE_NAME)?))
}

/// Returns the family of a listed object, and its attributes.
pub(super) fn split(answer: &Answer) -> Option<(TableFamily, &[u8])> {
    let ([family, ..], attributes) = answer.payload.split_first_chunk::<HEADER_LEN>()?;
    Some((TableFamily(*family), attributes))
}
