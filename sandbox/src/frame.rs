//! Raw Ethernet frames, as a hostile container sends them: with any source address and any VLAN
//! tags.
//!
//! Each frame has a label, so that a listener knows the frames of a test from those that kernels
//! send on their own.

use crate::wire::Listener;
use cni_types::MacAddr;
use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

/// IEEE 802.1Q: the EtherType of a VLAN tag (C-TAG), and of the outer one of a provider (S-TAG).
const C_TAG: u16 = 0x8100;
const S_TAG: u16 = 0x88a8;
const ARP: u16 = 0x0806;
/// Ethernet over IPv4 (RFC 826), a request.
const ARP_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
/// Without the checksum, which the kernel neither takes nor gives.
const SHORTEST: usize = 60;
const MARK: &[u8] = b"cni-frame:";
/// The time by which a frame that went another way may be late.
const LATE: Duration = Duration::from_millis(100);

/// A VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The tag of 802.1Q with this VLAN.
    Vlan(u16),
    /// The outer tag of 802.1ad with this VLAN.
    Provider(u16),
}

/// An ARP request to all, with a label behind it.
#[derive(Debug, Clone)]
pub struct Frame {
    from: MacAddr,
    tags: Vec<Tag>,
    label: String,
}

impl Frame {
    /// A frame without tags that says it is from `from`.
    #[must_use]
    pub fn new(from: MacAddr, label: &str) -> Self {
        Self {
            from,
            tags: Vec::new(),
            label: label.to_owned(),
        }
    }

    /// The same frame with these tags, the outer one first.
    #[must_use]
    pub fn tagged(mut self, tags: &[Tag]) -> Self {
        self.tags = tags.to_owned();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [[0xff; 6], self.from.0].concat();
        for tag in &self.tags {
            let (kind, vlan) = match *tag {
                Tag::Vlan(vlan) => (C_TAG, vlan),
                Tag::Provider(vlan) => (S_TAG, vlan),
            };
            bytes.extend([kind.to_be_bytes(), vlan.to_be_bytes()].concat());
        }
        bytes.extend(ARP.to_be_bytes());
        bytes.extend(ARP_REQUEST);
        // Who asks, and for whom: addresses of RFC 5737, which nobody has.
        bytes.extend(
            self.from
                .0
                .iter()
                .chain(&[192, 0, 2, 1])
                .chain(&[0; 6])
                .chain(&[192, 0, 2, 2]),
        );
        bytes.extend(MARK.iter().chain(self.label.as_bytes()).chain(b"\n"));
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }
}

/// The label of a frame of ours, whatever tags are still on it.
fn label_of(frame: &[u8]) -> Option<String> {
    let at = frame
        .windows(MARK.len())
        .position(|window| window == MARK)?;
    let label = frame
        .get(at + MARK.len()..)?
        .split(|byte| *byte == b'\n')
        .next()?;
    Some(String::from_utf8_lossy(label).into_owned())
}

/// The labelled frames that come in on one interface, and a way to send others from it.
#[derive(Debug)]
pub struct Tap {
    listener: Listener,
}

impl Tap {
    /// Listens on an interface of the thread's namespace from now on.
    ///
    /// # Errors
    /// As [`Listener::start_on`].
    pub fn open(interface: &str) -> io::Result<Self> {
        Ok(Self {
            listener: Listener::start_on(interface)?,
        })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn send(&self, frame: &Frame) -> io::Result<()> {
        self.listener.send(&frame.bytes())
    }

    /// The labels of all frames until the one labelled `last`, in order and without that one. What
    /// takes another way through the kernel may be late, so it goes on to listen for a while.
    ///
    /// # Errors
    /// Fails with `TimedOut` and the labels if the last one does not come in time.
    pub fn labels_until(&self, last: &str, timeout: Duration) -> io::Result<Vec<String>> {
        let mut deadline = Instant::now() + timeout;
        let mut labels = Vec::new();
        let mut complete = false;
        while let Some(label) = self.label_until(deadline)? {
            if label == last {
                complete = true;
                deadline = Instant::now() + LATE;
            } else {
                labels.push(label);
            }
        }
        let missing = || {
            io::Error::new(
                ErrorKind::TimedOut,
                format!("{labels:?} came, and no {last:?}"),
            )
        };
        if complete { Ok(labels) } else { Err(missing()) }
    }

    /// Returns the labels of all frames until now and for a while more, if not even a last one must
    /// come.
    ///
    /// # Errors
    /// Fails if nothing can be received.
    pub fn labels(&self) -> io::Result<Vec<String>> {
        let deadline = Instant::now() + LATE;
        let mut labels = Vec::new();
        while let Some(label) = self.label_until(deadline)? {
            labels.push(label);
        }
        Ok(labels)
    }

    fn label_until(&self, deadline: Instant) -> io::Result<Option<String>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let frame = self
            .listener
            .wait_for(left, |frame| label_of(frame).is_some())?;
        Ok(frame.as_deref().and_then(label_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    #[test]
    fn a_plain_frame_is_an_arp_request_to_all() {
        let bytes = Frame::new(MAC, "x").bytes();
        assert_eq!(
            bytes[..14],
            [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 7, 8, 6]
        );
        assert_eq!(bytes[22..28], MAC.0);
        assert_eq!((bytes.len(), label_of(&bytes).as_deref()), (60, Some("x")));
    }

    #[test]
    fn tags_stand_between_the_addresses_and_the_type() {
        let frame = Frame::new(MAC, "a longer label").tagged(&[Tag::Provider(1), Tag::Vlan(100)]);
        let bytes = frame.bytes();
        assert_eq!(bytes[12..22], [0x88, 0xa8, 0, 1, 0x81, 0, 0, 100, 8, 6]);
        assert_eq!(label_of(&bytes).as_deref(), Some("a longer label"));
    }

    #[test]
    fn what_others_send_has_no_label() {
        assert_eq!(label_of(&[0; 60]), None);
        assert_eq!(label_of(b""), None);
    }
}
