//! The transport: requests to the kernel over a netlink socket, and its answers.
//!
//! Netlink answers a request while send(2) runs: the answer is in the socket's queue when send
//! returns, and each receive queues the next part of a dump. The socket is therefore non-blocking.
//! An answer that is not in the queue will not come, and nothing can hang. There is no runtime and
//! there are no threads: see ARCHITECTURE.md.

use crate::error::{KernelError, NetError};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

/// include/uapi/linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER_LEN: usize = 16;

/// The kernel fills dump buffers of at most 32 KiB (netlink_recvmsg in net/netlink/af_netlink.c).
const RECEIVE_BUFFER: usize = 64 << 10;

/// The number of requests that are sent at once. The buffer of each answer takes some 800 bytes
/// (`truesize`); answers that do not fit into the socket's 208 KiB are lost, and the kernel reports
/// only ENOBUFS.
pub(crate) const REQUESTS_AT_ONCE: usize = 128;

/// The time for which an inconsistent dump is repeated. It is not a number of attempts: on a node
/// where pods come and go and there are a thousand rules, most attempts are disturbed.
const DUMP_LIMIT: Duration = Duration::from_secs(10);

/// A message, and the words for an error if the kernel refuses it.
pub(crate) struct Request<M> {
    pub(crate) message: M,
    pub(crate) flags: u16,
    pub(crate) operation: &'static str,
    pub(crate) object: String,
}

/// An answer: its payload, behind the netlink header.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) payload: Vec<u8>,
}

/// A message of a received datagram.
enum Part {
    Data {
        sequence: u32,
        flags: u16,
        answer: Answer,
    },
    Acknowledged {
        sequence: u32,
    },
    Refused {
        sequence: u32,
        error: KernelError,
    },
    Done {
        sequence: u32,
        flags: u16,
        error: Option<KernelError>,
    },
}

impl Part {
    /// Returns the sequence number of the request that the message answers.
    fn sequence(&self) -> u32 {
        match self {
            Self::Data { sequence, .. }
            | Self::Acknowledged { sequence }
            | Self::Refused { sequence, .. }
            | Self::Done { sequence, .. } => *sequence,
        }
    }
}

/// The requests of one send, as an error names them.
struct SentRequests {
    /// The sequence number of the first request.
    start: u32,
    requests: Vec<(&'static str, String)>,
    /// The first sequence number, and the number of messages, including the frame of a batch: a
    /// batch that is refused as a whole is refused in answer to its frame.
    sent: (u32, u32),
}

impl SentRequests {
    /// Returns true if the answer is to one of the messages. A send that is repeated after EINTR,
    /// although it took place, is answered twice; the second answer belongs to no request.
    fn includes(&self, sequence: u32) -> bool {
        let (first, count) = self.sent;
        sequence.wrapping_sub(first) < count
    }

    /// Returns the request with this sequence number, or the first one if the answer is to none.
    fn of(&self, sequence: u32) -> (&'static str, String) {
        let asked = usize::try_from(sequence.wrapping_sub(self.start))
            .ok()
            .and_then(|at| self.requests.get(at));
        asked
            .or_else(|| self.requests.first())
            .cloned()
            .unwrap_or(("do", "nothing".to_owned()))
    }

    fn io(&self, e: io::Error) -> NetError {
        let (operation, object) = self.of(self.start);
        NetError::io(operation, object, e)
    }

    fn kernel(&self, sequence: u32, source: KernelError) -> NetError {
        let (operation, object) = self.of(sequence);
        NetError::Kernel {
            operation,
            object,
            source,
        }
    }

    fn unanswered(&self, answered: usize) -> NetError {
        let (operation, object) = self.of(self.start);
        let reason = format!(
            "the kernel answered {answered} of {} requests",
            self.requests.len()
        );
        NetError::Protocol {
            operation,
            object,
            reason,
        }
    }
}

pub(crate) struct NetlinkSocket {
    socket: Socket,
    sequence: u32,
}

impl NetlinkSocket {
    /// Opens a socket in the thread's network namespace; the socket stays there.
    pub(crate) fn open(protocol: isize) -> Result<Self, NetError> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            // The socket works without these two options (Linux < 4.20): errors are shorter, dumps
            // longer.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            let _ = socket.set_netlink_get_strict_chk(true);
            Ok(socket)
        };
        let socket = open().map_err(|e: io::Error| NetError::io("open", "netlink socket", e))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Subscribes to a multicast group.
    pub(crate) fn join(&mut self, group: u32) -> Result<(), NetError> {
        self.socket
            .add_membership(group)
            .map_err(|e| NetError::io("subscribe to", format!("group {group}"), e))
    }

