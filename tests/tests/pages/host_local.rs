//! Requests that host-local refuses.

use crate::page::Page;
use cni_types::Command;
use serde_json::{Value, json};
use testkit::{Host, Invocation};

/// A disk that is full, a record that cannot be read and a lock that hangs are seen by host-local's
/// own tests.
pub(crate) const NOT_HERE: &[&str] =
    &["failed to … /…", "failed to read record", "try again later"];

fn request<'a>(host: &'a Host, command: Command, ipam: Value, keys: Value) -> Invocation<'a> {
    let mut whole = json!({"type": "host-local", "dataDir": host.data_dir()});
    whole
        .as_object_mut()
        .unwrap()
        .extend(ipam.as_object().unwrap().clone());
    let base = json!({"cniVersion": "1.1.0", "name": "n", "type": "bridge", "ipam": whole});
    crate::request(host, "host-local", command, &base, keys).netns("/run/none")
}

fn small() -> Value {
    json!({"ranges": [[{"subnet": "10.1.0.0/30"}]]})
}

pub(crate) fn configurations(host: &Host, page: &mut Page) {
    let add = |ipam: Value| request(host, Command::Add, ipam, json!({}));
    page.sees(request(
        host,
        Command::Add,
        json!({}),
        json!({"ipam": null}),
    ));
    for ipam in [
        json!({}),
        json!({"ranges": [[]]}),
        json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd01::/64"}]]}),
        json!({"ranges": [[{"subnet": "10.1.0.1/24"}]]}),
        json!({"ranges": [[{"subnet": "10.1.0.0/24", "exclude": ["10.2.0.0/24"]}]]}),
        json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.1.0.0/16"}]]}),
        json!({"subnet": "10.1.0.0/24", "exclude": ["here"]}),
        json!({"subnet": "10.1.0.0/24", "statusWhenFull": "perhaps"}),
        json!({"subnet": "10.1.0.0/24", "resolvConf": "/nonexistent"}),
        json!({"ranges": vec![json!([{"subnet": "10.1.0.0/24"}]); 257]}),
    ] {
        page.sees(add(ipam));
    }
    for ips in [json!(["here"]), json!([""])] {
        page.sees(request(
            host,
            Command::Add,
            small(),
            json!({"args": {"cni": {"ips": ips}}}),
        ));
    }
    let two = json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]});
    page.sees(request(
        host,
        Command::Add,
        two,
        json!({"cniVersion": "0.2.0"}),
    ));
    let link = host.file("ready", "").with_file_name("link");
    std::os::unix::fs::symlink("/run", &link).unwrap();
    page.sees(add(json!({"subnet": "10.1.0.0/24", "dataDir": link})));
    page.sees(request(
        host,
        Command::Status,
        json!({"subnet": "10.1.0.0/24", "dataDir": link}),
        json!({}),
    ));
}

pub(crate) fn requests(host: &Host, page: &mut Page) {
    let add = |address: &str| {
        request(
            host,
            Command::Add,
            small(),
            json!({"args": {"cni": {"ips": [address]}}}),
        )
    };
    page.sees(request(host, Command::Check, small(), json!({})));
    page.sees(add("10.1.0.1"));
    page.sees(add("10.9.0.1"));
    add("10.1.0.2").run().success();
    page.sees(request(host, Command::Add, small(), json!({})));
    page.sees(request(host, Command::Add, small(), json!({})).container("c2"));
    page.sees(add("10.1.0.2").container("c2"));
    page.sees(request(host, Command::Gc, small(), json!({})).env("CNI_KEEP_ADDRESSES", "here"));
    let mut strict = small();
    strict["statusWhenFull"] = "error".into();
    page.sees(request(host, Command::Status, strict, json!({})));
    request(host, Command::Status, small(), json!({}))
        .run()
        .success();
}
