//! Tests of the plugins as processes: signals, closed and full streams, unbounded input. In all of
//! these a runtime must get exactly one JSON document, and an exit status that says if the request
//! was served.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

use cni_plugins::names;
use cni_types::{Code, Command};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::{Child, ExitCode, Output, Stdio},
    time::{Duration, Instant},
};
use testkit::{Host, Invocation, bin_dir, fail};

fn main() -> ExitCode {
    testkit::main(testkit::tests![
        sigterm_while_stdin_is_open_is_an_error_document,
        sigterm_during_a_delegate_is_passed_on_and_is_an_error_document,
        a_delegate_that_ignores_sigterm_is_killed_and_its_records_are_released,
        a_reply_that_cannot_be_written_is_a_failure,
        an_add_whose_result_cannot_be_written_leaves_nothing,
        an_add_whose_result_nobody_reads_is_taken_back_on_sigterm,
        a_del_whose_delegate_hangs_ends_on_sigterm,
        inherited_dispositions_and_masks_change_nothing,
        a_limit_of_file_size_is_an_error_document,
        a_delegate_that_is_the_plugin_itself_is_refused_and_del_frees_what_it_holds,
        a_delegate_that_leads_back_under_another_name_ends_soon,
        no_stdin_is_code_6,
        invalid_utf8_is_refused,
        stdin_without_end_is_refused,
        json_without_end_is_refused,
        a_plugin_without_command_prints_what_it_is,
        version_needs_nothing,
    ])
}

/// Returns the document on stdout; fails the test unless there is exactly one.
#[track_caller]
fn document(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let documents: Vec<Value> = serde_json::Deserializer::from_str(&stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    match <[Value; 1]>::try_from(documents) {
        Ok([document]) => document,
        Err(other) => fail(format_args!("{} documents: {stdout}", other.len())),
    }
}

/// Fails the test unless the plugin ended by itself with one error object of this code. Returns the
/// error's `msg`.
#[track_caller]
fn refusal(output: &Output, code: Code) -> String {
    let error = document(output);
    assert!(
        output.status.code().is_some_and(|status| status != 0),
        "{}",
        output.status
    );
    assert_eq!(error["code"], code.0, "{error}");
    assert!(error["cniVersion"].is_string(), "{error}");
    error["msg"].as_str().unwrap().to_owned()
}

fn conf(plugin: &str) -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "type": plugin, "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}]]}})
}

/// Waits until `condition`, on which another process works, is true; `what` describes it.
#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        if Instant::now() > deadline {
            fail(format_args!("waited in vain: {what}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn terminate(child: &Child) {
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
}

/// Returns true if the process handles SIGTERM instead of being ended by it.
fn catches_sigterm(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (Signal::SIGTERM as u32 - 1)) != 0
}

fn sigterm_while_stdin_is_open_is_an_error_document(host: &Host) {
    let pod = host.pod("a");
    let before = host.state(&[&pod]);
    for plugin in names() {
        let mut process = host.plugin(plugin, Command::Add).pod(&pod).process();
        let mut child = process
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"{").unwrap();
        wait_until("SIGTERM is caught", || catches_sigterm(&child));
        terminate(&child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(refusal(&output, Code::TRY_AGAIN), "terminated by SIGTERM");
        drop(stdin);
    }
    assert_eq!(host.state(&[&pod]).difference(&before), "");
}

/// Returns an ADD of bridge with `script` as its IPAM plugin, and the path of the script's log.
fn bridge_with_ipam<'a>(host: &'a Host, script: &str) -> (Invocation<'a>, std::path::PathBuf) {
    let program = host.script("slow", script);
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        bin_dir().display()
    );
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0", "isGateway": true,
        "ipam": {"type": "slow"}
    });
    (
        host.plugin("bridge", Command::Add)
            .env("CNI_PATH", path)
            .conf(conf),
        program.with_file_name("slow.log"),
    )
}

