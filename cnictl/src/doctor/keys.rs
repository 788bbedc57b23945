//! Keys that have no effect or are refused: misspelt, misplaced, duplicate, or with a value of the
//! wrong type.
//!
//! Plugins ignore unknown keys, as the reference does: `isGatway` makes no gateway, and no error.

use super::{
    finding::Report,
    lines::{KeyPath, Lines},
    node::{ConfFile, Node},
    schema::{self, Keys},
};
use crate::{required_plugins, spelling::nearest};
use cni_runtime::PluginConfig;
use cni_types::{Json, KeyKind};

pub(super) fn examine(node: &Node, report: &mut Report) {
    for file in &node.files {
        if let Ok(json) = Json::parse(&file.bytes) {
            of_file(file, &json, report);
        }
    }
}

/// Examines the keys of a file. Those of a list are examined even if the file is unusable: a
/// misspelt key may be the reason.
fn of_file(file: &ConfFile, json: &Json, report: &mut Report) {
    let lines = Lines::of(&String::from_utf8_lossy(&file.bytes));
    let mut walk = Walk {
        file: file.name(),
        lines,
        report,
    };
    let is_list = file.is_list();
    if is_list {
        walk.object(json, &KeyPath::new(String::new(), ""), &[schema::NETWORK]);
    }
    let Ok(network) = &file.network else { return };
    let inlined = match json.lookup("plugins") {
        Some(Json::Array(plugins)) if is_list => plugins.len(),
        _ => 0,
    };
    for (index, plugin) in network.plugins.iter().enumerate() {
        if is_list && index >= inlined {
            walk.file = format!("{}/*.conf, included by {}", network.name, file.name());
        }
        let pointer = if is_list {
            format!("/plugins/{index}")
        } else {
            String::new()
        };
        walk.plugin(plugin, &KeyPath::new(pointer, plugin.kind()));
    }
}

