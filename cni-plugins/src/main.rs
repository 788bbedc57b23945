//! All plugins in one program. Called by a plugin's name, through a hard link of that name, it
//! serves this plugin. Called by another name, it is the tool that installs the links.

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

/// The exit status if the command line is invalid.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    // /proc/self/exe is no alternative: it names the target of a symbolic link, and /proc may not
    // be mounted.
    let called_as = arguments.next().unwrap_or_default();
    let name = Path::new(&called_as).file_name().unwrap_or_default();
    if let Some(plugin) = name.to_str().and_then(find) {
        return (plugin.main)();
    }
    if env::var_os("CNI_COMMAND").is_some_and(|command| !command.is_empty()) {
        return cni_types::refuse(&unknown_plugin(name));
    }
    let arguments: Vec<OsString> = arguments.collect();
    run_tool(&arguments)
}

/// Returns the error of a request to a plugin that this program does not have.
fn unknown_plugin(name: &OsStr) -> Error {
    let msg = format!("unknown plugin {:?}", name.display().to_string());
    Error::new(Code::INVALID_ENVIRONMENT, msg).with_details(format!(
        "cni-plugins serves the plugin that it is called as, one of: {}; \
         install them by their names with cni-plugins --install DIR",
        names().collect::<Vec<_>>().join(", ")
    ))
}

/// Carries out a command line of the tool and returns its exit status.
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
                EXIT_USAGE,
                format_args!("no plugin is called {name:?}; see cni-plugins --list"),
            ),
        },
        ([], _) => fail(EXIT_USAGE, HELP),
        _ => fail(
            EXIT_USAGE,
            format_args!("the arguments make no sense; see cni-plugins --help"),
        ),
    }
}

/// Returns the plugins with these names, each once and sorted; all plugins if there are no names.
///
/// # Errors
/// Fails with the first name that no plugin has.
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

/// Prints to stdout; returns a failure if stdout cannot be written.
fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    let written = stdout.write_all(text.as_bytes());
    report(written.and_then(|()| stdout.flush()))
}

/// Returns success, or reports the error and returns exit status 1.
fn report(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(1, e),
    }
}

/// Prints a message on stderr and returns the exit status.
fn fail(status: u8, what: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "cni-plugins: {what}");
    ExitCode::from(status)
}
