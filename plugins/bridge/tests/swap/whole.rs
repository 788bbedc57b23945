//! The whole state of a node: what the sandbox lists, every nf_tables rule, every iptables rule.

use crate::node::{find_tool, try_tool};
use testkit::{Host, Pod, fail};

/// The state at one time.
pub(crate) struct Whole<'a> {
    host: &'a Host,
    pods: Vec<&'a Pod>,
    lines: Vec<String>,
}

impl<'a> Whole<'a> {
    /// Records the state of the host and these pods.
    pub(crate) fn of(host: &'a Host, pods: &[&'a Pod]) -> Self {
        Self {
            host,
            pods: pods.to_vec(),
            lines: lines(host, pods),
        }
    }

    /// Fails the test if anything is different now.
    #[track_caller]
    pub(crate) fn require_unchanged(&self) {
        let now = lines(self.host, &self.pods);
        let only = |sign: char, these: &[String], those: &[String]| -> String {
            let missing = these.iter().filter(|line| !those.contains(line));
            missing.map(|line| format!("{sign}{line}\n")).collect()
        };
        let difference = only('-', &self.lines, &now) + &only('+', &now, &self.lines);
        if !difference.is_empty() {
            fail(format_args!(
                "something was left, or taken away:\n{difference}"
            ));
        }
    }

    /// Returns the lines that contain one of these words.
    pub(crate) fn that_name(&self, words: &[&str]) -> Vec<&str> {
        self.lines
            .iter()
            .map(String::as_str)
            .filter(|line| words.iter().any(|w| line.contains(w)))
            .collect()
    }
}

fn lines(host: &Host, pods: &[&Pod]) -> Vec<String> {
    let state = host.state(pods);
    let mut lines: Vec<String> = state.lines().map(str::to_owned).collect();
    // Changes that the kernel makes by itself, and the last address, which must differ for the next
    // pod.
    let passing = ["fe80::", ": neighbour ", "/last_reserved_ip."];
    lines.retain(|line| !passing.iter().any(|word| line.contains(word)));
    lines.extend(rules("nft list ruleset"));
    // The rules of iptables that nft does not list.
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        if find_tool(program).is_some() {
            lines.extend(rules(program));
        }
    }
    lines
}

/// Puts before each line the lines under which it is indented: a chain before its rules.
fn under_headings(text: &str) -> Vec<String> {
    let mut headings: Vec<(usize, &str)> = Vec::new();
    let line = |line| {
        let depth = str::len(line) - line.trim_start().len();
        headings.retain(|(above, _)| *above < depth);
        let above: String = headings
            .iter()
            .map(|(_, heading)| format!("{heading} "))
            .collect();
        headings.push((depth, line.trim()));
        format!("{above}: {}", line.trim())
    };
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(line)
        .collect()
}

fn rules(program: &str) -> Vec<String> {
    let text = try_tool(program).unwrap_or_default();
    // A rule's counter is not part of the state.
    let kept: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(without_counts)
        .collect();
    under_headings(&kept.join("\n"))
}

fn without_counts(line: &str) -> String {
    let mut words = Vec::new();
    let mut skip = false;
    for word in line.split(' ') {
        skip = match word {
            "packets" | "bytes" => true,
            _ if skip => false,
            _ => {
                words.push(word);
                false
            }
        };
    }
    words.join(" ")
}
