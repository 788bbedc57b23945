//! Which frames get past macspoofchk. What hostile containers send is among them, tagged and doubly tagged frames,
//! since a list of rules does not tell which frames they meet.

use crate::{kernel, network::Network};
use cni_types::MacAddr;
use conformance::{
    frame::{Frame, Tag, Tap},
    testbed::{self, Host, OrFail, Pod, Test},
};
use serde_json::{Value, json};
use std::{fmt::Debug, time::Duration};

pub(crate) fn tests() -> Vec<Test> {
    testbed::tests![macspoofchk_lets_no_false_source_address_pass_tagged_or_not,]
}

const TIMEOUT: Duration = Duration::from_secs(20);
/// Sent when all else was sent.
const LAST: &str = "last";
const FALSE: MacAddr = MacAddr([2, 0xba, 0xd0, 0xba, 0xd0, 1]);

/// A pod on the bridge, heard and able to send from the moment that its ADD returned.
struct Station {
    tap: Tap,
    mac: MacAddr,
}

impl Station {
    fn new(host: &Host, name: &str, keys: Value) -> Self {
        let pod = host.pod(name);
        Network::new(host, keys).add(&pod).success();
        let tap = tap(&pod, "eth0");
        let mac = kernel::eth0(&pod).mac.or_fail("read a MAC address");
        Self { tap, mac }
    }

    fn send(&self, label: &str, tags: &[Tag]) {
        self.send_as(self.mac, label, tags);
    }

    fn send_as(&self, from: MacAddr, label: &str, tags: &[Tag]) {
        self.tap.send(&Frame::new(from, label).tagged(tags)).or_fail(label);
    }

    /// What came in until the last frame, and nothing else may.
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

/// With no tag, with one and with two of each kind.
const TAGS: [(&str, &[Tag]); 6] = [
    ("untagged", &[]),
    ("tagged", &[Tag::Vlan(100)]),
    ("priority", &[Tag::Vlan(0)]),
    ("double", &[Tag::Vlan(100), Tag::Vlan(200)]),
    ("provider", &[Tag::Provider(100)]),
    ("double with provider", &[Tag::Provider(100), Tag::Vlan(200)]),
];

/// Of frames from a false address and from the right one, all of the latter get to `listener`, and none of the former.
fn only_the_right_address_passes(sender: &Station, listener: &Station) {
    for (what, tags) in TAGS {
        sender.send_as(FALSE, &format!("false, {what}"), tags);
        // A neighbour's address is as false as one that nobody has.
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
