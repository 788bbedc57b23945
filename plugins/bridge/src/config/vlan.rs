//! The keys `vlan`, `vlanTrunk` and `preserveDefaultVlan`.

use super::{Container, invalid};
use cni_net::{Membership, PortVlans};
use cni_types::{Error, IfName, Key, VlanId};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The keys of an entry of `vlanTrunk`.
pub(super) const TRUNK_KEYS: &[Key] = &[
    Key::number("minID"),
    Key::number("maxID"),
    Key::number("id"),
];

/// An entry of `vlanTrunk`: one VLAN, a range, or both.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireTrunk {
    id: Option<i64>,
    #[serde(rename = "minID")]
    min_id: Option<i64>,
    #[serde(rename = "maxID")]
    max_id: Option<i64>,
}

/// The treatment of the VLAN that the bridge gives every new port, usually 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultVlan {
    /// The port leaves it, so that frames which others send in it do not reach the container
    /// (containernetworking/plugins#667).
    Removed,
    /// The port stays in it.
    Kept,
}

/// The VLANs of the bridge port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vlan {
    /// The port keeps the VLANs that the bridge gave it.
    None,
    /// The container is in one VLAN; its frames have no tags.
    Access {
        /// The VLAN.
        id: VlanId,
        /// The treatment of the bridge's default VLAN.
        default: DefaultVlan,
    },
    /// The container sends and receives tagged frames.
    Trunk {
        /// The VLAN of its untagged frames; `None` for the bridge's default VLAN.
        native: Option<VlanId>,
        /// The VLANs of its tagged frames.
        tagged: BTreeSet<VlanId>,
        /// The treatment of the bridge's default VLAN.
        default: DefaultVlan,
    },
}

impl Vlan {
    /// Checks the values of `vlan`, `vlanTrunk` and `preserveDefaultVlan`.
    ///
    /// # Errors
    /// Fails with code 7 for an invalid VLAN or range.
    pub(super) fn of(
        vlan: i64,
        trunk: &[Option<WireTrunk>],
        preserve: bool,
    ) -> Result<Self, Error> {
        let native = match VlanId::new(vlan) {
            None if vlan != 0 => {
                return Err(invalid(format!(
                    "invalid VLAN ID {vlan} (must be between 0 and 4094)"
                )));
            }
            native => native,
        };
        let mut ranges = Vec::with_capacity(trunk.len());
        for entry in trunk {
            entry.unwrap_or_default().collect(&mut ranges)?;
        }
        let mut tagged = distinct_ids(ranges);
        if let Some(native) = native {
            tagged.remove(&native);
        }
        let default = if preserve {
            DefaultVlan::Kept
        } else {
            DefaultVlan::Removed
        };
        Ok(match native {
            _ if !trunk.is_empty() => Self::Trunk {
                native,
                tagged,
                default,
            },
            Some(id) => Self::Access { id, default },
            None => Self::None,
        })
    }

    /// Returns the VLANs that the port is to have on a bridge with the default VLAN
    /// `bridge_default`; `None` if the configuration names no VLAN.
    #[must_use]
    pub fn wanted(&self, bridge_default: Option<VlanId>) -> Option<PortVlans> {
        let none = BTreeSet::new();
        let (native, tagged, default) = match self {
            Self::None => return None,
            Self::Access { id, default } => (Some(*id), &none, *default),
            Self::Trunk {
                native,
                tagged,
                default,
            } => (*native, tagged, *default),
        };
        let kept = bridge_default.filter(|_| default == DefaultVlan::Kept || native.is_none());
        // In this order: the configuration takes precedence over the default of the bridge.
        let mut wanted: PortVlans = kept
            .map(|id| (id, Membership::NATIVE))
            .into_iter()
            .collect();
        tagged
            .iter()
            .for_each(|id| wanted.insert(*id, Membership::TAGGED));
        native
            .into_iter()
            .for_each(|id| wanted.insert(id, Membership::NATIVE));
        Some(wanted)
    }

    /// Returns the VLAN of the container's untagged frames, or `None` if the configuration names
    /// none.
    fn native(&self) -> Option<VlanId> {
        match self {
            Self::None => None,
            Self::Access { id, .. } => Some(*id),
            Self::Trunk { native, .. } => *native,
        }
    }
}

