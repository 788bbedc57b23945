//! The main job in one command: two pods on a bridge, as a container runtime would attach them, in namespaces of this
//! process's own. Needs no root, changes nothing on the machine, and exits with 0 only if all of it held.

mod error;
mod leftovers;
mod outside;
mod screen;
mod tour;

use error::Error;
use sandbox::{self, binaries};
use screen::Screen;
use std::{process::ExitCode, time::Instant};

const HELP: &str = "\
Attaches two pods to a bridge in a sandbox, tries everything, and cleans up.

usage: quickstart [--keep]

  --keep   wait before the clean-up, to look around in the pods
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
    let outcome = prepare(&mut screen).and_then(|()| tour::run(&mut screen, keep));
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

/// Builds the plugins while the machine's network is there, then leaves it.
fn prepare(screen: &mut Screen) -> Result<(), Error> {
    screen.title("Prepare");
    screen.passing("building loopback, bridge, host-local: about a minute, the first time");
    let start = Instant::now();
    binaries::build(&["-p", "bridge", "-p", "loopback", "-p", "host-local"])?;
    screen.ok(&format!(
        "built loopback, bridge, host-local in {:.1} s",
        start.elapsed().as_secs_f32()
    ));
    sandbox::enter()?;
    sandbox::become_host()?;
    screen.ok("entered user, network and mount namespaces: a host that nobody else sees");
    Ok(())
}
