//! Comparison of host, pods and data before and after, to show that nothing was changed.

use testkit::{Host, Pod, fail};

/// The state of host, pods and data at one time.
pub(crate) struct Snapshot<'a> {
    host: &'a Host,
    pods: Vec<&'a Pod>,
    lines: Vec<String>,
}

impl<'a> Snapshot<'a> {
    /// Records the state of the host, the data and these pods.
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
        self.require(|_| true);
    }

    /// Does the same, except for the last address of host-local, so that the next one differs.
    #[track_caller]
    pub(crate) fn require_unchanged_but_for_the_last_address(&self) {
        self.require(|line| !line.contains("/last_reserved_ip."));
    }

    /// Does the same, except for what host-local keeps without a reservation.
    #[track_caller]
    pub(crate) fn require_unchanged_but_for_records(&self) {
        self.require(|line| !line.contains("/last_reserved_ip.") && !line.contains("cni-data"));
    }

    /// Does the same, and ignores what host-local keeps beside its records: it can be deleted at
    /// any time.
    #[track_caller]
    pub(crate) fn require_attachments_unchanged(&self) {
        self.require(|line| !line.contains("/last_reserved_ip.") && !line.contains("/cni-data/."));
    }

    #[track_caller]
    fn require(&self, counts: impl Fn(&str) -> bool) {
        let now = lines(self.host, &self.pods);
        let only = |sign: char, these: &[String], those: &[String]| -> String {
            let missing = these
                .iter()
                .filter(|line| counts(line) && !those.contains(line));
            missing.map(|line| format!("{sign}{line}\n")).collect()
        };
        let difference = only('-', &self.lines, &now) + &only('+', &now, &self.lines);
        if !difference.is_empty() {
            fail(format_args!("something changed:\n{difference}"));
        }
    }
}

/// Removes what the kernel adds by itself: link-local addresses come with the first carrier, and
/// neighbours with the first packet.
fn lines(host: &Host, pods: &[&Pod]) -> Vec<String> {
    let own = |line: &&str| !line.contains("fe80::") && !line.contains(": neighbour ");
    let state = host.state(pods);
    state.lines().filter(own).map(str::to_owned).collect()
}
