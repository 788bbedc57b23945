//! All points of all operations of all subjects, by several workers.

use crate::{
    attempt::{Attempt, Kept, Verdict},
    calls,
    point::{Kind, Point, Site, points},
    report::{Report, Row},
    request::{Ended, ToolError},
    scene::{Scene, succeeded},
    subject::{Network, SUBJECTS, Subject, Way},
};
use cni_types::Command;
use sandbox::{self, trace::Action};
use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// The request on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The folder with the plugins.
    pub(crate) plugins: PathBuf,
    /// Of how many points one is tried.
    pub(crate) every: usize,
    /// Texts that occur in the names of the points that are tried, as in `bridge/ADD/kill/0:17/gc`:
    /// all of them.
    pub(crate) filters: Vec<String>,
    /// The ways to disturb.
    pub(crate) kinds: Vec<Kind>,
    /// The number of workers.
    pub(crate) jobs: usize,
}

/// An undisturbed run, with which others are compared.
struct Baseline {
    sites: Vec<Site>,
    kept: Kept,
}

/// Tries all points and calls `watch` with what is reported, operation by operation.
pub(crate) fn sweep(selection: &Selection, watch: &dyn Fn(&Report)) -> Result<Report, ToolError> {
    let mut whole = Report::default();
    for subject in SUBJECTS {
        for &operation in subject.operations {
            let name = format!("{}/{}", subject.name, operation.as_str());
            if !selection
                .filters
                .iter()
                .all(|filter| may_fit(filter, &name))
            {
                continue;
            }
            let part = match baseline(&selection.plugins, subject, operation) {
                Ok(baseline) => sweep_operation(selection, subject, operation, &baseline)?,
                Err(text)
                    if subject
                        .refusal
                        .is_some_and(|refusal| text.contains(refusal)) =>
                {
                    whole.add(Report::of_missing(subject.name, text));
                    break;
                }
                Err(text) => return Err(format!("{name}: {text}")),
            };
            watch(&part);
            whole.add(part);
        }
    }
    Ok(whole)
}

/// False if no point of the operation can have a name in which the filter occurs.
fn may_fit(filter: &str, operation: &str) -> bool {
    // A filter as long as a point's name begins with it; a shorter one may be anywhere.
    let is_subject = |name: &str| SUBJECTS.iter().any(|known| known.name == name);
    match filter.splitn(3, '/').collect::<Vec<_>>().as_slice() {
        [subject, command, _] => format!("{subject}/{command}") == operation,
        [subject, _] if is_subject(subject) => operation.starts_with(filter),
        [only] if is_subject(only) => operation.split('/').next() == Some(only),
        _ => true,
    }
}

/// Runs `work` on a thread of its own, since the thread becomes a host, and ends what was started
/// there.
fn on_a_host<T: Send>(work: impl FnOnce() -> Result<T, ToolError> + Send) -> Result<T, ToolError> {
    std::thread::scope(|scope| {
        let host = scope.spawn(|| {
            let done = work();
            sandbox::end_processes();
            done
        });
        host.join()
            .unwrap_or_else(|_| Err("a worker panicked".to_owned()))
    })
}

fn baseline(plugins: &Path, subject: &Subject, operation: Command) -> Result<Baseline, ToolError> {
    let mut kept = Kept::new();
    for way in subject.ways {
        kept.insert(
            *way,
            on_a_host(|| kept_after(plugins, subject, *way))?
                .into_iter()
                .collect(),
        );
    }
    let sites = on_a_host(|| sites(plugins, subject, operation))?;
    Ok(Baseline { sites, kept })
}

/// Returns what an undisturbed attachment leaves that is removed in this way. Parameters of the
/// container's namespace may be among it, for the namespace is about to go; nothing else may.
fn kept_after(plugins: &Path, subject: &Subject, way: Way) -> Result<Vec<String>, ToolError> {
    let scene = Scene::create(plugins, subject)?;
    let added = succeeded(scene.request(Command::Add, None)?.run()?, "ADD")?;
    succeeded(
        scene.remove(way, added.document().ok().as_ref())?,
        "the removal",
    )?;
    let changes = scene.changes()?;
    let is_allowed = |change: &String| change.starts_with("+ pod ") && change.contains(": sysctl ");
    match changes
        .iter()
        .find(|change| !is_allowed(change) && !scene.may_change(change))
    {
        Some(residue) => Err(format!("undisturbed, ADD and {way} leave {residue}")),
        None => Ok(changes),
    }
}

