//! The command line as values.

use conformance::suite::Level;
use lexopt::{Arg, Parser, ValueExt};
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// The text of `--help`.
pub(crate) const USAGE: &str = "\
Checks if CNI plugins keep the specification, by running them: in namespaces of their
own, without root, without a trace on the machine.

usage: cni-conformance run     --bin-dir DIR [options]    run the cases, print a report
       cni-conformance explain CASE --bin-dir DIR         run one case and show every step
       cni-conformance list    [options]                  the cases and their clauses
       cni-conformance swap    --a DIR --b DIR [options]  ADD by one build, CHECK, DEL and GC
                                                          by the other, both ways
       cni-conformance diff    --a DIR --b DIR [options]  compares the answers of two builds
                                                          to the same requests
       cni-conformance bench   DIR [DIR] [options]        time, CPU and memory of each
                                                          operation, side by side

which plugins
  --bin-dir DIR     the folder with the plugins and their delegates
  --plugin NAME     only this plugin (may be repeated); by default those of --profile, or else
                    all in the folder that have a built-in profile
  --profile FILE    describes a plugin that is not built in (may be repeated)
  --config FILE     use this network configuration for the one --plugin, which is its type

which cases
  --filter TEXT     only cases whose plugin:family/case@version contains the text; with *, the
                    whole must match (may be repeated: one of them must match)
  --level LEVEL     must, should or may: the weakest level to run (default: may)
  --list            the same as `list`
  --explain CASE    the same as `explain CASE`

how
  --jobs N          number of cases at once (default: twice the processors)
  --timeout SECS    limit of each run of a plugin (default: 30)
  --format FORMAT   table, json, junit or markdown (default: table)
  --output FILE     write the report there
  --quiet           no progress
  --rounds N        bench: measurements of each operation (default: 20)

CASE is family/case or family/case@version; without a version, the newest is taken.
Exit status: 0 every MUST and SHOULD is kept (diff: no difference), 1 one is not,
2 nothing can be said. Colours: on a terminal, unless NO_COLOR is set or CLICOLOR is 0.
";

/// The request on the command line.
#[derive(Debug)]
pub(crate) enum Action {
    Help,
    Version,
    List(Box<Run>),
    Run(Box<Run>),
    Explain {
        case: String,
        run: Box<Run>,
    },
    Swap(Box<Run>),
    Diff(Box<Run>),
    Bench {
        folders: Vec<PathBuf>,
        run: Box<Run>,
    },
}

/// The format of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Junit,
    Markdown,
}

/// The options, which all actions share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) bin_dir: Option<PathBuf>,
    /// The two folders of `swap` and `diff`.
    pub(crate) a: Option<PathBuf>,
    pub(crate) b: Option<PathBuf>,
    pub(crate) plugins: Vec<String>,
    pub(crate) profiles: Vec<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) filters: Vec<String>,
    pub(crate) level: Level,
    pub(crate) jobs: usize,
    pub(crate) limit: Duration,
    pub(crate) format: Format,
    pub(crate) output: Option<PathBuf>,
    pub(crate) quiet: bool,
    pub(crate) rounds: usize,
}

impl Default for Run {
    fn default() -> Self {
        // Much of a case's time is waiting, for a process or for the kernel to take a namespace
        // away.
        let jobs = std::thread::available_parallelism().map_or(2, |n| n.get() * 2);
        Self {
            bin_dir: None,
            a: None,
            b: None,
            plugins: Vec::new(),
            profiles: Vec::new(),
            config: None,
            filters: Vec::new(),
            level: Level::May,
            jobs,
            limit: Duration::from_secs(30),
            format: Format::default(),
            output: None,
            quiet: false,
            rounds: 20,
        }
    }
}

/// Reads the command line.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Action, String> {
    read(Parser::from_iter(arguments)).map_err(|e| e.to_string())
}