/// Starts bridge, sends it SIGTERM while its delegate runs, and returns its output and the
/// delegate's log. Fails the test if the state has changed.
fn terminate_during_delegate(host: &Host, script: &str) -> (Output, String) {
    let pod = host.pod("a");
    // The bridge is the network's and stays after a failed ADD; so it is made first.
    let without_ipam =
        json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0"});
    for command in [Command::Add, Command::Del] {
        host.plugin("bridge", command)
            .pod(&pod)
            .conf(&without_ipam)
            .run()
            .success();
    }
    let before = host.state(&[&pod]);
    let (invocation, log) = bridge_with_ipam(host, script);
    let child = invocation
        .pod(&pod)
        .process()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let noted = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the delegate is started", || noted().contains("ready"));
    terminate(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        host.state(&[&pod]).difference(&before),
        "",
        "something was left behind"
    );
    (output, noted())
}

fn sigterm_during_a_delegate_is_passed_on_and_is_an_error_document(host: &Host) {
    let script = r#"
        echo "$CNI_COMMAND" >>"$0.log"
        [ "$CNI_COMMAND" = ADD ] || exit 0
        sleep 60 >/dev/null &
        trap 'echo TERM >>"$0.log"; kill $!; exit 1' TERM
        echo ready >>"$0.log"
        wait"#;
    let start = Instant::now();
    let (output, noted) = terminate_during_delegate(host, script);
    assert_eq!(refusal(&output, Code::TRY_AGAIN), "terminated by SIGTERM");
    assert_eq!(noted, "ADD\nready\nTERM\nDEL\n");
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "the delegate ended at once, and so must the plugin"
    );
}

fn a_delegate_that_ignores_sigterm_is_killed_and_its_records_are_released(host: &Host) {
    let script = r#"
        echo "$CNI_COMMAND" >>"$0.log"
        [ "$CNI_COMMAND" = ADD ] || exit 0
        trap '' TERM
        echo ready >>"$0.log"
        exec sleep 60"#;
    let start = Instant::now();
    let (output, noted) = terminate_during_delegate(host, script);
    assert_eq!(refusal(&output, Code::TRY_AGAIN), "terminated by SIGTERM");
    assert_eq!(noted, "ADD\nready\nDEL\n");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "it has 5 seconds"
    );
}

fn a_reply_that_cannot_be_written_is_a_failure(host: &Host) {
    for plugin in names() {
        let (reader, closed) = io::pipe().unwrap();
        drop(reader);
        let full = File::options().write(true).open("/dev/full").unwrap();
        for stdout in [Stdio::from(closed), Stdio::from(full)] {
            let mut process = host
                .plugin(plugin, Command::Version)
                .conf(conf(plugin))
                .process();
            let output = process
                .stdout(stdout)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let output = output.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(log.starts_with("cannot print the reply: "), "{log}");
        }
    }
}

/// Scripts that execute the plugin with a stdout that is closed, open for reading only, or full.
const UNWRITABLE: [&str; 3] = [
    r#"exec "$0" >&-"#,
    r#"exec "$0" 1</dev/null"#,
    r#"exec "$0" >/dev/full"#,
];

fn an_add_whose_result_cannot_be_written_leaves_nothing(host: &Host) {
    let pod = host.pod("a");
    let folder = host.file("records", "");
    fs::remove_file(&folder).unwrap();
    let ipam = json!({"type": "host-local", "dataDir": folder, "subnet": "10.1.0.0/24"});
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0", "ipam": ipam});
    let records = || {
        let entries = fs::read_dir(folder.join("net"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"10."))
            .count()
    };
    // The bridge stays after a failed ADD, so it must exist before the states are compared.
    let add = |plugin| host.plugin(plugin, Command::Add).pod(&pod).conf(&conf);
    add("bridge").run().success();
    host.plugin("bridge", Command::Del)
        .pod(&pod)
        .conf(&conf)
        .run()
        .success();
    let before = host.state(&[&pod]);
    for plugin in ["bridge", "host-local"] {
        for script in UNWRITABLE {
            let mut shell = wrapped(&add(plugin), "/bin/sh", &["-c", script]);
            let output = shell.stderr(Stdio::piped()).output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success() && log.contains("cannot print the reply: "),
                "{script}: {log}"
            );
            assert_eq!(
                (records(), host.state(&[&pod]).difference(&before)),
                (0, String::new()),
                "{script}"
            );
        }
    }
    // A result in /dev/null is not lost: the caller does not want it.
    let mut shell = wrapped(
        &add("bridge"),
        "/bin/sh",
        &["-c", r#"exec "$0" >/dev/null"#],
    );
    assert!(shell.status().unwrap().success());
    assert_eq!(records(), 1);
}

