//! ADD fails at each of its steps in turn: host, container and data are as before, and the first
//! cause is reported.
//!
//! strace makes one system call after another fail, as a security profile or a lack of memory
//! would. So every step is covered, also those that nobody thought of.

use crate::{
    kernel,
    network::{Network, V4, V6, failing_plugin, host_local},
    snapshot::Snapshot,
    trace::Trace,
};
use cni_types::{Command, Error};
use serde_json::json;
use testkit::{Host, OrFail, Test, fail};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        add_leaves_nothing_whichever_message_to_the_kernel_is_refused,
        add_leaves_nothing_whichever_answer_of_the_kernel_is_lost,
        a_lost_answer_of_the_kernel_leaves_no_macspoofchk_rules,
        add_leaves_nothing_whichever_file_cannot_be_opened,
        add_leaves_nothing_whichever_write_fails,
        add_leaves_nothing_whichever_change_of_namespace_is_refused,
        add_leaves_nothing_whichever_socket_cannot_be_had,
        add_leaves_nothing_without_net_admin,
        del_frees_the_rest_or_reports_whichever_message_is_refused,
        a_clean_up_that_fails_too_is_in_the_details,
        a_result_that_nobody_reads_is_taken_back,
    ]
}

fn network(host: &Host) -> Network<'_> {
    Network::new(
        host,
        json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])}),
    )
}

/// Makes one call of this kind after another fail, until two ADDs in turn make fewer calls. (The
/// number differs by one or two, since a delegate may end before or after ADD waits for it.)
/// Returns the number of ADDs that failed: one may succeed without a call, for instance without
/// setting a sysctl that only hardens.
fn sweep(host: &Host, call: &str, errno: &str) -> usize {
    kernel::require_tool("strace");
    let network = network(host);
    let other = host.pod("other");
    network.add(&other).success();
    let mut failures = 0;
    let mut injections = 0;
    let mut spared = 0;
    for number in 1.. {
        let pod = host.pod("a");
        let before = Snapshot::of(host, &[&other, &pod]);
        let trace = Trace::with_fault(
            host,
            &network.attachment(Command::Add, &pod),
            call,
            errno,
            number,
        );
        let injected = trace.lines.iter().any(|line| line.contains("(INJECTED)"));
        if trace.outcome.status.success() {
            network.check(&pod, &trace.outcome).silent_success();
            network.del(&pod).silent_success();
        } else {
            failures += 1;
            require_reported(&trace);
            host.note(format!("{call} {number}"));
            before.require_unchanged_but_for_the_last_address();
        }
        pod.remove();
        injections += usize::from(injected);
        spared = if injected { 0 } else { spared + 1 };
        if spared == 2 {
            break;
        }
    }
    assert!(injections > 0, "no ADD made a {call}");
    failures
}

/// Asserts that stdout is one error, unless the program never started: the loader opens libraries
/// first.
#[track_caller]
fn require_reported(trace: &Trace) {
    let outcome = &trace.outcome;
    if outcome.stdout.is_empty() {
        let cannot_say = outcome.stderr.contains("shared librar")
            || outcome.stderr.contains("cannot print the reply");
        assert!(cannot_say, "no error is told: {outcome}");
        return;
    }
    let error = outcome.error();
    assert!(
        !error.msg.is_empty() && !error.details.contains("cleaning up"),
        "{error}"
    );
}

fn add_leaves_nothing_whichever_message_to_the_kernel_is_refused(host: &Host) {
    assert!(
        sweep(host, "sendto", "EPERM") > 0,
        "no ADD failed by sendto"
    );
}

/// The kernel executed the request, and the plugin does not know.
fn add_leaves_nothing_whichever_answer_of_the_kernel_is_lost(host: &Host) {
    assert!(
        sweep(host, "recvfrom", "ENOBUFS") > 0,
        "no ADD failed by recvfrom"
    );
}

fn add_leaves_nothing_whichever_file_cannot_be_opened(host: &Host) {
    assert!(
        sweep(host, "openat", "EACCES") > 0,
        "no ADD failed by openat"
    );
}

fn add_leaves_nothing_whichever_write_fails(host: &Host) {
    // One of them refuses the write of the result, unless their numbers skip it.
    sweep(host, "write", "EPERM");
}

fn add_leaves_nothing_whichever_change_of_namespace_is_refused(host: &Host) {
    assert!(sweep(host, "setns", "EPERM") > 0, "no ADD failed by setns");
}

fn add_leaves_nothing_whichever_socket_cannot_be_had(host: &Host) {
    assert!(
        sweep(host, "socket", "EMFILE") > 0,
        "no ADD failed by socket"
    );
}

