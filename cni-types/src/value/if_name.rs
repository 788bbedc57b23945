//! Names of network interfaces, under the kernel's rule (`dev_valid_name` in net/core/dev.c).

use crate::error::{Code, Error};
use std::{borrow::Cow, fmt};

/// The longest name that the kernel accepts, in bytes (`IFNAMSIZ` minus the terminating NUL).
const MAX_LEN: usize = 15;

/// The name of a network interface: 1 to 15 bytes, no `/`, `:`, white space or control characters,
/// not `.` or `..`. It is safe as a part of a path below `/proc/sys/net`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName(Cow<'static, str>);

impl IfName {
    /// The name that the kernel gives to the loopback interface of every namespace.
    pub const LO: Self = Self(Cow::Borrowed("lo"));

    /// Checks `text` against the kernel's rule.
    ///
    /// # Errors
    /// Fails with code 4 and the reference's texts.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |msg: &str| Err(Error::new(Code::INVALID_ENVIRONMENT, msg));
        if text.is_empty() {
            return refuse("interface name is empty");
        }
        if text.len() > MAX_LEN {
            return refuse("interface name is too long")
                .map_err(|e| e.with_details("interface name should be less than 16 characters"));
        }
        if text == "." || text == ".." {
            return refuse("interface name is . or ..");
        }
        if text.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace()) {
            return refuse("interface name contains / or : or whitespace characters");
        }
        // The kernel accepts control characters, but a terminal would interpret them. U+FFFD stands
        // for bytes that are not UTF-8.
        if text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
            return refuse("interface name contains control characters or invalid UTF-8");
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }

    /// Takes the name of a link in the kernel, which the kernel has checked. Returns `None` only
    /// for an empty name, which no link has.
    ///
    /// Another program's link may have a name that [`Self::parse`] refuses: with control
    /// characters, or not in UTF-8, in which case invalid bytes are U+FFFD here. Neither can be
    /// confused with a parsed name.
    #[must_use]
    pub fn from_kernel(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self(Cow::Owned(name.to_owned())))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for IfName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for IfName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<IfName> for str {
    fn eq(&self, other: &IfName) -> bool {
        self == other.as_str()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_kernel_would_refuse_is_refused() {
        for (name, msg) in [
            ("", "interface name is empty"),
            (".", "interface name is . or .."),
            ("..", "interface name is . or .."),
            (
                "a/b",
                "interface name contains / or : or whitespace characters",
            ),
            (
                "a:b",
                "interface name contains / or : or whitespace characters",
            ),
            (
                "a b",
                "interface name contains / or : or whitespace characters",
            ),
            (
                "a\u{1b}[2J",
                "interface name contains control characters or invalid UTF-8",
            ),
            (
                "a\u{7f}",
                "interface name contains control characters or invalid UTF-8",
            ),
            (
                "a\u{9b}b",
                "interface name contains control characters or invalid UTF-8",
            ),
            (
                "a\u{fffd}",
                "interface name contains control characters or invalid UTF-8",
            ),
            ("abcdefghijklmnop", "interface name is too long"),
        ] {
            let error = IfName::parse(name).unwrap_err();
            assert_eq!(
                (error.code, error.msg.as_str()),
                (Code::INVALID_ENVIRONMENT, msg),
                "{name:?}"
            );
        }
        for name in ["abcdefghijklmno", "a\"b", "{a;#}", "été0"] {
            assert!(IfName::parse(name).is_ok(), "{name}");
        }
    }
}
