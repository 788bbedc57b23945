//! This machine, and the boot that is running. A record of an earlier boot of the same machine has
//! no owner any more; of another machine, which shares the data directory, nothing is known.
//!
//! The machine-id alone does not tell the two apart, since clones share it. The proof that a record
//! is of an earlier boot is this: no other machine can write the file system that it is on, and it
//! was written before this kernel started. Containers that share the directory have the kernel in
//! common, whatever boot id they see.

use super::file_system::FileSystem;
use nix::time::{ClockId, clock_gettime};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The sources of the identities of machine and boot.
#[derive(Clone, Debug)]
pub struct SystemPaths {
    /// The machine's, machine-id(5): `/etc/machine-id`.
    pub machine_id: PathBuf,
    /// The boot's, random(4): `/proc/sys/kernel/random/boot_id`.
    pub boot_id: PathBuf,
    /// The time at which the kernel started; `None` reads the kernel's clocks.
    pub started: Option<SystemTime>,
}

impl Default for SystemPaths {
    fn default() -> Self {
        Self {
            machine_id: "/etc/machine-id".into(),
            boot_id: "/proc/sys/kernel/random/boot_id".into(),
            started: None,
        }
    }
}

/// 128 bits that no other machine, or boot, has.
pub(crate) type Id = [u8; 16];

/// One boot of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// The machine.
    pub(crate) machine: Id,
    /// The boot.
    pub(crate) boot: Id,
}

/// The boot that is running, and what it can prove of others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CurrentBoot {
    /// Its identity.
    pub(crate) boot: Boot,
    /// The time at which the kernel started; `None` if the records are on a file system that other
    /// machines may write, or the clock is not known.
    alone_since: Option<SystemTime>,
}

impl CurrentBoot {
    /// Returns this boot, which is alone with the records since then, if at all.
    pub(crate) fn new(boot: Boot, alone_since: Option<SystemTime>) -> Self {
        Self { boot, alone_since }
    }

    /// Returns true if a record that was written then is certainly not of a machine or container
    /// that runs.
    pub(crate) fn is_after(&self, written: SystemTime) -> bool {
        self.alone_since.is_some_and(|started| written < started)
    }

    /// Returns true if no other machine can write the records.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone_since.is_some()
    }
}

impl SystemPaths {
    /// The boot that is running, for records in `folder`; `None` if the machine or the boot has no
    /// identity.
    pub(crate) fn current_boot(&self, folder: &Path) -> Option<CurrentBoot> {
        let boot = self.boot()?;
        let is_local = FileSystem::of(folder).is_ok_and(|kind| kind == FileSystem::Local);
        let alone_since = if is_local {
            self.started.or_else(kernel_start)
        } else {
            None
        };
        Some(CurrentBoot::new(boot, alone_since))
    }

    /// The boot that is running; `None` if the machine or the boot has no identity.
    pub(crate) fn boot(&self) -> Option<Boot> {
        Some(Boot {
            machine: read_id(&self.machine_id)?,
            boot: self.boot_id()?,
        })
    }

    /// The identity of the boot that is running.
    pub(crate) fn boot_id(&self) -> Option<Id> {
        read_id(&self.boot_id)
    }
}

/// The time at which the kernel started, by the clock as it is set now.
fn kernel_start() -> Option<SystemTime> {
    let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    SystemTime::now().checked_sub(Duration::from(uptime))
}

fn read_id(path: &Path) -> Option<Id> {
    let mut buffer = [0; 64];
    let len = File::open(path)
        .and_then(|mut file| file.read(&mut buffer))
        .ok()?;
    parse_id(buffer.get(..len)?)
}

/// 32 hexadecimal digits, with or without hyphens; not all zero.
fn parse_id(text: &[u8]) -> Option<Id> {
    let text = std::str::from_utf8(text).ok()?.trim().replace('-', "");
    let id = (text.len() == 32).then(|| u128::from_str_radix(&text, 16).ok())??;
    (id != 0).then(|| id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_32_digits() {
        let machine = parse_id(b"3d1219c7c4c5404aaa1f6d2a48adfda4\n").unwrap();
        assert_eq!(
            parse_id(b"3d1219c7-c4c5-404a-aa1f-6d2a48adfda4\n"),
            Some(machine)
        );
        for none in [
            &b""[..],
            b"uninitialized\n",
            b"00000000000000000000000000000000",
            b"3d12",
            b"\xff",
        ] {
            assert_eq!(parse_id(none), None);
        }
    }

    #[test]
    fn the_kernel_started_before_now() {
        let uptime = SystemTime::now()
            .duration_since(kernel_start().unwrap())
            .unwrap();
        assert!(uptime > Duration::ZERO);
    }

    #[test]
    fn only_what_was_written_before_the_kernel_started_is_over() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let boot = Boot {
            machine: [1; 16],
            boot: [2; 16],
        };
        let local = CurrentBoot::new(boot, Some(at(100)));
        assert!(local.is_after(at(99)) && !local.is_after(at(100)) && !local.is_after(at(101)));
        let shared = CurrentBoot::new(boot, None);
        assert!(!shared.is_after(at(99)) && !shared.is_alone());
    }

    #[test]
    fn this_machine_has_a_boot() {
        assert!(SystemPaths::default().boot_id().is_some());
    }
}
