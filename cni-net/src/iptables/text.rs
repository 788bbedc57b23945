//! The text that `iptables-restore` reads and `iptables-save` prints. Pure functions, no I/O.

use super::{
    Table,
    rule::{Action, Contents, Match, Place, Removal, Rule},
};
use crate::nft::Condition;
use std::{
    collections::BTreeSet,
    fmt::{self, Write},
};

/// Changes to a table, as `iptables-restore` reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    text: String,
}

impl Script {
    /// Begins a script for this table.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self {
            text: format!("*{}\n", table.name()),
        }
    }

    /// Creates a chain, or empties the one that is there.
    pub fn chain(&mut self, chain: &str) {
        self.line(format_args!(":{chain} - [0:0]"));
    }

    /// Appends a rule to a chain. Texts in it must be [`quoted`].
    pub fn append(&mut self, chain: &str, rule: fmt::Arguments<'_>) {
        self.line(format_args!("-A {chain} {rule}"));
    }

    /// Inserts a rule at the head of a chain. Texts in it must be [`quoted`].
    pub fn insert(&mut self, chain: &str, rule: fmt::Arguments<'_>) {
        self.line(format_args!("-I {chain} {rule}"));
    }

    /// Deletes a rule, given as `iptables-save` printed it behind `-A`.
    fn delete(&mut self, rule: &str) {
        self.line(format_args!("-D {rule}"));
    }

    /// Deletes a chain with its rules.
    fn delete_chain(&mut self, chain: &str) {
        self.line(format_args!("-F {chain}"));
        self.line(format_args!("-X {chain}"));
    }

    #[expect(
        clippy::expect_used,
        reason = "a String takes all that is written to it"
    )]
    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a line in a String");
    }

    /// Returns the whole text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text + "COMMIT\n"
    }
}

/// Returns the script that deletes printed rules, and chains with their rules.
pub(super) fn deletion(table: Table, removal: &Removal) -> String {
    let mut script = Script::new(table);
    for place in &removal.rules {
        if let Place::Text(rule) = place {
            script.delete(rule);
        }
    }
    removal
        .chains
        .iter()
        .for_each(|chain| script.delete_chain(chain));
    script.finish()
}

/// Reads the output of `iptables-save` for a table: its chains, then its rules.
#[must_use]
pub fn parse(saved: &str) -> Contents {
    let mut contents = Contents::default();
    for line in saved.lines() {
        let chain = line
            .strip_prefix(':')
            .and_then(|rest| rest.split(' ').next());
        contents.chains.extend(chain.map(str::to_owned));
        let rule = line.strip_prefix("-A ");
        let rule = rule.map(|rule| parse_rule(rule, &contents.chains));
        contents.rules.extend(rule);
    }
    contents
}

fn parse_rule(text: &str, chains: &BTreeSet<String>) -> Rule {
    let mut words = words(text).into_iter();
    let mut rule = Rule {
        place: Place::Text(text.to_owned()),
        chain: words.next().unwrap_or_default(),
        matches: Vec::new(),
        comment: String::new(),
        action: Action::Other(String::new()),
    };
    let mut negated = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        match word.as_str() {
            "--comment" => rule.comment = value(),
            // The target is last; its options follow.
            "-j" | "-g" => {
                rule.action = action(value(), chains);
                break;
            }
            "-m" | "!" => {}
            option if CONDITIONS.contains(&option) => {
                rule.matches
                    .push(match (condition(option, &value()), negated) {
                        (Some(condition), false) => Match::Is(condition),
                        (Some(condition), true) => Match::IsNot(condition),
                        (None, _) => Match::Other,
                    });
            }
            option if option.starts_with('-') => rule.matches.push(Match::Other),
            _ => {}
        }
        negated = word == "!";
    }
    rule
}

/// Returns the action of a target. A name is a chain only if the table has it: extensions are named
/// in the same place, and no chain may have the name of one.
fn action(target: String, chains: &BTreeSet<String>) -> Action {
    match target.as_str() {
        "ACCEPT" => Action::Accept,
        "DROP" => Action::Drop,
        "RETURN" => Action::Return,
        "MASQUERADE" => Action::Masquerade,
        chain if chains.contains(chain) => Action::Jump(target),
        _ => Action::Other(target),
    }
}

/// The supported options of iptables(8); each takes one value.
const CONDITIONS: [&str; 7] = ["-s", "-d", "-i", "-o", "-p", "--sport", "--dport"];

/// Returns the condition that an option of iptables(8) sets.
fn condition(option: &str, value: &str) -> Option<Condition> {
    match option {
        "-s" => value.parse().ok().map(Condition::Source),
        "-d" => value.parse().ok().map(Condition::Destination),
        "-i" => interface(value).map(Condition::InputInterface),
        "-o" => interface(value).map(Condition::OutputInterface),
        "-p" => protocol(value).map(Condition::Protocol),
        "--sport" => value.parse().ok().map(Condition::SourcePort),
        "--dport" => value.parse().ok().map(Condition::DestinationPort),
        _ => None,
    }
}

