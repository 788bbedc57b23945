//! Expressions, the parts of rules: one type that is both written and read.
//!
//! A rule is a program for the kernel's virtual machine. Expressions load a part of the packet into
//! a register, mask it, compare it, look it up, and end with a verdict or a change to the packet.
//! An expression with any unknown part is kept as [`Expr::Unknown`].
//!
//! Numbers are those of include/uapi/linux/netfilter/nf_tables.h unless another file is named.

mod wire;

pub(super) use wire::{expressions, verdict_data, verdict_of_data};

/// A register, by the number in the kernel's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register(pub u32);

impl Register {
    /// The first register of 16 bytes, `NFT_REG_1`.
    pub const R1: Self = Self(1);
    /// The second register of 16 bytes, `NFT_REG_2`.
    pub const R2: Self = Self(2);

    /// Returns the register of four bytes `NFT_REG32_00` + `index`; four of them form one of 16
    /// bytes.
    #[must_use]
    pub const fn word(index: u8) -> Self {
        Self(8 + index as u32)
    }
}

/// A property of a packet outside of its bytes (`enum nft_meta_keys`). Texts have 16 bytes; numbers
/// are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaKey(pub u32);

impl MetaKey {
    /// The mark, in four bytes.
    pub const MARK: Self = Self(3);
    /// The name of the interface by which the packet came.
    pub const IIFNAME: Self = Self(6);
    /// The name of the interface by which the packet leaves.
    pub const OIFNAME: Self = Self(7);
    /// The address family, in one byte (NFPROTO_* of include/uapi/linux/netfilter.h).
    pub const NFPROTO: Self = Self(15);
    /// The transport protocol, in one byte (IPPROTO_* of include/uapi/linux/in.h).
    pub const L4PROTO: Self = Self(16);
}

/// The header that an offset counts from (`enum nft_payload_bases`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadBase(pub u32);

impl PayloadBase {
    /// The Ethernet header.
    pub const LINK: Self = Self(0);
    /// The IP header.
    pub const NETWORK: Self = Self(1);
    /// The header of TCP, UDP and similar protocols.
    pub const TRANSPORT: Self = Self(2);
}

/// A property of a packet's connection (`enum nft_ct_keys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtKey(pub u32);

impl CtKey {
    /// The state, as a bit (`NF_CT_STATE_BIT` of
    /// include/uapi/linux/netfilter/nf_conntrack_common.h).
    pub const STATE: Self = Self(0);
    /// The status bits (`enum ip_conntrack_status` of the same file).
    pub const STATUS: Self = Self(2);
    /// The mark of the connection.
    pub const MARK: Self = Self(3);
    /// The destination port of a direction.
    pub const PROTO_DST: Self = Self(12);
}

/// A direction of a connection (`enum ip_conntrack_dir` of
/// include/uapi/linux/netfilter/nf_conntrack_tuple_common.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the end that opened the connection.
    Original = 0,
    /// To the end that opened the connection.
    Reply = 1,
}

/// The result of a look-up in the routing tables (`enum nft_fib_result`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibResult(pub u32);

impl FibResult {
    /// The type of the address, RTN_* of include/uapi/linux/rtnetlink.h, in host byte order.
    pub const ADDRESS_TYPE: Self = Self(3);
}

/// The field that is looked up in the routing tables (`enum nft_fib_flags`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibFlags(pub u32);

impl FibFlags {
    /// The destination address.
    pub const DADDR: Self = Self(2);
}

/// A comparison (`enum nft_cmp_ops`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmpOp {
    /// Goes on if they are equal.
    Equal,
    /// Goes on if they differ.
    NotEqual,
    /// Goes on if the register is less, compared as bytes.
    Less,
    /// Goes on if the register is less or equal, compared as bytes.
    LessOrEqual,
    /// Goes on if the register is greater, compared as bytes.
    Greater,
    /// Goes on if the register is greater or equal, compared as bytes.
    GreaterOrEqual,
}

impl CmpOp {
    const ALL: [Self; 6] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
    ];
}

/// The fate of a packet in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet passes this hook.
    Accept,
    /// The packet is dropped.
    Drop,
    /// The packet goes on to the next rule.
    Continue,
    /// The packet goes on in the chain that jumped here.
    Return,
    /// The packet goes through the rules of this chain, then through those that follow.
    Jump(String),
    /// The packet goes through the rules of this chain, then through those behind the last jump.
    Goto(String),
    /// A verdict with another number.
    Other(i32),
}

/// A translation of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// The end of the connection that is translated.
    pub kind: NatKind,
    /// The address family: NFPROTO_IPV4 or NFPROTO_IPV6.
    pub family: u32,
    /// The registers with the first and the last new address.
    pub addresses: Option<Range>,
    /// The registers with the first and the last new port.
    pub ports: Option<Range>,
    /// NF_NAT_RANGE_* of include/uapi/linux/netfilter/nf_nat.h, without the flags that the kernel
    /// itself sets for addresses and ports.
    pub flags: u32,
}

