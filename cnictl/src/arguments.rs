//! The command line.

use crate::{
    paths::{Options, Paths},
    spelling::nearest,
};
use cni_types::{Command, Environment};
use lexopt::{Arg, Parser, ValueExt};
use std::{ffi::OsString, path::PathBuf};

/// The text that `--help` prints.
pub(crate) const USAGE: &str = "\
cnictl: CNI for the person at the node

  cnictl add    NETWORK NETNS    attach a network namespace and print the result
  cnictl check  NETWORK NETNS    check that an attachment is as ADD left it
  cnictl check  [NETWORK] --all  check all attachments whose namespace exists
  cnictl del    NETWORK NETNS    detach a network namespace
  cnictl gc     NETWORK          detach what has no namespace any more, and free its resources
  cnictl status NETWORK          ask the plugins if an ADD could succeed
  cnictl version [NETWORK]       show the CNI versions that the plugins support
  cnictl list   [NETWORK]        list attachments: container, namespace, addresses, state
  cnictl ipam   [NETWORK]        list host-local's reservations and free addresses
  cnictl ipam   [NETWORK] --gc   free the reservations that are certainly dead
  cnictl doctor                  find problems of this node's networks, and say how to fix them

NETNS is a path, for example /run/netns/blue. As in cnitool, gc and status accept one and ignore it.

Options
  --json             print JSON
  --trace            show every run of a plugin on stderr: environment, input, output, time
  --id ID            add, check, del: container id (default: made from NETNS, as cnitool does)
  --ifname NAME      add, check, del: interface in the namespace (default: CNI_IFNAME or eth0)
  --dry-run          gc, ipam --gc: only print what would be done
  --all              check: all attachments; gc: detach all attachments, as cnitool does
  --conf-dir DIR     network configurations (default: NETCONFPATH or /etc/cni/net.d)
  --bin-dir DIR      plugins; may be repeated (default: CNI_PATH or /opt/cni/bin)
  --cache-dir DIR    cache, with results in DIR/results (default: /var/lib/cni)
  --root DIR         root directory of the default paths (default: /)
  -h, --help         print this help
  -V, --version      print cnictl's own version

Also read: CNI_ARGS (KEY=VALUE;...), CAP_ARGS (a JSON object of capability arguments).
Exit status: 0 success, 1 something failed or a problem was found, 2 invalid command line.
";

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The command and its own options.
    pub(crate) request: Request,
    /// `--json`.
    pub(crate) json: bool,
    /// `--trace`.
    pub(crate) trace: bool,
    /// The folders to work with.
    pub(crate) paths: Paths,
}

/// A command with its own options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Print [`USAGE`].
    Help,
    /// Print cnictl's own version.
    OwnVersion,
    /// ADD, CHECK or DEL of one attachment.
    Attachment {
        /// `ADD`, `CHECK` or `DEL`.
        command: Command,
        /// The network's name.
        network: String,
        /// The path of the namespace.
        netns: PathBuf,
        /// The container id, if `--id` gives one.
        id: Option<String>,
        /// The interface's name in the namespace.
        if_name: String,
    },
    /// CHECK of all attachments whose namespace exists.
    CheckAll {
        /// The network's name, or `None` for all networks.
        network: Option<String>,
    },
    /// GC of one network.
    Gc {
        /// The network's name.
        network: String,
        /// The attachments to detach.
        extent: Extent,
        /// If true, only print what would be done.
        dry_run: bool,
    },
    /// STATUS of one network.
    Status {
        /// The network's name.
        network: String,
    },
    /// VERSION of plugins.
    Version {
        /// The network whose plugins are asked, or `None` for all installed plugins.
        network: Option<String>,
    },
    /// The attachments in the cache.
    List {
        /// The network's name, or `None` for all networks.
        network: Option<String>,
    },
    /// The reservations of host-local.
    Ipam {
        /// The network's name, or `None` for all networks.
        network: Option<String>,
        /// The task to do with the reservations.
        task: IpamTask,
    },
    /// The examination of the node.
    Doctor,
}

/// The attachments that a GC detaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Attachments whose namespace is gone.
    Dead,
    /// All attachments.
    All,
}

/// The task of `cnictl ipam`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpamTask {
    /// Show all reservations.
    Show,
    /// Free the dead reservations.
    Free {
        /// If true, only print what would be freed.
        dry_run: bool,
    },
}

/// The error for an invalid command line.
pub(crate) type UsageError = lexopt::Error;

/// The operands and options as they were given.
#[derive(Default)]
struct RawArguments {
    operands: Vec<String>,
    help: bool,
    own_version: bool,
    json: bool,
    trace: bool,
    dry_run: bool,
    gc: bool,
    all: bool,
    id: Option<String>,
    if_name: Option<String>,
    options: Options,
}

