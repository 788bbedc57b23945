//! The wire format of expressions.
//!
//! Attributes have the order of nft(8). Every expression can be read: one that is not fully
//! understood is [`Expr::Unknown`].

use super::{
    CmpOp, CtKey, Direction, Expr, Extension, FibFlags, FibResult, MetaKey, Nat, NatKind,
    PayloadBase, Range, Register, Verdict,
};
use crate::nft::attribute::{self, Attributes, Fields, LIST_ELEMENT};
use netlink_packet_core::NLA_F_NESTED;

const NAME: u16 = 1;
const DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// The register of verdicts, `NFT_REG_VERDICT`.
const REG_VERDICT: u32 = 0;
const LOOKUP_INVERTED: u32 = 1;

// NF_* of include/uapi/linux/netfilter.h, NFT_* of nf_tables.h.
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_CONTINUE: i32 = -1;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;
const NFT_RETURN: i32 = -5;

/// Reads the expressions of a rule, `NFTA_RULE_EXPRESSIONS`.
pub(in crate::nft) fn expressions(list: &[u8]) -> Vec<Expr> {
    attribute::each(list)
        .filter(|(kind, _)| *kind == LIST_ELEMENT)
        .map(|(_, element)| Expr::decode(element))
        .collect()
}

/// Returns a verdict as `NFTA_DATA_VERDICT`.
pub(in crate::nft) fn verdict_data(verdict: &Verdict) -> Attributes {
    let (code, chain) = match verdict {
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Drop => (NF_DROP, None),
        Verdict::Continue => (NFT_CONTINUE, None),
        Verdict::Return => (NFT_RETURN, None),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
        Verdict::Other(code) => (*code, None),
    };
    let mut attributes = Attributes::new().u32(VERDICT_CODE, code.cast_unsigned());
    if let Some(chain) = chain {
        attributes = attributes.text(VERDICT_CHAIN, chain);
    }
    Attributes::new().nested(DATA_VERDICT, attributes)
}

/// Reads the verdict of a data attribute; returns `None` if the data is no verdict.
pub(in crate::nft) fn verdict_of_data(data: &[u8]) -> Option<Verdict> {
    let mut data = Fields::of(data)?;
    let mut fields = data.nested(DATA_VERDICT)?;
    data.all(())?;
    let code = fields.u32(VERDICT_CODE)?.cast_signed();
    let chain = fields.text(VERDICT_CHAIN);
    let verdict = match (code, chain) {
        (NFT_JUMP, Some(chain)) => Verdict::Jump(chain),
        (NFT_GOTO, Some(chain)) => Verdict::Goto(chain),
        (_, Some(_)) => return None,
        (NF_ACCEPT, None) => Verdict::Accept,
        (NF_DROP, None) => Verdict::Drop,
        (NFT_CONTINUE, None) => Verdict::Continue,
        (NFT_RETURN, None) => Verdict::Return,
        (other, None) => Verdict::Other(other),
    };
    fields.all(verdict)
}

fn value_data(value: &[u8]) -> Attributes {
    Attributes::new().bytes(DATA_VALUE, value)
}

fn value_of_data(mut data: Fields<'_>) -> Option<Vec<u8>> {
    let value = data.bytes(DATA_VALUE)?;
    data.all(value.to_vec())
}

impl Expr {
    /// Returns the expression as an element of a rule's list.
    pub(in crate::nft) fn encode(&self) -> Attributes {
        let element = Attributes::new().text(NAME, self.name());
        match (self, self.data()) {
            (Self::Unknown { data: None, .. }, _) => element,
            (
                Self::Unknown {
                    data: Some(data), ..
                },
                _,
            ) => element.bytes(DATA | NLA_F_NESTED, data),
            // nft(8) writes `masquerade` without flags as a name without data.
            (Self::Masquerade { .. }, data) if data == Attributes::new() => element,
            (_, data) => element.nested(DATA, data),
        }
    }

    /// Reads an element of a rule's list.
    pub(in crate::nft) fn decode(element: &[u8]) -> Self {
        let name = attribute::text(element, NAME).unwrap_or_default();
        let data = attribute::value(element, DATA);
        let known = Fields::of(data.unwrap_or_default()).and_then(|fields| known(&name, fields));
        known.unwrap_or_else(|| Self::Unknown {
            name,
            data: data.map(<[u8]>::to_vec),
        })
    }

