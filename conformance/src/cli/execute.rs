//! The actions of the command line.

use super::{
    EXIT_TROUBLE,
    arguments::{Format, Run},
    print,
};
use conformance::suite::{
    self, Case, Item, Options, Profile, Progress, Report, Selection, Subject, Verdict,
    report::{explain as tell, junit, markdown, table},
};

use std::{
    fs,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// The sandbox puts empty folders over these.
const COVERED: [&str; 2] = ["/run", "/var/lib/cni"];

/// `run`
pub(super) fn run(options: &Run) -> Result<ExitCode, String> {
    let subjects = subjects(options)?;
    let selection = Selection {
        filters: options.filters.clone(),
        level: options.level,
    };
    let items = suite::plan(suite::cases(), &subjects, &selection);
    if items.is_empty() {
        return Err("no case matches: see `cni-conformance list`".to_owned());
    }
    enter(&items)?;
    let items = suite::resolve_newest(items);
    let start = Instant::now();
    let progress = ProgressLine::new(options.quiet);
    let how = Options {
        jobs: options.jobs,
        explaining: false,
    };
    let outcomes = suite::run(&items, how, &|progress_now| progress.show(progress_now));
    progress.clear();
    let report = Report::new(&bin_dir(options)?, &items, &outcomes, start.elapsed());
    write(options, &report)?;
    Ok(if report.summary.failed > 0 {
        ExitCode::FAILURE
    } else if report.conforms {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_TROUBLE)
    })
}

/// Enters the sandbox, and sees there whether the plugins can be started at all.
pub(super) fn enter(items: &[Item]) -> Result<(), String> {
    sandbox::enter().map_err(|e| e.to_string())?;
    sandbox::end_on_signals().map_err(|e| format!("cannot wait for signals: {e}"))?;
    items
        .iter()
        .find_map(|item| item.subject.startup_error())
        .map_or(Ok(()), Err)
}

/// `list`
pub(super) fn list(options: &Run) -> Result<ExitCode, String> {
    let wanted = |case: &&Case| {
        let fits = |filter: &String| case.id.contains(filter.trim_matches('*'));
        case.level <= options.level
            && (options.filters.is_empty() || options.filters.iter().any(fits))
    };
    let mut text = String::new();
    for (family, about) in suite::family::FAMILIES {
        text += &format!("{family}: {about}\n");
        for case in suite::cases()
            .iter()
            .filter(|case| case.family() == *family)
            .filter(wanted)
        {
            let kinds: Vec<&str> = case.kinds.iter().map(|kind| kind.as_str()).collect();
            let level = case.level.as_str();
            let section = case.clause.section;
            text += &format!(
                "  {:<34} {level:<7} {:<12} {}\n",
                case.id,
                case.versions,
                kinds.join(" ")
            );
            text += &format!("      {} [{section}]\n", case.title);
        }
    }
    print(&text).map(|()| ExitCode::SUCCESS)
}

