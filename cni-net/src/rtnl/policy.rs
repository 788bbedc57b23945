//! Packet steering beside routes: rules that choose a routing table, the queueing disciplines of
//! links with their filters, and bridge entries that do not age. None of our plugins creates any,
//! but others do, and what they leave behind must be detected. So it is returned as text that can
//! be compared, as the nf_tables ruleset is.

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
    /// Returns the rules that choose a routing table, one line each, including the kernel's own.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
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

    /// Returns the queueing disciplines of a link that were configured, with their classes and
    /// filters. The kernel's defaults have no handle and are left out, as are packet counts and
    /// times.
    ///
    /// # Errors
    /// Fails if the lists cannot be read.
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
        // The options of a filter hold times: of its creation and of its last use.
        let filters = controls(&filters, link).map(|filter| Control {
            options: Vec::new(),
            ..filter
        });
        let filters: BTreeSet<String> = filters.map(|filter| filter.describe("filter")).collect();
        lines.extend(filters);
        Ok(lines)
    }

    /// Returns the hardware addresses that were entered into the forwarding tables of bridges and
    /// their ports, each with the index of the link. Entries that the bridge learnt and that age,
    /// groups, and the links' `own` addresses are left out.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
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

/// Reads a payload with every reader, for the fuzzer.
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
    let src = header.src_len;
    let dst = header.dst_len;
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

/// A queueing discipline, a class or a filter: struct tcmsg and the attributes common to them.
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
        let handle = at(8)?;
        let parent = at(12)?;
        let info = at(16)?;
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

    /// Describes the object. Handles that the kernel assigned (from 8000:) mean nothing, and are
    /// written as `auto`.
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
        // For a discipline, the field holds the number of its users.
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
