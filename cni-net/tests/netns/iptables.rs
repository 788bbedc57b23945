//! Tables of iptables, of either variant: rules are added, read and removed, as iptables itself
//! prints them.

use cni_net::{
    Family,
    iptables::{
        Action, HostTable, Iptables, Match, Removal, Script, Table, Tables, Variant, quoted,
    },
    nft::{Condition, Nft},
};
use cni_types::{Environment, Stop};
use std::{os::unix::fs::symlink, path::PathBuf, process::Command};
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        rules_of_iptables_nft_are_added_read_and_removed,
        rules_of_the_legacy_iptables_are_added_read_and_removed,
        a_table_that_is_not_there_is_empty_and_stays_away,
        a_missing_program_is_named,
    ]
}

const SYSTEM: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", SYSTEM)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(text)
}

/// Returns a `PATH` on which the programs of one variant have the short names.
fn path_of(variant: &str) -> String {
    let folder = PathBuf::from(format!("/run/{variant}"));
    std::fs::create_dir_all(&folder).unwrap();
    for end in ["save", "restore"] {
        let program = format!("iptables-{variant}-{end}");
        let found = SYSTEM
            .split(':')
            .map(|folder| PathBuf::from(folder).join(&program));
        let found = found.filter_map(|path| path.canonicalize().ok()).next();
        testkit::require(&program, found.is_some());
        symlink(found.unwrap(), folder.join(format!("iptables-{end}"))).unwrap();
    }
    format!("{}:{SYSTEM}", folder.display())
}

fn environment(path: &str) -> Environment {
    [("PATH", path)].into_iter().collect()
}

/// Adds a chain, a rule that jumps to it, and two rules in it, to the table `filter`; reads and
/// removes them.
fn added_read_and_removed(variant: Variant, word: &str) {
    let program = format!("iptables-{word}");
    let works = run(&program, &["-S"]).is_some();
    testkit::require(&format!("{program} in the kernel"), works);
    let environment = environment(&path_of(word));
    let stop = Stop::never();
    let mut nft = Nft::open_if_there().unwrap();
    let mut iptables = Iptables::new(nft.as_mut(), Tables::All, &environment, &stop);
    let mut script = Script::new(Table::Filter);
    script.chain("OWN");
    let comment = quoted("it's \"me\"");
    script.append(
        "FORWARD",
        format_args!("-i br0 ! -o br0 -m comment --comment {comment} -j OWN"),
    );
    script.append(
        "OWN",
        format_args!("-d 10.1.2.5/32 -p tcp -m tcp --dport 80 -j ACCEPT"),
    );
    script.append(
        "OWN",
        format_args!("-m conntrack --ctstate RELATED,ESTABLISHED -j DROP"),
    );
    iptables.restore(Family::V4, script).unwrap();
    let table = HostTable {
        table: Table::Filter,
        variant,
        family: Family::V4,
    };
    let contents = iptables.read_around(table, "OWN", &["FORWARD"]).unwrap();
    assert!(contents.chains.contains("OWN"));
    let [jump, accept, drop] = contents.rules.as_slice() else {
        panic!("{contents:?}")
    };
    let bridge = || "br0".to_owned();
    assert_eq!(
        jump.matches,
        [
            Match::Is(Condition::InputInterface(bridge())),
            Match::IsNot(Condition::OutputInterface(bridge()))
        ]
    );
    assert_eq!(
        (jump.comment.as_str(), &jump.action),
        ("it's \"me\"", &Action::Jump("OWN".to_owned()))
    );
    // iptables-nft puts the protocol first.
    for wanted in [
        Condition::Destination("10.1.2.5/32".parse().unwrap()),
        Condition::Protocol(6),
        Condition::DestinationPort(80),
    ] {
        assert!(accept.matches.contains(&Match::Is(wanted)), "{accept:?}");
    }
    assert_eq!(accept.action, Action::Accept);
    assert_eq!(
        (&drop.matches[..], &drop.action),
        (&[Match::Other][..], &Action::Drop)
    );
    // Everything is removed in one step, and no foreign rule.
    let foreign = ["-A", "FORWARD", "-s", "192.0.2.1/32", "-j", "DROP"];
    run(&program, &foreign).unwrap();
    let removed = iptables.remove(Table::Filter, |iptables, table| {
        let contents = iptables.read(table)?;
        let leads = |rule: &&cni_net::iptables::Rule| rule.action == Action::Jump("OWN".to_owned());
        let jumps = contents.rules.iter().filter(leads);
        let rules: Vec<_> = jumps.map(|rule| rule.place.clone()).collect();
        let is_there = contents.chains.contains("OWN");
        Ok(Removal {
            rules,
            chains: is_there.then(|| "OWN".to_owned()).into_iter().collect(),
        })
    });
    removed.unwrap();
    let left = run(&program, &["-S"]).unwrap();
    assert!(
        !left.contains("OWN") && left.contains("192.0.2.1/32"),
        "{left}"
    );
}

fn rules_of_iptables_nft_are_added_read_and_removed(_: &Host) {
    added_read_and_removed(Variant::Nft, "nft");
}

fn rules_of_the_legacy_iptables_are_added_read_and_removed(_: &Host) {
    added_read_and_removed(Variant::Legacy, "legacy");
}

/// The program of the legacy iptables creates a table when it looks into it.
fn a_table_that_is_not_there_is_empty_and_stays_away(_: &Host) {
    let environment = environment(SYSTEM);
    let stop = Stop::never();
    let mut nft = Nft::open_if_there().unwrap();
    let mut iptables = Iptables::new(nft.as_mut(), Tables::All, &environment, &stop);
    for table in [Table::Filter, Table::Nat, Table::Mangle, Table::Raw] {
        for table in HostTable::all(table) {
            let contents = iptables.read(table).unwrap();
            assert!(
                contents.rules.is_empty() && contents.chains.is_empty(),
                "{table:?}"
            );
        }
    }
    let names = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names");
    assert_eq!(names.unwrap_or_default(), "");
    let ruleset = nft.map(|mut nft| nft.ruleset().unwrap());
    assert_eq!(ruleset.unwrap_or_default(), [""; 0]);
}

fn a_missing_program_is_named(_: &Host) {
    let environment = environment("/nowhere");
    let outcome = Iptables::require_program(&environment);
    // The folders of the system are searched, too.
    let is_installed = run("iptables-restore", &["--version"]).is_some();
    assert_eq!(outcome.is_ok(), is_installed);
}
