//! Keys that no plugin reads: misspelt, misplaced, written twice, or with a value of another type.
//!
//! Plugins ignore unknown keys, as the reference does, so `isGatway` is a gateway that nobody gets
//! and nobody misses.

use super::{
    finding::Report,
    lines::{Lines, Way},
    scene::{ConfFile, Scene},
    schema::{self, Keys},
};
use crate::{plugins, spelling::nearest};
use cni_runtime::PluginConfig;
use cni_types::{Json, KeyKind};

pub(super) fn examine(scene: &Scene, report: &mut Report) {
    for file in &scene.files {
        if let Ok(json) = Json::parse(&file.bytes) {
            of_file(file, &json, report);
        }
    }
}

/// The keys of a list are judged even if the file cannot be used: one that is misspelt may be why.
fn of_file(file: &ConfFile, json: &Json, report: &mut Report) {
    let lines = Lines::of(&String::from_utf8_lossy(&file.bytes));
    let mut walk = Walk {
        file: file.name(),
        lines,
        report,
    };
    let is_list = file.is_list();
    if is_list {
        walk.object(
            json,
            &Way::new(String::new(), ""),
            &[schema::NETWORK],
            "a network configuration",
        );
    }
    let Ok(network) = &file.network else { return };
    let inlined = match json.lookup("plugins") {
        Some(Json::Array(plugins)) if is_list => plugins.len(),
        _ => 0,
    };
    for (index, plugin) in network.plugins.iter().enumerate() {
        if is_list && index >= inlined {
            walk.file = format!("{}/*.conf, which follows {}", network.name, file.name());
        }
        let pointer = if is_list {
            format!("/plugins/{index}")
        } else {
            String::new()
        };
        walk.plugin(plugin, &Way::new(pointer, plugin.kind()));
    }
}

