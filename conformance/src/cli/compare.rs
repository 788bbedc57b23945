//! Two folders of plugins beside each other: `swap`, `diff`, `bench`.

use super::{
    arguments::{Format, Run},
    execute::{ProgressLine, enter, folder, profiles, subject, write},
    print,
};
use conformance::suite::{
    self, Item, Options, Outcome, Profile, Reading, Report, Selection, Subject, Verdict,
    diff::differences, meter,
};
use serde_json::json;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

/// `swap`
pub(super) fn swap(options: &Run) -> Result<ExitCode, String> {
    let [a, b] = both(options)?;
    if options.format != Format::Table && options.format != Format::Markdown {
        return Err(
            "swap has two reports, one for each way: --format table or markdown".to_owned(),
        );
    }
    if options.output.is_some() {
        return Err("swap prints to stdout".to_owned());
    }
    let mut conforms = true;
    let items = |one: &Path, other: &Path| {
        let subjects = common(options, one, other)?.into_iter();
        let subjects: Vec<_> = subjects
            .map(|profile| Arc::new(subject(options, profile, one, Some(other))))
            .collect();
        Ok::<_, String>(suite::plan(
            suite::swap::CASES,
            &subjects,
            &selection(options),
        ))
    };
    let there = items(&a, &b)?;
    let back = items(&b, &a)?;
    enter(&[there.as_slice(), &back].concat())?;
    for (one, other, items) in [(&a, &b, there), (&b, &a, back)] {
        let start = Instant::now();
        let outcomes = run(options, &items);
        print(&format!(
            "ADD by {}, the rest by {}\n",
            one.display(),
            other.display()
        ))?;
        let report = Report::new(one, &items, &outcomes, start.elapsed());
        write(options, &report)?;
        print("\n")?;
        conforms &= report.conforms;
    }
    Ok(if conforms {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `diff`
pub(super) fn diff(options: &Run) -> Result<ExitCode, String> {
    let [a, b] = both(options)?;
    let common = common(options, &a, &b)?;
    let items = |folder: &Path| {
        let subjects: Vec<Arc<Subject>> = common
            .iter()
            .map(|profile| Arc::new(subject(options, profile.clone(), folder, None)))
            .collect();
        suite::plan(
            std::slice::from_ref(&suite::diff::REQUESTS),
            &subjects,
            &selection(options),
        )
    };
    let of_a = items(&a);
    let of_b = items(&b);
    enter(&[of_a.as_slice(), &of_b].concat())?;
    let by_a = run(options, &of_a);
    let by_b = run(options, &of_b);
    let mut text = format!("a  {}\nb  {}\n", a.display(), b.display());
    let mut same = true;
    for (item, (a, b)) in of_a.iter().zip(by_a.iter().zip(&by_b)) {
        let plugin = &item.subject.profile.name;
        let version = item.version;
        for outcome in [a, b] {
            if let Verdict::Error { reason } | Verdict::Skipped { reason } = &outcome.verdict {
                return Err(format!("{plugin} {version}: {reason}"));
            }
        }
        let found = differences(a, b);
        let _ = writeln!(text, "\n{plugin} {version}: {}", number(found.len()));
        for difference in &found {
            let suite::diff::Difference { request, at, a, b } = difference;
            let _ = writeln!(text, "  {request}, {at}\n    a {a}\n    b {b}");
        }
        same &= found.is_empty();
    }
    print(&text)?;
    Ok(if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn number(differences: usize) -> String {
    match differences {
        0 => "the same".to_owned(),
        1 => "1 difference".to_owned(),
        n => format!("{n} differences"),
    }
}

/// `bench`
pub(super) fn bench(folders: &[PathBuf], options: &Run) -> Result<ExitCode, String> {
    let folders: Vec<PathBuf> = folders
        .iter()
        .map(|given| folder(given))
        .collect::<Result<_, _>>()?;
    let first = folders.first().ok_or("bench needs a folder with plugins")?;
    let common = common(options, first, folders.last().unwrap_or(first))?;
    let all: Vec<Item> = common
        .iter()
        .flat_map(|profile| {
            folders
                .iter()
                .filter_map(|folder| newest(options, profile, folder))
        })
        .collect();
    enter(&all)?;
    let mut rows = Vec::new();
    for profile in &common {
        let items: Vec<Item> = folders
            .iter()
            .filter_map(|folder| newest(options, profile, folder))
            .collect();
        let mut readings: Vec<Vec<Reading>> = vec![Vec::new(); items.len()];
        // In turns, so that what disturbs the machine disturbs both.
        for _ in 0..options.rounds {
            for (item, readings) in items.iter().zip(&mut readings) {
                readings.extend(measured(item)?);
            }
        }
        rows.extend(Row::all(&profile.name, &readings));
    }
    match options.format {
        Format::Json => print(&format!(
            "{:#}\n",
            json!({"folders": folders, "rounds": options.rounds,
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>()})
        )),
        Format::Table | Format::Markdown => print(&table(&folders, options.rounds, &rows)),
        Format::Junit => {
            Err("bench has no JUnit report: --format table, markdown or json".to_owned())
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a case once, alone, and returns its readings.
///
/// # Errors
/// Fails if the case does not pass.
fn measured(item: &Item) -> Result<Vec<Reading>, String> {
    let outcome = suite::run_alone(item);
    if !matches!(outcome.verdict, Verdict::Passed) {
        let id = item.full_id();
        let folder = item.subject.bin_dir.display();
        return Err(format!("{id} {folder}: {:?}", outcome.verdict));
    }
    Ok(outcome.readings)
}

fn newest(options: &Run, profile: &Profile, folder: &Path) -> Option<Item> {
    let subject = Arc::new(subject(options, profile.clone(), folder, None));
    suite::plan(
        std::slice::from_ref(&meter::ROUND),
        &[subject],
        &Selection::default(),
    )
    .pop()
}

/// One operation of one plugin, in each folder.
struct Row {
    plugin: String,
    command: String,
    medians: Vec<Option<Reading>>,
}

impl Row {
    fn all(plugin: &str, readings: &[Vec<Reading>]) -> Vec<Self> {
        let row = |command: &str| Self {
            plugin: plugin.to_owned(),
            command: command.to_owned(),
            medians: readings
                .iter()
                .map(|of_folder| median(of_folder, command))
                .collect(),
        };
        let rows = ["VERSION", "ADD", "CHECK", "STATUS", "DEL"]
            .into_iter()
            .map(row);
        rows.filter(|row| row.medians.iter().any(Option::is_some))
            .collect()
    }

    fn json(&self) -> serde_json::Value {
        json!({"plugin": self.plugin, "command": self.command, "medians": self.medians})
    }
}

fn median(readings: &[Reading], command: &str) -> Option<Reading> {
    let middle = |value: fn(&Reading) -> f64| {
        let mut values: Vec<f64> = readings
            .iter()
            .filter(|reading| reading.command == command)
            .map(value)
            .collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Reading {
        command: command.to_owned(),
        wall_ms: middle(|reading| reading.wall_ms)?,
        cpu_ms: middle(|reading| reading.cpu_ms)?,
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "KiB of one process"
        )]
        peak_kib: middle(|reading| reading.peak_kib as f64)? as i64,
    })
}

/// A table that is Markdown as well.
fn table(folders: &[PathBuf], rounds: usize, rows: &[Row]) -> String {
    let mut text = format!("Medians of {rounds} rounds.\n\n| operation |");
    for (letter, folder) in ["a", "b"].iter().zip(folders) {
        let _ = write!(text, " {letter}: wall ms | CPU ms | peak MiB |");
        text.insert_str(0, &format!("{letter}  {}\n", folder.display()));
    }
    text += if folders.len() == 2 {
        " a ÷ b |\n"
    } else {
        "\n"
    };
    text += "|---|";
    text += &"--:|".repeat(folders.len() * 3 + usize::from(folders.len() == 2));
    text.push('\n');
    for row in rows {
        let _ = write!(text, "| {} {} |", row.plugin, row.command);
        for median in &row.medians {
            #[expect(clippy::cast_precision_loss, reason = "KiB of one process")]
            let _ = match median {
                Some(m) => {
                    write!(
                        text,
                        " {:.2} | {:.2} | {:.1} |",
                        m.wall_ms,
                        m.cpu_ms,
                        m.peak_kib as f64 / 1024.0
                    )
                }
                None => write!(text, " – | – | – |"),
            };
        }
        if let [Some(a), Some(b)] = row.medians.as_slice() {
            let _ = write!(text, " {:.1}× |", a.wall_ms / b.wall_ms);
        } else if folders.len() == 2 {
            text += " – |";
        }
        text.push('\n');
    }
    text
}

fn run(options: &Run, items: &[Item]) -> Vec<Outcome> {
    let line = ProgressLine::new(options.quiet);
    let how = Options {
        jobs: options.jobs,
        explaining: false,
    };
    let outcomes = suite::run(items, how, &|progress| line.show(progress));
    line.clear();
    outcomes
}

fn selection(options: &Run) -> Selection {
    Selection {
        filters: options.filters.clone(),
        level: options.level,
    }
}

/// The folders of `--a` and `--b`.
fn both(options: &Run) -> Result<[PathBuf; 2], String> {
    let a = options.a.as_ref().ok_or("no first build: give --a DIR")?;
    let b = options.b.as_ref().ok_or("no second build: give --b DIR")?;
    Ok([folder(a)?, folder(b)?])
}

/// The profiles of the plugins that are in both folders.
fn common(options: &Run, a: &Path, b: &Path) -> Result<Vec<Profile>, String> {
    let mut common = profiles(options, a)?;
    common.retain(|profile| b.join(&profile.binary).is_file());
    if common.is_empty() {
        return Err(format!(
            "no plugin is in both {} and {}",
            a.display(),
            b.display()
        ));
    }
    Ok(common)
}
