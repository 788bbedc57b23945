//! Rules and chains as the kernel lists them, as far as they have to be understood: whose they are, and whether they still do
//! what they were made for. What is not known is kept as such, so that a rule with more in it is not taken for a plain one.

use super::{
    attribute::{
        self, NFT_CMP_EQ, NFTA_CMP_DATA, NFTA_CMP_OP, NFTA_DATA_VALUE, NFTA_DATA_VERDICT,
        NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_IMMEDIATE_DATA, NFTA_LIST_ELEM, NFTA_PAYLOAD_OFFSET,
        NFTA_RULE_EXPRESSIONS, NFTA_RULE_HANDLE, NFTA_RULE_USERDATA, NFTA_VERDICT_CHAIN,
        NFTA_VERDICT_CODE, number, value,
    },
    batch::{BaseChain, comment_of_userdata},
};
use crate::netlink::{Answer, c_string};

/// include/uapi/linux/netfilter/nf_tables.h
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_META_KEY: u16 = 2;
const NFT_META_IIFNAME: u32 = 6;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_LEN: u16 = 4;

/// Link header, offset 6, 6 bytes: `ether saddr`.
const ETHER_SOURCE: [u32; 3] = [0, 6, 6];

/// One expression of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The name of the interface that the packet came by is loaded.
    LoadInputName,
    /// The source address of the frame is loaded.
    LoadEtherSource,
    /// What was loaded equals this.
    Equals(Vec<u8>),
    /// What becomes of the packet, and the chain where that is one to go to.
    Verdict(u32, Option<String>),
    /// Packets are counted.
    Count,
    /// Anything else.
    Other,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedRule {
    pub(super) handle: u64,
    pub(super) comment: String,
    pub(super) steps: Vec<Step>,
}

impl ListedRule {
    /// Reads the payload of an NFT_MSG_NEWRULE.
    pub(super) fn parse(answer: &Answer) -> Option<Self> {
        let (handle, comment) = handle_and_comment(answer)?;
        let expressions = expressions(answer).unwrap_or_default();
        let elements = attribute::each(expressions).filter(|(kind, _)| *kind == NFTA_LIST_ELEM);
        let steps = elements.map(|(_, expression)| step(expression));
        // A counter changes nothing for the packet.
        let steps = steps.filter(|step| *step != Step::Count).collect();
        Some(Self {
            handle,
            comment,
            steps,
        })
    }
}

/// What the rule is deleted by, and its comment, empty where it has none.
pub(super) fn handle_and_comment(answer: &Answer) -> Option<(u64, String)> {
    let attributes = attribute::of_answer(&answer.payload);
    let handle = u64::from_be_bytes(value(attributes, NFTA_RULE_HANDLE)?.try_into().ok()?);
    let comment = value(attributes, NFTA_RULE_USERDATA).and_then(comment_of_userdata);
    Some((handle, comment.unwrap_or_default()))
}

/// The expressions of a rule, undecoded.
pub(super) fn expressions(answer: &Answer) -> Option<&[u8]> {
    value(attribute::of_answer(&answer.payload), NFTA_RULE_EXPRESSIONS)
}

/// Whether the payload of an NFT_MSG_NEWCHAIN is that of a chain of this kind, at this hook.
pub(super) fn is_base_chain(answer: &Answer, base: BaseChain) -> bool {
    let attributes = attribute::of_answer(&answer.payload);
    let hook = value(attributes, NFTA_CHAIN_HOOK).unwrap_or_default();
    attribute::text(attributes, NFTA_CHAIN_TYPE) == base.kind
        && number(hook, NFTA_HOOK_HOOKNUM) == Some(base.hook.into())
        && number(hook, NFTA_HOOK_PRIORITY) == Some(base.priority)
}

fn step(expression: &[u8]) -> Step {
    let data = value(expression, NFTA_EXPR_DATA).unwrap_or_default();
    let known = match attribute::text(expression, NFTA_EXPR_NAME).as_str() {
        "meta" => {
            (number(data, NFTA_META_KEY) == Some(NFT_META_IIFNAME)).then_some(Step::LoadInputName)
        }
        "payload" => {
            let place = [NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN];
            (place.map(|kind| number(data, kind)) == ETHER_SOURCE.map(Some))
                .then_some(Step::LoadEtherSource)
        }
        "cmp" => equality(data),
        "immediate" => verdict(data),
        "counter" => Some(Step::Count),
        _ => None,
    };
    known.unwrap_or(Step::Other)
}

fn equality(data: &[u8]) -> Option<Step> {
    let wanted = value(value(data, NFTA_CMP_DATA)?, NFTA_DATA_VALUE)?;
    (number(data, NFTA_CMP_OP)? == NFT_CMP_EQ).then(|| Step::Equals(wanted.to_vec()))
}

fn verdict(data: &[u8]) -> Option<Step> {
    let verdict = value(value(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VERDICT)?;
    let chain = value(verdict, NFTA_VERDICT_CHAIN).map(c_string);
    Some(Step::Verdict(number(verdict, NFTA_VERDICT_CODE)?, chain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::expression;
    use netlink_packet_core::{Emitable, NlasIterator};
    use netlink_packet_netfilter::nftables::{InetHookNumber, Verdict};
    use proptest::prelude::*;

    const BASE: BaseChain = BaseChain {
        kind: "filter",
        hook: InetHookNumber::PreRouting,
        priority: 7,
    };

    proptest! {
        #[test]
        fn any_answer_is_read_or_passed_over(payload: Vec<u8>) {
            let answer = Answer { payload };
            let _ = (ListedRule::parse(&answer), is_base_chain(&answer, BASE));
        }

        #[test]
        fn any_expression_is_one_step(bytes: Vec<u8>) {
            let _ = step(&bytes);
        }
    }

    /// What is written reads back as what was meant.
    fn steps(expressions: &super::super::batch::Expressions) -> Vec<Step> {
        let mut bytes = vec![0; expressions.as_slice().buffer_len()];
        expressions.as_slice().emit(&mut bytes);
        NlasIterator::new(bytes.as_slice())
            .map(|element| step(element.unwrap().value()))
            .collect()
    }

    #[test]
    fn the_expressions_of_a_spoof_check_are_understood() {
        let came_by = expression::came_by("veth0");
        let mut name = b"veth0".to_vec();
        name.resize(16, 0);
        assert_eq!(steps(&came_by), [Step::LoadInputName, Step::Equals(name)]);
        let sent_by = expression::sent_by([2, 0, 0, 0, 0, 1]);
        assert_eq!(
            steps(&sent_by),
            [Step::LoadEtherSource, Step::Equals(vec![2, 0, 0, 0, 0, 1])]
        );
        let jump = vec![expression::verdict(Verdict::Jump, Some("c"))];
        assert_eq!(
            steps(&jump),
            [Step::Verdict(Verdict::Jump.into(), Some("c".to_owned()))]
        );
    }

    #[test]
    fn another_field_is_not_taken_for_the_source_address() {
        let network = "10.0.0.0/8".parse().unwrap();
        let matches = expression::matches(
            expression::Field::Source,
            netlink_packet_netfilter::nftables::Operator::NotEqual,
            network,
        );
        assert_eq!(steps(&matches), [Step::Other, Step::Other]);
    }
}
