//! `cni-plugins --install`: complete, or without effect on any plugin that is there; and whole
//! programs whenever it ends.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use cni_plugins::names;
use nix::errno::Errno;
use sandbox::trace::{self, Action, Signal, SystemCall, Traced};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
    time::Duration,
};
use testkit::Host;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cni-plugins");

/// The folder of plugins, on a tmpfs that is the host's own.
const FOLDER: &str = "/run/bin";

/// No installation takes as long.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    testkit::main(testkit::tests![
        all_names_are_links_of_one_program_that_everybody_may_run,
        what_is_there_is_replaced_and_never_written_into,
        other_files_stay,
        names_are_copies_if_there_are_no_hard_links,
        whenever_it_is_killed_each_program_is_whole_and_the_next_installation_cleans_up,
        a_full_file_system_changes_nothing,
        a_read_only_file_system_changes_nothing,
        a_folder_that_is_missing_is_not_made,
        a_folder_with_a_plugins_name_stops_it_before_anything_is_replaced,
        a_second_installation_does_not_wait_for_the_first,
    ])
}

/// Makes the folder, with something else in the place of each plugin.
fn folder_with_old_programs() -> PathBuf {
    let folder = empty_folder();
    for name in names() {
        fs::write(folder.join(name), format!("old {name}")).unwrap();
    }
    folder
}

fn empty_folder() -> PathBuf {
    let _ = fs::remove_dir_all(FOLDER);
    fs::create_dir(FOLDER).unwrap();
    FOLDER.into()
}

fn install() -> Output {
    let mut program = Command::new(PROGRAM);
    program.args(["--install", FOLDER]).output().unwrap()
}

/// Installs, and disturbs it as `decide` says.
#[expect(clippy::zombie_processes, reason = "`disturb` waits for it")]
fn disturbed(decide: &mut dyn FnMut(&SystemCall) -> Action) -> Traced {
    let mut program = trace::stopped(PROGRAM);
    program.args(["--install", FOLDER]).process_group(0);
    let child = program.spawn().unwrap();
    trace::disturb(&child, LIMIT, decide).unwrap()
}

fn files() -> BTreeSet<String> {
    let entries = fs::read_dir(FOLDER).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn all_names() -> BTreeSet<String> {
    names().map(str::to_owned).collect()
}

/// Fails unless the file is this program, executable for everybody.
fn require_whole(path: &Path) {
    let meta = fs::metadata(path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o755, "{path:?}");
    let mut found = File::open(path).unwrap();
    let mut wanted = File::open(PROGRAM).unwrap();
    assert_eq!(meta.len(), wanted.metadata().unwrap().len(), "{path:?}");
    let mut a = vec![0; 1 << 20];
    let mut b = vec![0; 1 << 20];
    loop {
        let read = found.read(&mut a).unwrap();
        let part = a.get(..read).unwrap();
        wanted.read_exact(b.get_mut(..read).unwrap()).unwrap();
        assert!(Some(part) == b.get(..read), "{path:?} differs");
        if read == 0 {
            return;
        }
    }
}

fn require_old(name: &str) {
    let text = fs::read_to_string(Path::new(FOLDER).join(name)).unwrap();
    assert_eq!(text, format!("old {name}"));
}

/// Fails unless the installation failed for this reason and left all as it was.
fn require_unchanged(output: &Output, reason: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(reason), "{said}");
    names().for_each(require_old);
    assert_eq!(files(), all_names(), "{said}");
}

fn all_names_are_links_of_one_program_that_everybody_may_run(_: &Host) {
    let folder = empty_folder();
    let mut shell = Command::new(trace::SHELL);
    shell.args([
        "-c",
        "umask 077; exec \"$0\" --install \"$1\"",
        PROGRAM,
        FOLDER,
    ]);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(files(), all_names());
    let inode = |name| fs::metadata(folder.join(name)).unwrap().ino();
    let inodes: BTreeSet<u64> = names().map(inode).collect();
    assert_eq!(inodes.len(), 1);
    require_whole(&folder.join(names().next().unwrap()));
}

/// A runtime that has opened the old program has it to its end, and what a link leads to is no
/// business of the installation.
fn what_is_there_is_replaced_and_never_written_into(_: &Host) {
    let folder = folder_with_old_programs();
    let mut old = File::open(folder.join("loopback")).unwrap();
    let elsewhere = Path::new("/run/elsewhere");
    fs::write(elsewhere, "linked").unwrap();
    fs::remove_file(folder.join("static")).unwrap();
    symlink(elsewhere, folder.join("static")).unwrap();
    for _ in 0..2 {
        assert!(install().status.success());
    }
    assert_eq!(std::io::read_to_string(&mut old).unwrap(), "old loopback");
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "linked");
    assert!(!folder.join("static").is_symlink());
    names().for_each(|name| require_whole(&folder.join(name)));
}

