//! The command line.

use crate::places::{Options, Places};
use cni_types::{Command, Environment};
use lexopt::{Arg, Parser, ValueExt};
use std::{ffi::OsString, path::PathBuf};

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
cnictl: CNI for the person at the node

  cnictl add    NETWORK NETNS    attach a network namespace; prints the result
  cnictl check  NETWORK NETNS    is the attachment as ADD left it?
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
  --id ID            container id; made from NETNS, as cnitool's, where it is left out
  --ifname NAME      interface in the namespace (CNI_IFNAME, else eth0)
  --dry-run          gc, ipam --gc: say what would be done
  --all              gc: every attachment is stale, as cnitool has it
  --conf-dir DIR     network configurations (NETCONFPATH, else /etc/cni/net.d)
  --bin-dir DIR      plugins; may be repeated (CNI_PATH, else /opt/cni/bin)
  --cache-dir DIR    results of ADDs are in DIR/results (/var/lib/cni)
  --root DIR         what stands for / in these defaults
  -h, --help         print this

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
    /// GC of one network.
    Gc {
        /// Its name.
        network: String,
        /// How far it goes.
        extent: Extent,
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
        /// Free what is dead, or say what would be freed.
        gc: Option<Extent>,
    },
    /// What is wrong.
    Doctor,
}

/// How far a clean-up goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// It only says what it would do.
    DryRun,
    /// What is dead for certain.
    Dead,
    /// Everything.
    All,
}

/// A command line that makes no sense.
pub(crate) type UsageError = lexopt::Error;

/// The words and switches, before they make sense.
#[derive(Default)]
struct Words {
    words: Vec<String>,
    help: bool,
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
        let environment_if_name = Some(environment.text("CNI_IFNAME")).filter(|name| !name.is_empty());
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
                other => return Err(other.unexpected()),
            }
        }
        Ok(read)
    }

    fn request(self) -> Result<Request, UsageError> {
        if self.help || self.words.first().is_some_and(|word| word == "help") {
            return Ok(Request::Help);
        }
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let extent = match (self.dry_run, self.all) {
            (true, _) => Extent::DryRun,
            (_, true) => Extent::All,
            _ => Extent::Dead,
        };
        let gc = self.gc.then_some(extent);
        match words[..] {
            ["add", network, netns] => Ok(self.attachment(Command::Add, network, netns)),
            ["check", network, netns] => Ok(self.attachment(Command::Check, network, netns)),
            ["del", network, netns] => Ok(self.attachment(Command::Del, network, netns)),
            ["gc", network] | ["gc", network, _] => Ok(Request::Gc { network: network.to_owned(), extent }),
            ["status", network] | ["status", network, _] => {
                Ok(Request::Status { network: network.to_owned() })
            }
            ["version"] => Ok(Request::Version { network: None }),
            ["version", network] | ["version", network, _] => {
                Ok(Request::Version { network: Some(network.to_owned()) })
            }
            ["list"] => Ok(Request::List { network: None }),
            ["list", network] => Ok(Request::List { network: Some(network.to_owned()) }),
            ["ipam"] => Ok(Request::Ipam { network: None, gc }),
            ["ipam", network] => Ok(Request::Ipam { network: Some(network.to_owned()), gc }),
            ["doctor"] => Ok(Request::Doctor),
            ["doctor", ..] => Err("doctor takes no words".into()),
            ["add" | "check" | "del", ..] => Err("NETWORK and NETNS are wanted".into()),
            ["gc" | "status", ..] => Err("NETWORK is wanted".into()),
            ["version" | "list" | "ipam", ..] => Err("at most NETWORK is wanted".into()),
            [] => Err("a command is wanted".into()),
            [other, ..] => Err(format!("there is no command {other:?}").into()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, String> {
        let words = line.split_whitespace().map(OsString::from);
        let environment: Environment = [("CNI_IFNAME", "net1")].into_iter().collect();
        Arguments::parse(words, &environment).map(|arguments| arguments.request).map_err(|e| e.to_string())
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
        assert_eq!(request("gc n /x"), Ok(Request::Gc { network: "n".into(), extent: Extent::Dead }));
        assert_eq!(request("status n /x"), Ok(Request::Status { network: "n".into() }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, wanted) in [
            ("", "a command is wanted"),
            ("add n", "NETWORK and NETNS are wanted"),
            ("gc", "NETWORK is wanted"),
            ("list a b", "at most NETWORK is wanted"),
            ("attach n p", "there is no command \"attach\""),
            ("list --jsn", "invalid option '--jsn'"),
        ] {
            assert_eq!(request(line), Err(wanted.to_owned()), "{line}");
        }
    }

    #[test]
    fn help_wins_whatever_else_is_there() {
        assert_eq!(request("add --help"), Ok(Request::Help));
        assert_eq!(request("help"), Ok(Request::Help));
    }
}