fn read(mut parser: Parser) -> Result<Action, lexopt::Error> {
    let mut run = Box::<Run>::default();
    let mut words: Vec<String> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Action::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Action::Version),
            Arg::Long("list") => words.insert(0, "list".to_owned()),
            Arg::Long("explain") => words = vec!["explain".to_owned(), parser.value()?.string()?],
            Arg::Long(name) => {
                let name = name.to_owned();
                run.take(&name, &mut parser)?;
            }
            Arg::Value(word) => words.push(word.string()?),
            Arg::Short(_) => return Err(argument.unexpected()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // `run --list` and `run --explain CASE` are what other suites call it.
        ["list"] | ["list", "run"] => Ok(Action::List(run)),
        ["run"] => Ok(Action::Run(run)),
        ["explain", case] | ["explain", case, "run"] => Ok(Action::Explain {
            case: (*case).to_owned(),
            run,
        }),
        ["swap"] => Ok(Action::Swap(run)),
        ["diff"] => Ok(Action::Diff(run)),
        ["bench"] => Err("bench needs a folder with plugins".into()),
        ["bench", folders @ ..] if folders.len() <= 2 => Ok(Action::Bench {
            folders: folders.iter().map(PathBuf::from).collect(),
            run,
        }),
        [] => Err("no command: run, explain, list, swap, diff or bench".into()),
        ["explain"] => Err("explain needs a case: see `cni-conformance list`".into()),
        other => Err(format!("unknown command {:?}", other.join(" ")).into()),
    }
}

impl Run {
    /// Takes one option with its value.
    fn take(&mut self, name: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
        match name {
            "bin-dir" => self.bin_dir = Some(parser.value()?.into()),
            "a" => self.a = Some(parser.value()?.into()),
            "b" => self.b = Some(parser.value()?.into()),
            "rounds" => {
                self.rounds = parser.value()?.parse_with(|text| match text.parse() {
                    Ok(0) | Err(_) => Err("not a number above 0"),
                    Ok(rounds) => Ok(rounds),
                })?
            }
            "plugin" => self.plugins.push(parser.value()?.string()?),
            "profile" => self.profiles.push(parser.value()?.into()),
            "config" => self.config = Some(parser.value()?.into()),
            "filter" => self.filters.push(parser.value()?.string()?),
            "level" => self.level = parser.value()?.parse_with(level)?,
            "jobs" => {
                self.jobs = parser
                    .value()?
                    .parse_with(|text| text.parse().map_err(|_| "not a number"))?
            }
            "timeout" => self.limit = parser.value()?.parse_with(seconds)?,
            "format" => self.format = parser.value()?.parse_with(format)?,
            "output" => self.output = Some(parser.value()?.into()),
            "quiet" => self.quiet = true,
            other => return Err(format!("no option --{other}").into()),
        }
        Ok(())
    }
}

fn level(text: &str) -> Result<Level, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "must" => Ok(Level::Must),
        "should" => Ok(Level::Should),
        "may" => Ok(Level::May),
        _ => Err("not one of must, should, may"),
    }
}

fn format(text: &str) -> Result<Format, &'static str> {
    match text {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        "junit" => Ok(Format::Junit),
        "markdown" => Ok(Format::Markdown),
        _ => Err("not one of table, json, junit, markdown"),
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "not a number")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Action, String> {
        parse(
            std::iter::once("cni-conformance")
                .chain(line.split_whitespace())
                .map(OsString::from),
        )
    }

    #[test]
    fn options_stand_before_or_after_the_word() {
        for line in ["run --bin-dir /x --jobs 3", "--bin-dir=/x run --jobs=3"] {
            let Ok(Action::Run(run)) = parsed(line) else {
                panic!("{line}")
            };
            assert_eq!((run.bin_dir, run.jobs), (Some("/x".into()), 3));
        }
    }

    #[test]
    fn list_and_explain_are_words_and_options() {
        assert!(matches!(parsed("run --list"), Ok(Action::List(_))));
        assert!(matches!(parsed("list"), Ok(Action::List(_))));
        for line in ["explain a/b", "run --explain a/b"] {
            assert!(
                matches!(parsed(line), Ok(Action::Explain { case, .. }) if case == "a/b"),
                "{line}"
            );
        }
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert!(USAGE.lines().all(|line| line.len() <= 100));
    }

    #[test]
    fn a_mistake_is_reported() {
        for (line, wanted) in [
            ("", "no command: run, explain, list, swap, diff or bench"),
            ("bench", "bench needs a folder with plugins"),
            ("bench a b c", "unknown command \"bench a b c\""),
            ("bench a --rounds 0", "not a number above 0"),
            ("run --level most", "not one of must, should, may"),
            ("run --bin", "no option --bin"),
            ("run twice", "unknown command \"run twice\""),
            ("run --timeout -1", "not a time"),
            (
                "explain",
                "explain needs a case: see `cni-conformance list`",
            ),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
