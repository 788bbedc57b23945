//! Attachment parameters (spec section 3): what is particular to one container on one network.

use cni_types::{Command, ContainerId, Environment, IfName, Json, NetnsPath};

/// The parameters of one attachment. CHECK and DEL must get the ones that ADD got.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The container.
    pub container_id: ContainerId,
    /// The interface in the container.
    pub if_name: IfName,
    /// The container's network namespace; DEL does without it.
    pub netns: Option<NetnsPath>,
    /// Generic arguments, which every plugin gets: `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Capability arguments, which a plugin gets that declares the capability: `runtimeConfig`.
    pub capability_args: Vec<(String, Json)>,
}

impl Parameters {
    /// Parameters without arguments.
    ///
    /// # Errors
    /// Code 4 for a container id or an interface name that the spec does not allow.
    pub fn new(container_id: &str, if_name: &str, netns: &str) -> Result<Self, cni_types::Error> {
        Ok(Self {
            container_id: ContainerId::parse(container_id)?,
            if_name: IfName::parse(if_name)?,
            netns: NetnsPath::new(netns),
            args: Vec::new(),
            capability_args: Vec::new(),
        })
    }

    /// The same with a generic argument more.
    #[must_use]
    pub fn with_arg(mut self, key: &str, value: &str) -> Self {
        self.args.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same with a capability argument more.
    #[must_use]
    pub fn with_capability_arg(mut self, capability: &str, value: Json) -> Self {
        self.capability_args.push((capability.to_owned(), value));
        self
    }

    /// `CNI_ARGS`: `KEY=value` pairs with semicolons between them.
    #[must_use]
    pub fn cni_args(&self) -> String {
        self.args
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(";")
    }
}

/// The variables that a plugin gets: `base` without any stray `CNI_*`, and those of the request.
/// All but `CNI_COMMAND` and `CNI_PATH` belong to attachments. So a chain starts without
/// CNI_DELEGATION_DEPTH: at depth 0.
pub(super) fn environment(
    base: &Environment,
    command: Command,
    cni_path: &str,
    parameters: Option<&Parameters>,
) -> Environment {
    let is_ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("CNI_");
    let clean: Environment = base.iter().filter(|(name, _)| !is_ours(name)).collect();
    let clean = clean
        .with("CNI_COMMAND", command.as_str())
        .with("CNI_PATH", cni_path);
    let Some(parameters) = parameters else {
        return clean;
    };
    clean
        .with("CNI_CONTAINERID", parameters.container_id.as_str())
        .with(
            "CNI_NETNS",
            parameters.netns.as_ref().map_or("", NetnsPath::as_str),
        )
        .with("CNI_IFNAME", parameters.if_name.as_str())
        .with("CNI_ARGS", parameters.cni_args())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_joined_by_semicolons() {
        let parameters = Parameters::new("c1", "eth0", "").unwrap();
        assert_eq!(parameters.cni_args(), "");
        assert_eq!(
            parameters.with_arg("A", "1").with_arg("B", "2").cni_args(),
            "A=1;B=2"
        );
    }

    #[test]
    fn variables_of_another_request_do_not_get_through() {
        let base: Environment = [
            ("CNI_ARGS", "X=1"),
            ("CNI_NETNS_OVERRIDE", "1"),
            ("PATH", "/bin"),
        ]
        .into_iter()
        .collect();
        let status = environment(&base, Command::Status, "/a:/b", None);
        let names: Vec<_> = status
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["PATH", "CNI_COMMAND", "CNI_PATH"]);
        let del = environment(
            &base,
            Command::Del,
            "/a",
            Some(&Parameters::new("c1", "eth0", "").unwrap()),
        );
        assert_eq!(del.value("CNI_ARGS").unwrap(), "");
        assert_eq!(del.value("CNI_NETNS").unwrap(), "");
        assert_eq!(del.text("CNI_IFNAME"), "eth0");
    }
}
