//! The wire: a listener for frames, and a router that advertises itself without end.

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

/// Offsets and numbers of RFC 826, RFC 8200 and RFC 4861.
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_V6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Every frame that the interfaces of a namespace get, or one of them.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
}

impl Listener {
    /// Listens in the thread's namespace, from now on.
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
        // std knows no such sockets, but receives on this one as on any other.
        Ok(Self {
            socket: UdpSocket::from(socket(kind.0, kind.1, kind.2, kind.3)?),
        })
    }

    /// The same for one interface, from which it can also send.
    ///
    /// # Errors
    /// Fails with `NotFound` if there is no such interface, or if the socket cannot be opened.
    pub fn start_on(interface: &str) -> io::Result<Self> {
        let listener = Self::start()?;
        bind(listener.socket.as_raw_fd(), &link_address(interface)?)?;
        Ok(listener)
    }

    /// Sends a frame from the one interface, as it is.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// Returns the next frame that `wanted` takes, or `None` if no such frame comes in time.
    ///
    /// # Errors
    /// Fails if nothing can be received.
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

/// An interface's index in the form that a packet socket is bound to.
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

/// The address that a frame announces to all: a gratuitous ARP (RFC 5227, 3: sender and target are
/// the same), or an unsolicited neighbour advertisement to all nodes.
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
            let is_it = *frame.get(20)? == ICMPV6
                && frame.get(38..54)? == ALL_NODES.octets()
                && *frame.get(54)? == NEIGHBOUR_ADVERTISEMENT;
            let target: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
            is_it.then(|| Ipv6Addr::from(target).into())
        }
        _ => None,
    }
}

/// A router that advertises itself, and a prefix, as fast as it can, until it is dropped.
#[derive(Debug)]
pub struct RogueRouter {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl RogueRouter {
    /// Starts it in the thread's namespace, on the link with this index. It offers itself as
    /// default router and `prefix`/64 for addresses.
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
        // Any other hop limit is ignored (RFC 4861, 6.1.2).
        setsockopt(&socket, Ipv6MulticastHops, &255)?;
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, link);
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stopped, count, packet) =
            (Arc::clone(&stop), Arc::clone(&sent), advertisement(prefix));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if socket.send_to(&packet, to).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// The number of advertisements that it sent.
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

/// RFC 4861, 4.2 and 4.6.2: a router for half an hour, a prefix that is on the link and good for
/// addresses. The kernel writes the checksum.
fn advertisement(prefix: Ipv6Addr) -> Vec<u8> {
    let router = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let lifetimes = [0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0];
    [&router[..], &[3, 4, 64, 0xc0], &lifetimes, &prefix.octets()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_told_from_questions() {
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
