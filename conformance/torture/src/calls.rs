//! The system calls that plugins make: names, the errors that each may plausibly return, and how to
//! show one.

use nix::{errno::Errno, libc};
use sandbox::trace::SystemCall;

/// The meaning of a call's argument, so far as it is shown.
#[derive(Clone, Copy)]
enum Argument {
    /// A file descriptor: the name of the open file is shown.
    Descriptor,
    /// A text in the program's memory, mostly a path.
    Text,
    /// A number.
    Number,
}

use Argument::{Descriptor as D, Number as N, Text as T};

/// A system call that is known.
struct Known {
    number: libc::c_long,
    name: &'static str,
    arguments: &'static [Argument],
    /// The errors that it may return without having done anything (the call's page in section 2 of
    /// the manual).
    errors: &'static [Errno],
    /// The errors that may stand in the place of its answer although it took place: the answer that
    /// a network file system loses, the acknowledgement for which a netlink socket has no room, the
    /// signal that comes at the end.
    lost: &'static [Errno],
}

const fn known(
    number: libc::c_long,
    name: &'static str,
    arguments: &'static [Argument],
    errors: &'static [Errno],
    lost: &'static [Errno],
) -> Known {
    Known {
        number,
        name,
        arguments,
        errors,
        lost,
    }
}

/// A call that is not in the list may run out of memory.
const OTHERWISE: &[Errno] = &[Errno::ENOMEM];

/// Those that cannot fail, or at which there is no program any more.
const INFALLIBLE: &[libc::c_long] = &[
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_umask,
    libc::SYS_restart_syscall,
];

