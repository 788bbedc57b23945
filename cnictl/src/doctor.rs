//! `cnictl doctor`: what is wrong with this node's networks, why it matters, and what to do.
//!
//! It only looks. The one thing that it runs are the plugins, for VERSION and STATUS, neither of which changes anything
//! (spec section 4). What cannot be seen, without root for instance, is said and not guessed.

mod attachments;
mod bridges;
mod files;
mod finding;
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

use crate::{arguments::Arguments, screen::Screen};
use finding::Report;
use scene::Scene;

/// Examines the node. True where nothing is wrong; what cannot be examined is part of the report.
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
    ipv6::examine(&scene, &books, &mut report);
    attachments::examine(&scene, &mut report);
    report.sort();
    if screen.is_json() {
        screen.json(&report.as_json(&scene.as_json()));
    } else {
        screen.print(&format!("{}\n{}", scene.describe(), report.describe()));
    }
    report.is_fine()
}
