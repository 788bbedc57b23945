//! Requests to the plugin: a network, and IPAM plugins that are scripts.

use cni_types::Command;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use testkit::{Host, Invocation, Outcome, Pod, bin_dir};

pub(crate) const V4: &str = "10.1.0.0/24";
pub(crate) const V6: &str = "fd01::/64";

/// A network as the runtime configures it.
#[derive(Clone)]
pub(crate) struct Network<'a> {
    host: &'a Host,
    keys: Map<String, Value>,
}

impl<'a> Network<'a> {
    /// Returns a network `net` of version 1.1.0 on the bridge `cni0`, with these keys.
    pub(crate) fn new(host: &'a Host, keys: Value) -> Self {
        let base =
            json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0"});
        Self {
            host,
            keys: base.as_object().unwrap().clone(),
        }
        .with(keys)
    }

    /// Returns the same network with these keys added or replaced; `null` removes a key.
    pub(crate) fn with(&self, keys: Value) -> Self {
        let mut changed = self.clone();
        for (key, value) in keys.as_object().unwrap() {
            match value {
                Value::Null => changed.keys.remove(key),
                _ => changed.keys.insert(key.clone(), value.clone()),
            };
        }
        changed
    }

    /// Returns a request without a namespace; scripts of the test can be delegates.
    pub(crate) fn request(&self, command: Command, container: &str) -> Invocation<'a> {
        let path = format!("{}:{}", files(self.host).display(), bin_dir().display());
        let conf = Value::Object(self.keys.clone());
        self.host
            .plugin("bridge", command)
            .container(container)
            .env("CNI_PATH", path)
            .conf(conf)
    }

    /// Returns a request for the attachment of a pod. The container's id is the pod's name.
    pub(crate) fn attachment(&self, command: Command, pod: &Pod) -> Invocation<'a> {
        self.request(command, &id(pod)).pod(pod)
    }

    pub(crate) fn add(&self, pod: &Pod) -> Outcome {
        self.attachment(Command::Add, pod).run()
    }

    pub(crate) fn del(&self, pod: &Pod) -> Outcome {
        self.attachment(Command::Del, pod).run()
    }

    /// Runs CHECK with the answer to ADD as its `prevResult`.
    pub(crate) fn check(&self, pod: &Pod, added: &Outcome) -> Outcome {
        self.with(json!({"prevResult": added.json()}))
            .attachment(Command::Check, pod)
            .run()
    }

    /// Runs GC with this list as the only valid attachments.
    pub(crate) fn gc(&self, valid: &[(&str, &str)]) -> Outcome {
        let entry = |(id, ifname): &(&str, &str)| json!({"containerID": id, "ifname": ifname});
        let list: Vec<Value> = valid.iter().map(entry).collect();
        self.with(json!({"cni.dev/valid-attachments": list}))
            .request(Command::Gc, "")
            .run()
    }

    pub(crate) fn status(&self) -> Outcome {
        self.request(Command::Status, "").run()
    }
}

/// Returns a pod's container id, which is its name.
pub(crate) fn id(pod: &Pod) -> String {
    pod.path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// Returns the `ipam` of host-local with one range set for each subnet.
pub(crate) fn host_local(host: &Host, subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets
        .iter()
        .map(|subnet| json!([{"subnet": subnet}]))
        .collect();
    json!({"type": "host-local", "dataDir": host.data_dir(), "ranges": ranges})
}

/// Makes an IPAM plugin that answers every ADD with `answer`, and records each call. Returns the
/// `ipam` that names it.
pub(crate) fn fixed_ipam(host: &Host, name: &str, answer: Value) -> Value {
    script_ipam(host, name, &format!("cat <<'END'\n{answer}\nEND"))
}

/// Makes an IPAM plugin that runs `body` on ADD, and records each call.
pub(crate) fn script_ipam(host: &Host, name: &str, body: &str) -> Value {
    let script = format!(
        "echo \"$CNI_COMMAND $CNI_CONTAINERID\" >>\"${{0%/*}}/calls\"\n[ \"$CNI_COMMAND\" = ADD ] || exit 0\n{body}"
    );
    drop(host.script(name, &script));
    json!({"type": name})
}

/// Makes a plugin that answers every command with this error.
pub(crate) fn failing_plugin(host: &Host, name: &str, code: u32, msg: &str) {
    let error = json!({"code": code, "msg": msg});
    drop(host.script(name, &format!("cat <<END\n{error}\nEND\nexit 1")));
}

/// Returns the commands that the scripts were called with, in order.
pub(crate) fn calls(host: &Host) -> Vec<String> {
    let text = std::fs::read_to_string(files(host).join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Returns the folder of the scripts.
pub(crate) fn files(host: &Host) -> PathBuf {
    host.file("ready", "").parent().unwrap().to_owned()
}
