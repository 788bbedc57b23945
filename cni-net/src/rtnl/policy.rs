//! What steers packets besides routes: the rules that choose a table, the queues of links with their filters, and entries of
//! bridges that do not age. No plugin of ours makes any; others do, and what they leave behind must show. So this is text
//! that can be compared, as that of the nf_tables ruleset.

use super::{Rtnl, number, split_header};
use crate::{
    error::NetError,
    netlink::{Answer, c_string},
};
use cni_types::{MacAddr, hash::hex};
use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::NeighbourMessage,
    rule::RuleMessage,
    tc::{TcHandle, TcMessage},
};
use std::collections::BTreeSet;

// include/uapi/linux/rtnetlink.h
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;

/// The parents of the filters of clsact and ingress (include/uapi/linux/pkt_sched.h).
const CLSACT: [u32; 2] = [0xffff_fff2, 0xffff_fff3];

// include/uapi/linux/neighbour.h
const NDA_LLADDR: u16 = 2;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

impl Rtnl {
    /// The rules that choose a routing table, one a line, those that the kernel comes with among them.
    ///
    /// # Errors
    /// Where the list cannot be read.
    pub fn policy_rules(&mut self) -> Result<Vec<String>, NetError> {
        let mut lines = Vec::new();
        for (family, name) in [
            (AddressFamily::Inet, "ipv4"),
            (AddressFamily::Inet6, "ipv6"),
        ] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let answers = self.dump(RouteNetlinkMessage::GetRule(message), "rules")?;
            lines.extend(
                answers
                    .iter()
                    .filter_map(|answer| rule(name, &answer.payload)),
            );
        }
        Ok(lines)
    }

    /// The queueing disciplines of a link that somebody put there, with their classes and filters. Those that the kernel
    /// gives to each link have no number and are left out, as are numbers of packets and times.
    ///
    /// # Errors
    /// Where the lists cannot be read.
    pub fn traffic_control(&mut self, link: u32) -> Result<Vec<String>, NetError> {
        let ask = |parent: u32| {
            let mut message = TcMessage::default();
            message.header.index = link.cast_signed();
            message.header.parent = TcHandle::from(parent);
            message
        };
        let queues = self.dump(
            RouteNetlinkMessage::GetQueueDiscipline(ask(0)),
            "queueing disciplines",
        )?;
        let queues: Vec<Control> = controls(&queues, link)
            .filter(|queue| queue.handle != 0)
            .collect();
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let classes = self.dump(RouteNetlinkMessage::GetTrafficClass(ask(0)), "classes")?;
        let mut filters = Vec::new();
        for parent in queues
            .iter()
            .map(|queue| queue.handle)
            .chain(CLSACT)
            .collect::<BTreeSet<_>>()
        {
            filters.extend(self.dump(
                RouteNetlinkMessage::GetTrafficFilter(ask(parent)),
                "filters",
            )?);
        }
        let mut lines: Vec<String> = queues.iter().map(|queue| queue.describe("qdisc")).collect();
        lines.extend(controls(&classes, link).map(|class| class.describe("class")));
        // Their options hold times: when they were made, and last used.
        let filters = controls(&filters, link).map(|filter| Control {
            options: Vec::new(),
            ..filter
        });
        let filters: BTreeSet<String> = filters.map(|filter| filter.describe("filter")).collect();
        lines.extend(filters);
        Ok(lines)
    }

    /// The hardware addresses that somebody entered into the tables of bridges and their ports, with the index of the link.
    /// Left out is what the bridge learnt, and that will age; groups; and `own`, the links' own addresses.
    ///
    /// # Errors
    /// Where the list cannot be read.
    pub fn static_forwarding(&mut self, own: &[MacAddr]) -> Result<Vec<(u32, MacAddr)>, NetError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        let answers = self.dump(
            RouteNetlinkMessage::GetNeighbour(message),
            "forwarding entries",
        )?;
        let mut entries: Vec<_> = answers
            .iter()
            .filter_map(|answer| forwarding_entry(&answer.payload))
            .collect();
        entries.retain(|(_, mac)| {
            mac.0.first().is_some_and(|byte| byte & 1 == 0) && !own.contains(mac)
        });
        Ok(entries)
    }
}

/// Reads a payload as everything that it can be, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(super) fn read_all(payload: &[u8], link: u32) {
    let _ = (rule("ip", payload), forwarding_entry(payload));
    if let Some(control) = Control::parse(payload, link) {
        let _ = ["qdisc", "class", "filter"].map(|what| control.describe(what));
    }
}

fn rule(family: &str, payload: &[u8]) -> Option<String> {
    let RuleMessage {
        header, attributes, ..
    } = RuleMessage::parse(payload).ok()?;
    let (src, dst) = (header.src_len, header.dst_len);
    Some(format!(
        "rule {family} {:?} from /{src} to /{dst} {attributes:?}",
        header.action
    ))
}

fn forwarding_entry(payload: &[u8]) -> Option<(u32, MacAddr)> {
    // struct ndmsg: family, index at 4, state at 8.
    let (header, attributes) = split_header::<12>(payload)?;
    let state = u16::from_ne_bytes(*header.get(8..)?.first_chunk()?);
    let mac = NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == NDA_LLADDR)?;
    let entry = (
        number(header.get(4..)?)?,
        MacAddr(mac.value().try_into().ok()?),
    );
    (state & (NUD_PERMANENT | NUD_NOARP) != 0).then_some(entry)
}

/// A queueing discipline, a class or a filter: struct tcmsg, and the attributes that they share.
struct Control {
    handle: u32,
    parent: u32,
    info: u32,
    kind: String,
    options: Vec<u8>,
}

fn controls(answers: &[Answer], link: u32) -> impl Iterator<Item = Control> {
    answers
        .iter()
        .filter_map(move |answer| Control::parse(&answer.payload, link))
}

impl Control {
    fn parse(payload: &[u8], link: u32) -> Option<Self> {
        let (header, attributes) = split_header::<20>(payload)?;
        let at = |place: usize| number(header.get(place..)?);
        if at(4)? != link {
            return None;
        }
        let (handle, parent, info) = (at(8)?, at(12)?, at(16)?);
        let mut control = Self {
            handle,
            parent,
            info,
            kind: String::new(),
            options: Vec::new(),
        };
        for attribute in NlasIterator::new(attributes).flatten() {
            match attribute.kind() {
                TCA_KIND => control.kind = c_string(attribute.value()),
                TCA_OPTIONS => control.options = attribute.value().to_vec(),
                _ => {}
            }
        }
        Some(control)
    }

    /// The number that a discipline got by itself (above 8000:) tells nothing.
    fn describe(&self, what: &str) -> String {
        let Self {
            handle,
            parent,
            info,
            kind,
            options,
        } = self;
        let handle = match (what, handle >> 16) {
            ("qdisc", 0x8000..=0xfffe) => "auto".to_owned(),
            (_, major) => format!("{major:x}:{:x}", handle & 0xffff),
        };
        // Of a discipline the field has the number of its users.
        let info = if what == "filter" {
            format!(" {info:x}")
        } else {
            String::new()
        };
        let options = hex(options);
        let options = if options.is_empty() {
            options
        } else {
            format!(" {options}")
        };
        format!(
            "{what} {kind} {handle} parent {:x}:{:x}{info}{options}",
            parent >> 16,
            parent & 0xffff
        )
    }
}
