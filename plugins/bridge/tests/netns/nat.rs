//! The rules of iptables, as iptables itself prints them: the nf_tables variant, and the legacy
//! one.

use crate::kernel;
use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use testkit::{Host, OrFail, require};

/// The variant of iptables that a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// The variant that writes nf_tables.
    Nft,
    Legacy,
}

impl Flavour {
    pub(crate) const ALL: [Self; 2] = [Self::Nft, Self::Legacy];

    fn word(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }

    /// Ignores the test if the machine or its kernel lacks it.
    pub(crate) fn require(self) {
        for family in ["iptables", "ip6tables"] {
            kernel::require_tool(&format!("{family}-{}-restore", self.word()));
            let works = program(&format!("{family}-{}", self.word()))
                .args(["-t", "nat", "-S"])
                .output();
            require(
                &format!("{family}-{} in the kernel", self.word()),
                works.is_ok_and(|output| output.status.success()),
            );
        }
    }

    /// Returns a `PATH` in which this variant has the short names.
    pub(crate) fn path(self) -> String {
        let folder = PathBuf::from(format!("/run/{}", self.word()));
        std::fs::create_dir_all(&folder).or_fail("make a folder");
        for family in ["iptables", "ip6tables"] {
            for end in ["", "-save", "-restore"] {
                let target =
                    find(&format!("{family}-{}{end}", self.word())).or_fail("find iptables");
                // The program decides by its own name.
                let target = target.canonicalize().or_fail("follow a link");
                let _ = symlink(target, folder.join(format!("{family}{end}")));
            }
        }
        format!("{}:/usr/sbin:/sbin:/usr/bin:/bin", folder.display())
    }

    /// Returns the rules of table `nat` of both families, without empty chains and packet counters.
    pub(crate) fn rules(self) -> Vec<String> {
        ["iptables", "ip6tables"]
            .iter()
            .flat_map(|family| self.rules_of(family))
            .collect()
    }

    /// Returns the same for one family: `iptables` or `ip6tables`.
    pub(crate) fn rules_of(self, family: &str) -> Vec<String> {
        let saved = kernel::tool(&format!("{family}-{}-save -t nat", self.word()));
        let says = |line: &&str| line.starts_with("-A ") || line.starts_with(":CNI-");
        saved.lines().filter(says).map(str::to_owned).collect()
    }

    /// Returns the number of chains of attachments, of both families.
    pub(crate) fn chains(self) -> usize {
        self.rules()
            .iter()
            .filter(|line| line.starts_with(":CNI-"))
            .count()
    }

    /// Runs a command of iptables.
    pub(crate) fn run(self, family: &str, line: &str) {
        let status = program(&format!("{family}-{}", self.word()))
            .args(line.split(' '))
            .status();
        assert!(status.or_fail("run iptables").success(), "{line}");
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    path.split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
}

fn program(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| name.into()))
}

/// Makes programs that record their calls and fail; returns a `PATH` that finds them first.
pub(crate) fn recording_path(host: &Host) -> String {
    let mut folder = PathBuf::new();
    for family in ["iptables", "ip6tables"] {
        for end in [
            "",
            "-save",
            "-restore",
            "-legacy",
            "-legacy-save",
            "-legacy-restore",
            "-nft-restore",
        ] {
            folder = fake(host, &format!("{family}{end}"));
        }
    }
    for name in ["nft", "ip", "modprobe", "sysctl"] {
        folder = fake(host, name);
    }
    format!("{}:/usr/sbin:/usr/bin:/bin", folder.display())
}

fn fake(host: &Host, name: &str) -> PathBuf {
    let script = host.script(name, "echo \"${0##*/} $*\" >>\"${0%/*}/runs\"; exit 1");
    script.parent().or_fail("find the folder").to_owned()
}

/// Returns the recorded calls.
pub(crate) fn recorded(host: &Host) -> Vec<String> {
    let file = host.file("ready", "").with_file_name("runs");
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}
