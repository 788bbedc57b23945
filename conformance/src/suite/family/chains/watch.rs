//! The runtime library waits for a plugin for as long as it takes. A suite cannot: what hangs is
//! killed, and so fails.

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, gettid},
};
use std::{
    fs,
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

/// Between two looks at what a thread has started since.
const AGAIN: Duration = Duration::from_millis(50);

/// Does `work` on a thread of its own. After `limit` everything that this thread has started is
/// killed, and all that else runs on the case's host, until it ends. Returns `None` if it panicked.
pub(super) fn limited<T: Send>(limit: Duration, work: impl FnOnce() -> T + Send) -> Option<T> {
    let (started, starts) = channel();
    let (ended, ends) = channel::<()>();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let _ = started.send(gettid());
            let done = work();
            drop(ended);
            done
        });
        let tid = starts.recv().ok();
        let mut timeout = limit;
        while let (Err(RecvTimeoutError::Timeout), Some(tid)) = (ends.recv_timeout(timeout), tid) {
            let own = Pid::this();
            children(own, tid).into_iter().for_each(kill_tree);
            // What has been left behind is nobody's child, and holds the plugin's output open as
            // well.
            sandbox::end_processes();
            timeout = AGAIN;
        }
        thread.join().ok()
    })
}

/// With all that it has started: a delegate holds the plugin's output open.
fn kill_tree(process: Pid) {
    children(process, process).into_iter().for_each(kill_tree);
    let _ = kill(process, Signal::SIGKILL);
}

/// Returns the processes that a thread has started (proc(5), `children`).
fn children(process: Pid, thread: Pid) -> Vec<Pid> {
    let list =
        fs::read_to_string(format!("/proc/{process}/task/{thread}/children")).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{process::Command, time::Instant};

    #[test]
    fn what_hangs_is_killed_with_what_it_started() {
        let start = Instant::now();
        let shell = || {
            Command::new("/bin/sh")
                .args(["-c", "sleep 60; sleep 60"])
                .output()
                .unwrap()
        };
        let output = limited(Duration::from_millis(100), shell).unwrap();
        assert!(!output.status.success());
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_ends_in_time_is_left_alone() {
        let shell = || {
            Command::new("/bin/sh")
                .args(["-c", "sleep 0.05; echo a"])
                .output()
                .unwrap()
        };
        assert_eq!(
            limited(Duration::from_secs(20), shell).unwrap().stdout,
            b"a\n"
        );
    }
}