impl WireTrunk {
    /// Adds the ranges of the entry to `ranges`. Checks the range before the single VLAN, as the
    /// reference does.
    ///
    /// # Errors
    /// Fails with code 7 for an invalid VLAN or range.
    fn collect(self, ranges: &mut Vec<(VlanId, VlanId)>) -> Result<(), Error> {
        let limits = |msg: &str, found: i64| {
            invalid(msg).with_details(format!(
                "vlanTrunk has {found}, expected 1 to {}",
                VlanId::MAX
            ))
        };
        let parse = |msg, found| VlanId::new(found).ok_or_else(|| limits(msg, found));
        match (self.min_id, self.max_id) {
            (Some(min), Some(max)) => {
                let first = parse("incorrect trunk minID parameter", min)?;
                let last = parse("incorrect trunk maxID parameter", max)?;
                if first > last {
                    return Err(invalid("minID is greater than maxID in trunk parameter")
                        .with_details(format!("vlanTrunk has minID {min} and maxID {max}")));
                }
                ranges.push((first, last));
            }
            (Some(_), None) => return Err(half_range("maxID")),
            (None, Some(_)) => return Err(half_range("minID")),
            // The reference accepts such an entry, and leaves the port in no VLAN at all.
            (None, None) if self.id.is_none() => {
                return Err(invalid("incorrect trunk id parameter").with_details(
                    "an entry of vlanTrunk is empty, expected id, or minID and maxID",
                ));
            }
            (None, None) => {}
        }
        let id = self
            .id
            .map(|id| parse("incorrect trunk id parameter", id))
            .transpose()?;
        ranges.extend(id.map(|id| (id, id)));
        Ok(())
    }
}

/// Returns the VLANs of these ranges. Joins overlapping ranges first: thousands of them may name
/// the same VLANs.
fn distinct_ids(mut ranges: Vec<(VlanId, VlanId)>) -> BTreeSet<VlanId> {
    ranges.sort_unstable();
    ranges.dedup_by(|later, earlier| {
        let overlap = later.0 <= earlier.1;
        if overlap {
            earlier.1 = earlier.1.max(later.1);
        }
        overlap
    });
    ranges
        .into_iter()
        .flat_map(|(first, last)| first.through(last))
        .collect()
}

/// Returns the error for a range of which one limit is missing.
fn half_range(missing: &str) -> Error {
    invalid(format!(
        "minID and maxID should be configured simultaneously, {missing} is missing"
    ))
}

/// The interface of the host that is the gateway of a VLAN. An address on the bridge itself would
/// be in another VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanGateway {
    /// `<bridge>.<vlan>`
    pub name: IfName,
    /// The VLAN.
    pub id: VlanId,
}

impl VlanGateway {
    /// Returns the gateway of the VLAN of the container's untagged frames, for a bridge that is the
    /// gateway; `None` if the configuration names no such VLAN. A name that is too long does no
    /// harm without addresses.
    ///
    /// # Errors
    /// Fails with code 7 if there may be addresses and the name is too long.
    pub(super) fn of(
        bridge: &IfName,
        vlan: &Vlan,
        container: &Container,
    ) -> Result<Option<Self>, Error> {
        let Some(id) = vlan.native() else {
            return Ok(None);
        };
        let parsed = gateway_name(bridge, id);
        if parsed.is_err() && !matches!(container, Container::Addressed { .. }) {
            return Ok(None);
        }
        let name = parsed.map_err(|e| {
            let name = format!("{bridge}.{id}");
            invalid(format!("invalid VLAN interface name {name:?}: {}", e.msg)).with_details(format!(
                "the gateway of VLAN {id} is an interface of this name, and {}; give the bridge a shorter name",
                e.details
            ))
        })?;
        Ok(Some(Self { name, id }))
    }
}