    /// Returns the kernel's name for expressions of this kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Bitwise { .. } => "bitwise",
            Self::Cmp { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Fib { .. } => "fib",
            Self::Ct { .. } => "ct",
            Self::Immediate { .. } | Self::Verdict(_) => "immediate",
            Self::Nat(_) => "nat",
            Self::Masquerade { .. } => "masq",
            Self::Redirect { .. } => "redir",
            Self::Counter { .. } => "counter",
            Self::Match(_) => "match",
            Self::Target(_) => "target",
            Self::Unknown { name, .. } => name,
        }
    }

    fn data(&self) -> Attributes {
        match self {
            Self::Meta { key, to } => meta::load(*key, *to),
            Self::SetMeta { key, from } => meta::set(*key, *from),
            Self::Payload {
                base,
                offset,
                length,
                to,
            } => payload::write(*base, *offset, *length, *to),
            Self::Bitwise {
                from,
                to,
                mask,
                xor,
            } => bitwise::write(*from, *to, mask, xor),
            Self::Cmp { from, op, value } => cmp::write(*from, *op, value),
            Self::Lookup {
                set,
                key,
                to,
                inverted,
            } => lookup::write(set, *key, *to, *inverted),
            Self::Fib { flags, result, to } => fib::write(*flags, *result, *to),
            Self::Ct { key, direction, to } => ct::write(*key, *direction, *to),
            Self::Immediate { to, value } => immediate::write(to.0, value_data(value)),
            Self::Verdict(verdict) => immediate::write(REG_VERDICT, verdict_data(verdict)),
            Self::Nat(nat) => nat::write(nat),
            Self::Masquerade { flags, ports } => masquerade::write(*flags, *ports),
            Self::Redirect { flags, ports } => redirect::write(*flags, *ports),
            Self::Counter { packets, bytes } => counter::write(*packets, *bytes),
            Self::Match(extension) | Self::Target(extension) => extension::write(extension),
            Self::Unknown { .. } => Attributes::new(),
        }
    }
}

/// Reads the data of an expression; returns `None` if any part of it is unknown.
fn known(name: &str, mut fields: Fields<'_>) -> Option<Expr> {
    let expression = match name {
        "meta" => meta::read(&mut fields)?,
        "payload" => payload::read(&mut fields)?,
        "bitwise" => bitwise::read(&mut fields)?,
        "cmp" => cmp::read(&mut fields)?,
        "lookup" => lookup::read(&mut fields)?,
        "fib" => fib::read(&mut fields)?,
        "ct" => ct::read(&mut fields)?,
        "immediate" => immediate::read(&mut fields)?,
        "nat" => nat::read(&mut fields)?,
        "masq" => masquerade::read(&mut fields),
        "redir" => redirect::read(&mut fields),
        "counter" => counter::read(&mut fields)?,
        "match" => Expr::Match(extension::read(&mut fields)?),
        "target" => Expr::Target(extension::read(&mut fields)?),
        _ => return None,
    };
    fields.all(expression)
}

mod meta {
    use super::*;

    const DREG: u16 = 1;
    const KEY: u16 = 2;
    const SREG: u16 = 3;

    pub(super) fn load(key: MetaKey, to: Register) -> Attributes {
        Attributes::new().u32(KEY, key.0).u32(DREG, to.0)
    }

    pub(super) fn set(key: MetaKey, from: Register) -> Attributes {
        Attributes::new().u32(KEY, key.0).u32(SREG, from.0)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        let key = MetaKey(fields.u32(KEY)?);
        match fields.u32(DREG) {
            Some(to) => Some(Expr::Meta {
                key,
                to: Register(to),
            }),
            None => Some(Expr::SetMeta {
                key,
                from: Register(fields.u32(SREG)?),
            }),
        }
    }
}

mod payload {
    use super::*;

    const DREG: u16 = 1;
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LEN: u16 = 4;

    pub(super) fn write(base: PayloadBase, offset: u32, length: u32, to: Register) -> Attributes {
        Attributes::new()
            .u32(DREG, to.0)
            .u32(BASE, base.0)
            .u32(OFFSET, offset)
            .u32(LEN, length)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        Some(Expr::Payload {
            to: Register(fields.u32(DREG)?),
            base: PayloadBase(fields.u32(BASE)?),
            offset: fields.u32(OFFSET)?,
            length: fields.u32(LEN)?,
        })
    }
}

mod bitwise {
    use super::*;

    const SREG: u16 = 1;
    const DREG: u16 = 2;
    const LEN: u16 = 3;
    const MASK: u16 = 4;
    const XOR: u16 = 5;
    const OP: u16 = 6;

    /// `NFT_BITWISE_MASK_XOR`, listed since Linux 5.6; the only operation before.
    const MASK_XOR: u32 = 0;

