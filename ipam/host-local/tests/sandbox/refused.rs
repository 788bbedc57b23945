//! The real binary with system calls that fail, as on file systems that a test cannot mount: a
//! seccomp filter returns their errors.

use crate::{
    ipam,
    program::{Answer, DataDir, Request},
    traced,
};
use nix::{
    errno::Errno,
    libc::{SYS_getdents64, SYS_getrandom, SYS_linkat, SYS_poll, SYS_ppoll, SYS_renameat2, c_long},
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::json;
use std::{collections::BTreeMap, fs};
use testkit::{Host, require};

/// Runs `work` on a thread whose system calls, and those of the programs that it starts, fail with
/// these errors.
fn refusing<T: Send>(refused: &[(c_long, Errno)], work: impl FnOnce() -> T + Send) -> T {
    let filters: Vec<BpfProgram> = refused
        .iter()
        .map(|(call, errno)| {
            let rules = BTreeMap::from([(*call, vec![])]);
            let refusal = SeccompAction::Errno((*errno as i32).cast_unsigned());
            let arch = std::env::consts::ARCH.try_into().unwrap();
            SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch)
                .unwrap()
                .try_into()
                .unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let is_refusing = filters.iter().all(|filter| apply_filter(filter).is_ok());
            is_refusing.then(work)
        });
        let outcome = worker.join().unwrap();
        require("seccomp filters", outcome.is_some());
        outcome.unwrap()
    })
}

/// The ways to have no hard links: with a rename, and without it.
const WITHOUT_LINKS: [&[(c_long, Errno)]; 6] = [
    &[(SYS_linkat, Errno::EPERM)],
    &[(SYS_linkat, Errno::EXDEV)],
    &[(SYS_linkat, Errno::EMLINK)],
    &[(SYS_linkat, Errno::ENOSYS)],
    &[
        (SYS_linkat, Errno::EOPNOTSUPP),
        (SYS_renameat2, Errno::EINVAL),
    ],
    &[(SYS_linkat, Errno::EPERM), (SYS_renameat2, Errno::ENOSYS)],
];

pub(crate) fn records_are_written_on_file_systems_without_hard_links(_: &Host) {
    for refused in WITHOUT_LINKS {
        let data = DataDir::new();
        let run = |command, id: &str| -> Answer {
            refusing(refused, || {
                Request::new(command, &data, ipam()).of(id).run()
            })
        };
        assert_eq!(run("ADD", "c1").addresses(), ["10.0.0.2/24"], "{refused:?}");
        assert_eq!(run("ADD", "c2").addresses(), ["10.0.0.3/24"], "{refused:?}");
        let wanted = [("10.0.0.2", "c1\r\neth0"), ("10.0.0.3", "c2\r\neth0")];
        assert!(data.holds(&wanted), "{refused:?}: {:?}", data.records());
        run("STATUS", "c1").success();
        run("DEL", "c1").success();
        assert!(
            data.holds(&wanted[1..]),
            "{refused:?}: {:?}",
            data.records()
        );
        let first = Request::new("ADD", &data, ipam())
            .of("c3")
            .variable("CNI_ARGS", "IP=10.0.0.3")
            .run();
        first.assert_failure(103, "failed to allocate for range 0: requested IP address");
    }
}

/// Killed before each system call: every record is whole, or belongs to nobody, and is gone after
/// DEL and GC.
pub(crate) fn an_add_killed_on_any_file_system_leaves_nothing_that_stays(_: &Host) {
    for refused in [WITHOUT_LINKS[0], WITHOUT_LINKS[4]] {
        let is_whole = refused.len() == 1;
        let mut n = 1;
        while kill_and_go_on(refused, n, is_whole) {
            n += 1;
        }
        assert!(n > 30, "only {n} system calls were seen");
    }
}

