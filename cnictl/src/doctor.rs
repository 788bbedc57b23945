//! `cnictl doctor`: finds the problems of this node's networks, and says why they matter and how to
//! fix them.
//!
//! It changes nothing. It runs the plugins for VERSION, STATUS and CHECK only, none of which
//! changes anything (spec section 2). It reports what it cannot see, for instance without root, and
//! does not guess.

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
mod node;
mod pools;
mod programs;
mod runtimes;
mod schema;
mod summary;

use crate::{arguments::Arguments, screen::Screen};
use finding::Report;
use node::Node;
use summary::Summary;

/// Examines the node and prints the report. Returns false if there are problems.
pub(crate) fn doctor(arguments: &Arguments, screen: &Screen) -> bool {
    let mut report = Report::default();
    // The runtimes come first: their configuration names the other folders.
    let runtimes = runtimes::examine(&arguments.paths, &mut report);
    let mut paths = arguments.paths.clone();
    runtimes.apply_to(&mut paths);
    let node = Node::gather(paths, &runtimes, &mut report);
    files::examine(&node, &mut report);
    keys::examine(&node, &mut report);
    programs::examine(&node, &mut report);
    let pools = pools::examine(&node, &mut report);
    bridges::examine(&node, &pools, &mut report);
    mtu::examine(&node, &pools, &mut report);
    kernel::examine(&node, &pools, &mut report);
    firewall::examine(&node, &mut report);
    ipv6::examine(&node, &pools, &mut report);
    let running = attachments::examine_living(&node, &mut report);
    attachments::examine_cache(&node, &mut report);
    report.sort();
    let summary = Summary::of(&node, &report, running);
    if screen.is_json() {
        screen.json(&report.as_json(&summary, &node.as_json()));
    } else {
        screen.print(&format!(
            "{}\n\n{}\n{}",
            summary.describe(),
            node.describe(),
            report.describe()
        ));
    }
    report.is_fine()
}
