//! Tests of the runtime with chains of shell scripts, each of which records its input.

use super::{testing::Folder, *};
use std::sync::{Arc, Mutex};

/// A runtime with two plugins, `first` and `second`, and the events of their runs.
struct Bench {
    folder: Folder,
    runtime: Runtime,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Bench {
    fn new() -> Self {
        let folder = Folder::new();
        let answer = |number: u8| {
            format!(
                r#"test "$CNI_COMMAND" != ADD || echo '{{"cniVersion":"1.1.0","ips":[{{"address":"10.0.0.{number}/24"}}],"odd":{number}}}'"#
            )
        };
        folder.script("first", &answer(1));
        folder.script("second", &answer(2));
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let runtime = Runtime::new(&[folder.path()], Cache::new(folder.path()))
            .on_exit(move |event| log.lock().unwrap().push(event.clone()));
        Self {
            folder,
            runtime,
            events,
        }
    }

    /// Returns plugin, command and the number in `prevResult` of every run since the last call.
    fn runs(&self) -> Vec<String> {
        let describe = |event: Event| {
            let stdin = Json::parse(event.stdin.as_bytes()).unwrap();
            let prev = stdin
                .lookup("prevResult")
                .and_then(|result| result.lookup("odd"))
                .map(Json::to_string);
            format!(
                "{} {} {}",
                event.plugin,
                event.command.as_str(),
                prev.unwrap_or_else(|| "-".into())
            )
        };
        self.events
            .lock()
            .unwrap()
            .drain(..)
            .map(describe)
            .collect()
    }

    fn cached_attachments(&self) -> usize {
        self.runtime.cache().attachments().unwrap().len()
    }
}

fn network(version: &str, more: &str) -> Network {
    let text = format!(
        r#"{{"cniVersion":"{version}","name":"n"{more},"plugins":[{{"type":"first"}},{{"type":"second"}}]}}"#
    );
    Network::parse(text.as_bytes()).unwrap()
}

fn parameters() -> Parameters {
    Parameters::new("c1", "eth0", "/run/netns/a").unwrap()
}

#[test]
fn add_passes_each_result_on_and_caches_the_last() {
    let bench = Bench::new();
    let added = bench
        .runtime
        .add(&network("1.1.0", ""), &parameters())
        .unwrap();
    assert_eq!(bench.runs(), ["first ADD -", "second ADD 1"]);
    assert_eq!(added.result.ips[0].address.to_string(), "10.0.0.2/24");
    assert_eq!(
        bench.runtime.cache().attachments().unwrap()[0].result,
        added.json
    );
}

#[test]
fn del_runs_in_reverse_with_the_final_result() {
    let bench = Bench::new();
    let network = network("1.1.0", "");
    bench.runtime.add(&network, &parameters()).unwrap();
    bench.runs();
    bench.runtime.del(&network, &parameters()).unwrap();
    assert_eq!(bench.runs(), ["second DEL 2", "first DEL 2"]);
    assert_eq!(bench.cached_attachments(), 0);
    bench.runtime.del(&network, &parameters()).unwrap();
    assert_eq!(bench.runs(), ["second DEL -", "first DEL -"]);
}

#[test]
fn del_does_without_a_damaged_cached_result() {
    let bench = Bench::new();
    bench.folder.write("results/n-c1-eth0", "");
    bench
        .runtime
        .del(&network("1.1.0", ""), &parameters())
        .unwrap();
    assert_eq!(bench.runs(), ["second DEL -", "first DEL -"]);
    assert!(!bench.folder.path().join("results/n-c1-eth0").exists());
}

#[test]
fn del_sends_no_result_before_0_4_0() {
    let bench = Bench::new();
    let old = network("0.3.1", "");
    bench.runtime.add(&old, &parameters()).unwrap();
    bench.runs();
    bench.runtime.del(&old, &parameters()).unwrap();
    assert_eq!(bench.runs(), ["second DEL -", "first DEL -"]);
}

#[test]
fn add_and_del_stop_at_the_first_error_and_keep_its_text() {
    let bench = Bench::new();
    let network = network("1.1.0", "");
    bench.runtime.add(&network, &parameters()).unwrap();
    bench.runs();
    let failing = r#"echo '{"code":117,"msg":"no luck"}'; exit 1"#;
    bench.folder.script("second", failing);
    let error = bench.runtime.del(&network, &parameters()).unwrap_err();
    assert_eq!(error.to_string(), r#"plugin "second" failed DEL: no luck"#);
    assert_eq!(error.plugin_error().unwrap().code, Code(117));
    assert_eq!(bench.runs(), ["second DEL 2"]);
    assert_eq!(bench.cached_attachments(), 1);
    bench.folder.script("first", failing);
    assert!(bench.runtime.add(&network, &parameters()).is_err());
    assert_eq!(bench.runs(), ["first ADD -"]);
}

#[test]
fn check_gives_all_plugins_the_final_result() {
    let bench = Bench::new();
    let network = network("1.1.0", "");
    let error = bench.runtime.check(&network, &parameters()).unwrap_err();
    assert!(
        error.to_string().starts_with("there is no cached result"),
        "{error}"
    );
    bench.runtime.add(&network, &parameters()).unwrap();
    bench.runs();
    assert_eq!(
        bench.runtime.check(&network, &parameters()).unwrap(),
        Asked::All
    );
    assert_eq!(bench.runs(), ["first CHECK 2", "second CHECK 2"]);
}

#[test]
fn no_plugin_is_run_for_an_operation_that_is_disabled_or_too_new() {
    let bench = Bench::new();
    let network_off = network("1.1.0", r#","disableCheck":true,"disableGC":true"#);
    assert!(matches!(
        bench.runtime.check(&network_off, &parameters()),
        Ok(Asked::None(_))
    ));
    assert!(matches!(
        bench.runtime.gc(&network_off, &[]),
        Ok(Asked::None(_))
    ));
    let older = network("1.0.0", "");
    assert!(matches!(bench.runtime.status(&older), Ok(Asked::None(_))));
    assert!(matches!(bench.runtime.gc(&older, &[]), Ok(Asked::None(_))));
    assert!(
        bench
            .runtime
            .check(&network("0.3.1", ""), &parameters())
            .is_err()
    );
    assert_eq!(bench.runs(), [""; 0]);
}

#[test]
fn gc_goes_on_after_an_error_and_returns_all_errors() {
    let bench = Bench::new();
    bench
        .folder
        .script("first", r#"echo '{"code":5,"msg":"one"}'; exit 1"#);
    bench
        .folder
        .script("second", r#"echo '{"code":5,"msg":"two"}'; exit 1"#);
    let errors = bench
        .runtime
        .gc(&network("1.1.0", ""), &[("c1".into(), "eth0".into())])
        .unwrap_err();
    assert_eq!(errors.len(), 2);
    let events = bench.events.lock().unwrap();
    assert!(
        events[1]
            .stdin
            .contains(r#""cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]"#)
    );
    assert_eq!(events[1].environment.value("CNI_CONTAINERID"), None);
}

#[test]
fn status_asks_every_plugin() {
    let bench = Bench::new();
    assert_eq!(
        bench.runtime.status(&network("1.1.0", "")).unwrap(),
        Asked::All
    );
    assert_eq!(bench.runs(), ["first STATUS -", "second STATUS -"]);
}

#[test]
fn a_result_of_another_version_is_converted_for_the_next_plugin() {
    let bench = Bench::new();
    let added = bench
        .runtime
        .add(&network("0.4.0", ""), &parameters())
        .unwrap();
    assert_eq!(added.json.lookup("cniVersion"), Some(&"0.4.0".into()));
    let events = bench.events.lock().unwrap();
    assert!(
        events[1]
            .stdin
            .contains(r#""prevResult":{"cniVersion":"0.4.0","ips":[{"version":"4""#),
        "{}",
        events[1].stdin
    );
}

#[test]
fn a_missing_plugin_is_an_error_with_the_path() {
    let bench = Bench::new();
    let network = Network::parse(br#"{"cniVersion":"1.1.0","name":"n","type":"third"}"#).unwrap();
    let error = bench
        .runtime
        .add(&network, &parameters())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(r#"failed to find plugin "third" in path ["#),
        "{error}"
    );
}

#[test]
fn an_answer_that_is_no_result_is_an_error() {
    let bench = Bench::new();
    bench.folder.script("first", "echo hello");
    let error = bench
        .runtime
        .add(&network("1.1.0", ""), &parameters())
        .unwrap_err();
    assert_eq!(error.plugin_error().unwrap().code, Code::DECODE);
    assert_eq!(bench.cached_attachments(), 0);
}

#[test]
fn versions_are_read_from_the_plugin() {
    let bench = Bench::new();
    bench.folder.script(
        "first",
        r#"cat >&2; echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.1.0"]}'"#,
    );
    assert_eq!(bench.runtime.versions("first").unwrap(), ["0.4.0", "1.1.0"]);
    assert_eq!(
        bench.events.lock().unwrap()[0].stderr,
        r#"{"cniVersion":"1.1.0"}"#
    );
}

#[test]
fn a_plugin_that_hangs_is_ended_when_its_time_is_up() {
    let bench = Bench::new();
    bench.folder.script("hangs", "exec sleep 60");
    let runtime = Runtime::new(&[bench.folder.path()], Cache::new(bench.folder.path()))
        .with_timeout(Duration::from_millis(100));
    let start = Instant::now();
    let error = runtime.versions("hangs").unwrap_err();
    assert_eq!(
        error.plugin_error().unwrap().msg,
        "it did not end within 0.1 seconds"
    );
    assert!(start.elapsed() < Duration::from_secs(30));
}
