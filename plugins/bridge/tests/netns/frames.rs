//! The paths of frames: from one VLAN into another, and through macspoofchk. Hostile containers'
//! frames are among them, tagged and doubly tagged, since a list of rules or VLANs does not show
//! which frames it matches.

use crate::{kernel, network::Network};
use cni_types::MacAddr;
use sandbox::frame::{Frame, Tag, Tap};
use serde_json::{Value, json};
use std::{fmt::Debug, time::Duration};
use testkit::{Host, OrFail, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        an_arp_broadcast_stays_in_its_vlan,
        a_forged_tag_leads_into_no_other_vlan,
        a_trunk_gets_tagged_frames_of_its_vlans_only,
        a_trunk_sends_into_its_vlans_only,
        macspoofchk_lets_no_false_source_address_pass_tagged_or_not,
        macspoofchk_holds_in_a_vlan_too,
    ]
}

const TIMEOUT: Duration = Duration::from_secs(20);
/// Sent after everything else.
const LAST: &str = "last";
const FALSE: MacAddr = MacAddr([2, 0xba, 0xd0, 0xba, 0xd0, 1]);

/// A pod on the bridge whose frames are recorded, and which can send as soon as its ADD returned.
struct Station {
    pod: Pod,
    tap: Tap,
    mac: MacAddr,
}

impl Station {
    fn new(host: &Host, name: &str, keys: Value) -> Self {
        let pod = host.pod(name);
        Network::new(host, keys).add(&pod).success();
        let tap = tap(&pod, "eth0");
        let mac = kernel::eth0(&pod).mac.or_fail("read a MAC address");
        Self { pod, tap, mac }
    }

    fn send(&self, label: &str, tags: &[Tag]) {
        self.send_as(self.mac, label, tags);
    }

    fn send_as(&self, from: MacAddr, label: &str, tags: &[Tag]) {
        self.tap
            .send(&Frame::new(from, label).tagged(tags))
            .or_fail(label);
    }

    /// Asserts that these frames, and no others, came in before the last frame.
    #[track_caller]
    fn heard<T: Debug>(&self, wanted: &[T])
    where
        String: PartialEq<T>,
    {
        heard(&self.tap, wanted);
    }
}

fn tap(pod: &Pod, interface: &str) -> Tap {
    pod.inside(|| Tap::open(interface)).or_fail(interface)
}

#[track_caller]
fn heard<T: Debug>(tap: &Tap, wanted: &[T])
where
    String: PartialEq<T>,
{
    assert_eq!(tap.labels_until(LAST, TIMEOUT).or_fail("listen"), wanted);
}

/// Two pods in each of the VLANs 1 (which needs no key), 100 and 200 of one bridge.
struct Vlans {
    one: [Station; 2],
    hundred: [Station; 2],
    two_hundred: [Station; 2],
}

impl Vlans {
    fn new(host: &Host) -> Self {
        kernel::require_vlan_filtering();
        let pair = |name: &str, keys: Value| {
            ["a", "b"].map(|end| Station::new(host, &format!("{name}{end}"), keys.clone()))
        };
        Self {
            hundred: pair("hundred", json!({"vlan": 100})),
            two_hundred: pair("two", json!({"vlan": 200})),
            one: pair("one", json!({})),
        }
    }

    /// Returns the senders: the first pod of each VLAN.
    fn senders(&self) -> [&Station; 3] {
        [&self.one[0], &self.hundred[0], &self.two_hundred[0]]
    }

    fn send_from_each(&self) {
        for (station, label) in self
            .senders()
            .into_iter()
            .zip(["from 1", "from 100", "from 200"])
        {
            station.send(label, &[]);
        }
        self.send_last();
    }

    fn send_last(&self) {
        for station in self.senders() {
            station.send(LAST, &[]);
        }
    }
}

fn an_arp_broadcast_stays_in_its_vlan(host: &Host) {
    let vlans = Vlans::new(host);
    let bridge = Tap::open("cni0").or_fail("cni0");
    vlans.send_from_each();
    vlans.one[1].heard(&["from 1"]);
    vlans.hundred[1].heard(&["from 100"]);
    vlans.two_hundred[1].heard(&["from 200"]);
    // The host itself is in VLAN 1.
    heard(&bridge, &["from 1"]);
}

/// Returns the tags by which a pod in VLAN `own` might reach `other`, each with true if the frame
/// reaches `own`, and false if it reaches nobody.
fn forged(own: u16, other: u16) -> [(String, Vec<Tag>, bool); 5] {
    [
        ("the other's tag", vec![Tag::Vlan(other)], false),
        (
            "own tag inside",
            vec![Tag::Vlan(other), Tag::Vlan(own)],
            false,
        ),
        (
            "own tag outside",
            vec![Tag::Vlan(own), Tag::Vlan(other)],
            true,
        ),
        // A tag without a VLAN has a priority only: the frame is in the port's VLAN.
        (
            "no VLAN outside",
            vec![Tag::Vlan(0), Tag::Vlan(other)],
            true,
        ),
        // Not a tag for a bridge whose vlan_protocol is 802.1Q.
        ("a provider's tag", vec![Tag::Provider(other)], true),
    ]
    .map(|(what, tags, stays)| (format!("{own} to {other}: {what}"), tags, stays))
}

