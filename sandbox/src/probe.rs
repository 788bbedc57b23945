//! Probes that see if packets get through, and from which address: an echo request of our own,
//! since `ping` may not be installed, and a peer that reports who called.

use crate::Netns;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// RFC 792 and RFC 4443.
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Sends one ICMP echo request from the thread's namespace and waits for its reply.
///
/// # Errors
/// Fails with `TimedOut` if no reply came, or if the request could not be sent.
pub fn ping(to: IpAddr, timeout: Duration) -> io::Result<Duration> {
    let (family, protocol, request, reply) = match to {
        IpAddr::V4(_) => (
            AddressFamily::Inet,
            SockProtocol::Icmp,
            ECHO_REQUEST,
            ECHO_REPLY,
        ),
        IpAddr::V6(_) => (
            AddressFamily::Inet6,
            SockProtocol::IcmpV6,
            ECHO_REQUEST_V6,
            ECHO_REPLY_V6,
        ),
    };
    // std knows no raw sockets, but sends and receives on this one as on any other.
    let socket = UdpSocket::from(socket(
        family,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?);
    socket.connect(SocketAddr::new(to, 0))?;
    let start = Instant::now();
    let token = token();
    socket.send(&echo(request, token))?;
    let mut packet = [0; 1500];
    loop {
        let left = timeout
            .checked_sub(start.elapsed())
            .filter(|left| !left.is_zero());
        let timed_out =
            || io::Error::new(ErrorKind::TimedOut, format!("no answer within {timeout:?}"));
        socket.set_read_timeout(Some(left.ok_or_else(timed_out)?))?;
        match socket.recv(&mut packet) {
            Ok(n)
                if is_reply(
                    packet.get(..n).unwrap_or_default(),
                    to.is_ipv4(),
                    reply,
                    token,
                ) =>
            {
                return Ok(start.elapsed());
            }
            Err(e) if !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Err(e);
            }
            _ => {}
        }
    }
}

/// Returns true for this request's reply: every raw socket gets all replies.
fn token() -> [u8; 4] {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default();
    now.subsec_nanos().wrapping_mul(2_654_435_761).to_be_bytes()
}

fn echo(kind: u8, token: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = token;
    let mut packet = [
        kind, 0, 0, 0, a, b, c, d, b'c', b'n', b'i', b' ', b'p', b'i', b'n', b'g',
    ];
    // For ICMPv6 the kernel writes the checksum, whatever is there.
    let sum: u32 = packet
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |sum, b| sum << 8 | u32::from(*b)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = (!folded).to_be_bytes();
    packet[2] = high;
    packet[3] = low;
    packet
}

/// A raw IPv4 socket gives the IP header too, whose length in words is in its first byte.
fn is_reply(packet: &[u8], v4: bool, kind: u8, token: [u8; 4]) -> bool {
    let header = if v4 {
        packet.first().map_or(0, |byte| usize::from(byte & 15) * 4)
    } else {
        0
    };
    let icmp = packet.get(header..).unwrap_or_default();
    icmp.first() == Some(&kind) && icmp.get(4..8) == Some(&token)
}

/// A peer that answers every datagram with the address that it came from.
#[derive(Clone, Copy, Debug)]
pub struct Reflector {
    port: u16,
}

impl Reflector {
    /// Starts one inside `netns`, for as long as the process lives.
    ///
    /// # Errors
    /// Fails if the namespace cannot be entered or the socket not be opened.
    pub fn start(netns: &Netns) -> Result<Self, crate::Error> {
        let fail = |e| crate::Error::new("start a reflector in", netns.path(), e);
        let socket = netns
            .run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)))?
            .map_err(fail)?;
        let port = socket.local_addr().map_err(fail)?.port();
        std::thread::spawn(move || {
            let mut question = [0; 16];
            while let Ok((_, from)) = socket.recv_from(&mut question) {
                // Who does not get the answer notices.
                let _ = socket.send_to(from.ip().to_canonical().to_string().as_bytes(), from);
            }
        });
        Ok(Self { port })
    }

    /// The address that the peer at `address` sees when the thread's namespace calls it.
    ///
    /// # Errors
    /// Fails if no answer comes in time.
    pub fn seen_source(&self, address: IpAddr, timeout: Duration) -> io::Result<IpAddr> {
        let any: IpAddr = if address.is_ipv4() {
            [0, 0, 0, 0].into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(timeout))?;
        socket.connect((address, self.port))?;
        socket.send(b"who am I?")?;
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer)?;
        let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default());
        text.parse()
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("odd answer {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_request_is_right() {
        let packet = echo(ECHO_REQUEST, [0xff, 0xff, 0x12, 0x34]);
        let sum: u32 = packet
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn only_the_reply_to_this_request_counts() {
        let token = [1, 2, 3, 4];
        let reply = echo(ECHO_REPLY, token);
        let with_header = [&[0x45; 20][..], &reply].concat();
        assert!(is_reply(&with_header, true, ECHO_REPLY, token));
        assert!(is_reply(
            &echo(ECHO_REPLY_V6, token),
            false,
            ECHO_REPLY_V6,
            token
        ));
        assert!(!is_reply(&with_header, true, ECHO_REPLY, [1, 2, 3, 5]));
        assert!(!is_reply(
            &[&[0x45; 20][..], &echo(ECHO_REQUEST, token)].concat(),
            true,
            ECHO_REPLY,
            token
        ));
        assert!(!is_reply(&[0x4f], true, ECHO_REPLY, token));
    }
}