    #[expect(
        clippy::expect_used,
        reason = "a mask of another length would be another rule"
    )]
    pub(super) fn write(from: Register, to: Register, mask: &[u8], xor: &[u8]) -> Attributes {
        let length = u32::try_from(mask.len()).expect("a mask below 64 KiB");
        Attributes::new()
            .u32(SREG, from.0)
            .u32(DREG, to.0)
            .u32(LEN, length)
            .nested(MASK, value_data(mask))
            .nested(XOR, value_data(xor))
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        let is_mask_xor = fields.u32(OP).is_none_or(|op| op == MASK_XOR);
        let length = usize::try_from(fields.u32(LEN)?).ok()?;
        let mask = value_of_data(fields.nested(MASK)?)?;
        let xor = value_of_data(fields.nested(XOR)?)?;
        let is_whole = mask.len() == length && xor.len() == length;
        let from = Register(fields.u32(SREG)?);
        let to = Register(fields.u32(DREG)?);
        (is_mask_xor && is_whole).then_some(Expr::Bitwise {
            from,
            to,
            mask,
            xor,
        })
    }
}

mod cmp {
    use super::*;

    const SREG: u16 = 1;
    const OP: u16 = 2;
    const VALUE: u16 = 3;

    pub(super) fn write(from: Register, op: CmpOp, value: &[u8]) -> Attributes {
        Attributes::new()
            .u32(SREG, from.0)
            .u32(OP, op as u32)
            .nested(VALUE, value_data(value))
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        let op = usize::try_from(fields.u32(OP)?).ok()?;
        Some(Expr::Cmp {
            from: Register(fields.u32(SREG)?),
            op: *CmpOp::ALL.get(op)?,
            value: value_of_data(fields.nested(VALUE)?)?,
        })
    }
}

mod lookup {
    use super::*;

    const SET: u16 = 1;
    const SREG: u16 = 2;
    const DREG: u16 = 3;
    const FLAGS: u16 = 5;

    pub(super) fn write(
        set: &str,
        key: Register,
        to: Option<Register>,
        inverted: bool,
    ) -> Attributes {
        Attributes::new()
            .text(SET, set)
            .u32(SREG, key.0)
            .some_u32(DREG, to.map(|register| register.0))
            .flags(FLAGS, if inverted { LOOKUP_INVERTED } else { 0 })
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        let flags = fields.u32(FLAGS).unwrap_or(0);
        let is_known = flags & !LOOKUP_INVERTED == 0;
        is_known.then_some(Expr::Lookup {
            set: fields.text(SET)?,
            key: Register(fields.u32(SREG)?),
            to: fields.u32(DREG).map(Register),
            inverted: flags == LOOKUP_INVERTED,
        })
    }
}

mod fib {
    use super::*;

    const DREG: u16 = 1;
    const RESULT: u16 = 2;
    const FLAGS: u16 = 3;

    pub(super) fn write(flags: FibFlags, result: FibResult, to: Register) -> Attributes {
        Attributes::new()
            .u32(FLAGS, flags.0)
            .u32(RESULT, result.0)
            .u32(DREG, to.0)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        Some(Expr::Fib {
            flags: FibFlags(fields.u32(FLAGS)?),
            result: FibResult(fields.u32(RESULT)?),
            to: Register(fields.u32(DREG)?),
        })
    }
}

mod ct {
    use super::*;

    const DREG: u16 = 1;
    const KEY: u16 = 2;
    const DIRECTION: u16 = 3;

    pub(super) fn write(key: CtKey, direction: Option<Direction>, to: Register) -> Attributes {
        let attributes = Attributes::new().u32(KEY, key.0).u32(DREG, to.0);
        match direction {
            Some(direction) => attributes.u8(DIRECTION, direction as u8),
            None => attributes,
        }
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        let direction = match fields.bytes(DIRECTION) {
            None => None,
            Some([0]) => Some(Direction::Original),
            Some([1]) => Some(Direction::Reply),
            Some(_) => return None,
        };
        Some(Expr::Ct {
            key: CtKey(fields.u32(KEY)?),
            direction,
            to: Register(fields.u32(DREG)?),
        })
    }
}

mod immediate {
    use super::*;

    const DREG: u16 = 1;
    const VALUE: u16 = 2;

    pub(super) fn write(to: u32, data: Attributes) -> Attributes {
        Attributes::new().u32(DREG, to).nested(VALUE, data)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        let to = fields.u32(DREG)?;
        let data = fields.bytes(VALUE)?;
        if to == REG_VERDICT {
            return verdict_of_data(data).map(Expr::Verdict);
        }
        let value = value_of_data(Fields::of(data)?)?;
        Some(Expr::Immediate {
            to: Register(to),
            value,
        })
    }
}

/// Takes the registers of a range. For a single value, the kernel lists the first as the last, too.
fn range(fields: &mut Fields<'_>, first: u16, last: u16) -> Option<Range> {
    let first = fields.u32(first).map(Register)?;
    let last = fields.u32(last).map(Register).filter(|last| *last != first);
    Some(Range { first, last })
}

