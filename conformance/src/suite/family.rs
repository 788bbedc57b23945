//! The cases, one module a family. A family is a list of [`Case`]s; what is listed here is run.

mod chains;
mod concurrency;
mod delegation;
mod faults;
mod gc_status;
mod lifecycle;
mod protocol;
mod security;

use super::case::{Case, Clause};
use std::sync::OnceLock;

/// Clauses that cases of several families rest on.
const ADD_ATTACHES: Clause = Clause::new(
    "2 ADD",
    "upon ADD the plugin creates the container's interface, or adjusts its configuration",
);
const USABLE_IFNAME: Clause = Clause::new(
    "2 Parameters",
    "a plugin that cannot use the name in CNI_IFNAME returns an error",
);

/// All families with what they are about, in the order of the report.
pub const FAMILIES: &[(&str, &str)] = &[
    (
        "protocol",
        "environment, stdin, documents, exit status, error codes, versions",
    ),
    ("lifecycle", "what ADD makes, CHECK sees and DEL leaves"),
    ("security", "hostile names and documents, advisories"),
    (
        "delegation",
        "what an IPAM plugin gets, and what becomes of its answers",
    ),
    ("chains", "several plugins in one network"),
    ("gc_status", "what GC frees and keeps, and what STATUS says"),
    ("concurrency", "many containers at once"),
    (
        "faults",
        "plugins that are killed, closed streams, disks without room",
    ),
];

/// All cases, by family and in the order in which they are written.
#[must_use]
pub fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        [
            protocol::cases(),
            lifecycle::cases(),
            security::cases(),
            delegation::cases(),
            chains::cases(),
            gc_status::cases(),
            concurrency::cases(),
            faults::cases(),
        ]
        .concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_id_is_of_its_family_and_there_once() {
        let mut seen = BTreeSet::new();
        for case in cases() {
            let (family, name) = case.id.split_once('/').unwrap();
            assert!(
                FAMILIES.iter().any(|(known, _)| *known == family),
                "{}",
                case.id
            );
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
            assert!(seen.insert(case.id), "{} is there twice", case.id);
        }
    }

    #[test]
    fn cases_are_listed_by_family() {
        let mut order: Vec<&str> = cases().iter().map(Case::family).collect();
        order.dedup();
        assert_eq!(
            order,
            FAMILIES
                .iter()
                .map(|(family, _)| *family)
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn every_case_names_a_fault_and_each_fault_has_its_own_name() {
        for case in cases() {
            assert!(!case.faults.is_empty(), "{} names no fault", case.id);
            let names: BTreeSet<_> = case.faults.iter().map(|fault| fault.name).collect();
            assert_eq!(names.len(), case.faults.len(), "{}", case.id);
        }
    }
}