const KNOWN: &[Known] = &[
    known(
        libc::SYS_read,
        "read",
        &[D],
        &[Errno::EIO, Errno::EINTR],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_pread64,
        "pread64",
        &[D],
        &[Errno::EIO, Errno::EINTR],
        &[],
    ),
    known(
        libc::SYS_write,
        "write",
        &[D],
        &[Errno::EIO, Errno::ENOSPC, Errno::EINTR],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_pwrite64,
        "pwrite64",
        &[D],
        &[Errno::EIO, Errno::ENOSPC, Errno::EINTR],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_writev,
        "writev",
        &[D],
        &[Errno::EIO, Errno::EINTR],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_openat,
        "openat",
        &[D, T, N],
        &[Errno::EMFILE, Errno::EIO, Errno::EACCES, Errno::EINTR],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_close,
        "close",
        &[D],
        &[],
        &[Errno::EIO, Errno::EINTR],
    ),
    known(libc::SYS_fstat, "fstat", &[D], &[Errno::EIO], &[]),
    known(
        libc::SYS_statx,
        "statx",
        &[D, T],
        &[Errno::EIO, Errno::EACCES],
        &[],
    ),
    known(
        libc::SYS_statfs,
        "statfs",
        &[T],
        &[Errno::EIO, Errno::ENOENT],
        &[],
    ),
    known(libc::SYS_fstatfs, "fstatfs", &[D], &[Errno::EIO], &[]),
    known(
        libc::SYS_readlinkat,
        "readlinkat",
        &[D, T],
        &[Errno::EACCES, Errno::EIO],
        &[],
    ),
    known(
        libc::SYS_faccessat,
        "faccessat",
        &[D, T],
        &[Errno::EIO],
        &[],
    ),
    known(
        libc::SYS_faccessat2,
        "faccessat2",
        &[D, T],
        &[Errno::EIO],
        &[],
    ),
    known(
        libc::SYS_getdents64,
        "getdents64",
        &[D],
        &[Errno::EIO, Errno::ESTALE, Errno::EUCLEAN],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_linkat,
        "linkat",
        &[D, T, D, T],
        &[Errno::EIO, Errno::ENOSPC, Errno::EPERM, Errno::EMLINK],
        &[Errno::EIO, Errno::EEXIST, Errno::EINTR],
    ),
    known(
        libc::SYS_unlinkat,
        "unlinkat",
        &[D, T],
        &[Errno::EIO, Errno::EROFS],
        &[Errno::EIO, Errno::ENOENT, Errno::EINTR],
    ),
    known(
        libc::SYS_renameat,
        "renameat",
        &[D, T, D, T],
        &[Errno::EIO, Errno::ENOSPC],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_renameat2,
        "renameat2",
        &[D, T, D, T],
        &[Errno::EIO, Errno::ENOSPC],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_mkdirat,
        "mkdirat",
        &[D, T],
        &[Errno::EIO, Errno::ENOSPC, Errno::EROFS],
        &[Errno::EIO, Errno::EEXIST],
    ),
    known(
        libc::SYS_ftruncate,
        "ftruncate",
        &[D],
        &[Errno::EIO, Errno::ENOSPC],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_fallocate,
        "fallocate",
        &[D],
        &[Errno::ENOSPC],
        &[Errno::EIO],
    ),
    known(libc::SYS_fsync, "fsync", &[D], &[Errno::EIO], &[Errno::EIO]),
    known(
        libc::SYS_fdatasync,
        "fdatasync",
        &[D],
        &[Errno::EIO],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_utimensat,
        "utimensat",
        &[D, T],
        &[Errno::EIO, Errno::EPERM],
        &[Errno::EIO],
    ),
    known(libc::SYS_fchmod, "fchmod", &[D], &[Errno::EPERM], &[]),
    known(libc::SYS_lseek, "lseek", &[D], &[Errno::EIO], &[]),
    known(
        libc::SYS_flock,
        "flock",
        &[D, N],
        &[Errno::ENOLCK, Errno::EINTR],
        &[Errno::EINTR],
    ),
    // To read and set flags, as here, it fails only for a descriptor that is not open.
    known(libc::SYS_fcntl, "fcntl", &[D, N], &[], &[]),
    known(libc::SYS_dup, "dup", &[D], &[Errno::EMFILE], &[]),
    known(libc::SYS_dup3, "dup3", &[D, N], &[Errno::EMFILE], &[]),
    known(
        libc::SYS_pipe2,
        "pipe2",
        &[],
        &[Errno::EMFILE, Errno::ENFILE],
        &[],
    ),
    known(
        libc::SYS_memfd_create,
        "memfd_create",
        &[T],
        &[Errno::EMFILE, Errno::ENOMEM],
        &[],
    ),
    known(
        libc::SYS_socket,
        "socket",
        &[N, N, N],
        &[Errno::EMFILE, Errno::ENOBUFS],
        &[],
    ),
    known(
        libc::SYS_socketpair,
        "socketpair",
        &[],
        &[Errno::EMFILE, Errno::ENOBUFS],
        &[],
    ),
    known(
        libc::SYS_bind,
        "bind",
        &[D],
        &[Errno::ENOMEM, Errno::EADDRINUSE],
        &[],
    ),
    known(libc::SYS_connect, "connect", &[D], &[Errno::ENOBUFS], &[]),
    known(
        libc::SYS_setsockopt,
        "setsockopt",
        &[D, N, N],
        &[Errno::ENOPROTOOPT, Errno::ENOBUFS],
        &[],
    ),
    known(
        libc::SYS_getsockopt,
        "getsockopt",
        &[D, N, N],
        &[Errno::ENOPROTOOPT],
        &[],
    ),
    known(
        libc::SYS_getsockname,
        "getsockname",
        &[D],
        &[Errno::ENOBUFS],
        &[],
    ),
    known(
        libc::SYS_sendto,
        "sendto",
        &[D],
        &[Errno::ENOBUFS, Errno::EINTR, Errno::EPERM],
        &[Errno::ENOBUFS, Errno::EINTR],
    ),
    known(
        libc::SYS_sendmsg,
        "sendmsg",
        &[D],
        &[Errno::ENOBUFS, Errno::EINTR, Errno::EPERM],
        &[Errno::ENOBUFS, Errno::EINTR],
    ),
    known(
        libc::SYS_recvfrom,
        "recvfrom",
        &[D],
        &[Errno::ENOBUFS, Errno::EINTR, Errno::ENOMEM],
        &[Errno::ENOBUFS],
    ),
    known(
        libc::SYS_recvmsg,
        "recvmsg",
        &[D],
        &[Errno::ENOBUFS, Errno::EINTR, Errno::ENOMEM],
        &[Errno::ENOBUFS],
    ),
    known(
        libc::SYS_ppoll,
        "ppoll",
        &[],
        &[Errno::EINTR, Errno::ENOMEM],
        &[],
    ),
    known(
        libc::SYS_setns,
        "setns",
        &[D],
        &[Errno::EPERM, Errno::ENOMEM],
        &[],
    ),
    known(
        libc::SYS_unshare,
        "unshare",
        &[N],
        &[Errno::EPERM, Errno::ENOSPC],
        &[],
    ),
    known(libc::SYS_mmap, "mmap", &[], &[Errno::ENOMEM], &[]),
    known(libc::SYS_munmap, "munmap", &[], &[], &[Errno::ENOMEM]),
    known(
        libc::SYS_clone,
        "clone",
        &[N],
        &[Errno::EAGAIN, Errno::ENOMEM],
        &[],
    ),
    known(
        libc::SYS_clone3,
        "clone3",
        &[],
        &[Errno::EAGAIN, Errno::ENOMEM, Errno::ENOSYS],
        &[],
    ),
    known(
        libc::SYS_execve,
        "execve",
        &[T],
        &[Errno::EACCES, Errno::ENOMEM, Errno::ETXTBSY],
        &[],
    ),
    known(
        libc::SYS_wait4,
        "wait4",
        &[N],
        &[Errno::EINTR, Errno::ECHILD],
        &[],
    ),
    known(
        libc::SYS_waitid,
        "waitid",
        &[N],
        &[Errno::EINTR, Errno::ECHILD],
        &[],
    ),
    known(
        libc::SYS_pidfd_open,
        "pidfd_open",
        &[N],
        &[Errno::EMFILE, Errno::ENOSYS],
        &[],
    ),
    known(
        libc::SYS_kill,
        "kill",
        &[N, N],
        &[Errno::EPERM, Errno::ESRCH],
        &[],
    ),
    known(
        libc::SYS_getrandom,
        "getrandom",
        &[],
        &[Errno::ENOSYS, Errno::EINTR],
        &[],
    ),
    // With the arguments that a program gives them, these do not fail.
    known(libc::SYS_rt_sigaction, "rt_sigaction", &[N], &[], &[]),
    known(libc::SYS_rt_sigprocmask, "rt_sigprocmask", &[N], &[], &[]),
    known(
        libc::SYS_sigaltstack,
        "sigaltstack",
        &[],
        &[Errno::ENOMEM],
        &[],
    ),
    known(libc::SYS_prlimit64, "prlimit64", &[N, N], &[], &[]),
    known(
        libc::SYS_sched_getaffinity,
        "sched_getaffinity",
        &[],
        &[],
        &[],
    ),
    // It reports no error but the old end of the heap; a lack of memory shows at mmap.
    known(libc::SYS_brk, "brk", &[], &[], &[]),
    known(libc::SYS_mprotect, "mprotect", &[], &[Errno::ENOMEM], &[]),
    known(libc::SYS_futex, "futex", &[], &[], &[]),
    known(libc::SYS_nanosleep, "nanosleep", &[], &[Errno::EINTR], &[]),
    known(
        libc::SYS_clock_nanosleep,
        "clock_nanosleep",
        &[],
        &[Errno::EINTR],
        &[],
    ),
];