/// Returns the invocation, run through another program that takes the plugin as its last argument.
fn wrapped(
    invocation: &Invocation<'_>,
    program: &str,
    arguments: &[&str],
) -> std::process::Command {
    let plugin = invocation.process().get_program().to_owned();
    let mut process = invocation.clone().program(program).process();
    process.args(arguments).arg(plugin);
    process
}

fn an_add_whose_result_nobody_reads_is_taken_back_on_sigterm(host: &Host) {
    let folder = host.file("records", "");
    fs::remove_file(&folder).unwrap();
    // More routes than a pipe holds.
    let routes: Vec<Value> = (0..4000)
        .map(|n| json!({"dst": format!("10.{}.{}.0/24", n / 256, n % 256)}))
        .collect();
    let ipam =
        json!({"type": "host-local", "dataDir": folder, "subnet": "10.1.0.0/24", "routes": routes});
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "x", "ipam": ipam});
    let mut process = host
        .plugin("host-local", Command::Add)
        .netns("/run/netns/none")
        .conf(conf)
        .process();
    let (reader, writer) = io::pipe().unwrap();
    let mut child = process
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(process);
    wait_until("the address is taken", || {
        folder.join("net/10.1.0.2").exists()
    });
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    terminate(&child);
    assert!(!child.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(10) && !folder.join("net/10.1.0.2").exists());
    drop(reader);
}

fn a_del_whose_delegate_hangs_ends_on_sigterm(host: &Host) {
    let script = r#"
        trap 'echo TERM >>"$0.log"; exit 1' TERM
        echo ready >>"$0.log"
        sleep 60 >/dev/null & wait"#;
    let (invocation, log) = bridge_with_ipam(host, script);
    let invocation = invocation.env("CNI_COMMAND", "DEL");
    let child = invocation.process().stdout(Stdio::piped()).spawn().unwrap();
    let noted = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the delegate is started", || noted().contains("ready"));
    let start = Instant::now();
    terminate(&child);
    let output = child.wait_with_output().unwrap();
    refusal(&output, Code::DELEGATE);
    assert_eq!(noted(), "ready\nTERM\n");
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn inherited_dispositions_and_masks_change_nothing(host: &Host) {
    let ipam = r#"
        cat >/dev/null
        grep -E '^Sig(Ign|Blk)' /proc/self/status >>"$0.log"
        echo '{"ips":[{"address":"10.1.0.2/24"}]}'"#;
    let (invocation, log) = bridge_with_ipam(host, ipam);
    for signals in [
        "--ignore-signal=CHLD,XFSZ,TERM,PIPE",
        "--block-signal=CHLD,XFSZ,TERM,PIPE",
    ] {
        let pod = host.pod(if signals.starts_with("--i") {
            "ignored"
        } else {
            "blocked"
        });
        for command in ["ADD", "DEL"] {
            let invocation = invocation.clone().pod(&pod).env("CNI_COMMAND", command);
            let output = wrapped(&invocation, "env", &[signals]).output().unwrap();
            assert!(output.status.success(), "{signals} {command}: {output:?}");
        }
    }
    let seen = fs::read_to_string(&log).unwrap();
    assert_eq!(seen.lines().count(), 8);
    let tested = [
        Signal::SIGCHLD,
        Signal::SIGXFSZ,
        Signal::SIGTERM,
        Signal::SIGPIPE,
    ];
    let tested = tested
        .iter()
        .fold(0, |mask, signal| mask | 1_u64 << (*signal as u32 - 1));
    for line in seen.lines() {
        // A delegate starts with the default dispositions and an empty mask.
        let (_, mask) = line.split_once('\t').unwrap();
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & tested, 0, "{seen}");
    }
}