/// A walk through the keys of one file.
struct Walk<'a> {
    file: String,
    lines: Lines,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn plugin(&mut self, plugin: &PluginConfig, path: &KeyPath) {
        self.capabilities(plugin, path);
        self.ipam_type(plugin, path);
        let Some(keys) = schema::of_plugin(plugin.kind()) else {
            return;
        };
        self.object(plugin.json(), path, &[schema::EVERY_PLUGIN, keys]);
    }

    /// Reports an `ipam.type` that is not an IPAM plugin; most often a copied name of the interface
    /// plugin itself.
    fn ipam_type(&mut self, plugin: &PluginConfig, path: &KeyPath) {
        let Some(ipam) = required_plugins::ipam_type(plugin) else {
            return;
        };
        let is_itself = ipam == plugin.kind();
        if !is_itself && schema::of_plugin(&ipam).is_none() {
            return;
        }
        let path = path.key("ipam").key("type");
        let place = self.place(&path);
        let (what, why) = if is_itself {
            (
                "which is the plugin itself",
                "every ADD fails; a plugin without a limit starts itself until the node is out of \
                 memory",
            )
        } else {
            ("which is not an IPAM plugin", "every ADD fails")
        };
        let ipams: Vec<&str> = schema::ipams().map(|(name, _)| name).collect();
        self.report.error(
            "ipam-type",
            format!("{place}: {} is {ipam}, {what}", path.shown()),
            why,
            format!("name an IPAM plugin: {}", ipams.join(", ")),
        );
    }

    /// Examines an object whose keys are those of all `tables`.
    fn object(&mut self, json: &Json, path: &KeyPath, tables: &[Keys]) {
        let Json::Object(members) = json else { return };
        for (index, (key, value)) in members.iter().enumerate() {
            let path = path.key(key);
            if members
                .iter()
                .skip(index + 1)
                .any(|(later, _)| later.eq_ignore_ascii_case(key))
            {
                self.twice(key, &path);
            }
            let known = || tables.iter().flat_map(|keys| keys.iter());
            // libcni reads a list's keys letter by letter, unlike all others.
            let is_exact = tables.contains(&schema::NETWORK);
            let is_it = |name: &str| name == key || !is_exact && name.eq_ignore_ascii_case(key);
            match known().find(|known| is_it(known.name)) {
                Some(known) => self.value(value, known.kind, &path),
                None if is_remark(key) => {}
                None => self.unknown(key, &path, nearest(key, known().map(|known| known.name))),
            }
        }
    }

    fn value(&mut self, json: &Json, kind: KeyKind, path: &KeyPath) {
        let wanted = match (kind, json) {
            (KeyKind::Any, _) | (_, Json::Null) | (KeyKind::Flag, Json::Bool(_)) => return,
            (KeyKind::Number, Json::Number(_)) | (KeyKind::Text, Json::String(_)) => return,
            (KeyKind::Object(keys), Json::Object(_)) => {
                return self.object(json, path, &[keys]);
            }
            (KeyKind::Map(kind), Json::Object(members)) => {
                return members
                    .iter()
                    .for_each(|(name, json)| self.value(json, *kind, &path.key(name)));
            }
            (KeyKind::List(kind), Json::Array(entries)) => {
                let numbered = entries.iter().enumerate();
                return numbered
                    .for_each(|(index, json)| self.value(json, *kind, &path.entry(index)));
            }
            (KeyKind::Ipam, Json::Object(_)) => return self.ipam(json, path),
            (KeyKind::Flag, _) => "true or false",
            (KeyKind::Number, _) => "a number",
            (KeyKind::Text, _) => "a string",
            (KeyKind::List(_), _) => "a list",
            (KeyKind::Object(_) | KeyKind::Map(_) | KeyKind::Ipam, _) => "an object",
        };
        let place = self.place(path);
        self.report.error(
            "key-type",
            format!("{place}: {} is {json}; expected {wanted}", path.shown()),
            "the plugin cannot decode its configuration, and every ADD fails",
            format!("replace it with {wanted}"),
        );
    }

    fn ipam(&mut self, json: &Json, path: &KeyPath) {
        let Some(Json::String(kind)) = json.lookup("type") else {
            return;
        };
        if let Some(keys) = schema::of_ipam(kind) {
            self.object(json, path, &[schema::EVERY_IPAM, keys]);
        }
    }

    fn unknown(&mut self, key: &str, path: &KeyPath, similar: Option<&str>) {
        let (hint, remedy) = match (similar, owner_of(key)) {
            (Some(similar), _) => (
                format!("; did you mean {similar}?"),
                format!("rename it to {similar}"),
            ),
            (None, Some(owner)) => (
                format!("; it is a key of {owner}"),
                format!("move it to {owner}, or remove it"),
            ),
            (None, None) => (
                String::new(),
                "remove it, or see the plugin's documentation".to_owned(),
            ),
        };
        let place = self.place(path);
        self.report.warning(
            "key-unknown",
            format!("{place}: unknown key {}{hint}", path.shown()),
            "runtimes and plugins ignore unknown keys, so it has no effect",
            remedy,
        );
    }

    fn twice(&mut self, key: &str, path: &KeyPath) {
        let lines: Vec<_> = self
            .lines
            .of_key(path)
            .map(|line| line.to_string())
            .collect();
        let lines = if lines.len() > 1 {
            format!(", lines {}", lines.join(" and "))
        } else {
            String::new()
        };
        self.report.warning(
            "key-twice",
            format!("{}{lines}: duplicate key {}", self.file, path.shown()),
            "only the last one counts (upper and lower case are the same)",
            format!("remove one {key}"),
        );
    }

    fn capabilities(&mut self, plugin: &PluginConfig, path: &KeyPath) {
        let kind = plugin.kind();
        let declared = plugin.json().lookup("capabilities");
        let has = |capability: &str| {
            declared.and_then(|map| map.lookup(capability)) == Some(&Json::Bool(true))
        };
        if kind == "portmap"
            && !has("portMappings")
            && plugin.json().lookup("runtimeConfig").is_none()
        {
            let place = self.place(&path.key("type"));
            self.report.warning(
                "capability-missing",
                format!("{place}: portmap does not declare the capability portMappings"),
                "runtimes do not pass hostPorts to it, so no hostPort works",
                r#"add "capabilities": {"portMappings": true} to it"#,
            );
        }
        let Some(Json::Object(members)) = declared else {
            return;
        };
        for (capability, _) in members {
            let known =
                schema::CAPABILITIES.contains(&capability.as_str()) || capability.contains('.');
            if let (false, Some(similar)) = (known, nearest(capability, schema::CAPABILITIES)) {
                let place = self.place(&path.key("capabilities").key(capability));
                self.report.warning(
                    "capability-unknown",
                    format!(
                        "{place}: {kind} declares the unknown capability {capability}; did you \
                         mean {similar}?"
                    ),
                    "runtimes compare capabilities exactly, and have none of this name",
                    format!("rename it to {similar}"),
                );
            }
        }
    }

    /// Returns the file and the line of a key, for instance `10-n.conflist, line 7`. Of a duplicate
    /// key it is the last line, since the last key counts.
    fn place(&self, path: &KeyPath) -> String {
        match self.lines.of_key(path).next_back() {
            Some(line) => format!("{}, line {line}", self.file),
            None => self.file.clone(),
        }
    }
}

