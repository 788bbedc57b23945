//! What rules say and which of them have to go, whoever keeps them. Pure.

use super::POSTROUTING;
use crate::masqueraded::Masqueraded;
use cni_types::{AttachmentId, AttachmentList, Cidr, ValidAttachments, hash::sha512_hex};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// XT_MAX_COMMENT_LEN of include/uapi/linux/netfilter/xt_comment.h, less the closing NUL.
const MAX_COMMENT: usize = 255;

const CHAIN_PREFIX: &str = "CNI-";
const CHAIN_DIGITS: usize = 24;

/// How a rule is named when it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The number that nf_tables gave it.
    Handle(u64),
    /// What `iptables-save` printed after `-A`.
    Text(String),
}

/// What becomes of a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Masquerade,
    Jump(String),
    Other,
}

/// A rule of table `nat`, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) place: Place,
    pub(crate) chain: String,
    pub(crate) source: Option<Cidr>,
    pub(crate) destination: Option<Cidr>,
    pub(crate) comment: String,
    pub(crate) action: Action,
}

impl Rule {
    fn jumps_to(&self, chain: &str) -> bool {
        self.chain == POSTROUTING && matches!(&self.action, Action::Jump(to) if to == chain)
    }

    /// The chain of an attachment that the rule is in or leads to.
    fn attachment_chain(&self) -> Option<&str> {
        let to = match &self.action {
            Action::Jump(to) => to,
            _ => "",
        };
        [self.chain.as_str(), to]
            .into_iter()
            .find(|chain| is_chain_name(chain))
    }
}

/// Rules of a table `nat`, all or those around one chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nat {
    /// The names of its chains, as far as asked for.
    pub(crate) chains: BTreeSet<String>,
    pub(crate) rules: Vec<Rule>,
}

/// What is to be deleted, all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) jumps: Vec<Place>,
    pub(crate) chains: Vec<String>,
}

impl Nat {
    pub(crate) fn has(&self, chain: &str) -> bool {
        self.chains.contains(chain)
    }

    /// The addresses from which packets are led to the chain.
    pub(crate) fn sources(&self, chain: &str) -> impl Iterator<Item = IpAddr> {
        self.rules
            .iter()
            .filter(move |rule| rule.jumps_to(chain))
            .filter_map(source)
    }

    /// The networks to which a chain lets packets go as they are.
    pub(crate) fn spared(&self, chain: &str) -> impl Iterator<Item = Cidr> {
        let spares = move |rule: &&Rule| rule.chain == chain && rule.action == Action::Accept;
        self.rules
            .iter()
            .filter(spares)
            .filter_map(|rule| rule.destination)
    }

    /// Whether what comes from this address and leaves its network is masqueraded by the chain.
    pub(crate) fn masquerades(&self, chain: &str, address: Cidr) -> bool {
        self.sources(chain)
            .any(|source| source == address.address())
            && self
                .spared(chain)
                .any(|network| network == address.network())
            && self
                .rules
                .iter()
                .any(|rule| rule.chain == chain && rule.action == Action::Masquerade)
    }

