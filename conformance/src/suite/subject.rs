//! The plugin under test: its profile, its files, and the limits of its runs.

use super::{profile::Profile, supported_versions};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A plugin under test.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The way in which it is used.
    pub profile: Profile,
    /// The folder with it and its delegates.
    pub bin_dir: PathBuf,
    /// The suite's own program, to stand in for a delegate.
    pub double: Option<PathBuf>,
    /// The folder with another build of it, for cases about both ([`super::swap`]).
    pub other: Option<PathBuf>,
    /// The time that a run of it may take.
    pub limit: Duration,
}

impl Subject {
    /// Its file.
    #[must_use]
    pub fn binary(&self) -> PathBuf {
        self.bin_dir.join(&self.profile.binary)
    }

    /// Returns the reason why nothing can be said of it, if its file, or that of its IPAM plugin,
    /// cannot be started. The process must have entered the sandbox ([`sandbox::enter`]).
    #[must_use]
    pub fn startup_error(&self) -> Option<String> {
        let ipam = self
            .profile
            .ipam()
            .map(|name| self.bin_dir.join(name))
            .filter(|file| file.is_file());
        let files = [Some(self.binary()), ipam].into_iter().flatten();
        files
            .filter_map(|file| supported_versions::startup_error(&file, self.limit))
            .next()
    }

    /// Returns the reason why cases cannot be run with it here, if they cannot.
    pub(super) fn skip_reason(&self) -> Option<String> {
        let mut programs = self.profile.needs.iter();
        if let Some(program) = programs.find(|program| !is_in_path(program)) {
            return Some(format!("the plugin needs the program {program}"));
        }
        let ipam = self.profile.ipam()?;
        let there = self.bin_dir.join(ipam).is_file();
        (!there).then(|| format!("the configuration needs the plugin {ipam}"))
    }
}

/// Returns true if a program is found as execvp(3) finds it.
pub(super) fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}
