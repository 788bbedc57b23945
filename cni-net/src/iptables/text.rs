//! The text that `iptables-restore` reads and `iptables-save` prints. Pure.

use super::{
    POSTROUTING,
    rule::{Action, Nat, Place, Removal, Rule, chain_name, comment},
};
use crate::sysctl::Family;
use cni_types::{AttachmentId, Cidr};
use std::fmt::Write;

/// Multicast is not masqueraded.
fn multicast(family: Family) -> &'static str {
    match family {
        Family::V4 => "224.0.0.0/4",
        Family::V6 => "ff00::/8",
    }
}

/// What adds the rules for these addresses of one family to those that are there. To name a chain makes or empties it, so what
/// another attachment of the container wants of it is said again.
pub(super) fn addition(
    id: AttachmentId<'_>,
    family: Family,
    addresses: &[Cidr],
    there: &Nat,
) -> String {
    let (chain, comment) = (chain_name(id), quoted(&comment(id)));
    let with = format!("-m comment --comment {comment}");
    let mut text = format!("*nat\n:{chain} - [0:0]\n");
    let is_new = |address: &&Cidr| {
        there
            .sources(&chain)
            .all(|source| source != address.address())
    };
    for address in addresses.iter().filter(is_new) {
        let _ = writeln!(
            text,
            "-A {POSTROUTING} -s {} {with} -j {chain}",
            Cidr::host(address.address())
        );
    }
    let mut networks: Vec<Cidr> = there.spared(&chain).collect();
    networks.extend(addresses.iter().map(|address| address.network()));
    let mut written = Vec::new();
    for network in networks {
        if !written.contains(&network) {
            let _ = writeln!(text, "-A {chain} -d {network} {with} -j ACCEPT");
            written.push(network);
        }
    }
    let _ = writeln!(
        text,
        "-A {chain} ! -d {} {with} -j MASQUERADE\nCOMMIT",
        multicast(family)
    );
    text
}

/// What deletes rules that `iptables-save` printed, and chains with their contents.
pub(super) fn deletion(removal: &Removal) -> String {
    let mut text = "*nat\n".to_owned();
    for place in &removal.jumps {
        if let Place::Text(rule) = place {
            let _ = writeln!(text, "-D {rule}");
        }
    }
    for chain in &removal.chains {
        let _ = writeln!(text, "-F {chain}\n-X {chain}");
    }
    text += "COMMIT\n";
    text
}

/// Reads what `iptables-save -t nat` printed.
pub(super) fn parse(saved: &str) -> Nat {
    let mut nat = Nat::default();
    for line in saved.lines() {
        if let Some(chain) = line
            .strip_prefix(':')
            .and_then(|rest| rest.split(' ').next())
        {
            nat.chains.insert(chain.to_owned());
        }
        nat.rules.extend(line.strip_prefix("-A ").map(parse_rule));
    }
    nat
}

fn parse_rule(text: &str) -> Rule {
    let mut words = words(text).into_iter();
    let mut rule = Rule {
        place: Place::Text(text.to_owned()),
        chain: words.next().unwrap_or_default(),
        source: None,
        destination: None,
        comment: String::new(),
        action: Action::Other,
    };
    let mut negated = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        match word.as_str() {
            "-s" if !negated => rule.source = value().parse().ok(),
            "-d" if !negated => rule.destination = value().parse().ok(),
            "--comment" => rule.comment = value(),
            "-j" | "-g" => {
                rule.action = match value().as_str() {
                    "ACCEPT" => Action::Accept,
                    "MASQUERADE" => Action::Masquerade,
                    other => Action::Jump(other.to_owned()),
                }
            }
            _ => {}
        }
        negated = word == "!";
    }
    rule
}

/// A word in double quotes, as iptables-save prints and iptables-restore reads it.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// The words of a line: divided by spaces, but not inside double quotes; a backslash there takes the next character as it is.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let (mut inside, mut chars) = (false, text.chars());
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

    const ID: AttachmentId<'_> = AttachmentId {
        network: "net",
        container_id: "a",
        if_name: "eth0",
    };

    fn added(addresses: &[&str], there: &Nat) -> String {
        let addresses: Vec<Cidr> = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        addition(ID, Family::V4, &addresses, there)
    }

    /// As `iptables-save -t nat` 1.8.9 prints it after an ADD of the reference.
    const ADDED: &str = r#"*nat
:CNI-c3a99edf74e2fcceab44dece - [0:0]
-A POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \"net\" id: \"a\"" -j CNI-c3a99edf74e2fcceab44dece
-A CNI-c3a99edf74e2fcceab44dece -d 10.1.0.0/24 -m comment --comment "name: \"net\" id: \"a\"" -j ACCEPT
-A CNI-c3a99edf74e2fcceab44dece ! -d 224.0.0.0/4 -m comment --comment "name: \"net\" id: \"a\"" -j MASQUERADE
COMMIT
"#;

    #[test]
    fn an_addition_is_what_the_reference_leaves() {
        assert_eq!(added(&["10.1.0.2/24"], &Nat::default()), ADDED);
    }

    #[test]
    fn an_addition_keeps_what_is_there_and_repeats_no_jump() {
        let there = parse(ADDED);
        let jump = ADDED
            .lines()
            .find(|line| line.starts_with("-A POSTROUTING"))
            .unwrap();
        assert_eq!(
            added(&["10.1.0.2/24"], &there),
            ADDED.replace(&format!("{jump}\n"), "")
        );
        let more = parse(&added(&["10.2.0.2/16"], &there));
        let spared: Vec<String> = more
            .spared("CNI-c3a99edf74e2fcceab44dece")
            .map(|n| n.to_string())
            .collect();
        assert_eq!(spared, ["10.1.0.0/24", "10.2.0.0/16"]);
        let last = more.rules.last().unwrap();
        assert_eq!(
            (&last.action, last.destination),
            (&Action::Masquerade, None)
        );
    }

    #[test]
    fn a_deletion_names_rules_as_they_were_printed() {
        let removal = parse(ADDED).removal("CNI-c3a99edf74e2fcceab44dece", &|_| true);
        let wanted = r#"*nat
-D POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \"net\" id: \"a\"" -j CNI-c3a99edf74e2fcceab44dece
-F CNI-c3a99edf74e2fcceab44dece
-X CNI-c3a99edf74e2fcceab44dece
COMMIT
"#;
        assert_eq!(deletion(&removal), wanted);
    }

    #[test]
    fn the_address_that_is_excepted_is_not_the_address() {
        let nat = parse("-A POSTROUTING ! -s 10.0.0.1/32 -d 10.0.0.2/32 -g X\n");
        let rule = &nat.rules[0];
        assert_eq!(
            (rule.source, rule.destination),
            (None, "10.0.0.2/32".parse().ok())
        );
        assert_eq!(rule.action, Action::Jump("X".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(text in "[ -~]{0,40}") {
            prop_assert_eq!(words(&format!("a {} b", quoted(&text))), ["a".to_owned(), text, "b".to_owned()]);
        }

        #[test]
        fn any_text_is_read(text: String) {
            let _ = parse(&text);
        }
    }
}
