//! The command line.

use crate::{
    places::{Options, Places},
    spelling::nearest,
};
use cni_types::{Command, Environment};
use lexopt::{Arg, Parser, ValueExt};
use std::{ffi::OsString, path::PathBuf};

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
cnictl: CNI for the person at the node

  cnictl add    NETWORK NETNS    attach a network namespace; prints the result
  cnictl check  NETWORK NETNS    is the attachment as ADD left it?
  cnictl check  [NETWORK] --all  the same of all whose namespace lives
  cnictl del    NETWORK NETNS    detach
  cnictl gc     NETWORK          end attachments whose namespace is gone, free what they left
  cnictl status NETWORK          could an ADD succeed?
  cnictl version [NETWORK]       the versions that plugins support
  cnictl list   [NETWORK]        attachments: whose, where, alive or stale
  cnictl ipam   [NETWORK]        host-local's reservations: whose, how old, alive or stale; what is left
  cnictl ipam   [NETWORK] --gc   free those that are certainly dead
  cnictl doctor                  what is wrong with this node's networks, why it matters, what to do

Where NETNS is wanted, a path: /run/netns/blue. As in cnitool, gc and status take one and do without.

Options
  --json             print JSON
  --trace            show every run of a plugin on stderr: environment, input, output, time
  --id ID            add, check, del: container id; made from NETNS, as cnitool's, where it is left out
  --ifname NAME      add, check, del: interface in the namespace (CNI_IFNAME, else eth0)
  --dry-run          gc, ipam --gc: only say what would be done
  --all              gc: every attachment is stale, as cnitool has it; check: all of them
  --conf-dir DIR     network configurations (NETCONFPATH, else /etc/cni/net.d)
  --bin-dir DIR      plugins; may be repeated (CNI_PATH, else /opt/cni/bin)
  --cache-dir DIR    results of ADDs are in DIR/results (/var/lib/cni)
  --root DIR         what stands for / in these defaults
  -h, --help         print this
  -V, --version      print cnictl's own version

Also read: CNI_ARGS (KEY=VALUE;...), CAP_ARGS (a JSON object of capability arguments).
Exit status: 0 fine, 1 something failed or is wrong, 2 the command line makes no sense.
";

/// What is asked for, and where.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// What is asked for.
    pub(crate) request: Request,
    /// `--json`.
    pub(crate) json: bool,
    /// `--trace`.
    pub(crate) trace: bool,
    /// Where things are.
    pub(crate) places: Places,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The text above.
    Help,
    /// cnictl's own version.
    OwnVersion,
    /// ADD, CHECK or DEL of one attachment.
    Attachment {
        /// Which of the three.
        command: Command,
        /// The network's name.
        network: String,
        /// The path of the namespace.
        netns: PathBuf,
        /// The container id, where it is given.
        id: Option<String>,
        /// The interface.
        if_name: String,
    },
    /// CHECK of all attachments that live.
    CheckAll {
        /// Of one network only.
        network: Option<String>,
    },
    /// GC of one network.
    Gc {
        /// Its name.
        network: String,
        /// Whose attachments are ended.
        extent: Extent,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// STATUS of one network.
    Status {
        /// Its name.
        network: String,
    },
    /// VERSION of the plugins of a network, or of all.
    Version {
        /// Its name.
        network: Option<String>,
    },
    /// What the cache knows.
    List {
        /// Of one network only.
        network: Option<String>,
    },
    /// What host-local has given away.
    Ipam {
        /// Of one network only.
        network: Option<String>,
        /// What is done with them.
        task: IpamTask,
    },
    /// What is wrong.
    Doctor,
}

/// Whose attachments a GC ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Those whose namespace is gone.
    Dead,
    /// All.
    All,
}

/// What is done with reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpamTask {
    /// They are shown.
    Show,
    /// The dead ones are freed.
    Free {
        /// Only say which.
        dry_run: bool,
    },
}

/// A command line that makes no sense.
pub(crate) type UsageError = lexopt::Error;

/// The words and switches, before they make sense.
#[derive(Default)]
struct Words {
    words: Vec<String>,
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
    /// A sentence on what makes no sense.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        environment: &Environment,
    ) -> Result<Self, UsageError> {
        let mut words = Words::read(Parser::from_args(arguments))?;
        words.refuse_idle_options()?;
        let environment_if_name =
            Some(environment.text("CNI_IFNAME")).filter(|name| !name.is_empty());
        words.if_name = words.if_name.or(environment_if_name);
        Ok(Self {
            json: words.json,
            trace: words.trace,
            places: Places::of(std::mem::take(&mut words.options), environment),
            request: words.request()?,
        })
    }
}

