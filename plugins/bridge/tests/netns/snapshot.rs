//! That nothing was changed: host, pods and data before and after.

use testkit::{Host, Pod, fail};

/// What there was.
pub(crate) struct Snapshot<'a> {
    host: &'a Host,
    pods: Vec<&'a Pod>,
    lines: Vec<String>,
}

impl<'a> Snapshot<'a> {
    /// Takes it, of the host, the data and these pods.
    pub(crate) fn of(host: &'a Host, pods: &[&'a Pod]) -> Self {
        Self {
            host,
            pods: pods.to_vec(),
            lines: lines(host, pods),
        }
    }

    /// Fails the test where anything is different now.
    #[track_caller]
    pub(crate) fn require_unchanged(&self) {
        self.require(|_| true);
    }

    /// The same, but for the address that host-local gave last, so that the next is another one.
    #[track_caller]
    pub(crate) fn require_unchanged_but_for_the_last_address(&self) {
        self.require(|line| !line.contains("/last_reserved_ip."));
    }

    /// The same, but for what host-local keeps when it has no reservation.
    #[track_caller]
    pub(crate) fn require_unchanged_but_for_records(&self) {
        self.require(|line| !line.contains("/last_reserved_ip.") && !line.contains("cni-data"));
    }

    /// The same, and but for what host-local keeps beside its records: they can be deleted at any
    /// time.
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

/// Without what the kernel does by itself when it is ready: link-local addresses come with the first carrier, and
/// neighbours with the first packet.
fn lines(host: &Host, pods: &[&Pod]) -> Vec<String> {
    let own = |line: &&str| !line.contains("fe80::") && !line.contains(": neighbour ");
    let state = host.state(pods);
    state.lines().filter(own).map(str::to_owned).collect()
}
