//! The names of our own files beside the folders of the networks.
//!
//! All begin with a dot, as no network's name does. A file name has at most 255 bytes, and a
//! network may use them all (only the file system limits it): of a name that does not fit, a hash
//! stands in for the end. `~` cannot occur in a network's name, so no other network has that name.

use super::table::hash;
use std::ffi::OsString;

/// The longest file name of Linux, in bytes (NAME_MAX in linux/limits.h).
const NAME_MAX: usize = 255;

/// The part of a too long name that stays readable, in bytes.
const READABLE: usize = 200;

/// The folder of the indexes, in the data directory.
pub(super) const INDEXES: &str = ".index";

/// The folder of the origin tables, in the data directory.
pub(super) const ORIGINS: &str = ".origin";

/// A record in the making, in the network's own folder. The reference takes a file there for a
/// record only if its name is an address.
pub(super) const STAGED_INSIDE: &str = ".new";

/// A record in the making, in the data directory.
pub(super) fn staged(network: &str) -> OsString {
    beside(network, ".new")
}

/// An index, or an origin table, in the making, in the folder of those.
pub(super) fn unfinished(network: &str) -> OsString {
    beside(network, "")
}

fn beside(network: &str, suffix: &str) -> OsString {
    let whole = format!(".{network}{suffix}");
    if whole.len() <= NAME_MAX {
        return whole.into();
    }
    let readable: String = network.chars().take(READABLE).collect();
    format!(".{readable}~{:016x}{suffix}", hash(network.as_bytes())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_derived_from_a_network_s_fits_if_the_network_s_does() {
        assert_eq!(
            (staged("n"), unfinished("n")),
            (".n.new".into(), ".n".into())
        );
        for len in 1..=NAME_MAX {
            let network = "n".repeat(len);
            for name in [staged(&network), unfinished(&network)] {
                assert!(name.len() <= NAME_MAX, "{len}: {name:?}");
            }
        }
        let [a, b] = ["a", "b"].map(|end| format!("{}{end}", "n".repeat(NAME_MAX - 1)));
        assert_ne!(staged(&a), staged(&b));
        assert_ne!(unfinished(&a), staged(&a));
    }
}
