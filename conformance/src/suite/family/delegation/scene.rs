//! An attachment whose addresses come from a double.

use crate::suite::{
    Attachment, Context, Double, Failure, Request,
    double::{Call, Reply},
    fault, require,
};
use cni_types::{Command, SpecVersion};
use serde_json::{Value, json};

/// The address that the double gives out.
pub(super) const ADDRESS: &str = "10.77.0.9/24";
/// The gateway that goes with it.
pub(super) const GATEWAY: &str = "10.77.0.1";

/// The double's name.
pub(super) const DOUBLE: &str = "double-ipam";

/// A plugin under test, a container, and the double that the configuration names as IPAM plugin.
pub(super) struct Scene<'c> {
    context: &'c Context<'c>,
    attachment: Attachment<'c>,
    ipam: Double,
}

impl<'c> Scene<'c> {
    /// The double gives out one address; `replies` are its other answers, or another one to ADD.
    pub(super) fn new(
        context: &'c Context<'c>,
        replies: &[(Command, Reply)],
    ) -> Result<Self, Failure> {
        let usual = (
            Command::Add,
            Reply::success(result(context.version(), &json!([]))),
        );
        let replies: Vec<_> = std::iter::once(usual)
            .chain(replies.iter().cloned())
            .collect();
        let ipam = context.double(DOUBLE, &replies)?;
        Ok(Self {
            context,
            attachment: context.attachment("c1")?,
            ipam,
        })
    }

    /// Other answers of the double from here on.
    pub(super) fn answer(&self, replies: &[(Command, Reply)]) -> Result<(), Failure> {
        self.ipam.answer(replies)
    }

    pub(super) fn attachment(&self) -> &Attachment<'c> {
        &self.attachment
    }

    /// A request as a runtime makes it, of a network whose IPAM plugin is the double.
    pub(super) fn request(&self, command: Command) -> Request<'c> {
        let path = format!(
            "{}:{}",
            self.ipam.folder().display(),
            self.context.bin_dir().display()
        );
        let section = json!({"type": self.ipam.name(), "x": [1, {"y": null}]});
        let request = self
            .attachment
            .request(command)
            .env("CNI_PATH", path)
            .key("ipam", section);
        if command != Command::Gc {
            return request;
        }
        let container = self.attachment.container();
        let ifname = &self.context.profile().ifname;
        request.key(
            "cni.dev/valid-attachments",
            json!([{"containerID": container, "ifname": ifname}]),
        )
    }

    /// Runs ADD, which must succeed: its result.
    pub(super) fn add(&self) -> Result<Value, Failure> {
        Ok(self.request(Command::Add).run()?.result()?)
    }

    /// The request that follows upon an ADD with this result.
    pub(super) fn request_after(&self, command: Command, result: &Value) -> Request<'c> {
        let request = self.request(command);
        let has_result =
            matches!(command, Command::Check | Command::Del) && self.context.version().has_check();
        if has_result {
            request.key("prevResult", result.clone())
        } else {
            request
        }
    }

    /// The operations that the double was asked for, in order.
    pub(super) fn commands(&self) -> Result<Vec<String>, Failure> {
        Ok(self
            .ipam
            .calls()?
            .iter()
            .map(|call| call.command().to_owned())
            .collect())
    }

    /// The double's first run for this operation; there must be one.
    pub(super) fn call(&self, command: Command) -> Result<Call, Failure> {
        let found = self
            .ipam
            .calls()?
            .into_iter()
            .find(|call| call.command() == command.as_str());
        found.ok_or_else(|| {
            let asked = self.commands().unwrap_or_default().join(", ");
            let asked = if asked.is_empty() {
                "no run of it".to_owned()
            } else {
                format!("only {asked}")
            };
            Failure::mismatch(format!("the delegate's {}", command.as_str()), asked)
        })
    }

    /// Fails unless the double was asked to DEL after it was asked to ADD.
    pub(super) fn require_undone(&self) -> Result<(), Failure> {
        let asked = self.commands()?;
        let undone = asked
            .iter()
            .skip_while(|command| *command != "ADD")
            .any(|command| command == "DEL");
        require(undone, "the delegate's DEL after its ADD", asked.join(", "))
    }
}

/// The result of an IPAM plugin: one address, and these routes.
pub(super) fn result(version: SpecVersion, routes: &Value) -> Value {
    if version.has_one_address_per_family() {
        let ip4 = json!({"ip": ADDRESS, "gateway": GATEWAY, "routes": routes});
        return json!({"cniVersion": version.as_str(), "ip4": ip4});
    }
    let mut ip = json!({"address": ADDRESS, "gateway": GATEWAY});
    if version < SpecVersion::V1_0_0 {
        fault::put(&mut ip, "/version", "4");
    }
    json!({"cniVersion": version.as_str(), "ips": [ip], "routes": routes})
}

/// For faults: the same request without an IPAM plugin.
pub(super) fn without_ipam(call: fault::Call) -> fault::Call {
    call.edited(|config| {
        config.as_object_mut().map(|config| config.remove("ipam"));
    })
}