/// The calls of x86-64 that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Known] = &[
    known(
        libc::SYS_newfstatat,
        "newfstatat",
        &[D, T],
        &[Errno::EIO, Errno::EACCES],
        &[],
    ),
    known(
        libc::SYS_open,
        "open",
        &[T, N],
        &[Errno::EMFILE, Errno::EIO, Errno::EACCES],
        &[],
    ),
    known(libc::SYS_stat, "stat", &[T], &[Errno::EIO], &[]),
    known(libc::SYS_lstat, "lstat", &[T], &[Errno::EIO], &[]),
    known(libc::SYS_access, "access", &[T], &[Errno::EIO], &[]),
    known(
        libc::SYS_readlink,
        "readlink",
        &[T],
        &[Errno::EACCES, Errno::EIO],
        &[],
    ),
    known(
        libc::SYS_mkdir,
        "mkdir",
        &[T],
        &[Errno::EIO, Errno::ENOSPC],
        &[Errno::EIO, Errno::EEXIST],
    ),
    known(libc::SYS_rmdir, "rmdir", &[T], &[Errno::EIO], &[Errno::EIO]),
    known(
        libc::SYS_unlink,
        "unlink",
        &[T],
        &[Errno::EIO],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_rename,
        "rename",
        &[T, T],
        &[Errno::EIO],
        &[Errno::EIO],
    ),
    known(
        libc::SYS_poll,
        "poll",
        &[],
        &[Errno::EINTR, Errno::ENOMEM],
        &[],
    ),
    known(libc::SYS_pipe, "pipe", &[], &[Errno::EMFILE], &[]),
    known(libc::SYS_dup2, "dup2", &[D, N], &[Errno::EMFILE], &[]),
    known(libc::SYS_fork, "fork", &[], &[Errno::EAGAIN], &[]),
    known(libc::SYS_vfork, "vfork", &[], &[Errno::EAGAIN], &[]),
    // It sets the register of thread-local storage, without which there is no program.
    known(libc::SYS_arch_prctl, "arch_prctl", &[], &[], &[]),
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[Known] = &[];