fn with_range(attributes: Attributes, range: Option<Range>, first: u16, last: u16) -> Attributes {
    let Some(range) = range else {
        return attributes;
    };
    attributes
        .u32(first, range.first.0)
        .some_u32(last, range.last.map(|register| register.0))
}

mod nat {
    use super::*;

    const TYPE: u16 = 1;
    const FAMILY: u16 = 2;
    const ADDR_MIN: u16 = 3;
    const ADDR_MAX: u16 = 4;
    const PROTO_MIN: u16 = 5;
    const PROTO_MAX: u16 = 6;
    const FLAGS: u16 = 7;

    /// Set by the kernel itself if there are registers (`nft_nat_init` in
    /// net/netfilter/nft_nat.c), and listed.
    const MAP_IPS: u32 = 1;
    const PROTO_SPECIFIED: u32 = 2;

    pub(super) fn write(nat: &Nat) -> Attributes {
        let attributes = Attributes::new()
            .u32(TYPE, nat.kind as u32)
            .u32(FAMILY, nat.family);
        let attributes = with_range(attributes, nat.addresses, ADDR_MIN, ADDR_MAX);
        with_range(attributes, nat.ports, PROTO_MIN, PROTO_MAX).flags(FLAGS, nat.flags)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        let kind = match fields.u32(TYPE)? {
            0 => NatKind::Source,
            1 => NatKind::Destination,
            _ => return None,
        };
        let addresses = range(fields, ADDR_MIN, ADDR_MAX);
        let ports = range(fields, PROTO_MIN, PROTO_MAX);
        let implied = addresses.map_or(0, |_| MAP_IPS) | ports.map_or(0, |_| PROTO_SPECIFIED);
        Some(Expr::Nat(Nat {
            kind,
            family: fields.u32(FAMILY)?,
            addresses,
            ports,
            flags: fields.u32(FLAGS).unwrap_or(0) & !implied,
        }))
    }
}

mod masquerade {
    use super::*;

    const FLAGS: u16 = 1;
    const PROTO_MIN: u16 = 2;
    const PROTO_MAX: u16 = 3;

    pub(super) fn write(flags: u32, ports: Option<Range>) -> Attributes {
        with_range(
            Attributes::new().flags(FLAGS, flags),
            ports,
            PROTO_MIN,
            PROTO_MAX,
        )
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Expr {
        Expr::Masquerade {
            flags: fields.u32(FLAGS).unwrap_or(0),
            ports: range(fields, PROTO_MIN, PROTO_MAX),
        }
    }
}

mod redirect {
    use super::*;

    const PROTO_MIN: u16 = 1;
    const PROTO_MAX: u16 = 2;
    const FLAGS: u16 = 3;

    /// Set by the kernel itself if there are ports (`nft_redir_init` in net/netfilter/nft_redir.c).
    const PROTO_SPECIFIED: u32 = 2;

    pub(super) fn write(flags: u32, ports: Option<Range>) -> Attributes {
        with_range(Attributes::new(), ports, PROTO_MIN, PROTO_MAX).flags(FLAGS, flags)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Expr {
        let ports = range(fields, PROTO_MIN, PROTO_MAX);
        let implied = ports.map_or(0, |_| PROTO_SPECIFIED);
        Expr::Redirect {
            ports,
            flags: fields.u32(FLAGS).unwrap_or(0) & !implied,
        }
    }
}

mod counter {
    use super::*;

    const BYTES: u16 = 1;
    const PACKETS: u16 = 2;
    /// Padding that aligns the numbers in the kernel's lists.
    const PAD: u16 = 3;

    pub(super) fn write(packets: u64, bytes: u64) -> Attributes {
        Attributes::new().u64(BYTES, bytes).u64(PACKETS, packets)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Expr> {
        while fields.bytes(PAD).is_some() {}
        Some(Expr::Counter {
            packets: fields.u64(PACKETS)?,
            bytes: fields.u64(BYTES)?,
        })
    }
}

mod extension {
    use super::*;

    const EXTENSION_NAME: u16 = 1;
    const REVISION: u16 = 2;
    const INFO: u16 = 3;

    pub(super) fn write(extension: &Extension) -> Attributes {
        Attributes::new()
            .text(EXTENSION_NAME, &extension.name)
            .u32(REVISION, extension.revision)
            .bytes(INFO, &extension.info)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Extension> {
        Some(Extension {
            name: fields.text(EXTENSION_NAME)?,
            revision: fields.u32(REVISION)?,
            info: fields.bytes(INFO)?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests;