impl Words {
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
                Arg::Value(word) => read.words.push(word.string()?),
                other => return Err(unknown_option(&other.unexpected())),
            }
        }
        Ok(read)
    }

    /// An option that the command does not know does not do what was meant: `del --dry-run` would
    /// detach.
    fn refuse_idle_options(&self) -> Result<(), UsageError> {
        let command = self.words.first().map_or("", String::as_str);
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
                return Err(format!("{name} is for {owners}").into());
            }
        }
        Ok(())
    }

    fn request(self) -> Result<Request, UsageError> {
        if self.help || self.words.first().is_some_and(|word| word == "help") {
            return Ok(Request::Help);
        }
        if self.own_version {
            return Ok(Request::OwnVersion);
        }
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let task = if self.gc {
            IpamTask::Free {
                dry_run: self.dry_run,
            }
        } else {
            IpamTask::Show
        };
        match words[..] {
            ["add", network, netns] => Ok(self.attachment(Command::Add, network, netns)),
            ["check"] if self.all => Ok(Request::CheckAll { network: None }),
            ["check", network] if self.all => Ok(Request::CheckAll {
                network: Some(network.to_owned()),
            }),
            ["check", ..] if self.all => Err("with --all at most NETWORK is wanted".into()),
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
            ["doctor", ..] => Err("doctor takes no words".into()),
            ["add" | "check" | "del", ..] => Err("NETWORK and NETNS are wanted".into()),
            ["gc" | "status", ..] => Err("NETWORK is wanted".into()),
            ["version" | "list" | "ipam", ..] => Err("at most NETWORK is wanted".into()),
            [] => Err("a command is wanted".into()),
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

/// The words that name a command.
const COMMANDS: [&str; 10] = [
    "add", "check", "del", "gc", "status", "version", "list", "ipam", "doctor", "help",
];

/// The options.
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
    format!("there is no command {word:?}{}", meant(word, COMMANDS))
}

/// lexopt's own error for an option that is none, with the nearest one that is.
fn unknown_option(error: &UsageError) -> UsageError {
    match error {
        UsageError::UnexpectedOption(option) => format!("{error}{}", meant(option, OPTIONS)).into(),
        _ => error.to_string().into(),
    }
}

fn meant<const N: usize>(word: &str, known: [&'static str; N]) -> String {
    // Of a word of two letters every third one is near.
    let starts = || {
        known
            .into_iter()
            .find(|known| word.len() >= 2 && known.starts_with(word))
    };
    match starts().or_else(|| nearest(word, known)) {
        Some(known) => format!(": did you mean {known}?"),
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
    fn what_makes_no_sense_is_refused() {
        for (line, wanted) in [
            ("", "a command is wanted"),
            ("add n", "NETWORK and NETNS are wanted"),
            ("gc", "NETWORK is wanted"),
            ("list a b", "at most NETWORK is wanted"),
            ("attach n p", "there is no command \"attach\""),
            ("ad n p", "there is no command \"ad\": did you mean add?"),
            (
                "chekc n p",
                "there is no command \"chekc\": did you mean check?",
            ),
            ("list --jsn", "invalid option '--jsn': did you mean --json?"),
            ("list --frobnicate", "invalid option '--frobnicate'"),
        ] {
            assert_eq!(request(line), Err(wanted.to_owned()), "{line}");
        }
    }

    #[test]
    fn an_option_that_would_have_no_effect_is_refused() {
        for (line, wanted) in [
            ("del n p --dry-run", "--dry-run is for gc and ipam --gc"),
            ("ipam n --dry-run", "--dry-run is for gc and ipam --gc"),
            ("ipam n --gc --all", "--all is for gc and check"),
            ("check --all --id c1", "--id is for add, check and del"),
            ("check n p --all", "with --all at most NETWORK is wanted"),
            ("gc n --gc", "--gc is for ipam"),
            ("list --id c1", "--id is for add, check and del"),
            ("gc n --ifname eth1", "--ifname is for add, check and del"),
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