    /// What goes when these addresses do. A jump that names no address is nobody else's.
    pub(crate) fn removal(&self, chain: &str, is_doomed: &dyn Fn(IpAddr) -> bool) -> Removal {
        let jumps: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.jumps_to(chain))
            .collect();
        let doomed: Vec<Place> = jumps
            .iter()
            .filter(|rule| source(rule).is_none_or(is_doomed))
            .map(|rule| rule.place.clone())
            .collect();
        let is_last = doomed.len() == jumps.len();
        let chains = if is_last && self.has(chain) {
            vec![chain.to_owned()]
        } else {
            Vec::new()
        };
        Removal {
            jumps: doomed,
            chains,
        }
    }

    /// The rules of a network's attachments. The chain's name is a hash, so the comment says whose.
    fn rules_of(&self, network: &str) -> impl Iterator<Item = &Rule> {
        let prefixes = comment_prefixes(network);
        let is_of_network = move |rule: &&Rule| {
            prefixes
                .iter()
                .any(|prefix| rule.comment.starts_with(prefix))
        };
        self.rules.iter().filter(is_of_network)
    }

    /// The addresses that a network's rules masquerade, and for whom. Attachments of one container
    /// share a chain, so it says whose its addresses are only if there is but one.
    pub(crate) fn masqueraded<'a>(&self, valid: &'a AttachmentList) -> Masqueraded<'a> {
        let mut owners: BTreeMap<String, Vec<AttachmentId<'a>>> = BTreeMap::new();
        for id in valid.iter() {
            owners.entry(chain_name(id)).or_default().push(id);
        }
        let mut found = Masqueraded::default();
        for rule in self
            .rules_of(valid.network())
            .filter(|rule| rule.chain == POSTROUTING)
        {
            let (Some(chain), Some(address)) = (rule.attachment_chain(), source(rule)) else {
                continue;
            };
            let Some(owners) = owners.get(chain) else {
                found.stale.insert(address);
                continue;
            };
            found.valid.insert(address);
            if let [only] = owners.as_slice() {
                found.known.insert(*only);
            }
        }
        found
    }

    /// What goes because no attachment of the container is valid.
    pub(crate) fn stale(&self, valid: &ValidAttachments) -> Removal {
        let ValidAttachments::Only(valid) = valid else {
            return Removal::default();
        };
        let chains: BTreeSet<String> = valid.iter().map(chain_name).collect();
        let stale: BTreeSet<&str> = self
            .rules_of(valid.network())
            .filter_map(Rule::attachment_chain)
            .filter(|chain| !chains.contains(*chain))
            .collect();
        let leads_there = |rule: &&Rule| {
            rule.chain == POSTROUTING
                && rule
                    .attachment_chain()
                    .is_some_and(|chain| stale.contains(chain))
        };
        Removal {
            jumps: self
                .rules
                .iter()
                .filter(leads_there)
                .map(|rule| rule.place.clone())
                .collect(),
            chains: stale.into_iter().map(str::to_owned).collect(),
        }
    }
}

impl Removal {
    pub(crate) fn is_empty(&self) -> bool {
        self.jumps.is_empty() && self.chains.is_empty()
    }
}

/// The one address that a rule is for.
fn source(rule: &Rule) -> Option<IpAddr> {
    rule.source
        .filter(|source| *source == Cidr::host(source.address()))
        .map(Cidr::address)
}

/// The chain of an attachment.
pub(crate) fn chain_name(id: AttachmentId<'_>) -> String {
    let text = format!("{}{}", id.network, id.container_id);
    format!("{CHAIN_PREFIX}{}", sha512_hex(text, CHAIN_DIGITS))
}

/// The portmap plugin's chains begin with the same letters.
fn is_chain_name(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix(CHAIN_PREFIX)
        .is_some_and(|digits| digits.len() == CHAIN_DIGITS && digits.bytes().all(is_digit))
}

/// Returns what all rules of an attachment say about it: the reference's text, which cuts an id
/// that is too long, as nothing reads it again. The network's name is what GC knows the rules by,
/// so it is never cut: one that is too long is hashed. No name begins with `#`.
pub(crate) fn comment(id: AttachmentId<'_>) -> String {
    let [plain, hashed] = comment_prefixes(id.network);
    let prefix = if plain.len() < MAX_COMMENT {
        plain
    } else {
        hashed
    };
    let comment = format!("{prefix}{}\"", id.container_id);
    comment.chars().take(MAX_COMMENT).collect()
}