/// The runtime is in a container without the capability.
fn add_leaves_nothing_without_net_admin(host: &Host) {
    kernel::require_tool("setpriv");
    let network = network(host);
    let other = host.pod("other");
    let pod = host.pod("a");
    network.add(&other).success();
    let before = Snapshot::of(host, &[&other, &pod]);
    let request = network
        .attachment(Command::Add, &pod)
        .program(kernel::without_net_admin(host));
    let error = request.run().error();
    assert!(error.msg.contains("operation not permitted"), "{error}");
    before.require_unchanged_but_for_the_last_address();
}

/// DEL either succeeds and leaves nothing, or reports what is left; a second DEL removes the rest.
/// As long as the interface exists, its addresses stay reserved.
fn del_frees_the_rest_or_reports_whichever_message_is_refused(host: &Host) {
    kernel::require_tool("strace");
    let network = network(host);
    let other = host.pod("other");
    network.add(&other).success();
    let mut kept = 0;
    for number in 1.. {
        let pod = host.pod("a");
        let before = Snapshot::of(host, &[&other, &pod]);
        network.add(&pod).success();
        let trace = Trace::with_fault(
            host,
            &network.attachment(Command::Del, &pod),
            "sendto",
            "EPERM",
            number,
        );
        let injected = trace.lines.iter().any(|line| line.contains("(INJECTED)"));
        if pod.inside(|| kernel::find_link("eth0")).is_some() {
            kept += 1;
            let left = kernel::records(host.data_dir());
            assert_eq!(
                left.len(),
                4,
                "an address was freed while eth0 has it: {}",
                trace.outcome
            );
        }
        if !trace.outcome.status.success() {
            assert!(
                trace.outcome.error().msg.contains("peration not permitted"),
                "{}",
                trace.outcome
            );
            network.del(&pod).silent_success();
        }
        before.require_unchanged_but_for_the_last_address();
        pod.remove();
        if !injected {
            assert!(number > 3, "DEL sends more than {number} messages");
            break;
        }
    }
    assert!(kept > 0, "no refusal kept the pair");
}

/// The IPAM plugin cannot free what it gave: that is reported, after the first cause.
fn a_clean_up_that_fails_too_is_in_the_details(host: &Host) {
    let pod = host.pod("a");
    let answer = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}, {"address": "10.1.0.9/24"}]});
    failing_plugin(host, "stuck", 117, "database is down");
    let text = format!(
        "[ \"$CNI_COMMAND\" = ADD ] && {{ echo '{answer}'; exit 0; }}\nexec \"${{0%/*}}/stuck\""
    );
    drop(host.script("half", &text));
    let error: Error = Network::new(host, json!({"ipam": {"type": "half"}}))
        .add(&pod)
        .error();
    assert!(
        error
            .msg
            .starts_with("failed to add address \"10.1.0.9/24 to eth0\": "),
        "{error}"
    );
    let wanted = "cleaning up: freeing addresses: database is down";
    error
        .details
        .find(wanted)
        .or_fail(&format!("{wanted:?} in {error}"));
    if pod.inside(kernel::names) != ["lo"] {
        fail("the pair was left because IPAM failed");
    }
}

/// For the runtime, an ADD without a result has failed.
fn a_result_that_nobody_reads_is_taken_back(host: &Host) {
    let network = network(host);
    let other = host.pod("other");
    let pod = host.pod("a");
    network.add(&other).success();
    let before = Snapshot::of(host, &[&other, &pod]);
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .or_fail("open /dev/full");
    let (closed, writer) = std::io::pipe().or_fail("make a pipe");
    drop(closed);
    for stdout in [std::process::Stdio::from(full), writer.into()] {
        let mut process = network.attachment(Command::Add, &pod).process();
        let output = process
            .stdout(stdout)
            .stderr(std::process::Stdio::piped())
            .output()
            .or_fail("run ADD");
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("cannot print the reply: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        before.require_unchanged_but_for_the_last_address();
    }
}

/// The kernel executed the transaction, and its answer was lost (recvfrom: ENOBUFS); each
/// transaction in turn.
fn a_lost_answer_of_the_kernel_leaves_no_macspoofchk_rules(host: &Host) {
    const LIST: &str = "nft list ruleset";
    kernel::require_tool("strace");
    kernel::require_tool("nft");
    let network = Network::new(host, json!({"macspoofchk": true}));
    network.add(&host.pod("before")).success();
    let mut lost = 0;
    for number in 1.. {
        let pod = host.pod("a");
        let rules = kernel::tool(LIST);
        let before = Snapshot::of(host, &[&pod]);
        let request = network.attachment(Command::Add, &pod);
        let trace = Trace::with_fault(host, &request, "recvfrom", "ENOBUFS", number);
        let injected = trace.lines.iter().any(|line| line.contains("(INJECTED)"));
        if trace.outcome.status.success() {
            network.del(&pod).silent_success();
        } else {
            lost += 1;
            host.note(format!("answer {number}"));
            assert_eq!(kernel::tool(LIST), rules);
            before.require_unchanged();
        }
        pod.remove();
        if !injected {
            break;
        }
    }
    assert!(lost > 5, "{lost} answers were lost");
}