fn a_limit_of_file_size_is_an_error_document(host: &Host) {
    let pod = host.pod("a");
    let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/24"});
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0", "ipam": ipam});
    for plugin in ["bridge", "host-local"] {
        let invocation = host.plugin(plugin, Command::Add).pod(&pod).conf(&conf);
        let mut limited = wrapped(&invocation, "prlimit", &["--fsize=0"]);
        let error = document(&limited.stdout(Stdio::piped()).output().unwrap());
        assert!(error["msg"].is_string(), "{error}");
    }
    // RLIMIT_FSIZE also limits files in memory, one of which is the usual stdin of a delegate. It
    // does not limit pipes, which then take its place.
    let (invocation, log) = bridge_with_ipam(
        host,
        r#"wc -c >/dev/null; echo '{"ips":[{"address":"10.1.0.2/24"}]}'"#,
    );
    let output = wrapped(&invocation.pod(&pod), "prlimit", &["--fsize=0"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?} {}", log.display());
}

fn a_delegate_that_is_the_plugin_itself_is_refused_and_del_frees_what_it_holds(host: &Host) {
    let pod = host.pod("a");
    let conf = |ipam: Value| json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0", "ipam": ipam});
    host.plugin("bridge", Command::Add)
        .pod(&pod)
        .conf(conf(json!({})))
        .run()
        .success();
    let own = conf(json!({"type": "bridge"}));
    let other = host.pod("b");
    for command in [
        Command::Add,
        Command::Check,
        Command::Status,
        Command::Gc,
        Command::Del,
    ] {
        let pod = if command == Command::Add {
            &other
        } else {
            &pod
        };
        let mut own = own.clone();
        if command == Command::Check {
            own["prevResult"] = json!({"cniVersion": "1.1.0", "interfaces": [
                {"name": "br0"}, {"name": "v"}, {"name": "eth0", "sandbox": pod.path()}
            ]});
        }
        let outcome = host.plugin("bridge", command).pod(pod).conf(own).run();
        assert_eq!(outcome.code(), Code::INVALID_CONFIG, "{outcome}");
        assert_eq!(
            outcome.msg(),
            "delegation to plugin \"bridge\" leads back to itself",
            "{outcome}"
        );
    }
    assert!(
        !fs::read_to_string("/proc/net/dev")
            .unwrap()
            .contains("veth"),
        "DEL left the pair"
    );
}

fn a_delegate_that_leads_back_under_another_name_ends_soon(host: &Host) {
    let pod = host.pod("a");
    let script = format!(
        r#"echo x >>"$0.log"; exec {}"#,
        bin_dir().join("bridge").display()
    );
    let (invocation, log) = bridge_with_ipam(host, &script);
    for command in ["ADD", "DEL", "STATUS", "GC"] {
        let _ = fs::remove_file(&log);
        let outcome = invocation
            .clone()
            .pod(&pod)
            .env("CNI_COMMAND", command)
            .run();
        let started = fs::read_to_string(&log).map_or(0, |log| log.lines().count());
        // The second ADD finds that the first one works on the same attachment.
        let code = if command == "ADD" {
            Code::TRY_AGAIN
        } else {
            Code::INVALID_CONFIG
        };
        assert_eq!(outcome.code(), code, "{outcome}");
        assert!((1..50).contains(&started), "{command} started {started}");
    }
}

fn no_stdin_is_code_6(host: &Host) {
    for plugin in names() {
        for command in [
            Command::Add,
            Command::Del,
            Command::Check,
            Command::Status,
            Command::Gc,
        ] {
            let mut process = host
                .plugin(plugin, command)
                .netns("/run/netns/none")
                .process();
            let output = process.stdin(Stdio::null()).output().unwrap();
            assert!(
                refusal(&output, Code::DECODE).starts_with("error unmarshall network config: ")
            );
        }
        // The same with a closed stdin.
        let mut shell = std::process::Command::new("/bin/sh");
        shell
            .args(["-c", r#"exec "$0" <&-"#])
            .arg(bin_dir().join(plugin))
            .env_clear();
        shell.envs([("CNI_COMMAND", "STATUS"), ("CNI_PATH", "/nonexistent")]);
        assert!(refusal(&shell.output().unwrap(), Code::DECODE).starts_with("error unmarshall"));
    }
}

fn invalid_utf8_is_refused(host: &Host) {
    use std::os::unix::ffi::OsStrExt;
    let garbage = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let path = host.file("garbage", "");
    fs::write(&path, b"{\"name\":\"\xff\xfe\"}").unwrap();
    for plugin in names() {
        let mut process = host.plugin(plugin, Command::Del).process();
        let output = process.stdin(File::open(&path).unwrap()).output().unwrap();
        // As in Go, such a byte is U+FFFD, which no name may have.
        refusal(&output, Code::INVALID_CONFIG);
        let invocation = host.plugin(plugin, Command::Del).conf(conf(plugin));
        let output = invocation
            .clone()
            .env("CNI_CONTAINERID", garbage)
            .process()
            .output()
            .unwrap();
        assert_eq!(
            refusal(&output, Code::INVALID_ENVIRONMENT),
            "invalid characters in containerID"
        );
        let output = invocation
            .env("CNI_COMMAND", garbage)
            .process()
            .output()
            .unwrap();
        assert!(refusal(&output, Code::INVALID_ENVIRONMENT).starts_with("unknown CNI_COMMAND: "));
    }
}

/// Feeds spaces for as long as the plugin reads them: it must stop soon after 32 MiB.
fn stdin_without_end_is_refused(host: &Host) {
    let mut process = host.plugin("host-local", Command::Status).process();
    let mut child = process
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let spaces = vec![b' '; 1 << 20];
        (0..1024)
            .take_while(|_| stdin.write_all(&spaces).is_ok())
            .count()
    });
    let output = child.wait_with_output().unwrap();
    let msg = refusal(&output, Code::IO);
    assert!(
        msg.starts_with("error reading from stdin: ") && msg.contains("larger than 32 MiB"),
        "{msg}"
    );
    assert!((28..48).contains(&feeder.join().unwrap()));
}

fn json_without_end_is_refused(host: &Host) {
    for plugin in names() {
        for unit in ["[", r#"{"ipam":"#, r#"{"prevResult":["#] {
            let invocation = host.plugin(plugin, Command::Del).conf(unit.repeat(100_000));
            assert!(
                refusal(&invocation.process().output().unwrap(), Code::DECODE)
                    .contains("exceeded max depth")
            );
        }
    }
}

fn a_plugin_without_command_prints_what_it_is(_: &Host) {
    for plugin in names() {
        let output = std::process::Command::new(bin_dir().join(plugin))
            .env_clear()
            .output()
            .unwrap();
        assert!(output.status.success() && output.stdout.is_empty());
        let about = String::from_utf8(output.stderr).unwrap();
        assert!(
            about.starts_with(&format!("CNI {plugin} plugin v")),
            "{about}"
        );
        assert!(
            about.contains("0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
            "{about}"
        );
    }
}

fn version_needs_nothing(_: &Host) {
    for plugin in names() {
        let mut process = std::process::Command::new(Path::new(bin_dir()).join(plugin));
        let output = process
            .env_clear()
            .env("CNI_COMMAND", "VERSION")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success());
        let versions = [
            "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
        ];
        assert_eq!(
            document(&output),
            json!({"cniVersion": "1.1.0", "supportedVersions": versions})
        );
    }
}