    /// Sends all requests, as many at once as can be answered, and returns the answers of those
    /// that read something. The kernel executes them in order and does not stop at a refused one;
    /// the error is the first refusal.
    pub(crate) fn execute<M: NetlinkSerializable>(
        &mut self,
        requests: Vec<Request<M>>,
    ) -> Result<Vec<Answer>, NetError> {
        let mut requests = requests.into_iter().peekable();
        let mut answers = Vec::new();
        let mut refusal = Ok(());
        while requests.peek().is_some() {
            let mut bytes = Vec::with_capacity(1024);
            let sent_requests =
                self.append_all(&mut bytes, requests.by_ref().take(REQUESTS_AT_ONCE));
            match self.exchange(&bytes, &sent_requests) {
                Ok(more) => answers.extend(more),
                Err(e) => refusal = refusal.and(Err(e)),
            }
        }
        refusal.map(|()| answers)
    }

    /// Reads one object. The object itself is the answer, so no acknowledgement is requested.
    pub(crate) fn read<M: NetlinkSerializable>(
        &mut self,
        request: Request<M>,
    ) -> Result<Answer, NetError> {
        let mut bytes = Vec::with_capacity(128);
        self.append(&mut bytes, request.message, request.flags);
        let requests = vec![(request.operation, request.object)];
        let sent_requests = SentRequests {
            start: self.sequence,
            requests,
            sent: (self.sequence, 1),
        };
        self.send(&bytes).map_err(|e| sent_requests.io(e))?;
        loop {
            let parts = self.receive().map_err(|e| sent_requests.io(e))?;
            match parts
                .into_iter()
                .find(|part| part.sequence() == self.sequence)
            {
                Some(Part::Data { answer, .. }) => return Ok(answer),
                Some(Part::Refused { sequence, error }) => {
                    return Err(sent_requests.kernel(sequence, error));
                }
                Some(Part::Acknowledged { .. } | Part::Done { .. }) => {
                    return Err(sent_requests.unanswered(0));
                }
                None => {}
            }
        }
    }

    /// Sends a batch of nfnetlink: everything between `begin` and `end` is applied as a whole or
    /// not at all. It cannot be divided, so it may have at most [`REQUESTS_AT_ONCE`] requests.
    pub(crate) fn transact<M: NetlinkSerializable>(
        &mut self,
        begin: M,
        requests: Vec<Request<M>>,
        end: M,
    ) -> Result<(), NetError> {
        let mut bytes = Vec::with_capacity(2048);
        self.append(&mut bytes, begin, 0);
        let first = self.sequence;
        let mut sent_requests = self.append_all(&mut bytes, requests);
        self.append(&mut bytes, end, 0);
        sent_requests.sent = (first, self.sequence.wrapping_sub(first).wrapping_add(1));
        self.exchange(&bytes, &sent_requests).map(drop)
    }

