//! `cnictl doctor`: what is wrong with this node's networks, why it matters, and what to do.
//!
//! It only looks. The one thing that it runs are the plugins, for VERSION, STATUS and CHECK, none
//! of which changes anything (spec section 2). What cannot be seen, without root for instance, is
//! said and not guessed.

mod attachments;
mod bridges;
mod files;
mod finding;
mod firewall;
mod ipv6;
mod kernel;
mod keys;
mod lines;
mod mtu;
mod pools;
mod programs;
mod runtimes;
mod scene;
mod schema;
mod summary;

use crate::{arguments::Arguments, screen::Screen};
use finding::Report;
use scene::Scene;
use summary::Summary;

/// Examines the node. Returns false if there are problems; what cannot be examined is part of the
/// report.
pub(crate) fn doctor(arguments: &Arguments, screen: &Screen) -> bool {
    let mut report = Report::default();
    // The runtimes first: their configuration says where the rest is.
    let runtimes = runtimes::examine(&arguments.places, &mut report);
    let mut places = arguments.places.clone();
    runtimes.settle(&mut places);
    let scene = Scene::gather(places, &runtimes, &mut report);
    files::examine(&scene, &mut report);
    keys::examine(&scene, &mut report);
    programs::examine(&scene, &mut report);
    let books = pools::examine(&scene, &mut report);
    bridges::examine(&scene, &books, &mut report);
    mtu::examine(&scene, &books, &mut report);
    kernel::examine(&scene, &books, &mut report);
    firewall::examine(&scene, &mut report);
    ipv6::examine(&scene, &books, &mut report);
    let running = attachments::running(&scene, &mut report);
    attachments::cached(&scene, &mut report);
    report.sort();
    let summary = Summary::of(&scene, &report, running);
    if screen.is_json() {
        screen.json(&report.as_json(&summary, &scene.as_json()));
    } else {
        screen.print(&format!(
            "{}\n\n{}\n{}",
            summary.describe(),
            scene.describe(),
            report.describe()
        ));
    }
    report.is_fine()
}