/// `explain CASE`
pub(super) fn explain(wanted: &str, mut options: Box<Run>) -> Result<ExitCode, String> {
    let (id, version) = wanted
        .split_once('@')
        .map_or((wanted, None), |(id, version)| (id, Some(version)));
    let case = suite::cases().iter().find(|case| case.id == id);
    let case = case.ok_or_else(|| format!("no case {id:?}: see `cni-conformance list`"))?;
    if options.bin_dir.is_none() {
        return print(&tell::case(case)).map(|()| ExitCode::SUCCESS);
    }
    options.filters = vec![format!("*:{id}@{}", version.unwrap_or("*"))];
    let selection = Selection {
        filters: options.filters.clone(),
        ..Selection::default()
    };
    let items = suite::plan(suite::cases(), &subjects(&options)?, &selection);
    let newest = newest_of_each(items);
    if newest.is_empty() {
        return Err(format!("{wanted} applies to none of these plugins"));
    }
    enter(&newest)?;
    let newest = suite::resolve_newest(newest);
    let outcomes = suite::run(
        &newest,
        Options {
            jobs: 1,
            explaining: true,
        },
        &|_| (),
    );
    let mut text = tell::case(case) + "\n";
    for (item, outcome) in newest.iter().zip(&outcomes) {
        text += &tell::run(item, outcome);
        text += "\n";
    }
    print(&text)?;
    let failed = outcomes
        .iter()
        .any(|outcome| matches!(outcome.verdict, Verdict::Failed { .. }));
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The last version of each plugin.
fn newest_of_each(items: Vec<Item>) -> Vec<Item> {
    let mut newest: Vec<Item> = Vec::new();
    for item in items {
        match newest.last_mut() {
            Some(last) if Arc::ptr_eq(&last.subject, &item.subject) => *last = item,
            _ => newest.push(item),
        }
    }
    newest
}

/// The plugins to look at: those asked for, or all in the folder that have a profile.
fn subjects(options: &Run) -> Result<Vec<Arc<Subject>>, String> {
    let bin_dir = bin_dir(options)?;
    let subject = |profile| Arc::new(subject(options, profile, &bin_dir, None));
    Ok(profiles(options, &bin_dir)?
        .into_iter()
        .map(subject)
        .collect())
}

/// A plugin of a folder, beside another build of it if one is given.
pub(super) fn subject(
    options: &Run,
    profile: Profile,
    bin_dir: &Path,
    other: Option<&Path>,
) -> Subject {
    Subject {
        profile,
        bin_dir: bin_dir.to_owned(),
        double: std::env::current_exe().ok(),
        other: other.map(Path::to_owned),
        limit: options.limit,
    }
}

/// The profiles of the plugins to look at, all of which are in the folder.
pub(super) fn profiles(options: &Run, bin_dir: &Path) -> Result<Vec<Profile>, String> {
    let mut profiles = Profile::built_in().map_err(|e| e.to_string())?;
    let mut given = Vec::new();
    for file in &options.profiles {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let profile =
            Profile::parse(&file.display().to_string(), &text).map_err(|e| e.to_string())?;
        profiles.retain(|known| known.name != profile.name);
        given.push(profile.name.clone());
        profiles.push(profile);
    }
    if let Some(file) = &options.config {
        profiles = vec![configured(file, &options.plugins, &profiles)?];
    } else {
        // A person who describes plugins and names none means those.
        let wanted = if options.plugins.is_empty() {
            &given
        } else {
            &options.plugins
        };
        select(&mut profiles, wanted, bin_dir)?;
    }
    if let Some(missing) = profiles
        .iter()
        .find(|profile| !bin_dir.join(&profile.binary).is_file())
    {
        return Err(format!(
            "no plugin {} in {}",
            missing.binary,
            bin_dir.display()
        ));
    }
    Ok(profiles)
}

fn select(profiles: &mut Vec<Profile>, plugins: &[String], bin_dir: &Path) -> Result<(), String> {
    if plugins.is_empty() {
        profiles.retain(|profile| bin_dir.join(&profile.binary).is_file());
        return if profiles.is_empty() {
            Err(format!(
                "no plugin in {} has a profile: give a configuration by --config FILE --plugin NAME, \
                 or a profile by --profile FILE",
                bin_dir.display()
            ))
        } else {
            Ok(())
        };
    }
    if let Some(unknown) = plugins
        .iter()
        .find(|name| profiles.iter().all(|known| known.name != **name))
    {
        return Err(format!(
            "no profile for the plugin {unknown}: give its configuration by --config FILE, or a profile by \
             --profile FILE"
        ));
    }
    profiles.retain(|profile| plugins.contains(&profile.name));
    Ok(())
}

/// The one plugin with the configuration in the file; without a profile it is one that is made up
/// from it.
fn configured(file: &Path, plugins: &[String], profiles: &[Profile]) -> Result<Profile, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let made_up =
        Profile::of_config(&file.display().to_string(), &text).map_err(|e| e.to_string())?;
    let name = match plugins {
        [] => made_up.name.clone(),
        [name] if *name == made_up.name => name.clone(),
        [name] => {
            return Err(format!(
                "--plugin {name}, and {} is a configuration of {}: another type",
                file.display(),
                made_up.name
            ));
        }
        _ => return Err("--config is for one --plugin".to_owned()),
    };
    let profile = match profiles.iter().find(|profile| profile.name == name) {
        Some(profile) => profile.clone().with_config(made_up.config),
        None => made_up,
    };
    Ok(profile.beside(profiles))
}