/// Returns the name of the gateway's interface.
///
/// # Errors
/// Fails if it is too long.
pub(super) fn gateway_name(bridge: &IfName, id: VlanId) -> Result<IfName, Error> {
    IfName::parse(&format!("{bridge}.{id}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, tests::config};
    use super::*;
    use cni_types::Code;

    fn wanted(keys: &str, bridge_default: u16) -> String {
        let vlan = config(keys).unwrap().vlan;
        vlan.wanted(VlanId::new(bridge_default))
            .map_or("-".to_owned(), |vlans| vlans.to_string())
    }

    #[test]
    fn without_vlan_and_trunk_the_port_is_left_as_it_is() {
        for keys in [
            "",
            r#","vlan":0"#,
            r#","vlan":null,"vlanTrunk":null"#,
            r#","preserveDefaultVlan":true"#,
        ] {
            assert_eq!(config(keys).unwrap().vlan, Vlan::None, "{keys}");
        }
        assert_eq!(wanted(r#","vlanTrunk":[]"#, 1), "-");
    }

    #[test]
    fn an_access_port_is_in_its_vlan_alone() {
        assert_eq!(wanted(r#","vlan":100"#, 1), "100 pvid untagged");
        assert_eq!(wanted(r#","vlan":4094"#, 0), "4094 pvid untagged");
        assert_eq!(wanted(r#","vlan":1"#, 1), "1 pvid untagged");
    }

    #[test]
    fn the_default_vlan_stays_where_that_is_asked_for() {
        let keys = r#","vlan":100,"preserveDefaultVlan":true"#;
        assert_eq!(wanted(keys, 1), "1 untagged, 100 pvid untagged");
        assert_eq!(wanted(keys, 7), "7 untagged, 100 pvid untagged");
        assert_eq!(wanted(keys, 0), "100 pvid untagged");
        assert_eq!(wanted(keys, 100), "100 pvid untagged");
    }

    #[test]
    fn a_trunk_has_all_that_is_listed_and_the_native_vlan_untagged() {
        let keys = r#","vlan":100,"vlanTrunk":[{"id":7},{"minID":99,"maxID":101},{"ID":300,"minid":400,"MAXID":400}]"#;
        assert_eq!(wanted(keys, 1), "7, 99, 100 pvid untagged, 101, 300, 400");
        assert_eq!(
            wanted(r#","vlanTrunk":[{"id":7}]"#, 1),
            "1 pvid untagged, 7"
        );
        assert_eq!(wanted(r#","vlanTrunk":[{"id":1}]"#, 1), "1");
        assert_eq!(wanted(r#","vlanTrunk":[{"id":7}]"#, 0), "7");
        assert_eq!(
            wanted(r#","vlanTrunk":[{"minID":1,"maxID":4094}],"vlan":5"#, 1),
            "1-4, 5 pvid untagged, 6-4094"
        );
    }

    #[test]
    fn tens_of_thousands_of_trunk_entries_are_read_in_a_moment() {
        let entry = |n: u32| match n % 3 {
            0 => r#"{"minID":1,"maxID":4094}"#.to_owned(),
            1 => format!(r#"{{"id":{}}}"#, n % 4094 + 1),
            _ => format!(r#"{{"minID":{},"maxID":4094}}"#, n % 4094 + 1),
        };
        let entries: Vec<String> = (0..20_000).map(entry).collect();
        let begin = std::time::Instant::now();
        let config = config(&format!(r#","vlanTrunk":[{}]"#, entries.join(","))).unwrap();
        let Vlan::Trunk { tagged, .. } = config.vlan else {
            panic!("{:?}", config.vlan)
        };
        assert_eq!(tagged.len(), 4094);
        // One look-up for each VLAN of each entry took half a minute.
        assert!(
            begin.elapsed() < std::time::Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
    }

    #[test]
    fn joined_ranges_have_the_vlans_of_each() {
        let id = |number| VlanId::new(number).unwrap();
        let all =
            || (1..=5).flat_map(move |first| (first..=5).map(move |last| (id(first), id(last))));
        for ranges in all().flat_map(|a| all().flat_map(move |b| all().map(move |c| [a, b, c]))) {
            let each: BTreeSet<VlanId> = ranges
                .iter()
                .flat_map(|(first, last)| first.through(*last))
                .collect();
            assert_eq!(distinct_ids(ranges.to_vec()), each, "{ranges:?}");
        }
    }

    #[test]
    fn what_is_no_vlan_is_refused_with_the_references_text() {
        for (keys, msg) in [
            (
                r#","vlan":-100"#,
                "invalid VLAN ID -100 (must be between 0 and 4094)",
            ),
            (
                r#","vlan":4095"#,
                "invalid VLAN ID 4095 (must be between 0 and 4094)",
            ),
            (
                r#","vlan":-1,"vlanTrunk":[{"id":0}]"#,
                "invalid VLAN ID -1 (must be between 0 and 4094)",
            ),
            (
                r#","vlan":5,"vlanTrunk":[{"id":0}]"#,
                "incorrect trunk id parameter",
            ),
            (
                r#","vlanTrunk":[{"id":4095}]"#,
                "incorrect trunk id parameter",
            ),
            (r#","vlanTrunk":[{}]"#, "incorrect trunk id parameter"),
            (r#","vlanTrunk":[null]"#, "incorrect trunk id parameter"),
            (
                r#","vlanTrunk":[{"minID":0,"maxID":5}]"#,
                "incorrect trunk minID parameter",
            ),
            (
                r#","vlanTrunk":[{"minID":4095,"maxID":5}]"#,
                "incorrect trunk minID parameter",
            ),
            (
                r#","vlanTrunk":[{"minID":9,"maxID":0}]"#,
                "incorrect trunk maxID parameter",
            ),
            (
                r#","vlanTrunk":[{"minID":1,"maxID":4095}]"#,
                "incorrect trunk maxID parameter",
            ),
            (
                r#","vlanTrunk":[{"minID":9,"maxID":5}]"#,
                "minID is greater than maxID in trunk parameter",
            ),
            (
                r#","vlanTrunk":[{"id":0,"minID":9}]"#,
                "minID and maxID should be configured simultaneously, maxID is missing",
            ),
            (
                r#","vlanTrunk":[{"maxID":9}]"#,
                "minID and maxID should be configured simultaneously, minID is missing",
            ),
        ] {
            let error = config(keys).unwrap_err();
            assert_eq!(
                (error.code, error.msg.as_str()),
                (Code::INVALID_CONFIG, msg),
                "{keys}"
            );
        }
        assert_eq!(config(r#","vlan":"5""#).unwrap_err().code, Code::DECODE);
    }

    #[test]
    fn the_gateway_of_a_vlan_is_an_interface_of_its_own() {
        let gateway = |keys: &str| -> Result<Option<String>, Error> {
            let config: Config = config(keys)?;
            Ok(config.vlan_gateway.map(|gateway| gateway.name.to_string()))
        };
        let addressed = r#","vlan":100,"isGateway":true,"ipam":{"type":"x"}"#;
        assert_eq!(gateway(addressed).unwrap().as_deref(), Some("cni0.100"));
        let trunk = format!(r#"{addressed},"vlanTrunk":[{{"id":7}}]"#);
        assert_eq!(gateway(&trunk).unwrap().as_deref(), Some("cni0.100"));
        for keys in [
            r#","vlan":100,"ipam":{"type":"x"}"#,
            r#","vlanTrunk":[{"id":7}],"isGateway":true,"ipam":{"type":"x"}"#,
            r#","isGateway":true,"ipam":{"type":"x"}"#,
        ] {
            assert_eq!(gateway(keys).unwrap(), None, "{keys}");
        }
    }

    #[test]
    fn a_name_of_the_gateways_interface_that_is_too_long_is_refused() {
        let keys = |bridge: &str| {
            format!(r#","bridge":"{bridge}","vlan":1000,"isGateway":true,"ipam":{{"type":"x"}}"#)
        };
        assert!(config(&keys("bridge1234")).is_ok());
        let error = config(&keys("bridge12345")).unwrap_err();
        assert_eq!(error.code, Code::INVALID_CONFIG);
        assert_eq!(
            error.msg,
            "invalid VLAN interface name \"bridge12345.1000\": interface name is too long"
        );
        assert!(
            error.details.ends_with("give the bridge a shorter name"),
            "{error}"
        );
        for keys in ["", r#","isGateway":true"#] {
            let config = config(&format!(r#","bridge":"bridge12345","vlan":1000{keys}"#));
            assert_eq!(
                config.unwrap().vlan_gateway,
                None,
                "without addresses nobody needs it"
            );
        }
    }
}