/// The end of a connection whose address is translated (`enum nft_nat_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// Registers with the ends of a range. For a single value, the kernel lists the first register as
/// the last, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The register with the first value.
    pub first: Register,
    /// The register with the last value, if it is another one.
    pub last: Option<Register>,
}

impl Range {
    /// Returns a range of one value.
    #[must_use]
    pub const fn one(register: Register) -> Self {
        Self {
            first: register,
            last: None,
        }
    }
}

/// A match or a target of iptables, executed by nft_compat
/// (include/uapi/linux/netfilter/nf_tables_compat.h).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its name, as in iptables-extensions(8).
    pub name: String,
    /// The version of its data.
    pub revision: u32,
    /// Its data: a structure in host layout.
    pub info: Vec<u8>,
}

impl Extension {
    /// The length of `struct xt_comment_info` (include/uapi/linux/netfilter/xt_comment.h).
    const COMMENT_LEN: usize = 256;

    /// Returns the match `comment`, which always matches. Cuts a text that is too long.
    #[must_use]
    pub fn comment(text: &str) -> Self {
        let mut info = super::text::cut(text, Self::COMMENT_LEN - 1)
            .as_bytes()
            .to_vec();
        info.resize(Self::COMMENT_LEN, 0);
        Self {
            name: "comment".to_owned(),
            revision: 0,
            info,
        }
    }

    /// Returns the text of a `comment`, or `None` for another match.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        (self.name == "comment").then(|| crate::netlink::c_string(&self.info))
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads a property of the packet.
    Meta {
        /// The property.
        key: MetaKey,
        /// The register that is written.
        to: Register,
    },
    /// Changes a property of the packet, such as its mark.
    SetMeta {
        /// The property.
        key: MetaKey,
        /// The register with the new value.
        from: Register,
    },
    /// Loads bytes of the packet.
    Payload {
        /// The header.
        base: PayloadBase,
        /// The first byte, from the start of the header.
        offset: u32,
        /// The number of bytes.
        length: u32,
        /// The register that is written.
        to: Register,
    },
    /// Masks a register: `to = (from & mask) ^ xor`; both values have the same length.
    Bitwise {
        /// The register that is read.
        from: Register,
        /// The register that is written.
        to: Register,
        /// The bits to keep.
        mask: Vec<u8>,
        /// The bits to flip after masking.
        xor: Vec<u8>,
    },
    /// Compares a register, and ends the rule if the comparison is false.
    Cmp {
        /// The register.
        from: Register,
        /// The comparison.
        op: CmpOp,
        /// The value to compare with.
        value: Vec<u8>,
    },
    /// Looks a register up in a set, and ends the rule if the set does not contain it.
    Lookup {
        /// The name of the set.
        set: String,
        /// The first register of the key.
        key: Register,
        /// The register for the value of a map. Register 0 executes a verdict.
        to: Option<Register>,
        /// If true, the rule goes on if the set does not contain the key.
        inverted: bool,
    },
    /// Looks the packet up in the routing tables.
    Fib {
        /// The field that is looked up.
        flags: FibFlags,
        /// The result that is requested.
        result: FibResult,
        /// The register that is written.
        to: Register,
    },
    /// Loads a property of the packet's connection.
    Ct {
        /// The property.
        key: CtKey,
        /// The direction, for keys that differ by direction.
        direction: Option<Direction>,
        /// The register that is written.
        to: Register,
    },
    /// Loads a value.
    Immediate {
        /// The register that is written.
        to: Register,
        /// The value.
        value: Vec<u8>,
    },
    /// Ends the rule.
    Verdict(Verdict),
    /// Translates an address.
    Nat(Nat),
    /// Gives the packet the source address of the interface by which it leaves.
    Masquerade {
        /// NF_NAT_RANGE_* of include/uapi/linux/netfilter/nf_nat.h.
        flags: u32,
        /// The registers with the source ports to use.
        ports: Option<Range>,
    },
    /// Redirects the packet to the host itself.
    Redirect {
        /// NF_NAT_RANGE_* of include/uapi/linux/netfilter/nf_nat.h, without the flag that the
        /// kernel itself sets for ports.
        flags: u32,
        /// The registers with the new destination port.
        ports: Option<Range>,
    },
    /// Counts packets and bytes.
    Counter {
        /// The number of packets so far.
        packets: u64,
        /// The number of bytes so far.
        bytes: u64,
    },
    /// A match of iptables; ends the rule if it does not match.
    Match(Extension),
    /// A target of iptables.
    Target(Extension),
    /// Any other expression, undecoded.
    Unknown {
        /// Its name.
        name: String,
        /// Its attributes.
        data: Option<Vec<u8>>,
    },
}