/// The system calls of an undisturbed run.
fn sites(plugins: &Path, subject: &Subject, operation: Command) -> Result<Vec<Site>, ToolError> {
    let scene = Scene::create(plugins, subject)?;
    let result = match operation {
        Command::Add => None,
        _ => succeeded(scene.request(Command::Add, None)?.run()?, "ADD")?
            .document()
            .ok(),
    };
    let mut sites = Vec::<Site>::new();
    let mut preparation = 0;
    let ended = scene
        .request(operation, result.as_ref())?
        .run_disturbed(&mut |call| {
            sites.push(Site::new(call));
            if call.process == 0 && calls::ends_preparation(call) {
                preparation = call.nth;
            }
            Action::Proceed
        })?;
    match ended {
        Ended::Run { run, .. } => succeeded(Some(run), operation.as_str())?,
        Ended::Hung => succeeded(None, operation.as_str())?,
    };
    for site in &mut sites {
        site.is_preparation = site.process == 0 && site.nth <= preparation;
    }
    Ok(sites)
}

fn sweep_operation(
    selection: &Selection,
    subject: &Subject,
    operation: Command,
    baseline: &Baseline,
) -> Result<Report, ToolError> {
    let name = |point: &Point| format!("{}/{}/{point}", subject.name, operation.as_str());
    let mut chosen = points(subject, operation, &baseline.sites, &selection.kinds);
    chosen.retain(|point| {
        selection
            .filters
            .iter()
            .all(|filter| name(point).contains(filter))
    });
    let mut index = 0;
    chosen.retain(|_| {
        index += 1;
        scatter(index).is_multiple_of(selection.every)
    });
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        let work = || {
            while next.load(Ordering::Relaxed) < chosen.len() {
                on_a_host(|| {
                    on_one_scene(
                        selection,
                        subject,
                        operation,
                        baseline,
                        &|| chosen.get(next.fetch_add(1, Ordering::Relaxed)),
                        &|point, verdict| {
                            let row = Row::new(subject.name, operation, point.kind);
                            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                            report.enter(row, name(point), verdict);
                        },
                    )
                })?;
            }
            Ok::<(), ToolError>(())
        };
        let workers: Vec<_> = (0..selection.jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err("a worker panicked".into()))
        })
    })?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.time(start.elapsed());
    Ok(report)
}

/// Spreads the points that are tried evenly, but not in step with what repeats (the ways to remove,
/// the errors of a call): the index times the golden section, without the lower bits.
fn scatter(index: usize) -> usize {
    usize::try_from((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33).unwrap_or(usize::MAX)
}

/// Tries points until one leaves the scene other than it was, or none is left.
fn on_one_scene<'p>(
    selection: &Selection,
    subject: &Subject,
    operation: Command,
    baseline: &Baseline,
    next: &dyn Fn() -> Option<&'p Point>,
    enter: &dyn Fn(&Point, Verdict),
) -> Result<(), ToolError> {
    let mut scene = Scene::create(&selection.plugins, subject)?;
    while let Some(point) = next() {
        let verdict = Attempt::new(&scene, &baseline.kept, operation, point).run()?;
        let is_spoiled = !verdict.defects.is_empty() || !verdict.is_reached;
        enter(point, verdict);
        if is_spoiled || subject.network == Network::New {
            break;
        }
        scene.renew()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_points_is_every_tenth_about() {
        let chosen = (1..=10_000)
            .filter(|index| scatter(*index).is_multiple_of(10))
            .count();
        assert!((900..1100).contains(&chosen), "{chosen}");
        assert!((1..100).all(|index| scatter(index).is_multiple_of(1)));
    }

    #[test]
    fn a_filter_passes_over_the_operations_in_which_it_cannot_occur() {
        assert!(may_fit("bridge", "bridge/ADD") && !may_fit("bridge", "bridge-new/ADD"));
        assert!(may_fit("bridge/ADD/kill", "bridge/ADD") && !may_fit("bridge/ADD/k", "bridge/DEL"));
        assert!(may_fit("bridge/D", "bridge/DEL") && !may_fit("bridge/D", "bridge/ADD"));
        assert!(may_fit("lost/1:", "bridge/ADD") && may_fit("EIO", "bridge/ADD"));
    }
}