fn a_forged_tag_leads_into_no_other_vlan(host: &Host) {
    let vlans = Vlans::new(host);
    let send = |station: &Station, own, other| {
        let frames = forged(own, other);
        frames
            .iter()
            .for_each(|(label, tags, _)| station.send(label, tags));
        frames
            .into_iter()
            .filter_map(|(label, _, stays)| stays.then_some(label))
            .collect::<Vec<_>>()
    };
    let one = send(&vlans.one[0], 1, 100);
    let hundred = [
        send(&vlans.hundred[0], 100, 1),
        send(&vlans.hundred[0], 100, 200),
    ]
    .concat();
    vlans.send_last();
    vlans.one[1].heard(&one);
    vlans.hundred[1].heard(&hundred);
    vlans.two_hundred[1].heard(&[""; 0]);
}

fn trunk(host: &Host) -> Station {
    Station::new(
        host,
        "trunk",
        json!({"vlanTrunk": [{"id": 100}, {"id": 300}]}),
    )
}

/// Records frames with the tag of this VLAN: a packet socket on `eth0` itself would not show the
/// tags.
fn tap_in_vlan(pod: &Pod, vlan: u16) -> Tap {
    let name = format!("eth0.{vlan}");
    pod.inside(|| {
        kernel::tool(&format!(
            "ip link add link eth0 name {name} type vlan id {vlan}"
        ));
        kernel::set_up(&name);
    });
    tap(pod, &name)
}

fn a_trunk_gets_tagged_frames_of_its_vlans_only(host: &Host) {
    kernel::require_tool("ip");
    let vlans = Vlans::new(host);
    let trunk = trunk(host);
    let [one, hundred] = [1, 100].map(|vlan| tap_in_vlan(&trunk.pod, vlan));
    vlans.send_from_each();
    // Frames of the native VLAN come without a tag, and none of VLAN 200 come at all.
    trunk.heard(&["from 1", "from 100"]);
    heard(&hundred, &["from 100"]);
    assert_eq!(one.labels().or_fail("listen"), [""; 0]);
}

fn a_trunk_sends_into_its_vlans_only(host: &Host) {
    let vlans = Vlans::new(host);
    let trunk = trunk(host);
    trunk.send("untagged", &[]);
    trunk.send("100", &[Tag::Vlan(100)]);
    trunk.send("200", &[Tag::Vlan(200)]);
    trunk.send("300 and 200", &[Tag::Vlan(300), Tag::Vlan(200)]);
    vlans.send_last();
    vlans.one[1].heard(&["untagged"]);
    vlans.hundred[1].heard(&["100"]);
    vlans.two_hundred[1].heard(&[""; 0]);
}

/// Without a tag, with one tag and with two tags of each kind.
const TAGS: [(&str, &[Tag]); 6] = [
    ("untagged", &[]),
    ("tagged", &[Tag::Vlan(100)]),
    ("priority", &[Tag::Vlan(0)]),
    ("double", &[Tag::Vlan(100), Tag::Vlan(200)]),
    ("provider", &[Tag::Provider(100)]),
    (
        "double with provider",
        &[Tag::Provider(100), Tag::Vlan(200)],
    ),
];

/// Asserts that all frames from the right address reach `listener`, and none from a false one.
fn only_the_right_address_passes(sender: &Station, listener: &Station) {
    for (what, tags) in TAGS {
        sender.send_as(FALSE, &format!("false, {what}"), tags);
        // A neighbour's address is as false as an unused one.
        sender.send_as(listener.mac, &format!("neighbour's, {what}"), tags);
        sender.send(what, tags);
    }
    sender.send(LAST, &[]);
    listener.heard(&TAGS.map(|(what, _)| what));
}

fn macspoofchk_lets_no_false_source_address_pass_tagged_or_not(host: &Host) {
    let sender = Station::new(host, "checked", json!({"macspoofchk": true}));
    let listener = Station::new(host, "listener", json!({}));
    only_the_right_address_passes(&sender, &listener);
    // The listener's own port lets false addresses through: without the rules the frames do arrive.
    listener.send_as(FALSE, "false, unchecked", &[Tag::Vlan(100)]);
    listener.send(LAST, &[]);
    sender.heard(&["false, unchecked"]);
}

fn macspoofchk_holds_in_a_vlan_too(host: &Host) {
    kernel::require_vlan_filtering();
    let sender = Station::new(host, "checked", json!({"vlan": 100, "macspoofchk": true}));
    let listener = Station::new(host, "listener", json!({"vlan": 100}));
    only_the_right_address_passes(&sender, &listener);
}