impl Arguments {
    /// Reads the command line (without the program's name).
    ///
    /// # Errors
    /// Fails if the command line is invalid.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: &Environment,
    ) -> Result<Self, UsageError> {
        let mut raw = RawArguments::read(Parser::from_args(arguments))?;
        raw.refuse_unused_options()?;
        let environment_if_name =
            Some(environment.text("CNI_IFNAME")).filter(|name| !name.is_empty());
        raw.if_name = raw.if_name.or(environment_if_name);
        Ok(Self {
            json: raw.json,
            trace: raw.trace,
            paths: Paths::new(std::mem::take(&mut raw.options), environment),
            request: raw.request()?,
        })
    }
}

impl RawArguments {
    fn read(mut parser: Parser) -> Result<Self, UsageError> {
        let mut read = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => read.help = true,
                Arg::Short('V') | Arg::Long("version") => read.own_version = true,
                Arg::Long("json") => read.json = true,
                Arg::Long("trace") => read.trace = true,
                Arg::Long("dry-run") => read.dry_run = true,
                Arg::Long("gc") => read.gc = true,
                Arg::Long("all") => read.all = true,
                Arg::Long("id") => read.id = Some(parser.value()?.string()?),
                Arg::Long("ifname") => read.if_name = Some(parser.value()?.string()?),
                Arg::Long("conf-dir") => read.options.conf_dir = Some(parser.value()?.into()),
                Arg::Long("bin-dir") => read.options.bin_dirs.push(parser.value()?.into()),
                Arg::Long("cache-dir") => read.options.cache_dir = Some(parser.value()?.into()),
                Arg::Long("root") => read.options.root = Some(parser.value()?.into()),
                Arg::Value(operand) => read.operands.push(operand.string()?),
                other => return Err(unknown_option(&other.unexpected())),
            }
        }
        Ok(read)
    }

    /// Refuses an option that has no effect on the command: otherwise `del --dry-run` would detach.
    fn refuse_unused_options(&self) -> Result<(), UsageError> {
        let command = self.operands.first().map_or("", String::as_str);
        if self.help || self.own_version || command == "help" {
            return Ok(());
        }
        let is_one = ["add", "del"].contains(&command) || command == "check" && !self.all;
        for (is_there, has_effect, name, owners) in [
            (
                self.dry_run,
                command == "gc" || self.gc,
                "--dry-run",
                "gc and ipam --gc",
            ),
            (
                self.all,
                ["gc", "check"].contains(&command),
                "--all",
                "gc and check",
            ),
            (self.gc, command == "ipam", "--gc", "ipam"),
            (self.id.is_some(), is_one, "--id", "add, check and del"),
            (
                self.if_name.is_some(),
                is_one,
                "--ifname",
                "add, check and del",
            ),
        ] {
            if is_there && !has_effect {
                return Err(format!("{name} is an option of {owners} only").into());
            }
        }
        Ok(())
    }

    fn request(self) -> Result<Request, UsageError> {
        if self.help || self.operands.first().is_some_and(|word| word == "help") {
            return Ok(Request::Help);
        }
        if self.own_version {
            return Ok(Request::OwnVersion);
        }
        let operands: Vec<&str> = self.operands.iter().map(String::as_str).collect();
        let task = if self.gc {
            IpamTask::Free {
                dry_run: self.dry_run,
            }
        } else {
            IpamTask::Show
        };
        match operands[..] {
            ["add", network, netns] => Ok(self.attachment(Command::Add, network, netns)),
            ["check"] if self.all => Ok(Request::CheckAll { network: None }),
            ["check", network] if self.all => Ok(Request::CheckAll {
                network: Some(network.to_owned()),
            }),
            ["check", ..] if self.all => Err("expected at most NETWORK with --all".into()),
            ["check", network, netns] => Ok(self.attachment(Command::Check, network, netns)),
            ["del", network, netns] => Ok(self.attachment(Command::Del, network, netns)),
            ["gc", network] | ["gc", network, _] => Ok(Request::Gc {
                network: network.to_owned(),
                extent: if self.all { Extent::All } else { Extent::Dead },
                dry_run: self.dry_run,
            }),
            ["status", network] | ["status", network, _] => Ok(Request::Status {
                network: network.to_owned(),
            }),
            ["version"] => Ok(Request::Version { network: None }),
            ["version", network] | ["version", network, _] => Ok(Request::Version {
                network: Some(network.to_owned()),
            }),
            ["list"] => Ok(Request::List { network: None }),
            ["list", network] => Ok(Request::List {
                network: Some(network.to_owned()),
            }),
            ["ipam"] => Ok(Request::Ipam {
                network: None,
                task,
            }),
            ["ipam", network] => Ok(Request::Ipam {
                network: Some(network.to_owned()),
                task,
            }),
            ["doctor"] => Ok(Request::Doctor),
            ["doctor", ..] => Err("doctor takes no operands".into()),
            ["add" | "check" | "del", ..] => Err("expected NETWORK and NETNS".into()),
            ["gc" | "status", ..] => Err("expected NETWORK".into()),
            ["version" | "list" | "ipam", ..] => Err("expected at most NETWORK".into()),
            [] => Err("expected a command".into()),
            [other, ..] => Err(unknown_command(other).into()),
        }
    }

    fn attachment(&self, command: Command, network: &str, netns: &str) -> Request {
        Request::Attachment {
            command,
            network: network.to_owned(),
            netns: netns.into(),
            id: self.id.clone(),
            if_name: self.if_name.clone().unwrap_or_else(|| "eth0".to_owned()),
        }
    }
}

