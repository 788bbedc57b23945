//! The folders to work with: from options, else from the environment variables of cnitool, else the
//! defaults.

use cni_types::Environment;
use std::path::{Path, PathBuf};

/// The folders of a node. A folder that neither the command line nor the environment names is
/// `None`, so that the doctor can take it from the runtime's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The root directory of the node: `/`, or the place where a container has its host mounted.
    pub(crate) root: PathBuf,
    /// The folder of network configurations, if it was named.
    pub(crate) conf_dir: Option<PathBuf>,
    /// The folders of plugins, if any were named; never an empty list.
    pub(crate) bin_dirs: Option<Vec<PathBuf>>,
    /// The folder in which runtimes keep results.
    pub(crate) cache_dir: PathBuf,
}

/// The options that name folders.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
    /// `--conf-dir`.
    pub(crate) conf_dir: Option<PathBuf>,
    /// Each `--bin-dir`.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// `--cache-dir`.
    pub(crate) cache_dir: Option<PathBuf>,
}

impl Paths {
    /// Returns the folders that the options name, else those of `NETCONFPATH` and `CNI_PATH`.
    pub(crate) fn new(options: Options, environment: &Environment) -> Self {
        let root = options.root.unwrap_or_else(|| "/".into());
        let conf_dir = options
            .conf_dir
            .or_else(|| non_empty(environment, "NETCONFPATH").map(PathBuf::from));
        let mut bin_dirs = options.bin_dirs;
        if bin_dirs.is_empty()
            && let Some(path) = non_empty(environment, "CNI_PATH")
        {
            bin_dirs = path
                .split(':')
                .filter(|folder| !folder.is_empty())
                .map(PathBuf::from)
                .collect();
        }
        let cache_dir = options
            .cache_dir
            .unwrap_or_else(|| below(&root, "/var/lib/cni"));
        Self {
            root,
            conf_dir,
            bin_dirs: (!bin_dirs.is_empty()).then_some(bin_dirs),
            cache_dir,
        }
    }

    /// Returns the folder of network configurations, by default `/etc/cni/net.d` of the node.
    pub(crate) fn conf_dir(&self) -> PathBuf {
        self.conf_dir
            .clone()
            .unwrap_or_else(|| self.file("/etc/cni/net.d"))
    }

    /// Returns the folders of plugins, by default `/opt/cni/bin` of the node.
    pub(crate) fn bin_dirs(&self) -> Vec<PathBuf> {
        self.bin_dirs
            .clone()
            .unwrap_or_else(|| vec![self.file("/opt/cni/bin")])
    }

    /// Returns the path at which this process finds the node's absolute `path`.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        below(&self.root, path)
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Returns a variable's value; `None` if it is unset or empty.
fn non_empty(environment: &Environment, name: &str) -> Option<String> {
    Some(environment.text(name)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_beats_the_variable_which_beats_the_default() {
        let environment: Environment = [("NETCONFPATH", "/n"), ("CNI_PATH", "/a::/b")]
            .into_iter()
            .collect();
        let paths = Paths::new(Options::default(), &environment);
        assert_eq!(
            (paths.conf_dir(), paths.bin_dirs()),
            ("/n".into(), vec!["/a".into(), "/b".into()])
        );
        let options = Options {
            conf_dir: Some("/o".into()),
            bin_dirs: vec!["/p".into()],
            ..Options::default()
        };
        let paths = Paths::new(options, &environment);
        assert_eq!(
            (paths.conf_dir(), paths.bin_dirs()),
            ("/o".into(), vec!["/p".into()])
        );
        let paths = Paths::new(
            Options {
                root: Some("/host".into()),
                ..Options::default()
            },
            &Environment::default(),
        );
        assert_eq!(paths.conf_dir(), Path::new("/host/etc/cni/net.d"));
        assert_eq!(paths.bin_dirs(), [Path::new("/host/opt/cni/bin")]);
        assert_eq!(paths.cache_dir, Path::new("/host/var/lib/cni"));
    }
}