/// One file's keys.
struct Walk<'a> {
    file: String,
    lines: Lines,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn plugin(&mut self, plugin: &PluginConfig, way: &Way) {
        self.capabilities(plugin, way);
        self.ipam_type(plugin, way);
        let Some(keys) = schema::of_plugin(plugin.kind()) else {
            return;
        };
        self.object(
            plugin.json(),
            way,
            &[schema::EVERY_PLUGIN, keys],
            plugin.kind(),
        );
    }

    /// Reports an IPAM plugin that gives out no addresses, most often the interface plugin itself by a
    /// slip of copying.
    fn ipam_type(&mut self, plugin: &PluginConfig, way: &Way) {
        let Some(ipam) = plugins::ipam(plugin) else {
            return;
        };
        let is_itself = ipam == plugin.kind();
        if !is_itself && schema::of_plugin(&ipam).is_none() {
            return;
        }
        let way = way.key("ipam").key("type");
        let place = self.place(&way);
        let (what, why) = if is_itself {
            (
                "which is the plugin itself",
                "every ADD fails; plugins without a limit start themselves until the node is out of memory",
            )
        } else {
            ("which gives out no addresses", "every ADD fails")
        };
        let ipams: Vec<&str> = schema::ipams().map(|(name, _)| name).collect();
        self.report.error(
            "ipam-type",
            format!("{place}: {} is {ipam}, {what}", way.shown()),
            why,
            format!("name an IPAM plugin: {}", ipams.join(", ")),
        );
    }

    /// An object whose keys are those of all `tables`.
    fn object(&mut self, json: &Json, way: &Way, tables: &[Keys], whose: &str) {
        let Json::Object(members) = json else { return };
        for (index, (key, value)) in members.iter().enumerate() {
            let way = way.key(key);
            if members
                .iter()
                .skip(index + 1)
                .any(|(later, _)| later.eq_ignore_ascii_case(key))
            {
                self.twice(key, &way);
            }
            let known = || tables.iter().flat_map(|keys| keys.iter());
            // libcni reads a list's keys letter by letter, unlike all others.
            let is_exact = tables.contains(&schema::NETWORK);
            let is_it = |name: &str| name == key || !is_exact && name.eq_ignore_ascii_case(key);
            match known().find(|known| is_it(known.name)) {
                Some(known) => self.value(value, known.kind, &way),
                None if is_remark(key) => {}
                None => self.unknown(
                    key,
                    &way,
                    nearest(key, known().map(|known| known.name)),
                    whose,
                ),
            }
        }
    }

    fn value(&mut self, json: &Json, kind: KeyKind, way: &Way) {
        let wanted = match (kind, json) {
            (KeyKind::Any, _) | (_, Json::Null) | (KeyKind::Flag, Json::Bool(_)) => return,
            (KeyKind::Number, Json::Number(_)) | (KeyKind::Text, Json::String(_)) => return,
            (KeyKind::Object(keys), Json::Object(_)) => {
                return self.object(json, way, &[keys], way.shown());
            }
            (KeyKind::Map(kind), Json::Object(members)) => {
                return members
                    .iter()
                    .for_each(|(name, json)| self.value(json, *kind, &way.key(name)));
            }
            (KeyKind::List(kind), Json::Array(entries)) => {
                let numbered = entries.iter().enumerate();
                return numbered
                    .for_each(|(index, json)| self.value(json, *kind, &way.entry(index)));
            }
            (KeyKind::Ipam, Json::Object(_)) => return self.ipam(json, way),
            (KeyKind::Flag, _) => "true or false",
            (KeyKind::Number, _) => "a number",
            (KeyKind::Text, _) => "a text",
            (KeyKind::List(_), _) => "a list",
            (KeyKind::Object(_) | KeyKind::Map(_) | KeyKind::Ipam, _) => "an object",
        };
        let place = self.place(way);
        self.report.error(
            "key-type",
            format!("{place}: {} is {json}, and {wanted} is wanted", way.shown()),
            "the plugin cannot decode its configuration, and every ADD fails",
            format!("write {wanted}"),
        );
    }

    fn ipam(&mut self, json: &Json, way: &Way) {
        let Some(Json::String(kind)) = json.lookup("type") else {
            return;
        };
        if let Some(keys) = schema::of_ipam(kind) {
            self.object(json, way, &[schema::EVERY_IPAM, keys], kind);
        }
    }

    fn unknown(&mut self, key: &str, way: &Way, meant: Option<&str>, whose: &str) {
        let (question, remedy) = match (meant, owner_of(key)) {
            (Some(meant), _) => (format!(": did you mean {meant}?"), format!("write {meant}")),
            (None, Some(owner)) => (
                format!(": it is a key of {owner}"),
                format!("move it to {owner}, or take it away"),
            ),
            (None, None) => (
                String::new(),
                "take it away, or see the plugin's documentation".to_owned(),
            ),
        };
        let place = self.place(way);
        self.report.warning(
            "key-unknown",
            format!("{place}: {} is no key of {whose}{question}", way.shown()),
            "runtimes and plugins ignore keys that they do not know, so it has no effect",
            remedy,
        );
    }

    fn twice(&mut self, key: &str, way: &Way) {
        let lines: Vec<_> = self
            .lines
            .of_key(way)
            .map(|line| line.to_string())
            .collect();
        let lines = if lines.len() > 1 {
            format!(", lines {}", lines.join(" and "))
        } else {
            String::new()
        };
        self.report.warning(
            "key-twice",
            format!("{}{lines}: {} is there twice", self.file, way.shown()),
            "the last one counts (keys match without regard to case)",
            format!("take one {key} away"),
        );
    }

    fn capabilities(&mut self, plugin: &PluginConfig, way: &Way) {
        let kind = plugin.kind();
        let declared = plugin.json().lookup("capabilities");
        let has = |capability: &str| {
            declared.and_then(|map| map.lookup(capability)) == Some(&Json::Bool(true))
        };
        if kind == "portmap"
            && !has("portMappings")
            && plugin.json().lookup("runtimeConfig").is_none()
        {
            let place = self.place(&way.key("type"));
            self.report.warning(
                "capability-missing",
                format!("{place}: portmap does not declare the capability portMappings"),
                "runtimes tell it no hostPort, so none works",
                r#"add "capabilities": {"portMappings": true} to it"#,
            );
        }
        let Some(Json::Object(members)) = declared else {
            return;
        };
        for (capability, _) in members {
            let known =
                schema::CAPABILITIES.contains(&capability.as_str()) || capability.contains('.');
            if let (false, Some(meant)) = (known, nearest(capability, schema::CAPABILITIES)) {
                let place = self.place(&way.key("capabilities").key(capability));
                self.report.warning(
                    "capability-unknown",
                    format!("{place}: {kind} declares the capability {capability}: did you mean {meant}?"),
                    "capabilities are compared letter by letter, and runtimes offer none of that name",
                    format!("write {meant}"),
                );
            }
        }
    }

    /// `10-n.conflist, line 7`: the file, and where the key is in it. Of a key that is there twice
    /// the last one counts.
    fn place(&self, way: &Way) -> String {
        match self.lines.of_key(way).next_back() {
            Some(line) => format!("{}, line {line}", self.file),
            None => self.file.clone(),
        }
    }
}