/// The names of the commands.
const COMMANDS: [&str; 10] = [
    "add", "check", "del", "gc", "status", "version", "list", "ipam", "doctor", "help",
];

/// The long options.
const OPTIONS: [&str; 13] = [
    "--json",
    "--trace",
    "--id",
    "--ifname",
    "--dry-run",
    "--all",
    "--gc",
    "--conf-dir",
    "--bin-dir",
    "--cache-dir",
    "--root",
    "--help",
    "--version",
];

fn unknown_command(word: &str) -> String {
    format!("unknown command {word:?}{}", suggestion(word, COMMANDS))
}

/// Returns lexopt's error for an unknown option, with the nearest known one.
fn unknown_option(error: &UsageError) -> UsageError {
    match error {
        UsageError::UnexpectedOption(option) => {
            format!("{error}{}", suggestion(option, OPTIONS)).into()
        }
        _ => error.to_string().into(),
    }
}

fn suggestion<const N: usize>(word: &str, known: [&'static str; N]) -> String {
    // A word of two letters is near to every third command, so its beginning is tried first.
    let starts = || {
        known
            .into_iter()
            .find(|known| word.len() >= 2 && known.starts_with(word))
    };
    match starts().or_else(|| nearest(word, known)) {
        Some(known) => format!("; did you mean {known}?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, String> {
        let words = line.split_whitespace().map(OsString::from);
        let environment: Environment = [("CNI_IFNAME", "net1")].into_iter().collect();
        Arguments::parse(words, &environment)
            .map(|arguments| arguments.request)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn cnitool_s_command_lines_are_understood() {
        let wanted = Request::Attachment {
            command: Command::Add,
            network: "n".into(),
            netns: "/run/netns/p".into(),
            id: None,
            if_name: "net1".into(),
        };
        assert_eq!(request("add n /run/netns/p"), Ok(wanted));
        let gc = |extent, dry_run| {
            Ok(Request::Gc {
                network: "n".into(),
                extent,
                dry_run,
            })
        };
        assert_eq!(request("gc n /x"), gc(Extent::Dead, false));
        assert_eq!(request("gc n --all --dry-run"), gc(Extent::All, true));
        assert_eq!(
            request("check --all"),
            Ok(Request::CheckAll { network: None })
        );
        assert_eq!(
            request("check n --all"),
            Ok(Request::CheckAll {
                network: Some("n".into())
            })
        );
        assert_eq!(
            request("status n /x"),
            Ok(Request::Status {
                network: "n".into()
            })
        );
    }

    #[test]
    fn an_invalid_command_line_is_refused() {
        for (line, wanted) in [
            ("", "expected a command"),
            ("add n", "expected NETWORK and NETNS"),
            ("gc", "expected NETWORK"),
            ("list a b", "expected at most NETWORK"),
            ("attach n p", "unknown command \"attach\""),
            ("ad n p", "unknown command \"ad\"; did you mean add?"),
            (
                "chekc n p",
                "unknown command \"chekc\"; did you mean check?",
            ),
            ("list --jsn", "invalid option '--jsn'; did you mean --json?"),
            ("list --frobnicate", "invalid option '--frobnicate'"),
        ] {
            assert_eq!(request(line), Err(wanted.to_owned()), "{line}");
        }
    }

    #[test]
    fn an_option_that_would_have_no_effect_is_refused() {
        for (line, wanted) in [
            (
                "del n p --dry-run",
                "--dry-run is an option of gc and ipam --gc only",
            ),
            (
                "ipam n --dry-run",
                "--dry-run is an option of gc and ipam --gc only",
            ),
            (
                "ipam n --gc --all",
                "--all is an option of gc and check only",
            ),
            (
                "check --all --id c1",
                "--id is an option of add, check and del only",
            ),
            ("gc n --gc", "--gc is an option of ipam only"),
            (
                "list --id c1",
                "--id is an option of add, check and del only",
            ),
            (
                "gc n --ifname eth1",
                "--ifname is an option of add, check and del only",
            ),
            ("check n p --all", "expected at most NETWORK with --all"),
        ] {
            assert_eq!(request(line), Err(wanted.to_owned()), "{line}");
        }
        let free = IpamTask::Free { dry_run: true };
        assert_eq!(
            request("ipam --gc --dry-run"),
            Ok(Request::Ipam {
                network: None,
                task: free
            })
        );
    }

    #[test]
    fn help_wins_whatever_else_is_there() {
        assert_eq!(request("add --help"), Ok(Request::Help));
        assert_eq!(request("help"), Ok(Request::Help));
        assert_eq!(request("del n p --dry-run --help"), Ok(Request::Help));
        assert_eq!(request("--version"), Ok(Request::OwnVersion));
    }
}
