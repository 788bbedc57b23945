//! Which machine this is, and which of its boots. A record of an earlier boot of the same machine has no owner any
//! more; of another machine, which shares the data directory, nothing is known.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Where the identities of machine and boot are read.
#[derive(Clone, Debug)]
pub struct SystemPaths {
    /// The machine's, machine-id(5): `/etc/machine-id`.
    pub machine_id: PathBuf,
    /// The boot's, random(4): `/proc/sys/kernel/random/boot_id`.
    pub boot_id: PathBuf,
}

impl Default for SystemPaths {
    fn default() -> Self {
        Self { machine_id: "/etc/machine-id".into(), boot_id: "/proc/sys/kernel/random/boot_id".into() }
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

impl SystemPaths {
    /// The boot that is running; nothing where the machine or the boot has no identity.
    pub(crate) fn boot(&self) -> Option<Boot> {
        Some(Boot { machine: read_id(&self.machine_id)?, boot: self.boot_id()? })
    }

    /// The identity of the boot that is running.
    pub(crate) fn boot_id(&self) -> Option<Id> {
        read_id(&self.boot_id)
    }
}

fn read_id(path: &Path) -> Option<Id> {
    let mut buffer = [0; 64];
    let len = File::open(path).and_then(|mut file| file.read(&mut buffer)).ok()?;
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
        assert_eq!(parse_id(b"3d1219c7-c4c5-404a-aa1f-6d2a48adfda4\n"), Some(machine));
        for none in [&b""[..], b"uninitialized\n", b"00000000000000000000000000000000", b"3d12", b"\xff"] {
            assert_eq!(parse_id(none), None);
        }
    }

    #[test]
    fn this_machine_has_a_boot() {
        assert!(SystemPaths::default().boot_id().is_some());
    }
}
