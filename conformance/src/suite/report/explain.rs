//! One case from its beginning to its end: the rule, the steps, what was wanted and what was seen.

use crate::suite::{Case, Item, Outcome, Verdict};
use std::fmt::Write;

/// The rule and the case, without having run it.
#[must_use]
pub fn case(case: &Case) -> String {
    let mut text = format!("{}\n  {}\n\n", case.id, case.title);
    let section = match case.clause.section {
        "silent" => "the specification is silent".to_owned(),
        section => format!("specification, section {section}"),
    };
    let _ = writeln!(text, "level     {}", case.level.as_str());
    let _ = writeln!(text, "clause    {section}");
    let _ = writeln!(text, "rule      {}", case.clause.rule);
    let _ = writeln!(text, "versions  {}", case.versions);
    let kinds: Vec<&str> = case.kinds.iter().map(|kind| kind.as_str()).collect();
    let _ = writeln!(text, "plugins   {}", kinds.join(", "));
    let faults: Vec<&str> = case.faults.iter().map(|fault| fault.name).collect();
    let _ = writeln!(
        text,
        "notices   a plugin that {}",
        faults.join("\n          a plugin that ")
    );
    text
}

/// Writes all that was done and seen with one plugin in one version.
#[must_use]
pub fn run(item: &Item, outcome: &Outcome) -> String {
    let mut text = format!(
        "━━ {} with {}\n\n",
        item.id(),
        item.subject.binary().display()
    );
    for entry in &outcome.journal {
        let _ = writeln!(text, "{entry}");
    }
    let milliseconds = outcome.duration.as_secs_f64() * 1000.0;
    let _ = write!(
        text,
        "{} after {milliseconds:.1} ms",
        outcome.verdict.as_str()
    );
    match &outcome.verdict {
        Verdict::Passed => {}
        Verdict::Failed { wanted, found } => {
            let _ = write!(
                text,
                "\n  wanted  {}\n  found   {}",
                indented(wanted),
                indented(found)
            );
        }
        Verdict::Noted { notes } => {
            let _ = write!(text, "\n  {}", indented(&notes.join("\n")));
        }
        Verdict::Skipped { reason } | Verdict::Error { reason } => {
            let _ = write!(text, "\n  {}", indented(reason));
        }
    }
    text + "\n"
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n          ")
}
