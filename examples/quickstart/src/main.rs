//! A tour in one command: two pods on a bridge, attached as a container runtime would, in private
//! namespaces of this process. It needs no root, changes nothing on the machine, and exits with 0
//! only if all checks passed.

mod error;
mod leftovers;
mod outside;
mod screen;
mod tour;

use error::Error;
use sandbox::{self, binaries};
use screen::Screen;
use std::{
    io,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

const HELP: &str = "\
Attaches two pods to a bridge in a sandbox, tries all operations, and cleans up.

usage: quickstart [--keep]

  --keep   wait before the clean-up, for your own tests in the pods
";

fn main() -> ExitCode {
    let mut keep = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--keep" => keep = true,
            "-h" | "--help" => return usage(&Screen::new(), true),
            _ => return usage(&Screen::new(), false),
        }
    }
    let mut screen = Screen::new();
    let outcome = prepare(&mut screen).and_then(|plugins| tour::run(&mut screen, &plugins, keep));
    if let Err(e) = outcome {
        screen.failed(&e.to_string());
    }
    screen.conclude()
}

fn usage(screen: &Screen, asked: bool) -> ExitCode {
    screen.text(HELP);
    if asked {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    }
}

/// Builds the plugins, which may need the machine's network, and then enters the sandbox. Returns
/// the folder of the plugins.
fn prepare(screen: &mut Screen) -> Result<PathBuf, Error> {
    screen.title("Prepare");
    screen.passing("building the plugins: about a minute, the first time");
    let start = Instant::now();
    binaries::build(&["-p", "cni-plugins"])?;
    screen.ok(&format!(
        "built the plugins in {:.1} s",
        start.elapsed().as_secs_f32()
    ));
    sandbox::enter()?;
    sandbox::become_host()?;
    screen.ok("entered user, network and mount namespaces: a private host");
    install()
}

/// Installs the plugins into a folder of the sandbox, and returns it. If `CNI_TEST_BIN_DIR` names a
/// folder of other plugins, returns that.
fn install() -> Result<PathBuf, Error> {
    let program = binaries::bin_dir().join("cni-plugins");
    if !program.exists() {
        return Ok(binaries::bin_dir().to_owned());
    }
    let folder = PathBuf::from("/run/plugins");
    std::fs::create_dir(&folder)?;
    let status = Command::new(program)
        .arg("--install")
        .arg(&folder)
        .status()?;
    if !status.success() {
        return Err(io::Error::other("cni-plugins --install failed, as it says above").into());
    }
    Ok(folder)
}
