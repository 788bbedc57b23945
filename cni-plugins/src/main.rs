//! All plugins in one program. It serves the plugin that it is called as, by hard links of that
//! name; called otherwise, it is the tool that makes them.

use cni_plugins::{Entry, PLUGINS, find, install::install, names};
use cni_types::{Code, Error};
use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

const HELP: &str = "\
All CNI plugins of this suite in one program, which serves the plugin that it is called as.

usage: cni-plugins --list
       cni-plugins --install DIR [NAME...]

  --list      print the names of the plugins, one a line
  --install   put plugins into DIR, which must be there: those named, or all. Each name comes to
              its place by a rename, so that a runtime never starts half a program. The names are
              hard links of one file, or copies if the file system has no hard links.
  --version   print the version
  --help      print this
";

/// The exit status of a command line that makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    // Never /proc/self/exe: that is the file that a symbolic link leads to, and a host may hide it.
    let called_as = arguments.next().unwrap_or_default();
    let name = Path::new(&called_as).file_name().unwrap_or_default();
    if let Some(plugin) = name.to_str().and_then(find) {
        return (plugin.main)();
    }
    if env::var_os("CNI_COMMAND").is_some_and(|command| !command.is_empty()) {
        return cni_types::refuse(&unknown(name));
    }
    let arguments: Vec<OsString> = arguments.collect();
    run_tool(&arguments)
}

/// The error of a request to a plugin that this program does not have.
fn unknown(name: &OsStr) -> Error {
    let msg = format!("unknown plugin {:?}", name.display().to_string());
    Error::new(Code::INVALID_ENVIRONMENT, msg).with_details(format!(
        "cni-plugins serves the plugin that it is called as, one of: {}; \
         install them by their names with cni-plugins --install DIR",
        names().collect::<Vec<_>>().join(", ")
    ))
}

fn run_tool(arguments: &[OsString]) -> ExitCode {
    let texts: Vec<Option<&str>> = arguments.iter().map(|text| text.to_str()).collect();
    match (texts.as_slice(), arguments) {
        ([Some("--help" | "-h")], _) => print(HELP),
        ([Some("--version" | "-V")], _) => {
            print(concat!("cni-plugins ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        ([Some("--list")], _) => {
            print(&names().map(|name| format!("{name}\n")).collect::<String>())
        }
        ([Some("--install"), _, wanted @ ..], [_, directory, ..]) => match chosen(wanted) {
            Ok(plugins) => report(install(Path::new(directory), &plugins)),
            Err(name) => fail(
                USAGE,
                format_args!("no plugin is called {name:?}; see cni-plugins --list"),
            ),
        },
        ([], _) => fail(USAGE, HELP),
        _ => fail(
            USAGE,
            format_args!("the arguments make no sense; see cni-plugins --help"),
        ),
    }
}

/// The plugins with these names, each once, or all if there are no names; the first name that no
/// plugin has is the error.
fn chosen(names: &[Option<&str>]) -> Result<Vec<&'static Entry>, String> {
    if names.is_empty() {
        return Ok(PLUGINS.iter().collect());
    }
    let plugin = |name: &Option<&str>| {
        let name = name.unwrap_or("a name that is no UTF-8");
        find(name).ok_or_else(|| name.to_owned())
    };
    let mut plugins: Vec<&Entry> = names.iter().map(plugin).collect::<Result<_, _>>()?;
    plugins.sort_by_key(|plugin| plugin.name);
    plugins.dedup_by_key(|plugin| plugin.name);
    Ok(plugins)
}

fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    let written = stdout.write_all(text.as_bytes());
    report(written.and_then(|()| stdout.flush()))
}

fn report(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(1, e),
    }
}

fn fail(status: u8, what: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "cni-plugins: {what}");
    ExitCode::from(status)
}
