//! What the delegate is asked.

use crate::suite::{
    Attachment, Case, Clause, Context, Double, Failure, Fault, Kind, Level, Need, Request, Versions,
    double::Reply, require_same,
};
use cni_types::{Command, SpecVersion};
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[Case {
    id: "delegation/whole-config",
    title: "the delegate gets the whole configuration, as the plugin got it",
    clause: Clause {
        section: "4 Delegated Plugin protocol",
        rule: "a delegate is given the complete configuration that the plugin got, not only its own section",
    },
    level: Level::Must,
    versions: Versions::ALL,
    kinds: &[Kind::Interface],
    needs: &[Need::Ipam, Need::Double],
    faults: &[Fault::new("passes on only what it knows", |real, call| {
        real.run(&call.edited(|config| {
            config.as_object_mut().map(|config| config.remove("x-for-the-delegate"));
        }))
    })],
    body: the_delegate_gets_the_whole_configuration,
}];

/// The name of the double in configurations.
const IPAM: &str = "double-ipam";

/// A double that gives out one address.
fn ipam(context: &Context<'_>) -> Result<Double, Failure> {
    context.double(IPAM, &[(Command::Add, Reply::success(address(context.version())))])
}

fn address(version: SpecVersion) -> Value {
    let mut ip = json!({"address": "10.77.0.9/24", "gateway": "10.77.0.1"});
    if version.has_one_address_per_family() {
        return json!({"cniVersion": version.as_str(), "ip4": {"ip": "10.77.0.9/24", "gateway": "10.77.0.1"}});
    }
    if let (true, Some(ip)) = (version < SpecVersion::V1_0_0, ip.as_object_mut()) {
        ip.insert("version".to_owned(), json!("4"));
    }
    json!({"cniVersion": version.as_str(), "ips": [ip]})
}

/// A request to the plugin under test with the double as its IPAM plugin.
fn request<'c>(
    context: &Context<'_>,
    attachment: &Attachment<'c>,
    command: Command,
    ipam: &Double,
) -> Request<'c> {
    let path = format!("{}:{}", ipam.folder().display(), context.bin_dir().display());
    let section = json!({"type": ipam.name(), "x": [1, {"y": null}]});
    attachment.request(command).env("CNI_PATH", path).key("ipam", section)
}

fn the_delegate_gets_the_whole_configuration(context: &Context<'_>) -> Result<(), Failure> {
    let ipam = ipam(context)?;
    let attachment = context.attachment("c1")?;
    let request =
        request(context, &attachment, Command::Add, &ipam).key("x-for-the-delegate", json!({"a": 1}));
    request.run()?.succeeded()?;
    let calls = ipam.calls()?;
    let call = calls.first().ok_or_else(|| Failure::mismatch("a run of the delegate", "none"))?;
    require_same("the delegate's configuration", &request.config(), &call.config())
}