fn other_files_stay(_: &Host) {
    let folder = folder_with_old_programs();
    let others = ["portmap", ".bridge.before", ".cni-plugins.txt", "x.new"];
    for name in others {
        fs::write(folder.join(name), "another's").unwrap();
    }
    assert!(install().status.success());
    for name in others {
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), "another's");
    }
}

#[cfg(target_arch = "x86_64")]
fn names_are_copies_if_there_are_no_hard_links(_: &Host) {
    /// linkat in arch/x86/entry/syscalls/syscall_64.tbl, by which std makes hard links.
    const LINKAT: u64 = 265;
    let folder = empty_folder();
    let traced = disturbed(&mut |call| match call.call {
        Some((LINKAT, _)) => Action::FailFromNowOn(Errno::EPERM),
        _ => Action::Proceed,
    });
    assert!(traced.was_injected && traced.status.success(), "{traced:?}");
    assert_eq!(files(), all_names());
    for name in names() {
        require_whole(&folder.join(name));
        assert_eq!(fs::metadata(folder.join(name)).unwrap().nlink(), 1);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn names_are_copies_if_there_are_no_hard_links(_: &Host) {
    testkit::require(false, "system calls are made to fail on x86-64 only");
}

fn whenever_it_is_killed_each_program_is_whole_and_the_next_installation_cleans_up(_: &Host) {
    folder_with_old_programs();
    let whole = disturbed(&mut |_| Action::Proceed);
    assert!(
        whole.status.success() && whole.system_calls > 20,
        "{whole:?}"
    );
    let mut replaced = BTreeSet::new();
    for number in 1..=whole.system_calls {
        let folder = folder_with_old_programs();
        let killed = disturbed(&mut |call| match call.overall == number {
            true => Action::SignalAll(Signal::SIGKILL),
            false => Action::Proceed,
        });
        assert!(killed.was_injected, "before call {number}: {killed:?}");
        let mut new = 0;
        for name in names() {
            let path = folder.join(name);
            match fs::metadata(&path).unwrap().len() {
                length if length < 100 => require_old(name),
                _ => {
                    // They are links of one file.
                    if new == 0 {
                        require_whole(&path);
                    }
                    new += 1;
                }
            }
        }
        replaced.insert(new);
        let leftovers: Vec<String> = files().difference(&all_names()).cloned().collect();
        assert!(
            leftovers
                .iter()
                .all(|name| name.starts_with(".cni-plugins.")),
            "before call {number}: {leftovers:?}"
        );
        assert!(install().status.success());
        assert_eq!(files(), all_names(), "after call {number}");
    }
    // It was killed before, between and after all renames.
    assert_eq!(replaced, (0..=names().count()).collect());
}

fn a_full_file_system_changes_nothing(_: &Host) {
    empty_folder();
    sandbox::mount_small_tmpfs_over(Path::new(FOLDER)).unwrap();
    for name in names() {
        fs::write(Path::new(FOLDER).join(name), format!("old {name}")).unwrap();
    }
    require_unchanged(&install(), "No space left on device");
}

fn a_read_only_file_system_changes_nothing(_: &Host) {
    empty_folder();
    sandbox::mount_tmpfs_over(Path::new(FOLDER)).unwrap();
    for name in names() {
        fs::write(Path::new(FOLDER).join(name), format!("old {name}")).unwrap();
    }
    sandbox::set_read_only(Path::new(FOLDER), true).unwrap();
    require_unchanged(&install(), "Read-only file system");
}

fn a_folder_that_is_missing_is_not_made(_: &Host) {
    let _ = fs::remove_dir_all(FOLDER);
    let output = install();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("make the folder first"), "{said}");
    assert!(!Path::new(FOLDER).exists());
}

fn a_folder_with_a_plugins_name_stops_it_before_anything_is_replaced(_: &Host) {
    let folder = folder_with_old_programs();
    let last = folder.join(names().last().unwrap());
    fs::remove_file(&last).unwrap();
    fs::create_dir(&last).unwrap();
    let output = install();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is a folder"), "{said}");
    names().take(names().count() - 1).for_each(require_old);
    assert_eq!(files(), all_names());
}

fn a_second_installation_does_not_wait_for_the_first(_: &Host) {
    let folder = folder_with_old_programs();
    let lock = File::open(&folder).unwrap();
    lock.try_lock().unwrap();
    require_unchanged(&install(), "another installation is at work");
    drop(lock);
    assert!(install().status.success());
}
