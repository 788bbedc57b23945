//! The examples' configurations are read as a runtime reads them, and the node's installer does what it says.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// A node: folders for plugins and configurations.
struct Node {
    root: PathBuf,
}

impl Node {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for plugin in ["bridge", "loopback", "host-local"] {
            let path = root.join("plugins").join(plugin);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("new {plugin}")).unwrap();
        }
        Self { root }
    }

    fn install(&self, cidrs: &str) -> Output {
        Command::new(examples().join("kubernetes/install"))
            .env("PLUGINS", self.root.join("plugins"))
            .env("BIN", self.root.join("bin"))
            .env("CONF", self.root.join("net.d"))
            .env("POD_CIDRS", cidrs)
            .output()
            .unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn install_leaves_whole_files_and_no_others() {
    let node = Node::new("fresh");
    let output = node.install("10.244.1.0/24,fd00:244:1::/64");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(node.files("bin"), ["bridge", "host-local", "loopback"]);
    assert_eq!(node.files("net.d"), ["10-pods.conflist"]);
    assert_eq!(node.read("bin/bridge"), "new bridge");
    assert_eq!(fs::metadata(node.root.join("bin/bridge")).unwrap().permissions().mode() & 0o777, 0o755);
    let conf: serde_json::Value = serde_json::from_str(&node.read("net.d/10-pods.conflist")).unwrap();
    let ranges = conf.pointer("/plugins/0/ipam/ranges").unwrap();
    assert_eq!(*ranges, serde_json::json!([[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:244:1::/64"}]]));
    assert_eq!(conf.pointer("/plugins/1"), None, "portmap is not there");
}

#[test]
fn install_keeps_what_was_there_first_and_chains_portmap_where_it_is() {
    let node = Node::new("upgrade");
    fs::create_dir_all(node.root.join("bin")).unwrap();
    for plugin in ["bridge", "portmap"] {
        let path = node.root.join("bin").join(plugin);
        fs::write(&path, format!("old {plugin}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for _ in 0..2 {
        assert!(node.install("10.244.1.0/24").status.success());
    }
    assert_eq!(node.read("bin/bridge"), "new bridge");
    assert_eq!(node.read("bin/.bridge.before"), "old bridge");
    assert_eq!(node.read("bin/portmap"), "old portmap");
    let conf: serde_json::Value = serde_json::from_str(&node.read("net.d/10-pods.conflist")).unwrap();
    assert_eq!(conf.pointer("/plugins/1/type"), Some(&serde_json::json!("portmap")));
}

#[test]
fn install_writes_no_configuration_when_a_plugin_is_missing() {
    let node = Node::new("half");
    fs::remove_file(node.root.join("plugins/loopback")).unwrap();
    let output = node.install("10.244.1.0/24");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("plugins/loopback is missing"), "{output:?}");
    assert_eq!(node.files("net.d"), [""; 0]);
}

#[test]
fn every_example_configuration_is_read_as_a_runtime_reads_it() {
    let mut read = 0;
    for folder in fs::read_dir(examples()).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "conflist") {
                conformance::runtime::Network::parse(&fs::read(&file).unwrap())
                    .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                read += 1;
            }
        }
    }
    assert!(read >= 4, "only {read} configurations found");
}
