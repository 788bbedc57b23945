//! The processes of a host. A plugin may leave one behind, in a session of its own: it would live
//! on, and with it its host's namespaces, and a reader of what it holds open would wait for it.

use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The time that it may take until they are gone; one that waits for a disk cannot be killed.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(1);

/// Kills every process of the host that the calling thread has become ([`super::become_host`]), or
/// on which a thread was started that has. Does nothing if the thread is on no host of its own.
pub fn end_processes() {
    // A host is known by its mounts: a process in one of a host's containers has them too.
    let Ok(host) = fs::read_link("/proc/thread-self/ns/mnt") else {
        return;
    };
    if fs::read_link("/proc/self/ns/mnt").is_ok_and(|own| own == host) {
        return;
    }
    end_on(&host);
}

/// Starts a thread that waits for SIGINT, SIGTERM or SIGHUP, and then ends the processes of all
/// hosts and this one. A plugin is in a process group of its own, so it does not notice what the
/// terminal sends, and one that hangs would live on. To be called before other threads are started,
/// after [`super::enter`].
///
/// # Errors
/// Fails if the kernel refuses to block the signals.
pub fn end_on_signals() -> std::io::Result<()> {
    let mut signals = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .for_each(|signal| signals.add(signal));
    // Threads that are started from here on inherit that; programs do not (std::process resets it).
    signals.thread_block()?;
    std::thread::spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        hosts().iter().for_each(|host| end_on(host));
        // As a shell says it.
        std::process::exit(128 + signal as i32);
    });
    Ok(())
}

/// The hosts that threads of this process have become.
fn hosts() -> BTreeSet<PathBuf> {
    let own = fs::read_link("/proc/self/ns/mnt").ok();
    let threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let mounts = threads.filter_map(|thread| fs::read_link(thread.path().join("ns/mnt")).ok());
    mounts
        .filter(|mounts| Some(mounts) != own.as_ref())
        .collect()
}

fn end_on(host: &Path) {
    let start = Instant::now();
    // In the time until the next look one may have started another.
    while let living = on(host)
        && !living.is_empty()
        && start.elapsed() < TIMEOUT
    {
        for pid in living {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(AGAIN);
    }
}

/// Those that have ended, and wait for their parents to notice, have no namespaces any more.
fn on(host: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_host =
        |pid: &Pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|mounts| mounts == host);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(Pid::from_raw).filter(of_host).collect()
}