/// Returns the name of an interface; `None` for a pattern that ends with `+`.
fn interface(name: &str) -> Option<String> {
    (!name.ends_with('+')).then(|| name.to_owned())
}

/// Returns the number of a protocol, for those with ports that `iptables-save` prints by name.
fn protocol(name: &str) -> Option<u8> {
    match name {
        "tcp" => Some(6),
        "udp" => Some(17),
        "dccp" => Some(33),
        "sctp" => Some(132),
        number => number.parse().ok(),
    }
}

/// Quotes a word as `iptables-save` prints and `iptables-restore` reads it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// Splits a line into words at spaces, except inside double quotes; a backslash there escapes the
/// next character.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut inside = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                inside = !inside;
                word.get_or_insert_default();
            }
            '\\' if inside => word.get_or_insert_default().extend(chars.next()),
            ' ' if !inside => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_script_is_read_back_rule_by_rule() {
        let mut script = Script::new(Table::Nat);
        script.chain("A");
        script.append(
            "A",
            format_args!(
                "-d 10.1.0.0/24 -m comment --comment {} -j ACCEPT",
                quoted("a \"b\"")
            ),
        );
        script.insert("A", format_args!("-j B"));
        let text = script.finish();
        let wanted = "*nat\n:A - [0:0]\n\
             -A A -d 10.1.0.0/24 -m comment --comment \"a \\\"b\\\"\" -j ACCEPT\n\
             -I A -j B\nCOMMIT\n";
        assert_eq!(text, wanted);
        let contents = parse(&text);
        assert!(contents.chains.contains("A"));
        let network = "10.1.0.0/24".parse().unwrap();
        let rule = &contents.rules[0];
        assert_eq!(rule.matches, [Match::Is(Condition::Destination(network))]);
        assert_eq!(
            (rule.comment.as_str(), &rule.action),
            ("a \"b\"", &Action::Accept)
        );
    }

    #[test]
    fn a_deletion_names_rules_as_they_were_printed() {
        let saved = "-A POSTROUTING -s 10.1.0.2/32 -m comment --comment \"a b\" -j X\n";
        let removal = Removal {
            rules: vec![parse(saved).rules[0].place.clone()],
            chains: vec!["X".to_owned()],
        };
        let wanted = "*nat\n\
            -D POSTROUTING -s 10.1.0.2/32 -m comment --comment \"a b\" -j X\n\
            -F X\n-X X\nCOMMIT\n";
        assert_eq!(deletion(Table::Nat, &removal), wanted);
    }

    #[test]
    fn the_address_that_is_excepted_is_not_the_address() {
        let contents = parse(":X - [0:0]\n-A POSTROUTING ! -s 10.0.0.1/32 -d 10.0.0.2/32 -g X\n");
        let [source, destination] =
            ["10.0.0.1/32", "10.0.0.2/32"].map(|text| text.parse().unwrap());
        let rule = &contents.rules[0];
        let wanted = [
            Match::IsNot(Condition::Source(source)),
            Match::Is(Condition::Destination(destination)),
        ];
        assert_eq!(rule.matches, wanted);
        assert_eq!(rule.action, Action::Jump("X".to_owned()));
    }

    #[test]
    fn a_target_is_a_chain_only_if_there_is_one_of_that_name() {
        let contents = parse(":X - [0:0]\n-A X -j Y --random\n-A X --limit-iface-in -j X\n");
        let actions: Vec<_> = contents.rules.iter().map(|rule| &rule.action).collect();
        let [other, jump] = [Action::Other("Y".to_owned()), Action::Jump("X".to_owned())];
        assert_eq!(actions, [&other, &jump]);
        assert_eq!(contents.rules[0].matches, []);
        assert_eq!(contents.rules[1].matches, [Match::Other]);
    }

    /// Rules of the portmap and firewall plugins as `iptables-save` 1.8.9 prints them.
    #[test]
    fn ports_interfaces_and_extensions_are_read_or_said_to_be_there() {
        let rule = |text: &str| parse(&format!("-A C {text}\n")).rules.swap_remove(0);
        let dnat = rule("-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.2.5:80");
        let wanted = [Condition::Protocol(6), Condition::DestinationPort(8080)].map(Match::Is);
        assert_eq!(dnat.matches, wanted);
        assert_eq!(dnat.action, Action::Other("DNAT".to_owned()));
        let stage = rule("-i br0 ! -o br0 -j CNI");
        assert_eq!(
            stage.matches,
            [
                Match::Is(Condition::InputInterface("br0".to_owned())),
                Match::IsNot(Condition::OutputInterface("br0".to_owned()))
            ]
        );
        let state = rule("-d 10.1.2.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
        assert_eq!(state.matches[1..], [Match::Other]);
        assert_eq!(rule("-i veth+ -j DROP").matches, [Match::Other]);
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(text in "[ -~]{0,40}") {
            let line = format!("a {} b", quoted(&text));
            prop_assert_eq!(words(&line), ["a".to_owned(), text, "b".to_owned()]);
        }

        #[test]
        fn any_text_is_read(text: String) {
            let _ = parse(&text);
        }
    }
}
