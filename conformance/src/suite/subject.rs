//! The plugin under test: its profile, its files, and the limits of its runs.

use super::{profile::Profile, spoken};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A plugin under test.
#[derive(Clone, Debug)]
pub struct Subject {
    /// How it is used.
    pub profile: Profile,
    /// The folder with it and its delegates.
    pub bin_dir: PathBuf,
    /// The suite's own program, to stand in for a delegate.
    pub double: Option<PathBuf>,
    /// The folder with another build of it, for cases about both ([`super::swap`]).
    pub other: Option<PathBuf>,
    /// How long a run of it may take.
    pub limit: Duration,
}

impl Subject {
    /// Its file.
    #[must_use]
    pub fn binary(&self) -> PathBuf {
        self.bin_dir.join(&self.profile.binary)
    }

    /// Why nothing can be said of it, where that is so: its file, or that of its IPAM plugin, cannot be started. The process
    /// must have entered the sandbox ([`sandbox::enter`]).
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let ipam = self
            .profile
            .ipam()
            .map(|name| self.bin_dir.join(name))
            .filter(|file| file.is_file());
        let files = [Some(self.binary()), ipam].into_iter().flatten();
        files
            .filter_map(|file| spoken::refusal(&file, self.limit))
            .next()
    }

    /// Why cases cannot be run with it here, where that is so.
    pub(super) fn lack(&self) -> Option<String> {
        let mut programs = self.profile.needs.iter();
        if let Some(program) = programs.find(|program| !is_in_path(program)) {
            return Some(format!("the plugin needs the program {program}"));
        }
        let ipam = self.profile.ipam()?;
        let there = self.bin_dir.join(ipam).is_file();
        (!there).then(|| format!("the configuration needs the plugin {ipam}"))
    }
}

/// Whether a program is found as execvp(3) finds it.
pub(super) fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
