//! Expressions read back as they were written; anything unknown is preserved.

use super::*;
use proptest::{collection::vec, option, prelude::*};

fn register() -> impl Strategy<Value = Register> {
    any::<u32>().prop_map(Register)
}

fn range() -> impl Strategy<Value = Option<Range>> {
    let range = (register(), option::of(register())).prop_map(|(first, last)| Range {
        first,
        last: last.filter(|last| *last != first),
    });
    option::of(range)
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_.-]{1,40}"
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Accept),
        Just(Verdict::Drop),
        Just(Verdict::Continue),
        Just(Verdict::Return),
        name().prop_map(Verdict::Jump),
        name().prop_map(Verdict::Goto),
        // NF_QUEUE with the number of a queue.
        (3..1000_i32).prop_map(Verdict::Other),
    ]
}

fn extension() -> impl Strategy<Value = Extension> {
    (name(), any::<u32>(), vec(any::<u8>(), 0..300)).prop_map(|(name, revision, info)| Extension {
        name,
        revision,
        info,
    })
}

fn load() -> impl Strategy<Value = Expr> {
    let direction = prop_oneof![Just(Direction::Original), Just(Direction::Reply)];
    prop_oneof![
        (any::<u32>(), register()).prop_map(|(key, to)| Expr::Meta {
            key: MetaKey(key),
            to
        }),
        (any::<u32>(), register()).prop_map(|(key, from)| Expr::SetMeta {
            key: MetaKey(key),
            from
        }),
        (any::<[u32; 3]>(), register()).prop_map(|([base, offset, length], to)| Expr::Payload {
            base: PayloadBase(base),
            offset,
            length,
            to,
        }),
        (any::<[u32; 2]>(), register()).prop_map(|([flags, result], to)| Expr::Fib {
            flags: FibFlags(flags),
            result: FibResult(result),
            to,
        }),
        (any::<u32>(), option::of(direction), register()).prop_map(|(key, direction, to)| {
            Expr::Ct {
                key: CtKey(key),
                direction,
                to,
            }
        }),
        (1..100_u32, vec(any::<u8>(), 0..70)).prop_map(|(to, value)| Expr::Immediate {
            to: Register(to),
            value,
        }),
    ]
}

fn test() -> impl Strategy<Value = Expr> {
    let op = (0..CmpOp::ALL.len()).prop_map(|at| CmpOp::ALL[at]);
    let pairs = vec(any::<(u8, u8)>(), 0..70);
    prop_oneof![
        (register(), register(), pairs).prop_map(|(from, to, pairs)| {
            let (mask, xor) = pairs.into_iter().unzip();
            Expr::Bitwise {
                from,
                to,
                mask,
                xor,
            }
        }),
        (register(), op, vec(any::<u8>(), 0..70)).prop_map(|(from, op, value)| Expr::Cmp {
            from,
            op,
            value
        }),
        (name(), register(), option::of(register()), any::<bool>()).prop_map(
            |(set, key, to, inverted)| Expr::Lookup {
                set,
                key,
                to,
                inverted,
            }
        ),
        extension().prop_map(Expr::Match),
    ]
}

fn action() -> impl Strategy<Value = Expr> {
    let kind = prop_oneof![Just(NatKind::Source), Just(NatKind::Destination)];
    // Without the flags that the kernel sets itself.
    let flags = || any::<u32>().prop_map(|flags| flags & !3);
    let nat = (kind, any::<u32>(), range(), range(), flags());
    prop_oneof![
        verdict().prop_map(Expr::Verdict),
        nat.prop_map(|(kind, family, addresses, ports, flags)| Expr::Nat(Nat {
            kind,
            family,
            addresses,
            ports,
            flags,
        })),
        (flags(), range()).prop_map(|(flags, ports)| Expr::Masquerade { flags, ports }),
        (flags(), range()).prop_map(|(flags, ports)| Expr::Redirect { flags, ports }),
        any::<[u64; 2]>().prop_map(|[packets, bytes]| Expr::Counter { packets, bytes }),
        extension().prop_map(Expr::Target),
    ]
}

fn unknown() -> impl Strategy<Value = Expr> {
    ("x[a-z]{0,10}", option::of(vec(any::<u8>(), 0..40)))
        .prop_map(|(name, data)| Expr::Unknown { name, data })
}

proptest! {
    #[test]
    fn an_expression_reads_back_as_it_was_written(
        expression in prop_oneof![load(), test(), action(), unknown()]
    ) {
        prop_assert_eq!(Expr::decode(&expression.encode().into_bytes()), expression);
    }

    #[test]
    fn rules_read_back_as_they_were_written(
        rule in vec(prop_oneof![load(), test(), action(), unknown()], 0..8)
    ) {
        let list = Attributes::new().list(4, rule.iter().map(Expr::encode)).into_bytes();
        let read = expressions(attribute::value(&list, 4).unwrap());
        prop_assert_eq!(read, rule);
    }

    #[test]
    fn any_bytes_are_one_expression(bytes: Vec<u8>) {
        let read = Expr::decode(&bytes);
        prop_assert_eq!(Expr::decode(&read.encode().into_bytes()), read);
    }

    /// One attribute more, one less, or another length of one.
    #[test]
    fn what_is_not_understood_wholly_is_kept_as_it_is(
        expression in prop_oneof![load(), test()],
        kind in 8..100_u16,
    ) {
        let name = expression.name().to_owned();
        let data = expression.data().u32(kind, 1).into_bytes();
        let element = Attributes::new().text(NAME, &name).bytes(DATA, &data).into_bytes();
        let kept = Expr::Unknown { name, data: Some(data) };
        prop_assert_eq!(Expr::decode(&element), kept);
    }
}

#[test]
fn a_number_of_another_length_is_not_taken_for_zero() {
    let data = Attributes::new().u8(1, 1);
    let element = Attributes::new().text(NAME, "masq").nested(DATA, data);
    let read = Expr::decode(&element.into_bytes());
    assert!(matches!(read, Expr::Unknown { .. }), "{read:?}");
}

/// `dnat to 10.1.2.5:80` as the kernel lists it: both ends of each range, and flags of its own.
#[test]
fn what_the_kernel_adds_to_a_translation_is_no_difference() {
    let listed = Attributes::new()
        .u32(1, 1)
        .u32(2, 2)
        .u32(3, 1)
        .u32(4, 1)
        .u32(5, 2)
        .u32(6, 2)
        .u32(7, 3);
    let element = Attributes::new().text(NAME, "nat").nested(DATA, listed);
    let written = Expr::Nat(Nat {
        kind: NatKind::Destination,
        family: 2,
        addresses: Some(Range::one(Register::R1)),
        ports: Some(Range::one(Register::R2)),
        flags: 0,
    });
    assert_eq!(Expr::decode(&element.into_bytes()), written);
}

#[test]
fn a_comment_of_iptables_reads_back_and_is_cut_between_characters() {
    assert_eq!(Extension::comment("why").text().as_deref(), Some("why"));
    let long = Extension::comment(&"é".repeat(200));
    assert_eq!(long.info.len(), 256);
    assert_eq!(long.text().unwrap().len(), 254);
}
