//! Frames on a link: a listener for them, and a router that floods the link with advertisements.

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket,
        sockopt::Ipv6MulticastHops,
    },
};
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

// The numbers are from RFC 826, RFC 8200 and RFC 4861.
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_V6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A packet socket that receives every frame of a namespace, or of one of its interfaces.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
}

impl Listener {
    /// Starts to listen on all interfaces of the thread's network namespace.
    ///
    /// # Errors
    /// Fails if the socket cannot be opened.
    pub fn start() -> io::Result<Self> {
        let kind = (
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        );
        // std has no packet sockets, but receiving and time limits work as on a UDP socket.
        Ok(Self {
            socket: UdpSocket::from(socket(kind.0, kind.1, kind.2, kind.3)?),
        })
    }

    /// Starts to listen on one interface. The listener can also [`send`](Self::send).
    ///
    /// # Errors
    /// Fails with `NotFound` if there is no such interface. Fails also if the socket cannot be
    /// opened or bound.
    pub fn start_on(interface: &str) -> io::Result<Self> {
        let listener = Self::start()?;
        bind(listener.socket.as_raw_fd(), &link_address(interface)?)?;
        Ok(listener)
    }

    /// Sends a whole Ethernet frame from the interface of [`start_on`](Self::start_on).
    ///
    /// # Errors
    /// Fails if the listener has no single interface, or if the kernel refuses the frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// Returns the next frame for which `wanted` is true, or `None` if no such frame comes within
    /// `limit`. Waits on while the interface is down.
    ///
    /// # Errors
    /// Fails if the kernel reports another error than that the interface is down.
    pub fn wait_for(
        &self,
        limit: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + limit;
        let mut frame = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut frame) {
                Ok(length) => {
                    let frame = frame.get(..length).unwrap_or_default();
                    if wanted(frame) {
                        return Ok(Some(frame.to_vec()));
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) if e.raw_os_error() == Some(Errno::ENETDOWN as i32) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Returns the address of an interface to which a packet socket can be bound.
///
/// # Errors
/// Fails with `NotFound` if there is no such interface.
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or_else(|| {
            io::Error::new(
                ErrorKind::NotFound,
                format!("there is no interface {interface}"),
            )
        })
}

/// Returns the address that a frame announces to all neighbours, or `None` for other frames. An
/// announcement is a gratuitous ARP, in which sender and target are the same (RFC 5227, section 3),
/// or a neighbour advertisement to all nodes.
#[must_use]
pub fn announced(frame: &[u8]) -> Option<IpAddr> {
    let kind: [u8; 2] = frame.get(12..14)?.try_into().ok()?;
    match kind {
        ETHERTYPE_ARP => {
            let sender: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
            let target: [u8; 4] = frame.get(38..42)?.try_into().ok()?;
            (sender == target).then(|| Ipv4Addr::from(sender).into())
        }
        ETHERTYPE_V6 => {
            let is_announcement = *frame.get(20)? == ICMPV6
                && frame.get(38..54)? == ALL_NODES.octets()
                && *frame.get(54)? == NEIGHBOUR_ADVERTISEMENT;
            let target: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
            is_announcement.then(|| Ipv6Addr::from(target).into())
        }
        _ => None,
    }
}

/// A router that advertises itself and a prefix, some thousand times a second, until it is dropped.
#[derive(Debug)]
pub struct RogueRouter {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl RogueRouter {
    /// Starts the router in the thread's network namespace, on the link with the index `link`. It
    /// advertises itself as default router, and `prefix`/64 for autoconfigured addresses.
    ///
    /// # Errors
    /// Fails if the socket cannot be opened.
    pub fn start(link: u32, prefix: Ipv6Addr) -> io::Result<Self> {
        let kind = (
            AddressFamily::Inet6,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::IcmpV6,
        );
        let socket = UdpSocket::from(socket(kind.0, kind.1, kind.2, kind.3)?);
        // Hosts drop advertisements with another hop limit (RFC 4861, section 6.1.2).
        setsockopt(&socket, Ipv6MulticastHops, &255)?;
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, link);
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            let sent = Arc::clone(&sent);
            let packet = advertisement(prefix);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if socket.send_to(&packet, to).is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// Returns the number of advertisements sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for RogueRouter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns a router advertisement (RFC 4861, sections 4.2 and 4.6.2) without its checksum, which
/// the kernel fills in. The router's lifetime is half an hour; the prefix has the flags on-link and
/// autonomous.
fn advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    let router = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let lifetimes = [0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0];
    [&router[..], &[3, 4, 64, 0xc0], &lifetimes, &prefix.octets()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_distinguished_from_requests() {
        let mut arp = [0; 42];
        arp[12..14].copy_from_slice(&ETHERTYPE_ARP);
        arp[28..32].copy_from_slice(&[10, 1, 0, 2]);
        assert_eq!(announced(&arp), None);
        arp[38..42].copy_from_slice(&[10, 1, 0, 2]);
        assert_eq!(announced(&arp), Some([10, 1, 0, 2].into()));
        let mut v6 = [0; 78];
        v6[12..14].copy_from_slice(&ETHERTYPE_V6);
        (v6[20], v6[54], v6[77]) = (ICMPV6, NEIGHBOUR_ADVERTISEMENT, 7);
        assert_eq!(announced(&v6), None);
        v6[38..54].copy_from_slice(&ALL_NODES.octets());
        assert_eq!(announced(&v6), Some(Ipv6Addr::from(7).into()));
        v6[54] = 135;
        assert_eq!(announced(&v6), None);
        for length in 0..78 {
            let _ = (
                announced(&v6[..length]),
                announced(arp.get(..length).unwrap_or_default()),
            );
        }
    }

    #[test]
    fn an_advertisement_is_as_long_as_it_says() {
        let packet = advertisement("2001:db8::".parse().unwrap());
        assert_eq!(packet.len(), 16 + 8 * usize::from(packet[17]));
    }
}
