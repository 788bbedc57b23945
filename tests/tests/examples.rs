//! The examples' configurations are read as a runtime reads them, and the node's installer does
//! what it says.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::{Command, Output},
    sync::Once,
};
use tempfile::TempDir;

fn examples() -> PathBuf {
    tests::workspace("examples")
}

/// Builds the program that is all plugins, once, and returns its path.
fn program() -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| sandbox::binaries::build(&["--workspace"]).unwrap());
    sandbox::binaries::bin_dir().join("cni-plugins")
}

fn all_plugins() -> Vec<&'static str> {
    cni_plugins::names().collect()
}

/// A node: folders for plugins and configurations.
struct Node {
    root: TempDir,
}

impl Node {
    fn new(name: &str) -> Self {
        let root = TempDir::with_prefix_in(name, env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(root.path().join("plugins")).unwrap();
        symlink(program(), root.path().join("plugins/cni-plugins")).unwrap();
        Self { root }
    }

    /// The installer, without any network.
    fn installer(&self) -> Command {
        let mut command = Command::new(examples().join("kubernetes/install"));
        command.env("PLUGINS", self.root.path().join("plugins"));
        command
            .env("BIN", self.root.path().join("bin"))
            .env("CONF", self.root.path().join("net.d"));
        command
    }

    fn install(&self, cidrs: &str) -> Output {
        self.installer().env("POD_CIDRS", cidrs).output().unwrap()
    }

    /// The installer as in a cluster, with a script in the place of curl.
    fn install_from(&self, server: &str, curl: &str) -> Output {
        let write = |file: &str, content: &str| {
            let path = self.root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        };
        let curl = write(
            "tools/curl",
            &format!(
                "#!/bin/sh\necho \"$*\" >'{}'\n{curl}",
                self.root.path().join("asked").display()
            ),
        );
        fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).unwrap();
        let account = write("account/token", "secret");
        let path = format!(
            "{}:{}",
            curl.parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        let mut installer = self.installer();
        installer
            .env("PATH", path)
            .env("ACCOUNT", account.parent().unwrap())
            .env("NODE_NAME", "node-1");
        installer
            .env("KUBERNETES_SERVICE_HOST", server)
            .env("KUBERNETES_SERVICE_PORT", "443");
        installer.output().unwrap()
    }

    /// The subnets of the configuration that was installed.
    fn subnets(&self) -> Vec<String> {
        let conf: serde_json::Value =
            serde_json::from_str(&self.read("net.d/10-pods.conflist")).unwrap();
        let ranges = conf
            .pointer("/plugins/0/ipam/ranges")
            .unwrap()
            .as_array()
            .unwrap();
        ranges
            .iter()
            .map(|set| {
                set.pointer("/0/subnet")
                    .unwrap()
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    /// True if a plugin of the node is the new program.
    fn is_new(&self, plugin: &str) -> bool {
        let installed = fs::read(self.root.path().join("bin").join(plugin)).unwrap();
        installed == fs::read(program()).unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.path().join(file)).unwrap()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.path().join(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn install_leaves_whole_files_and_no_others() {
    let node = Node::new("fresh");
    let output = node.install("10.244.1.0/24,fd00:244:1::/64");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(node.files("bin"), all_plugins());
    assert_eq!(node.files("net.d"), ["10-pods.conflist"]);
    assert!(all_plugins().into_iter().all(|name| node.is_new(name)));
    assert_eq!(
        fs::metadata(node.root.path().join("bin/bridge"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o755
    );
    assert_eq!(node.subnets(), ["10.244.1.0/24", "fd00:244:1::/64"]);
    let conf: serde_json::Value =
        serde_json::from_str(&node.read("net.d/10-pods.conflist")).unwrap();
    assert_eq!(conf.pointer("/plugins/1"), None, "portmap is not there");
}

#[test]
fn install_keeps_what_was_there_first_and_chains_portmap_where_it_is() {
    let node = Node::new("upgrade");
    fs::create_dir_all(node.root.path().join("bin")).unwrap();
    for plugin in ["bridge", "portmap"] {
        let path = node.root.path().join("bin").join(plugin);
        fs::write(&path, format!("old {plugin}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for _ in 0..2 {
        assert!(node.install("10.244.1.0/24").status.success());
    }
    assert!(node.is_new("bridge"));
    assert_eq!(node.read("bin/.bridge.before"), "old bridge");
    assert_eq!(node.read("bin/portmap"), "old portmap");
    // README.md's way back.
    let readme = fs::read_to_string(examples().join("kubernetes/README.md")).unwrap();
    let back = readme
        .split("```\n")
        .find(|block| block.contains("in .*.before"))
        .unwrap();
    let back = back.replace(
        "/opt/cni/bin",
        node.root.path().join("bin").to_str().unwrap(),
    );
    assert!(
        Command::new("sh")
            .args(["-c", &back])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(node.read("bin/bridge"), "old bridge");
    let mut left = all_plugins();
    left.push("portmap");
    left.sort();
    left.dedup();
    assert_eq!(node.files("bin"), left);
    let conf: serde_json::Value =
        serde_json::from_str(&node.read("net.d/10-pods.conflist")).unwrap();
    assert_eq!(
        conf.pointer("/plugins/1/type"),
        Some(&serde_json::json!("portmap"))
    );
}

/// A runtime that has started the old program, or is about to read it, has it to its end.
#[test]
fn install_renames_and_never_writes_into_a_program_that_is_there() {
    let node = Node::new("rename");
    fs::create_dir_all(node.root.path().join("bin")).unwrap();
    fs::write(node.root.path().join("bin/bridge"), "old bridge").unwrap();
    let mut opened = fs::File::open(node.root.path().join("bin/bridge")).unwrap();
    assert!(node.install("10.244.1.0/24").status.success());
    assert_eq!(std::io::read_to_string(&mut opened).unwrap(), "old bridge");
    assert!(node.is_new("bridge"));
}

#[test]
fn install_touches_nothing_when_it_cannot_be_completed() {
    for (name, cidrs, missing, wanted) in [
        (
            "half",
            "10.244.1.0/24",
            Some("plugins/cni-plugins"),
            "plugins/cni-plugins is missing",
        ),
        ("none", " ,", None, "the node has no podCIDRs"),
        (
            "address",
            "10.244.1.0",
            None,
            "the podCIDR 10.244.1.0 is no network",
        ),
        (
            "quote",
            "10.244.1.0/24,1/2\"}]],\"x\":[[{\"",
            None,
            "is no network",
        ),
    ] {
        let node = Node::new(name);
        missing
            .into_iter()
            .for_each(|file| fs::remove_file(node.root.path().join(file)).unwrap());
        let output = node.install(cidrs);
        assert!(!output.status.success());
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(wanted),
            "{output:?}"
        );
        assert!(!node.root.path().join("bin").exists() && !node.root.path().join("net.d").exists());
    }
}

#[test]
fn install_without_a_network_installs_the_plugins_alone() {
    let node = Node::new("flannel");
    let output = node.installer().env("NETWORK", "none").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(node.files("bin"), all_plugins());
    assert_eq!(node.files("net.d"), [""; 0]);
}

#[test]
fn install_asks_the_api_server_and_nobody_sees_the_token() {
    // Annotations may hold what looks like the answer.
    let answer = r#"cat >/dev/null; cat <<'END'
{ "kind": "Node", "metadata": { "annotations": { "last": "{\"podCIDRs\":[\"10.9.9.0/24\"]}" },
  "managedFields": [{ "fieldsV1": { "f:spec": { "f:podCIDRs": { "v:\"10.9.9.0/24\"": {} } } } }] },
  "spec": { "podCIDR": "10.244.3.0/24",
    "podCIDRs": [
      "10.244.3.0/24",
      "fd00:244:3::/64"
    ] } }
END"#;
    let node = Node::new("cluster");
    let output = node.install_from("fd00::1", answer);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(node.subnets(), ["10.244.3.0/24", "fd00:244:3::/64"]);
    let asked = node.read("asked");
    assert!(
        asked.contains("https://[fd00::1]:443/api/v1/nodes/node-1"),
        "{asked}"
    );
    assert!(!asked.contains("secret"), "{asked}");
}

#[test]
fn install_says_when_the_api_server_does_not_answer() {
    let node = Node::new("deaf");
    let output = node.install_from("10.96.0.1", "cat >/dev/null; exit 7");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        said,
        "install: the API server does not tell of the node node-1\n"
    );
    assert!(!node.root.path().join("bin").exists());
}

#[test]
fn every_example_configuration_is_read_as_a_runtime_reads_it() {
    let mut read = 0;
    for folder in fs::read_dir(examples()).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if file
                .extension()
                .is_some_and(|extension| extension == "conflist")
            {
                cni_runtime::Network::parse(&fs::read(&file).unwrap())
                    .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                read += 1;
            }
        }
    }
    assert!(read >= 4, "only {read} configurations found");
}
