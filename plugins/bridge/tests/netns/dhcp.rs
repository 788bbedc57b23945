//! The reference's dhcp daemon over a bridge: it needs the container's interface, on its bridge,
//! before it is called.

use crate::{
    kernel,
    network::{Network, fixed_ipam},
};
use cni_types::Command;
use serde_json::json;
use std::{
    net::{Ipv4Addr, UdpSocket},
    process::{Child, Stdio},
    thread::JoinHandle,
    time::Duration,
};
use testkit::{Host, OrFail, Suite, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_references_dhcp_daemon_gives_an_address,
        the_references_dhcp_daemon_gives_an_address_in_a_vlan
    ]
}

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 77);

/// The options of RFC 2132 that the server uses.
const MESSAGE_TYPE: u8 = 53;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// Answers DISCOVER and REQUEST with one address (RFC 2131), until no request comes for a while.
fn serve(socket: &UdpSocket) {
    let mut packet = [0; 1500];
    while let Ok((length, _)) = socket.recv_from(&mut packet) {
        let kind = match option(&packet[240..length], MESSAGE_TYPE) {
            Some([DISCOVER]) => OFFER,
            Some([REQUEST]) => ACK,
            _ => continue,
        };
        // xid, flags, and the client's hardware address, copied from the request.
        let mut answer = packet[..240].to_vec();
        answer[0] = 2;
        answer[16..20].copy_from_slice(&GIVEN.octets());
        answer[20..24].copy_from_slice(&SERVER.octets());
        answer.extend([
            MESSAGE_TYPE,
            1,
            kind,
            1,
            4,
            255,
            255,
            255,
            0,
            51,
            4,
            0,
            0,
            14,
            16,
            54,
            4,
        ]);
        answer.extend(SERVER.octets());
        answer.extend([3, 4]);
        answer.extend(SERVER.octets());
        answer.push(255);
        // RFC 1542, 2.1: a BOOTP message has at least 300 octets.
        answer.resize(answer.len().max(300), 0);
        socket
            .send_to(&answer, (Ipv4Addr::BROADCAST, 68))
            .or_fail("answer by DHCP");
    }
}

fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [kind, length, rest @ ..] = options {
        let value = rest.get(..usize::from(*length))?;
        if *kind == wanted {
            return Some(value);
        }
        options = &rest[value.len()..];
    }
    None
}

/// A dhcp daemon, stopped at the end of the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a DHCP server in a pod of the network.
fn start_server(host: &Host, network: &Network<'_>) -> JoinHandle<()> {
    let pod = host.pod("server");
    let answer = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.1/24"}],
                        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.254"}]});
    network
        .with(json!({"ipam": fixed_ipam(host, "fixed", answer)}))
        .add(&pod)
        .success();
    let socket = pod
        .inside(|| UdpSocket::bind("0.0.0.0:67"))
        .or_fail("bind port 67");
    socket.set_broadcast(true).or_fail("broadcast");
    socket
        .set_read_timeout(Some(Duration::from_secs(8)))
        .or_fail("set a limit");
    std::thread::spawn(move || serve(&socket))
}

fn try_dhcp(host: &Host, keys: serde_json::Value) {
    let folder = Suite::Sid.require();
    let network = Network::new(host, keys);
    let server = start_server(host, &network);
    let path = host.file("dhcp.sock", "");
    std::fs::remove_file(&path).or_fail("make room for the socket");
    let mut daemon = std::process::Command::new(folder.join("dhcp"));
    daemon
        .arg("daemon")
        .arg("-socketpath")
        .arg(&path)
        .args(["-timeout", "3s", "-resendtimeout", "30s"])
        .stdin(Stdio::null());
    let log = std::fs::File::create(host.file("dhcp.log", "")).or_fail("make a log");
    daemon.stdout(Stdio::null()).stderr(log);
    let daemon = Daemon(daemon.spawn().or_fail("start the daemon"));
    kernel::wait_until("the daemon listens", || path.exists());
    let pod = host.pod("a");
    let ipam = json!({"type": "dhcp", "daemonSocketPath": path});
    let network = network.with(json!({"ipam": ipam}));
    let request = |command| network.attachment(command, &pod).env("CNI_PATH", &folder);
    let added = request(Command::Add).run();
    host.note(std::fs::read_to_string("/run/cni-files/dhcp.log").unwrap_or_default());
    assert_eq!(added.json()["ips"][0]["address"], format!("{GIVEN}/24"));
    assert_eq!(
        pod.inside(|| kernel::addresses("eth0")),
        [format!("{GIVEN}/24")]
    );
    request(Command::Del).run().silent_success();
    assert_eq!(pod.inside(kernel::names), ["lo"]);
    drop(daemon);
    server.join().unwrap();
}

fn the_references_dhcp_daemon_gives_an_address(host: &Host) {
    try_dhcp(host, json!({}));
}

fn the_references_dhcp_daemon_gives_an_address_in_a_vlan(host: &Host) {
    kernel::require_vlan_filtering();
    try_dhcp(host, json!({"vlan": 100}));
}