/// The folder with the plugins.
fn bin_dir(options: &Run) -> Result<PathBuf, String> {
    folder(
        options
            .bin_dir
            .as_ref()
            .ok_or("no folder with plugins: give --bin-dir DIR")?,
    )
}

/// A folder with plugins, as it is found from any working directory.
pub(super) fn folder(given: &Path) -> Result<PathBuf, String> {
    let folder = given
        .canonicalize()
        .map_err(|e| format!("{}: {e}", given.display()))?;
    match COVERED
        .into_iter()
        .find(|covered| folder.starts_with(covered))
    {
        Some(covered) => Err(format!(
            "{} cannot be used: the suite puts an empty folder over {covered}; copy the plugins elsewhere",
            folder.display()
        )),
        None => Ok(folder),
    }
}

pub(super) fn write(options: &Run, report: &Report) -> Result<(), String> {
    let to_terminal = options.output.is_none() && std::io::stdout().is_terminal();
    let color = to_terminal && is_color_wanted(|name| std::env::var(name).ok());
    let text = match options.format {
        Format::Table => table::render(
            report,
            table::Style {
                color,
                options: &repeated(options),
            },
        ),
        Format::Json => report.json(),
        Format::Junit => {
            junit::render(report).map_err(|e| format!("cannot write the report as XML: {e}"))?
        }
        Format::Markdown => markdown::render(report),
    };
    match &options.output {
        Some(file) => fs::write(file, text).map_err(|e| format!("{}: {e}", file.display())),
        None => print(&text),
    }
}

/// The options that say what the plugins are, for the command that explains a failure.
fn repeated(options: &Run) -> String {
    let profiles = options.profiles.iter().map(|file| ("--profile", file));
    let files = profiles.chain(options.config.iter().map(|file| ("--config", file)));
    let words =
        files.map(|(name, file)| format!("{name} {}", table::shell_word(&file.to_string_lossy())));
    words.collect::<Vec<_>>().join(" ")
}

/// <https://no-color.org>, <https://bixense.com/clicolors>, and terminals that show no colours.
fn is_color_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("CLICOLOR").is_none_or(|value| value != "0")
        && variable("TERM").is_none_or(|value| value != "dumb")
}

/// A line that shows how far it is, on a terminal only.
pub(super) struct ProgressLine {
    visible: bool,
    failed: AtomicUsize,
}

/// The line must fit, or the terminal breaks it, and what is written over it is the last part only.
const MAX_COLUMNS: usize = 79;

impl ProgressLine {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            visible: !quiet && std::io::stderr().is_terminal(),
            failed: AtomicUsize::new(0),
        }
    }

    pub(super) fn show(&self, progress: &Progress<'_>) {
        let Progress {
            item,
            verdict,
            done,
            total,
        } = progress;
        let failed = usize::from(matches!(verdict, Verdict::Failed { .. }));
        let failed = self.failed.fetch_add(failed, Ordering::Relaxed) + failed;
        if self.visible {
            let failed = if failed > 0 {
                format!(" {failed} failed")
            } else {
                String::new()
            };
            let line = format!("{done}/{total}{failed} {}", item.full_id());
            let line: String = line.chars().take(MAX_COLUMNS).collect();
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }

    pub(super) fn clear(&self) {
        if self.visible {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_color_wanted;

    #[test]
    fn colours_can_be_switched_off() {
        let with = |set: &'static str, value: &'static str| {
            is_color_wanted(move |name| (name == set).then(|| value.to_owned()))
        };
        assert!(with("NO_COLOR", "") && with("CLICOLOR", "1") && with("TERM", "xterm"));
        assert!(!with("NO_COLOR", "1") && !with("CLICOLOR", "0") && !with("TERM", "dumb"));
    }
}