    /// Sends requests and collects their answers, which are queued when send returns. An empty
    /// queue ends the answers too: a batch that is refused as a whole (no permission, no such
    /// subsystem) is answered only once.
    fn exchange(
        &self,
        bytes: &[u8],
        sent_requests: &SentRequests,
    ) -> Result<Vec<Answer>, NetError> {
        if sent_requests.requests.is_empty() {
            return Ok(Vec::new());
        }
        self.send(bytes).map_err(|e| sent_requests.io(e))?;
        let mut answers = Vec::new();
        let mut refusal = None;
        let mut answered = 0;
        while answered < sent_requests.requests.len() {
            let parts = match self.receive() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                other => other.map_err(|e| sent_requests.io(e))?,
            };
            for part in parts
                .into_iter()
                .filter(|part| sent_requests.includes(part.sequence()))
            {
                match part {
                    Part::Data { answer, .. } => answers.push(answer),
                    Part::Acknowledged { .. } => answered += 1,
                    Part::Refused { sequence, error } => {
                        answered += 1;
                        refusal = refusal.or(Some((sequence, error)));
                    }
                    Part::Done { .. } => {}
                }
            }
        }
        match refusal {
            Some((sequence, error)) => Err(sent_requests.kernel(sequence, error)),
            None if answered < sent_requests.requests.len() => {
                Err(sent_requests.unanswered(answered))
            }
            None => Ok(answers),
        }
    }

    fn append_all<M: NetlinkSerializable>(
        &mut self,
        bytes: &mut Vec<u8>,
        requests: impl IntoIterator<Item = Request<M>>,
    ) -> SentRequests {
        let start = self.sequence.wrapping_add(1);
        let append = |request: Request<M>| {
            self.append(bytes, request.message, request.flags | NLM_F_ACK);
            (request.operation, request.object)
        };
        let requests = requests.into_iter().map(append).collect();
        SentRequests {
            start,
            requests,
            sent: (start, self.sequence.wrapping_sub(start).wrapping_add(1)),
        }
    }

    /// Reads all objects that match the request. Repeats a dump that the kernel reports as
    /// disturbed.
    pub(crate) fn dump<M: NetlinkSerializable + Clone>(
        &mut self,
        request: &Request<M>,
    ) -> Result<Vec<Answer>, NetError> {
        let deadline = Instant::now() + DUMP_LIMIT;
        let mut attempts = 0;
        while attempts == 0 || Instant::now() < deadline {
            attempts += 1;
            if let Some(answers) = self.dump_once(request)? {
                return Ok(answers);
            }
        }
        let reason =
            format!("the kernel's list changed during each of {attempts} attempts to read it");
        Err(NetError::Protocol {
            operation: request.operation,
            object: request.object.clone(),
            reason,
        })
    }

    fn dump_once<M: NetlinkSerializable + Clone>(
        &mut self,
        request: &Request<M>,
    ) -> Result<Option<Vec<Answer>>, NetError> {
        let fail = |e| NetError::io(request.operation, &request.object, e);
        let mut bytes = Vec::with_capacity(256);
        self.append(
            &mut bytes,
            request.message.clone(),
            request.flags | NLM_F_DUMP,
        );
        let current = self.sequence;
        // All parts are received before any is parsed: a shorter dump is disturbed less often.
        let datagrams = self
            .send(&bytes)
            .and_then(|()| self.receive_list(current))
            .map_err(fail)?;
        let mut answers = Vec::new();
        let mut disturbed = false;
        for datagram in datagrams {
            let parts = parse(&datagram).map_err(fail)?;
            for part in parts.into_iter().filter(|part| part.sequence() == current) {
                match part {
                    Part::Data { flags, answer, .. } => {
                        disturbed |= flags & NLM_F_DUMP_INTR != 0;
                        answers.push(answer);
                    }
                    Part::Refused { error, .. }
                    | Part::Done {
                        error: Some(error), ..
                    } => {
                        let operation = request.operation;
                        let object = request.object.clone();
                        return Err(NetError::Kernel {
                            operation,
                            object,
                            source: error,
                        });
                    }
                    Part::Done {
                        flags, error: None, ..
                    } => {
                        disturbed |= flags & NLM_F_DUMP_INTR != 0;
                        return Ok((!disturbed).then_some(answers));
                    }
                    Part::Acknowledged { .. } => {}
                }
            }
        }
        Ok(None)
    }

    /// Returns the messages of the joined groups that have arrived.
    pub(crate) fn events(&mut self) -> Result<Vec<Answer>, NetError> {
        match self.receive() {
            Ok(parts) => Ok(parts
                .into_iter()
                .filter_map(|part| match part {
                    Part::Data { answer, .. } => Some(answer),
                    _ => None,
                })
                .collect()),
            // ENOBUFS: events were lost. The caller checks the object itself after every call.
            Err(e)
                if e.kind() == io::ErrorKind::WouldBlock
                    || e.raw_os_error() == Some(Errno::ENOBUFS as i32) =>
            {
                Ok(Vec::new())
            }
            Err(e) => Err(NetError::io("receive", "netlink events", e)),
        }
    }

    fn append<M: NetlinkSerializable>(&mut self, bytes: &mut Vec<u8>, message: M, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message =
            NetlinkMessage::new(Default::default(), NetlinkPayload::InnerMessage(message));
        message.header.flags = flags | NLM_F_REQUEST;
        message.header.sequence_number = self.sequence;
        message.finalize();
        // Messages of a batch start at multiples of four.
        let start = bytes.len().next_multiple_of(4);
        bytes.resize(start + message.buffer_len(), 0);
        if let Some(space) = bytes.get_mut(start..) {
            message.serialize(space);
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(bytes, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<Part>> {
        parse(&self.receive_datagram()?)
    }

    /// Receives the datagrams of a list, up to the one with its end or its refusal for this
    /// sequence number.
    fn receive_list(&self, sequence: u32) -> io::Result<Vec<Vec<u8>>> {
        let mut datagrams = Vec::new();
        loop {
            let datagram = self.receive_datagram()?;
            let is_last = has_end(&datagram, sequence)?;
            datagrams.push(datagram);
            if is_last {
                return Ok(datagrams);
            }
        }
    }

    fn receive_datagram(&self) -> io::Result<Vec<u8>> {
        let mut datagram = Vec::with_capacity(RECEIVE_BUFFER);
        loop {
            match self.socket.recv(&mut datagram, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map(|_| datagram),
            }
        }
    }
}

/// Lets poll(2) wait for events.
impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Splits a datagram into its messages.
fn parse(datagram: &[u8]) -> io::Result<Vec<Part>> {
    messages(datagram)
        .map(|message| {
            let message = message?;
            let kind = message.message_type();
            let flags = message.flags();
            Ok(part(
                kind,
                flags,
                message.sequence_number(),
                message.payload(),
            ))
        })
        .collect()
}

/// Returns true if the datagram ends the list.
fn has_end(datagram: &[u8], sequence: u32) -> io::Result<bool> {
    for message in messages(datagram) {
        let message = message?;
        let is_end = matches!(message.message_type(), NLMSG_ERROR | NLMSG_DONE);
        if is_end && message.sequence_number() == sequence {
            return Ok(true);
        }
    }
    Ok(false)
}

fn messages(mut datagram: &[u8]) -> impl Iterator<Item = io::Result<NetlinkBuffer<&[u8]>>> {
    let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "malformed netlink message");
    std::iter::from_fn(move || {
        let message =
            (datagram.len() >= HEADER_LEN).then(|| NetlinkBuffer::new_checked(datagram))?;
        // The start of the next message is unknown behind a malformed one.
        let length = message.as_ref().map_or(datagram.len(), |m| {
            usize::try_from(m.length()).unwrap_or(usize::MAX)
        });
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some(message.map_err(malformed))
    })
}

fn part(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Part {
    match kind {
        NLMSG_ERROR => match kernel_error(flags, payload) {
            None => Part::Acknowledged { sequence },
            Some(error) => Part::Refused { sequence, error },
        },
        NLMSG_DONE => Part::Done {
            sequence,
            flags,
            error: kernel_error(0, payload),
        },
        _ => Part::Data {
            sequence,
            flags,
            answer: Answer {
                payload: payload.to_vec(),
            },
        },
    }
}

/// Reads a `struct nlmsgerr` and the attributes behind it. Zero is success.
fn kernel_error(flags: u16, payload: &[u8]) -> Option<KernelError> {
    let (code, rest) = payload.split_first_chunk::<4>()?;
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return None;
    }
    // The refused message comes back whole, or only its header if it was capped.
    let whole = rest
        .first_chunk::<4>()
        .map_or(0, |length| u32::from_ne_bytes(*length));
    let echoed = if flags & NLM_F_CAPPED != 0 {
        HEADER_LEN
    } else {
        usize::try_from(whole).unwrap_or(0)
    };
    let attributes = rest
        .get(echoed.next_multiple_of(4)..)
        .filter(|_| flags & NLM_F_ACK_TLVS != 0);
    let text = attributes.and_then(|bytes| {
        let attribute = NlasIterator::new(bytes)
            .flatten()
            .find(|a| a.kind() == NLMSGERR_ATTR_MSG)?;
        Some(c_string(attribute.value()))
    });
    Some(KernelError {
        errno: Errno::from_raw(code.wrapping_neg()),
        text,
    })
}

/// Returns the payloads of a datagram's messages, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) fn payloads(datagram: &[u8]) -> Vec<Vec<u8>> {
    let _ = has_end(datagram, 0);
    let data = |part| match part {
        Part::Data { answer, .. } => Some(answer.payload),
        Part::Acknowledged { .. } | Part::Refused { .. } | Part::Done { .. } => None,
    };
    parse(datagram)
        .unwrap_or_default()
        .into_iter()
        .filter_map(data)
        .collect()
}

/// Reads a text as the kernel writes it into attributes: up to the first NUL.
pub(crate) fn c_string(bytes: &[u8]) -> String {
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