/// Returns what the comments of a network's rules begin with: with its name, or with its hash.
fn comment_prefixes(network: &str) -> [String; 2] {
    [
        format!("name: \"{network}\" id: \""),
        format!("name: \"#{}\" id: \"", sha512_hex(network, 32)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: AttachmentId<'_> = AttachmentId {
        network: "net",
        container_id: "a",
        if_name: "eth0",
    };
    /// `printf neta | sha512sum | cut -c-24`
    const CHAIN: &str = "CNI-c3a99edf74e2fcceab44dece";

    fn jump(handle: u64, source: &str, id: AttachmentId<'_>) -> Rule {
        Rule {
            place: Place::Handle(handle),
            chain: POSTROUTING.to_owned(),
            source: source.parse().ok(),
            destination: None,
            comment: comment(id),
            action: Action::Jump(chain_name(id)),
        }
    }

    fn inside(action: Action, destination: &str) -> Rule {
        let chain = CHAIN.to_owned();
        Rule {
            chain,
            source: None,
            destination: destination.parse().ok(),
            action,
            ..jump(9, "", ID)
        }
    }

    fn nat(rules: Vec<Rule>) -> Nat {
        Nat {
            chains: BTreeSet::from([CHAIN.to_owned()]),
            rules,
        }
    }

    #[test]
    fn chain_and_comment_are_the_references() {
        assert_eq!(chain_name(ID), CHAIN);
        assert_eq!(comment(ID), "name: \"net\" id: \"a\"");
        let long = AttachmentId {
            container_id: &"c".repeat(250),
            ..ID
        };
        assert_eq!(comment(long).len(), 255);
    }

    #[test]
    fn rules_of_names_too_long_for_a_comment_are_found_again() {
        let (long, longer) = ("c".repeat(250), "n".repeat(250));
        for owner in [
            AttachmentId {
                container_id: &long,
                ..ID
            },
            AttachmentId {
                network: &longer,
                ..ID
            },
        ] {
            assert!(comment(owner).len() <= MAX_COMMENT);
            let nat = nat(vec![jump(1, "10.1.0.2/32", owner)]);
            let only = |network, ids: &[&str]| {
                let names = ids.iter().map(|id| (*id, "eth0"));
                ValidAttachments::Only(AttachmentList::new(network, names))
            };
            let none = only(owner.network, &[]);
            assert_eq!(nat.stale(&none).chains, [chain_name(owner)]);
            assert!(nat.stale(&only("other", &[])).is_empty());
            let valid = only(owner.network, &[owner.container_id]);
            assert!(nat.stale(&valid).is_empty());
        }
    }

    #[test]
    fn the_chain_goes_with_the_last_address_that_leads_there() {
        let nat = nat(vec![jump(1, "10.1.0.2/32", ID), jump(2, "10.1.0.3/32", ID)]);
        let first = nat.removal(CHAIN, &|address| address.to_string() == "10.1.0.2");
        assert_eq!(
            first,
            Removal {
                jumps: vec![Place::Handle(1)],
                chains: vec![]
            }
        );
        let all = nat.removal(CHAIN, &|_| true);
        assert_eq!((all.jumps.len(), all.chains), (2, vec![CHAIN.to_owned()]));
    }

    #[test]
    fn a_chain_that_nothing_leads_to_goes() {
        let all = nat(vec![inside(Action::Masquerade, "")]).removal(CHAIN, &|_| false);
        assert_eq!(
            all,
            Removal {
                jumps: vec![],
                chains: vec![CHAIN.to_owned()]
            }
        );
    }

    #[test]
    fn an_address_is_masqueraded_by_all_three_rules_together() {
        let address: Cidr = "10.1.0.2/24".parse().unwrap();
        let rules = vec![
            jump(1, "10.1.0.2/32", ID),
            inside(Action::Accept, "10.1.0.0/24"),
            inside(Action::Masquerade, ""),
        ];
        assert!(nat(rules.clone()).masquerades(CHAIN, address));
        for missing in 0..rules.len() {
            let mut rules = rules.clone();
            rules.remove(missing);
            assert!(
                !nat(rules).masquerades(CHAIN, address),
                "without rule {missing}"
            );
        }
    }

    #[test]
    fn only_rules_of_the_network_whose_container_is_not_valid_are_stale() {
        let b = AttachmentId {
            container_id: "b",
            ..ID
        };
        let elsewhere = AttachmentId {
            network: "net2",
            ..ID
        };
        let mut portmap = jump(4, "10.1.0.9/32", ID);
        portmap.action = Action::Jump("CNI-DN-c3a99edf74e2fcceab44d".to_owned());
        let nat = nat(vec![
            jump(1, "10.1.0.2/32", ID),
            jump(2, "10.1.0.3/32", b),
            jump(3, "10.1.0.4/32", elsewhere),
            portmap,
        ]);
        let valid = |ids: &[&str]| {
            let names = ids.iter().map(|id| (*id, "eth0"));
            ValidAttachments::Only(AttachmentList::new("net", names))
        };
        let stale = nat.stale(&valid(&["b"]));
        assert_eq!(
            stale,
            Removal {
                jumps: vec![Place::Handle(1)],
                chains: vec![CHAIN.to_owned()]
            }
        );
        assert_eq!(nat.stale(&valid(&[])).chains.len(), 2);
        let list = AttachmentList::new("net", [("b", "eth0")]);
        let found = nat.masqueraded(&list);
        assert_eq!(found.stale, BTreeSet::from(["10.1.0.2".parse().unwrap()]));
        assert_eq!(found.valid, BTreeSet::from(["10.1.0.3".parse().unwrap()]));
        assert_eq!(found.known, BTreeSet::from([b]));
        // The chain leads from an address of either interface, or of both.
        let list = AttachmentList::new("net", [("b", "eth0"), ("b", "eth1")]);
        let found = nat.masqueraded(&list);
        assert_eq!((found.valid.len(), found.known.len()), (1, 0));
        assert!(nat.stale(&ValidAttachments::Unknown).is_empty());
    }
}
