//! Where things are: by option, else by cnitool's variables, else where runtimes have them.

use cni_types::Environment;
use std::path::{Path, PathBuf};

/// The folders to work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// What stands for `/`: somebody else's, seen from a container.
    pub(crate) root: PathBuf,
    /// Where network configurations are, if somebody said so.
    pub(crate) conf_dir: Option<PathBuf>,
    /// Where plugins are, if somebody said so; not empty.
    pub(crate) bin_dirs: Option<Vec<PathBuf>>,
    /// Where runtimes keep results.
    pub(crate) cache_dir: PathBuf,
}

/// What the command line said.
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

impl Places {
    /// Decides.
    pub(crate) fn of(options: Options, environment: &Environment) -> Self {
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

    /// Where network configurations are.
    pub(crate) fn conf_dir(&self) -> PathBuf {
        self.conf_dir
            .clone()
            .unwrap_or_else(|| self.file("/etc/cni/net.d"))
    }

    /// Where plugins are.
    pub(crate) fn bin_dirs(&self) -> Vec<PathBuf> {
        self.bin_dirs
            .clone()
            .unwrap_or_else(|| vec![self.file("/opt/cni/bin")])
    }

    /// An absolute path below the root.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        below(&self.root, path)
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn non_empty(environment: &Environment, name: &str) -> Option<String> {
    Some(environment.text(name)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_beats_the_variable_which_beats_the_custom() {
        let environment: Environment = [("NETCONFPATH", "/n"), ("CNI_PATH", "/a::/b")]
            .into_iter()
            .collect();
        let places = Places::of(Options::default(), &environment);
        assert_eq!(
            (places.conf_dir(), places.bin_dirs()),
            ("/n".into(), vec!["/a".into(), "/b".into()])
        );
        let options = Options {
            conf_dir: Some("/o".into()),
            bin_dirs: vec!["/p".into()],
            ..Options::default()
        };
        let places = Places::of(options, &environment);
        assert_eq!(
            (places.conf_dir(), places.bin_dirs()),
            ("/o".into(), vec!["/p".into()])
        );
        let places = Places::of(
            Options {
                root: Some("/host".into()),
                ..Options::default()
            },
            &Environment::default(),
        );
        assert_eq!(places.conf_dir(), Path::new("/host/etc/cni/net.d"));
        assert_eq!(places.bin_dirs(), [Path::new("/host/opt/cni/bin")]);
        assert_eq!(places.cache_dir, Path::new("/host/var/lib/cni"));
    }
}