fn find(number: u64) -> Option<&'static Known> {
    KNOWN
        .iter()
        .chain(OLDER)
        .find(|known| known.number.cast_unsigned() == number)
}

/// The errors that the call may return without having done anything.
pub(crate) fn errors(number: u64) -> &'static [Errno] {
    if INFALLIBLE
        .iter()
        .any(|infallible| infallible.cast_unsigned() == number)
    {
        return &[];
    }
    find(number).map_or(OTHERWISE, |known| known.errors)
}

/// The error that the call may return again and again: the first, and none that is over with the
/// next try.
pub(crate) fn lasting_errors(number: u64) -> &'static [Errno] {
    match errors(number) {
        [Errno::EINTR, ..] | [] => &[],
        [first, ..] => std::slice::from_ref(first),
    }
}

/// True for the call by which an answer is printed.
pub(crate) fn is_write(number: u64) -> bool {
    number == libc::SYS_write.cast_unsigned()
}

/// The errors that may stand in the place of the answer of the call.
pub(crate) fn lost_answers(number: u64) -> &'static [Errno] {
    find(number).map_or(&[], |known| known.lost)
}

/// True for the call by which the Rust runtime ends its preparations: the handler of SIGBUS, which
/// is set for overflows of the stack (std/src/sys/pal/unix/stack_overflow.rs). All before it is the
/// loader's, libc's and the runtime's.
pub(crate) fn ends_preparation(call: &SystemCall) -> bool {
    let sigaction = libc::SYS_rt_sigaction.cast_unsigned();
    matches!(call.call, Some((number, [signal, action, ..]))
        if number == sigaction && signal == u64::from(libc::SIGBUS.cast_unsigned()) && action != 0)
}

/// True if the call reads a file in memory (memfd_create(2)), which cannot fail.
pub(crate) fn reads_memory(call: &SystemCall) -> bool {
    let reads = [libc::SYS_read, libc::SYS_pread64].map(libc::c_long::cast_unsigned);
    call.call.is_some_and(|(number, _)| reads.contains(&number))
        && call
            .file(0)
            .is_some_and(|file| file.to_string_lossy().starts_with("/memfd:"))
}

/// True if the call is about the descriptor `fd`.
pub(crate) fn is_about(call: &SystemCall, fd: u64) -> bool {
    let Some((number, arguments)) = call.call else {
        return false;
    };
    let is_descriptor = find(number).is_some_and(|known| matches!(known.arguments, [D, ..]));
    is_descriptor && arguments.first() == Some(&fd)
}

/// The call with its arguments in short, as strace(1) shows it. Only while it is about to begin.
pub(crate) fn describe(call: &SystemCall) -> String {
    let Some((number, arguments)) = call.call else {
        return "unknown on this architecture".to_owned();
    };
    let Some(known) = find(number) else {
        return format!("system call {number}");
    };
    let shown: Vec<String> = known
        .arguments
        .iter()
        .zip(arguments)
        .enumerate()
        .map(|(index, (kind, value))| describe_argument(call, *kind, index, value))
        .collect();
    format!("{}({})", known.name, shown.join(", "))
}

fn describe_argument(call: &SystemCall, kind: Argument, index: usize, value: u64) -> String {
    match kind {
        // The upper half of a register is undefined if the argument is an int.
        D if (value as i32) == libc::AT_FDCWD => "AT_FDCWD".to_owned(),
        D => match call.file(index) {
            Some(file) => format!("{value}<{}>", file.display()),
            None => value.to_string(),
        },
        T => call
            .text(index)
            .map_or_else(|| "NULL".to_owned(), |text| format!("{text:?}")),
        N => format!("{value:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_call_is_in_the_list_once() {
        let numbers: BTreeSet<_> = KNOWN
            .iter()
            .chain(OLDER)
            .map(|known| known.number)
            .collect();
        assert_eq!(numbers.len(), KNOWN.len() + OLDER.len());
    }

    #[test]
    fn a_call_that_is_not_in_the_list_may_fail_but_not_the_end_of_the_program() {
        assert_eq!(errors(u64::MAX), OTHERWISE);
        assert!(errors(libc::SYS_exit_group.cast_unsigned()).is_empty());
        assert!(lost_answers(u64::MAX).is_empty());
    }
}