/// People write remarks as keys, since JSON has none; nerdctl keeps its own in the networks that it
/// makes.
fn is_remark(key: &str) -> bool {
    key.starts_with(['_', '/', '#', '$'])
        || key.starts_with("nerdctl")
        || ["comment", "description"].contains(&key)
        || key.contains(".dev/")
}

/// The place at which a key would have been right.
fn owner_of(key: &str) -> Option<String> {
    let has = |keys: Keys| {
        keys.iter()
            .any(|known| known.name.eq_ignore_ascii_case(key))
    };
    // A plugin declares what it reads of the keys that every plugin may have, too.
    let of_every = has(schema::EVERY_PLUGIN);
    let plugin = schema::plugins()
        .find(|(_, keys)| has(keys) && !of_every)
        .map(|(name, _)| name.to_owned());
    let ipam = || {
        schema::ipams()
            .find(|(_, keys)| has(keys))
            .map(|(name, _)| format!("ipam ({name})"))
    };
    let network = || has(schema::NETWORK).then(|| "the network, beside plugins".to_owned());
    let every = || of_every.then(|| "a plugin in plugins".to_owned());
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
    fn a_misspelt_key_is_told_with_its_line_and_what_was_meant() {
        assert_eq!(
            bridge(r#""isGatway":true"#).texts(),
            ["a.conflist, line 2: bridge.isGatway is no key of bridge: did you mean isGateway?"]
        );
    }

    #[test]
    fn a_misplaced_key_is_told_where_it_belongs() {
        for (text, wanted) in [
            (
                r#""subnet":"10.0.0.0/24""#,
                "bridge.subnet is no key of bridge: it is a key of ipam (host-local)",
            ),
            (
                r#""ipam":{"type":"host-local","hairpinMode":true}"#,
                "bridge.ipam.hairpinMode is no key of host-local: it is a key of bridge",
            ),
            (
                r#""ipam":{"type":"host-local","ranges":[[{"subnett":"10.0.0.0/24"}]]}"#,
                "bridge.ipam.ranges[0][0].subnett is no key of bridge.ipam.ranges[0][0]: did you mean subnet?",
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
            [r#"a.conflist, line 2: bridge.isGateway is "true", and true or false is wanted"#]
        );
        assert_eq!(
            bridge(r#""ipam":{"type":"host-local","ranges":[{"subnet":"10.0.0.0/24"}]}"#).texts(),
            [
                r#"a.conflist, line 2: bridge.ipam.ranges[0] is {"subnet":"10.0.0.0/24"}, and a list is wanted"#
            ]
        );
    }

    #[test]
    fn the_line_is_the_key_s_own_where_others_are_called_the_same() {
        let network = r#"{"name":"n","plugins":[
            {"type":"bridge","ipam":{"type":"host-local",
             "subnet":"10.0.0.0/24"}},
            {"type":"tuning",
             "subnet":"10.0.0.0/24","mtu":1,
             "MTU":"2"}]}"#;
        assert_eq!(
            examined(network).texts(),
            [
                "a.conflist, line 5: tuning.subnet is no key of tuning: it is a key of ipam (host-local)",
                "a.conflist, lines 5 and 6: tuning.mtu is there twice",
                r#"a.conflist, line 6: tuning.MTU is "2", and a number is wanted"#,
            ]
        );
    }

    #[test]
    fn the_keys_of_a_list_are_compared_letter_by_letter() {
        assert_eq!(
            examined(r#"{"name":"n","Plugins":[{"Type":"bridge"}]}"#).texts(),
            [
                "a.conflist, line 1: Plugins is no key of a network configuration: did you mean plugins?"
            ]
        );
        assert_eq!(
            examined(r#"{"Name":"n","Type":"bridge"}"#).texts(),
            [""; 0],
            "a single plugin"
        );
    }

    #[test]
    fn the_values_of_a_map_are_judged() {
        assert_eq!(
            examined("{\"name\":\"n\",\"plugins\":[\n{\"type\":\"tuning\",\"sysctl\":{\"net.core.somaxconn\":512}}]}")
                .texts(),
            ["a.conflist, line 2: tuning.sysctl.net.core.somaxconn is 512, and a text is wanted"]
        );
    }

    #[test]
    fn what_tools_and_other_projects_write_is_not_told() {
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
    fn what_is_right_is_not_told() {
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
    fn duplicates_and_capabilities_are_looked_at() {
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
