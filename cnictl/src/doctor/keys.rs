//! Keys that no plugin reads: misspelt, misplaced, written twice, or with a value of another type.
//!
//! Plugins ignore unknown keys, as the reference does, so `isGatway` is a gateway that nobody gets and nobody misses.

use super::{
    finding::Report,
    scene::{ConfFile, Scene},
    schema::{self, Keys, Kind},
    spelling::nearest,
};
use cni_types::Json;
use conformance::runtime::PluginConfig;

pub(super) fn examine(scene: &Scene, report: &mut Report) {
    for (file, network) in scene.networks() {
        let mut walk = Walk { file, report };
        if let Ok(json) = Json::parse(&file.bytes)
            && json.lookup("plugins").is_some()
        {
            walk.object(&json, "", &[schema::NETWORK], "a network configuration");
        }
        for plugin in &network.plugins {
            walk.plugin(plugin);
        }
    }
}

/// One file's keys.
struct Walk<'a> {
    file: &'a ConfFile,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn plugin(&mut self, plugin: &PluginConfig) {
        self.capabilities(plugin);
        let Some(keys) = schema::of(schema::PLUGINS, plugin.kind()) else { return };
        self.object(plugin.json(), plugin.kind(), &[schema::EVERY_PLUGIN, keys], plugin.kind());
    }

    /// An object whose keys are those of all `tables`.
    fn object(&mut self, json: &Json, path: &str, tables: &[Keys], whose: &str) {
        let Json::Object(members) = json else { return };
        for (index, (key, value)) in members.iter().enumerate() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if members.iter().skip(index + 1).any(|(later, _)| later.eq_ignore_ascii_case(key)) {
                self.twice(key, &path);
            }
            let known = || tables.iter().flat_map(|keys| keys.iter());
            match known().find(|(name, _)| name.eq_ignore_ascii_case(key)) {
                Some((_, kind)) => self.value(value, *kind, &path),
                None if is_remark(key) => {}
                None => self.unknown(key, &path, nearest(key, known().map(|(name, _)| *name)), whose),
            }
        }
    }

    fn value(&mut self, json: &Json, kind: Kind, path: &str) {
        let wanted = match (kind, json) {
            (Kind::Any, _) | (_, Json::Null) | (Kind::Flag, Json::Bool(_)) => return,
            (Kind::Number, Json::Number(_))
            | (Kind::Text, Json::String(_))
            | (Kind::Map, Json::Object(_)) => return,
            (Kind::Object(keys), Json::Object(_)) => return self.object(json, path, &[keys], path),
            (Kind::List(entry), Json::Array(entries)) => {
                return entries.iter().for_each(|json| self.value(json, *entry, path));
            }
            (Kind::Ipam, Json::Object(_)) => return self.ipam(json, path),
            (Kind::Flag, _) => "true or false",
            (Kind::Number, _) => "a number",
            (Kind::Text, _) => "a text",
            (Kind::List(_), _) => "a list",
            (Kind::Object(_) | Kind::Map | Kind::Ipam, _) => "an object",
        };
        let (name, line) = (self.file.name(), self.line_of(last(path)));
        self.report.error(
            "key-type",
            format!("{name}{line}: {path} is {json}, and {wanted} is wanted"),
            "the plugin cannot decode its configuration, and every ADD fails",
            format!("write {wanted}"),
        );
    }

    fn ipam(&mut self, json: &Json, path: &str) {
        let Some(Json::String(kind)) = json.lookup("type") else { return };
        if let Some(keys) = schema::of(schema::IPAMS, kind) {
            self.object(json, path, &[schema::EVERY_IPAM, keys], kind);
        }
    }

    fn unknown(&mut self, key: &str, path: &str, meant: Option<&str>, whose: &str) {
        let (name, line) = (self.file.name(), self.line_of(key));
        let (question, remedy) = match (meant, owner_of(key)) {
            (Some(meant), _) => (format!(": did you mean {meant}?"), format!("write {meant}")),
            (None, Some(owner)) => {
                (format!(": it is a key of {owner}"), format!("move it to {owner}, or take it away"))
            }
            (None, None) => (String::new(), "take it away, or see the plugin's documentation".to_owned()),
        };
        self.report.warning(
            "key-unknown",
            format!("{name}{line}: {path} is no key of {whose}{question}"),
            "plugins ignore keys that they do not know, so it has no effect",
            remedy,
        );
    }

    fn twice(&mut self, key: &str, path: &str) {
        let name = self.file.name();
        self.report.warning(
            "key-twice",
            format!("{name}: {path} is there twice"),
            "the last one counts (keys match without regard to case)",
            format!("take one {key} away"),
        );
    }

    fn capabilities(&mut self, plugin: &PluginConfig) {
        let (name, kind) = (self.file.name(), plugin.kind());
        let declared = plugin.json().lookup("capabilities");
        let has =
            |capability: &str| declared.and_then(|map| map.lookup(capability)) == Some(&Json::Bool(true));
        if kind == "portmap" && !has("portMappings") && plugin.json().lookup("runtimeConfig").is_none() {
            self.report.warning(
                "capability-missing",
                format!("{name}: portmap does not declare the capability portMappings"),
                "runtimes tell it no hostPort, so none works",
                r#"add "capabilities": {"portMappings": true} to it"#,
            );
        }
        let Some(Json::Object(members)) = declared else { return };
        for (capability, _) in members {
            let known = schema::CAPABILITIES.contains(&capability.as_str()) || capability.contains('.');
            if let (false, Some(meant)) = (known, nearest(capability, schema::CAPABILITIES)) {
                self.report.warning(
                    "capability-unknown",
                    format!("{name}: {kind} declares the capability {capability}: did you mean {meant}?"),
                    "capabilities are compared letter by letter, and runtimes offer none of that name",
                    format!("write {meant}"),
                );
            }
        }
    }

    /// `, line 7`: where the key is first, or nothing.
    fn line_of(&self, key: &str) -> String {
        let text = String::from_utf8_lossy(&self.file.bytes);
        let quoted = format!("\"{key}\"");
        text.lines()
            .position(|line| line.contains(&quoted))
            .map_or_else(String::new, |line| format!(", line {}", line + 1))
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// People write remarks as keys, since JSON has none.
fn is_remark(key: &str) -> bool {
    key.starts_with(['_', '/', '#', '$'])
        || ["comment", "description"].contains(&key)
        || key.contains(".dev/")
}

/// Where a key would have been right.
fn owner_of(key: &str) -> Option<String> {
    let has = |keys: Keys| keys.iter().any(|(name, _)| name.eq_ignore_ascii_case(key));
    let plugin = schema::PLUGINS.iter().find(|(_, keys)| has(keys)).map(|(name, _)| (*name).to_owned());
    let ipam = || schema::IPAMS.iter().find(|(_, keys)| has(keys)).map(|(name, _)| format!("ipam ({name})"));
    let network = || has(schema::NETWORK).then(|| "the network, beside plugins".to_owned());
    let every = || has(schema::EVERY_PLUGIN).then(|| "a plugin in plugins".to_owned());
    plugin.or_else(ipam).or_else(network).or_else(every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use conformance::runtime::Network;

    fn examined(text: &str) -> Report {
        let network = Network::parse(text.as_bytes());
        let file = ConfFile { path: "/n/a.conflist".into(), bytes: text.as_bytes().to_vec(), network };
        let mut report = Report::default();
        let mut walk = Walk { file: &file, report: &mut report };
        walk.object(
            &Json::parse(text.as_bytes()).unwrap(),
            "",
            &[schema::NETWORK],
            "a network configuration",
        );
        for plugin in &file.network.as_ref().unwrap().plugins {
            walk.plugin(plugin);
        }
        report
    }

    fn bridge(more: &str) -> Report {
        examined(&format!("{{\"name\":\"n\",\"plugins\":[\n{{\"type\":\"bridge\",{more}}}]}}"))
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
                "bridge.ipam.ranges.subnett is no key of bridge.ipam.ranges: did you mean subnet?",
            ),
        ] {
            assert_eq!(bridge(text).texts(), [format!("a.conflist, line 2: {wanted}")]);
        }
    }

    #[test]
    fn a_value_of_another_type_is_an_error() {
        assert_eq!(
            bridge(r#""isGateway":"true""#).texts(),
            [r#"a.conflist, line 2: bridge.isGateway is "true", and true or false is wanted"#]
        );
        assert_eq!(
            bridge(r#""ipam":{"type":"host-local","ranges":[{"subnet":"10.0.0.0/24"}]}"#).ids(),
            ["key-type"]
        );
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
        assert_eq!(examined(r#"{"name":"n","plugins":[{"type":"calico","odd":1}]}"#).texts(), [""; 0]);
    }

    #[test]
    fn duplicates_and_capabilities_are_looked_at() {
        assert_eq!(bridge(r#""mtu":1400,"MTU":1500"#).ids(), ["key-twice"]);
        assert_eq!(bridge(r#""capabilities":{"portMapping":true}"#).ids(), ["capability-unknown"]);
        let portmap = |more: &str| {
            examined(&format!(r#"{{"name":"n","plugins":[{{"type":"portmap"{more}}}]}}"#)).ids().len()
        };
        assert_eq!((portmap(""), portmap(r#","capabilities":{"portMappings":true}"#)), (1, 0));
    }
}
