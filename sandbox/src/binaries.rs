//! The plugins' binaries, as fresh as the sources.
//!
//! `cargo test -p bridge` builds bridge and leaves host-local as it was, or does not build it at
//! all; but the two are used together. So who runs plugins asks Cargo for them first. With
//! `CNI_TEST_BIN_DIR` set, the plugins in that folder are used instead and nothing is built: those
//! of a package, or the reference's.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The reason for which there are no binaries.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The running program is not in a target directory.
    #[error("cannot tell the target directory from {0}")]
    Layout(PathBuf),
    /// There is no Cargo.
    #[error("cannot run cargo: {0}")]
    Cargo(#[from] io::Error),
    /// Cargo's words.
    #[error("the workspace's binaries do not build:\n{0}")]
    Build(String),
}

/// Names the folder with the plugins to use.
const BIN_DIR: &str = "CNI_TEST_BIN_DIR";

/// Files that Cargo puts into its target directory: the first only if it made the directory itself.
const MARKS_OF_TARGET_DIR: [&str; 2] = ["CACHEDIR.TAG", ".rustc_info.json"];

/// The place of Cargo's binaries, and the options with which it puts them there again.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    bin_dir: PathBuf,
    target_dir: PathBuf,
    target: Option<String>,
    profile: String,
}

impl Layout {
    /// Reads `<target dir>/[<target>/]<profile>/[deps/]<program>`; tests are in `deps`.
    fn of(program: &Path) -> Option<Self> {
        let folder = program.parent()?;
        let bin_dir = if folder.ends_with("deps") {
            folder.parent()?
        } else {
            folder
        }
        .to_owned();
        let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
        let profile = match name(&bin_dir)?.as_str() {
            "debug" => "dev".to_owned(),
            other => other.to_owned(),
        };
        let above = bin_dir.parent()?.to_owned();
        if MARKS_OF_TARGET_DIR
            .iter()
            .any(|mark| above.join(mark).exists())
        {
            return Some(Self {
                bin_dir,
                target_dir: above,
                target: None,
                profile,
            });
        }
        let target_dir = above.parent()?.to_owned();
        Some(Self {
            bin_dir,
            target_dir,
            target: Some(name(&above)?),
            profile,
        })
    }

    fn of_process() -> Result<Self, Error> {
        let program = std::env::current_exe()?;
        Self::of(&program).ok_or(Error::Layout(program))
    }
}

/// The folder with the plugins that are used: a `CNI_PATH`.
pub fn bin_dir() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os(BIN_DIR) {
        Some(folder) => folder.into(),
        None => Layout::of_process()
            .map(|layout| layout.bin_dir)
            .unwrap_or_default(),
    })
}

/// Builds the binaries of some packages, `["--workspace"]` or `["-p", "bridge"]`, with the profile
/// of the running program. Says nothing unless it fails.
///
/// # Errors
/// Fails with Cargo's own words.
pub fn build(packages: &[&str]) -> Result<(), Error> {
    if std::env::var_os(BIN_DIR).is_some() {
        return Ok(());
    }
    let layout = Layout::of_process()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--bins", "--profile", &layout.profile])
        .args(packages);
    cargo.arg("--target-dir").arg(&layout.target_dir);
    cargo
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
    if let Some(target) = &layout.target {
        cargo.args(["--target", target]);
    }
    let output = cargo.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Build(
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_read_with_and_without_a_target() {
        // Without the first mark: target/ was there before Cargo was, with what scripts fetch.
        for mark in MARKS_OF_TARGET_DIR {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().to_owned();
            std::fs::write(root.join(mark), "").unwrap();
            let plain = Layout::of(&root.join("debug/deps/t-1")).unwrap();
            let program = Layout::of(&root.join("debug/program")).unwrap();
            let cross =
                Layout::of(&root.join("x86_64-unknown-linux-musl/release/deps/t-1")).unwrap();
            assert_eq!(plain, program);
            assert_eq!((plain.target, plain.profile.as_str()), (None, "dev"));
            assert_eq!(
                (plain.bin_dir, plain.target_dir),
                (root.join("debug"), root.clone())
            );
            assert_eq!(cross.target.as_deref(), Some("x86_64-unknown-linux-musl"));
            assert_eq!(
                (cross.profile.as_str(), cross.target_dir),
                ("release", root)
            );
        }
    }
}