fn kill_and_go_on(refused: &[(c_long, Errno)], n: usize, is_whole: bool) -> bool {
    let data = DataDir::new();
    let run = |command, id: &str| Request::new(command, &data, ipam()).of(id).run().success();
    run("ADD", "c0");
    let add = Request::new("ADD", &data, ipam());
    let was_killed = refusing(refused, || traced::run(&add, Some(n)).was_killed);
    let left = data.records();
    let is_sound = |(name, text): (&String, &String)| {
        let is_staged = name == ".n.new" || name == "n/.new";
        is_staged || text.ends_with("\r\neth0") || (!is_whole && text.is_empty())
    };
    assert!(
        left.iter().all(is_sound),
        "killed before system call {n}: {left:?}"
    );
    run("DEL", "c1");
    let left = data.records();
    let is_right = |(name, text): (&String, &String)| {
        (name == "n/10.0.0.2") == (text == "c0\r\neth0")
            && (name == "n/10.0.0.2" || text.is_empty())
    };
    assert!(
        left.iter().all(is_right) && (!is_whole || left.len() == 1),
        "{n}, after DEL: {left:?}"
    );
    // A record without content is no obstacle.
    let next = Request::new("ADD", &data, ipam())
        .of("c2")
        .variable("CNI_ARGS", "IP=10.0.0.3")
        .run();
    assert_eq!(next.addresses(), ["10.0.0.3/24"]);
    run("DEL", "c2");
    let valid = json!([{"containerID": "c0", "ifname": "eth0"}]);
    Request::new("GC", &data, ipam())
        .key("cni.dev/valid-attachments", valid)
        .run()
        .success();
    assert!(
        data.holds(&[("10.0.0.2", "c0\r\neth0")]),
        "{n}: {:?}",
        data.records()
    );
    was_killed
}

pub(crate) fn a_directory_that_cannot_be_listed_is_an_error_and_no_loop(_: &Host) {
    for errno in [Errno::EIO, Errno::EUCLEAN, Errno::ESTALE] {
        let data = DataDir::new();
        data.seed("10.0.0.2", "c1\r\neth0");
        for command in ["ADD", "DEL", "GC", "STATUS", "CHECK"] {
            let request = Request::new(command, &data, ipam());
            let traced = refusing(&[(SYS_getdents64, errno)], || traced::run(&request, None));
            traced
                .answer
                .assert_failure(5, "failed to read data directory ");
            assert!(
                traced.system_calls < 300,
                "{command}: {} system calls",
                traced.system_calls
            );
        }
        assert!(
            data.holds(&[("10.0.0.2", "c1\r\neth0")]),
            "{:?}",
            data.records()
        );
        assert!(
            fs::remove_dir_all(data.path().join(".index")).is_ok()
                || !data.path().join(".index").exists()
        );
        Request::new("DEL", &data, ipam()).run().success();
        assert!(data.holds(&[]), "{:?}", data.records());
    }
}

/// Without getrandom(2) std cannot seed its hash tables, without poll(2) no plugin can wait for its
/// stdin: an old or strict seccomp profile of a container refuses them.
pub(crate) fn without_getrandom_or_poll_there_is_one_document_and_nothing_is_left(_: &Host) {
    let poll = |errno| [(SYS_poll, errno), (SYS_ppoll, errno)];
    let getrandom = |errno| [(SYS_getrandom, errno); 2];
    for refused in [
        getrandom(Errno::ENOSYS),
        getrandom(Errno::EPERM),
        // Of any other error std makes SIGABRT before `main` (sanitize_standard_fds in
        // library/std/src/sys/pal/unix/mod.rs).
        poll(Errno::ENOMEM),
        poll(Errno::EINVAL),
    ] {
        let data = DataDir::new();
        for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            let request = Request::new(command, &data, ipam());
            // Only the plugin is without them: std waits for its answer by poll(2).
            let child = refusing(&refused, || request.spawn());
            let answer = request.answer(child);
            let succeeded = answer.succeeded();
            let stdout = answer.stdout();
            let document = serde_json::from_str::<serde_json::Value>(&stdout);
            let is_sound = match document {
                Ok(document) => succeeded == document.get("code").is_none(),
                // Success of all but ADD prints nothing.
                Err(_) => succeeded && command != "ADD" && stdout.is_empty(),
            };
            assert!(is_sound, "{refused:?}{}", answer.report());
            if command == "ADD" && !succeeded {
                assert!(data.holds(&[]), "{refused:?}: {:?}", data.records());
            }
        }
        Request::new("DEL", &data, ipam()).run().success();
        assert!(data.holds(&[]), "{refused:?}: {:?}", data.records());
    }
}
