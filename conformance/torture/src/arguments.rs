//! The command line.

use crate::{flood::Flood, point::Kind, sweep::Selection};
use lexopt::prelude::*;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// The text of `--help`.
pub(crate) const USAGE: &str = "\
Disturbs the plugins at every system call that they make, and looks for what is left.

usage: torture --plugins DIR [--every N] [--filter TEXT]… [--kinds KIND,…] [--jobs N] [--write FILE]
       torture flood --plugins DIR [--reference DIR] [--minutes N | --seconds N] [--workers N] [--seed N]
                     [--write FILE]

  --plugins DIR    the folder with the plugins
  --every N        one of N points only
  --filter TEXT    points in whose name the text occurs: bridge, host-local/ADD, bridge/ADD/kill/0:17/gc;
                   of several texts, all must
  --kinds KIND,…   kill, kill-one, term, term-one, error, broken, lost, delay; without it all of them
  --jobs N         workers; one for each processor without it
  --write FILE     puts the figures into FILE too, between the lines <!-- torture --> and <!-- /torture -->
                   (flood: <!-- flood --> and <!-- /flood -->)
  --reference DIR  floods a second time, with these plugins on the same networks
  --workers N      runtimes that work at the same time (8)
  --seed N         of the order in which they work; shown by each run

Exit status: 0 if nothing is wrong, 1 if something is, 2 if nothing can be said.
";

/// The request on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Usage.
    Help,
    /// The points.
    Sweep(Selection),
    /// The flood.
    Flood(Flood),
}

/// A task, and the file into which the figures go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The task.
    pub(crate) task: Task,
    /// The file.
    pub(crate) write: Option<PathBuf>,
}

/// All options, whichever task they belong to.
#[derive(Default)]
struct Options {
    plugins: Option<PathBuf>,
    every: Option<usize>,
    filters: Vec<String>,
    kinds: Option<Vec<Kind>>,
    jobs: Option<usize>,
    write: Option<PathBuf>,
    reference: Option<PathBuf>,
    duration: Option<Duration>,
    workers: Option<usize>,
    seed: Option<u64>,
    is_flood: bool,
    is_help: bool,
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
    let options = options(arguments).map_err(|e| e.to_string())?;
    let write = options.write.clone();
    let task = if options.is_help {
        Task::Help
    } else if options.is_flood {
        Task::Flood(flood(options)?)
    } else {
        Task::Sweep(selection(options)?)
    };
    Ok(Arguments { task, write })
}

fn options(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) if word == "flood" => options.is_flood = true,
            Short('h') | Long("help") => options.is_help = true,
            Long("plugins") => options.plugins = Some(parser.value()?.into()),
            Long("every") => options.every = Some(parser.value()?.parse()?),
            Long("filter") => options.filters.push(parser.value()?.string()?),
            Long("kinds") => options.kinds = Some(parser.value()?.parse_with(kinds)?),
            Long("jobs") => options.jobs = Some(parser.value()?.parse()?),
            Long("write") => options.write = Some(parser.value()?.into()),
            Long("reference") => options.reference = Some(parser.value()?.into()),
            Long("minutes") => {
                options.duration = Some(Duration::from_secs(60 * parser.value()?.parse::<u64>()?))
            }
            Long("seconds") => {
                options.duration = Some(Duration::from_secs(parser.value()?.parse()?))
            }
            Long("workers") => options.workers = Some(parser.value()?.parse()?),
            Long("seed") => options.seed = Some(parser.value()?.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn kinds(list: &str) -> Result<Vec<Kind>, String> {
    list.split(',').map(str::parse).collect()
}

/// An absolute path: plugins are started from elsewhere.
fn folder(folder: Option<PathBuf>) -> Result<PathBuf, String> {
    let folder = folder.ok_or("--plugins is missing")?;
    folder
        .canonicalize()
        .map_err(|e| format!("no folder \"{}\": {e}", folder.display()))
}

fn positive(number: Option<usize>, default: usize, option: &str) -> Result<usize, String> {
    match number {
        Some(0) => Err(format!("--{option} must be at least 1")),
        Some(number) => Ok(number),
        None => Ok(default),
    }
}

fn selection(options: Options) -> Result<Selection, String> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Selection {
        plugins: folder(options.plugins)?,
        every: positive(options.every, 1, "every")?,
        filters: options.filters,
        kinds: options.kinds.unwrap_or_else(|| Kind::ALL.to_vec()),
        jobs: positive(options.jobs, processors, "jobs")?,
    })
}

fn flood(options: Options) -> Result<Flood, String> {
    Ok(Flood {
        plugins: folder(options.plugins)?,
        reference: options
            .reference
            .map(|reference| folder(Some(reference)))
            .transpose()?,
        duration: options.duration.unwrap_or(Duration::from_secs(60)),
        workers: positive(options.workers, 8, "workers")?,
        seed: options.seed.unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_sweep_tries_everything_where_nothing_else_is_asked() {
        let Task::Sweep(selection) = parsed("--plugins /").unwrap().task else {
            panic!("no sweep")
        };
        assert_eq!(
            (
                selection.every,
                selection.kinds.len(),
                selection.filters.len()
            ),
            (1, 8, 0)
        );
        let chosen =
            parsed("--plugins / --every 10 --filter bridge --kinds kill,lost --jobs 3").unwrap();
        let Task::Sweep(selection) = chosen.task else {
            panic!("no sweep")
        };
        assert_eq!(
            (selection.every, selection.kinds),
            (10, vec![Kind::Kill, Kind::Lost])
        );
    }

    #[test]
    fn a_flood_has_a_duration() {
        let Task::Flood(flood) = parsed("flood --plugins / --minutes 3").unwrap().task else {
            panic!("no flood")
        };
        assert_eq!(
            (flood.duration, flood.reference),
            (Duration::from_secs(180), None)
        );
    }

    #[test]
    fn a_mistake_is_named() {
        for (line, text) in [
            ("--every 2", "--plugins is missing"),
            ("--plugins / --every 0", "--every must be at least 1"),
            ("--plugins / --kinds kill,maim", "there is no kind \"maim\""),
            ("--plugins /no/such", "no folder \"/no/such\""),
            ("--plugins / --depth 2", "--depth"),
        ] {
            let found = parsed(line).unwrap_err();
            assert!(found.contains(text), "{line}: {found}");
        }
    }
}