/// Returns true for keys that are comments, which JSON lacks, and for keys that nerdctl keeps in
/// its networks.
fn is_remark(key: &str) -> bool {
    key.starts_with(['_', '/', '#', '$'])
        || key.starts_with("nerdctl")
        || ["comment", "description"].contains(&key)
        || key.contains(".dev/")
}

/// Returns the plugin or section that has a key of this name.
fn owner_of(key: &str) -> Option<String> {
    let has = |keys: Keys| {
        keys.iter()
            .any(|known| known.name.eq_ignore_ascii_case(key))
    };
    // A plugin also declares those of every plugin's keys that it reads.
    let of_every = has(schema::EVERY_PLUGIN);
    let plugin = schema::plugins()
        .find(|(_, keys)| has(keys) && !of_every)
        .map(|(name, _)| name.to_owned());
    let ipam = || {
        schema::ipams()
            .find(|(_, keys)| has(keys))
            .map(|(name, _)| format!("ipam ({name})"))
    };
    let network = || has(schema::NETWORK).then(|| "the network itself".to_owned());
    let every = || of_every.then(|| "an entry of plugins".to_owned());
    plugin.or_else(ipam).or_else(network).or_else(every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_runtime::Network;

    fn examined(text: &str) -> Report {
        let network = Network::parse(text.as_bytes());
        let is_list = text.to_ascii_lowercase().contains("\"plugins\"");
        let path = if is_list {
            "/n/a.conflist"
        } else {
            "/n/a.conf"
        };
        let file = ConfFile {
            path: path.into(),
            bytes: text.as_bytes().to_vec(),
            network,
        };
        let mut report = Report::default();
        of_file(&file, &Json::parse(text.as_bytes()).unwrap(), &mut report);
        report
    }

    fn bridge(more: &str) -> Report {
        examined(&format!(
            "{{\"name\":\"n\",\"plugins\":[\n{{\"type\":\"bridge\",{more}}}]}}"
        ))
    }

    #[test]
    fn a_misspelt_key_is_reported_with_its_line_and_the_right_key() {
        assert_eq!(
            bridge(r#""isGatway":true"#).texts(),
            ["a.conflist, line 2: unknown key bridge.isGatway; did you mean isGateway?"]
        );
    }

    #[test]
    fn a_misplaced_key_is_reported_with_its_right_section() {
        for (text, wanted) in [
            (
                r#""subnet":"10.0.0.0/24""#,
                "unknown key bridge.subnet; it is a key of ipam (host-local)",
            ),
            (
                r#""ipam":{"type":"host-local","hairpinMode":true}"#,
                "unknown key bridge.ipam.hairpinMode; it is a key of bridge",
            ),
            (
                r#""ipam":{"type":"host-local","ranges":[[{"subnett":"10.0.0.0/24"}]]}"#,
                "unknown key bridge.ipam.ranges[0][0].subnett; did you mean subnet?",
            ),
        ] {
            assert_eq!(
                bridge(text).texts(),
                [format!("a.conflist, line 2: {wanted}")]
            );
        }
    }

    #[test]
    fn a_value_of_another_type_is_an_error() {
        assert_eq!(
            bridge(r#""isGateway":"true""#).texts(),
            [r#"a.conflist, line 2: bridge.isGateway is "true"; expected true or false"#]
        );
        assert_eq!(
            bridge(r#""ipam":{"type":"host-local","ranges":[{"subnet":"10.0.0.0/24"}]}"#).texts(),
            [
                r#"a.conflist, line 2: bridge.ipam.ranges[0] is {"subnet":"10.0.0.0/24"}; expected a list"#
            ]
        );
    }

    #[test]
    fn the_line_is_the_key_s_own_if_others_have_the_same_name() {
        let network = r#"{"name":"n","plugins":[
            {"type":"bridge","ipam":{"type":"host-local",
             "subnet":"10.0.0.0/24"}},
            {"type":"tuning",
             "subnet":"10.0.0.0/24","mtu":1,
             "MTU":"2"}]}"#;
        assert_eq!(
            examined(network).texts(),
            [
                "a.conflist, line 5: unknown key tuning.subnet; it is a key of ipam (host-local)",
                "a.conflist, lines 5 and 6: duplicate key tuning.mtu",
                r#"a.conflist, line 6: tuning.MTU is "2"; expected a number"#,
            ]
        );
    }

    #[test]
    fn the_keys_of_a_list_are_compared_letter_by_letter() {
        assert_eq!(
            examined(r#"{"name":"n","Plugins":[{"Type":"bridge"}]}"#).texts(),
            ["a.conflist, line 1: unknown key Plugins; did you mean plugins?"]
        );
        assert_eq!(
            examined(r#"{"Name":"n","Type":"bridge"}"#).texts(),
            [""; 0],
            "a single plugin"
        );
    }

    #[test]
    fn the_values_of_a_map_are_examined() {
        assert_eq!(
            examined("{\"name\":\"n\",\"plugins\":[\n{\"type\":\"tuning\",\"sysctl\":{\"net.core.somaxconn\":512}}]}")
                .texts(),
            ["a.conflist, line 2: tuning.sysctl.net.core.somaxconn is 512; expected a string"]
        );
    }

    #[test]
    fn files_of_tools_and_other_projects_have_no_findings() {
        for text in [
            // nerdctl network create
            r#"{"cniVersion":"1.0.0","name":"blue","nerdctlID":"a1","nerdctlLabels":{"a":"b"},"plugins":[{"type":"bridge","bridge":"br-a1",
                "isGateway":true,"ipMasq":true,"hairpinMode":true,"ipam":{"ranges":[[{"gateway":"10.4.1.1","subnet":"10.4.1.0/24"}]],
                "routes":[{"dst":"0.0.0.0/0"}],"type":"host-local"}},{"type":"portmap","capabilities":{"portMappings":true}},
                {"type":"firewall","ingressPolicy":"same-bridge"},{"type":"tuning"}]}"#,
            // podman network create --label
            r#"{"args":{"podman_labels":{"a":"b"}},"cniVersion":"0.4.0","name":"net","plugins":[{"type":"bridge","bridge":"cni-podman1",
                "isGateway":true,"ipMasq":true,"hairpinMode":true,"ipam":{"type":"host-local","routes":[{"dst":"0.0.0.0/0"}],
                "ranges":[[{"subnet":"10.89.0.0/24","gateway":"10.89.0.1"}]]},"capabilities":{"ips":true}},
                {"type":"portmap","capabilities":{"portMappings":true}},{"type":"firewall","backend":""},{"type":"tuning"},
                {"type":"dnsname","domainName":"dns.podman","capabilities":{"aliases":true}}]}"#,
            r#"{"name":"t","type":"tap","mac":"02:00:00:00:00:01","selinuxcontext":"x","multiQueue":true,"owner":0,"group":0}"#,
            r#"{"name":"m","type":"macvlan","master":"eth0","mac":"02:00:00:00:00:01","ipam":{"type":"dhcp"}}"#,
        ] {
            assert_eq!(examined(text).texts(), [""; 0], "{text}");
        }
    }

    #[test]
    fn right_keys_have_no_findings() {
        for text in [
            r#""isgateway":true,"_comment":"x","args":{"any":1},"mtu":null,"cni.dev/x":1"#,
            r#""ipam":{"type":"host-local","ranges":[[{"subnet":"10.0.0.0/24","exclude":[]}]],"routes":[{"dst":"0.0.0.0/0"}]}"#,
            r#""ipam":{"type":"of-somebody-else","odd":1},"dns":{"nameservers":["10.0.0.1"]}"#,
            r#""capabilities":{"mac":true,"io.kubernetes.cri.pod-annotations":true}"#,
        ] {
            assert_eq!(bridge(text).texts(), [""; 0], "{text}");
        }
        assert_eq!(
            examined(r#"{"name":"n","plugins":[{"type":"calico","odd":1}]}"#).texts(),
            [""; 0]
        );
    }

    #[test]
    fn an_ipam_plugin_that_is_the_plugin_itself_is_found() {
        assert_eq!(
            bridge("\n\"ipam\":{\"type\":\"bridge\"}").texts(),
            ["a.conflist, line 3: bridge.ipam.type is bridge, which is the plugin itself"]
        );
        assert_eq!(bridge(r#""ipam":{"type":"ptp"}"#).ids(), ["ipam-type"]);
        assert_eq!(bridge(r#""ipam":{"type":"whereabouts"}"#).ids(), [""; 0]);
    }

    #[test]
    fn duplicates_and_capabilities_are_examined() {
        assert_eq!(bridge(r#""mtu":1400,"MTU":1500"#).ids(), ["key-twice"]);
        assert_eq!(
            bridge(r#""capabilities":{"portMapping":true}"#).ids(),
            ["capability-unknown"]
        );
        let portmap = |more: &str| {
            examined(&format!(
                r#"{{"name":"n","plugins":[{{"type":"portmap"{more}}}]}}"#
            ))
            .ids()
            .len()
        };
        assert_eq!(
            (
                portmap(""),
                portmap(r#","capabilities":{"portMappings":true}"#)
            ),
            (1, 0)
        );
    }
}
