//! The networks of the matrix.

use crate::{
    node::{BRIDGE, V4, V6, require_tool, tool},
    quirks,
};
use serde_json::{Value, json};
use testkit::{Suite, require};

/// A network, and its requirements.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Its keys.
    pub(crate) keys: fn() -> Value,
    /// Ends the test if the machine lacks something.
    pub(crate) needs: fn(),
    /// Changes the host before the first ADD.
    pub(crate) prepare: fn(),
    /// The references that know the keys.
    pub(crate) suites: &'static [Suite],
}

const SIMPLE: Case = Case {
    name: "",
    keys: || json!({}),
    needs: || {},
    prepare: || {},
    suites: &Suite::ALL,
};

/// `ipam` for the subnets; the node says where the records are.
fn ipam(subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets
        .iter()
        .map(|subnet| json!([{"subnet": subnet}]))
        .collect();
    json!({"type": "host-local", "ranges": ranges})
}

fn masqueraded(backend: &str) -> Value {
    json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": backend, "ipam": ipam(&[V4, V6])})
}

pub(crate) const ALL: &[Case] = &[
    Case {
        name: "plain",
        keys: || json!({"ipam": ipam(&[V4])}),
        ..SIMPLE
    },
    Case {
        name: "dual_stack",
        keys: || json!({"ipam": ipam(&[V4, V6])}),
        ..SIMPLE
    },
    Case {
        name: "gateway",
        keys: || json!({"isGateway": true, "ipam": ipam(&[V4, V6])}),
        ..SIMPLE
    },
    Case {
        name: "default_gateway",
        keys: || json!({"isDefaultGateway": true, "ipam": ipam(&[V4, V6])}),
        ..SIMPLE
    },
    Case {
        name: "masquerade_nftables",
        keys: || masqueraded("nftables"),
        // 1.1.1 uses iptables all the same.
        needs: || require_tool("iptables"),
        ..SIMPLE
    },
    Case {
        name: "masquerade_iptables",
        keys: || masqueraded("iptables"),
        needs: || require_tool("iptables-restore"),
        ..SIMPLE
    },
    Case {
        name: "hairpin",
        keys: || json!({"hairpinMode": true, "ipam": ipam(&[V4])}),
        ..SIMPLE
    },
    Case {
        name: "promiscuous",
        keys: || json!({"promiscMode": true, "ipam": ipam(&[V4])}),
        ..SIMPLE
    },
    Case {
        name: "port_isolation",
        keys: || json!({"portIsolation": true, "ipam": ipam(&[V4])}),
        suites: &[Suite::Sid],
        ..SIMPLE
    },
    Case {
        name: "force_address",
        keys: || json!({"isGateway": true, "forceAddress": true, "ipam": ipam(&[V4])}),
        needs: || require_tool("ip"),
        prepare: || {
            tool(&format!("ip addr flush dev {BRIDGE} scope global"));
            tool(&format!("ip addr add 10.9.0.1/24 dev {BRIDGE}"));
        },
        ..SIMPLE
    },
    Case {
        name: "macspoofchk",
        keys: || json!({"macspoofchk": true, "ipam": ipam(&[V4])}),
        ..SIMPLE
    },
    Case {
        name: "vlan",
        keys: || json!({"isGateway": true, "vlan": 100, "ipam": ipam(&[V4])}),
        needs: || require("bridge VLAN filtering", quirks::has_vlan_filtering()),
        ..SIMPLE
    },
];
