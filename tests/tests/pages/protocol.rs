//! The answer of every plugin to a request that is wrong in itself.

use crate::page::Page;
use cni_types::Command;
use serde_json::{Value, json};
use testkit::{Host, Invocation, bin_dir};

/// A signal or a fault must come at the right moment; other tests see to that.
pub(crate) const NOT_HERE: &[&str] = &[
    "error reading from stdin",
    "failed to enter netns",
    "failed to find the own network namespace",
    "the plugin runs without",
    "terminated",
    "failed to … \"…\"",
    "… plugin panicked",
];

pub(crate) fn errors(host: &Host, page: &mut Page) {
    let pod = host.pod("a");
    let base = json!({"cniVersion": "1.1.0", "name": "n", "type": "bridge"});
    let request =
        |command, keys: Value| crate::request(host, "bridge", command, &base, keys).pod(&pod);
    let add = || request(Command::Add, json!({}));
    page.sees(request(Command::Add, json!({"cniVersion": "9.8.7"})));
    page.sees(request(Command::Status, json!({"cniVersion": "1.0.0"})));
    let changes: [fn(Invocation<'_>) -> Invocation<'_>; 9] = [
        |add| add.without("CNI_CONTAINERID"),
        |add| add.env("CNI_COMMAND", "NONE"),
        |add| add.container("a/b"),
        |add| add.ifname(".."),
        |add| add.ifname("a b"),
        |add| add.ifname("a\u{7f}"),
        |add| add.ifname("a-name-of-16-byte"),
        |add| add.args("FOO=bar"),
        |add| add.conf("no JSON"),
    ];
    for change in changes {
        page.sees(change(add()));
    }
    page.sees(add().program(bin_dir().join("cni-plugins")));
    page.sees(request(Command::Add, json!({"isGateway": "yes"})));
    page.sees(request(
        Command::Add,
        json!({"prevResult": {"cniVersion": "1.1.0", "ips": 7}}),
    ));
    page.sees(request(
        Command::Gc,
        json!({"cni.dev/valid-attachments": 7}),
    ));
    page.sees(request(Command::Add, json!({"ipam": {"type": "bridge"}})));
    page.sees(
        request(Command::Add, json!({"ipam": {"type": "x"}})).env("CNI_DELEGATION_DEPTH", "x"),
    );
    page.sees(request(Command::Add, json!({"name": ""})));
    page.sees(request(Command::Add, json!({"name": "../../evil"})));
}
