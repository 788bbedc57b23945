//! `CNI_ARGS`: `KEY=value` pairs separated by semicolons (CONVENTIONS.md, "CNI_ARGS").

use crate::error::{Code, Error};

/// The key that lets unknown keys pass. Kubernetes' runtimes always send `IgnoreUnknown=1`.
const IGNORE_UNKNOWN: &str = "IgnoreUnknown";

/// The pairs of `CNI_ARGS`. Keys are case-sensitive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniArgs(Vec<(String, String)>);

impl CniArgs {
    /// Reads the variable's value; empty text holds no pairs.
    ///
    /// # Errors
    /// Fails with code 4 and the reference's text for a pair that is not `KEY=value`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let pair = |pair: &str| match pair.split_once('=') {
            Some((key, value)) if !value.contains('=') => Ok((key.to_owned(), value.to_owned())),
            _ => Err(invalid(format!("ARGS: invalid pair {pair:?}"))),
        };
        text.split(';')
            .map(pair)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns the value of `key`, the last one if the key is repeated, or `None`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// Refuses keys that are not in `known`, unless `IgnoreUnknown` is true. The same variable
    /// reaches a plugin and its delegates, so a key known to only one of them needs
    /// `IgnoreUnknown=1`.
    ///
    /// # Errors
    /// Fails with code 4 and the reference's text, naming the unknown pairs.
    pub fn require_known(&self, known: &[&str]) -> Result<(), Error> {
        let ignore = match self
            .value(IGNORE_UNKNOWN)
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            Some("1" | "true") => true,
            None | Some("0" | "false") => false,
            Some(other) => {
                return Err(invalid(format!(
                    "ARGS: error parsing value of pair \"{IGNORE_UNKNOWN}={other}\": boolean unmarshal error: \
                     invalid input {other}"
                )));
            }
        };
        let is_known = |key: &str| key == IGNORE_UNKNOWN || known.contains(&key);
        let unknown: Vec<String> = self
            .0
            .iter()
            .filter(|(k, _)| !is_known(k))
            .map(|(k, v)| format!("{:?}", format!("{k}={v}")))
            .collect();
        if ignore || unknown.is_empty() {
            return Ok(());
        }
        Err(invalid(format!("ARGS: unknown args [{}]", unknown.join(" "))).with_details(
            "CNI_ARGS has keys that this plugin does not know; add IgnoreUnknown=1 to let them pass",
        ))
    }
}

fn invalid(msg: String) -> Error {
    Error::new(Code::INVALID_ENVIRONMENT, msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(text: &str) -> Result<(), Error> {
        CniArgs::parse(text)?.require_known(&["MAC"])
    }

    #[test]
    fn unknown_keys_are_refused_unless_ignored() {
        assert_eq!(
            unknown("FOO=bar").unwrap_err().msg,
            r#"ARGS: unknown args ["FOO=bar"]"#
        );
        assert_eq!(
            unknown("A=b;MAC=x;C=d").unwrap_err().msg,
            r#"ARGS: unknown args ["A=b" "C=d"]"#
        );
        for ok in [
            "",
            "MAC=x",
            "IgnoreUnknown=1;FOO=bar",
            "FOO=bar;IgnoreUnknown=true",
            "IgnoreUnknown=TRUE;F=b",
        ] {
            assert_eq!(unknown(ok), Ok(()), "{ok}");
        }
        assert!(unknown("IgnoreUnknown=0;FOO=bar").is_err());
        assert!(
            unknown("IgnoreUnknown=maybe")
                .unwrap_err()
                .msg
                .contains("invalid input maybe")
        );
    }

    #[test]
    fn keys_are_case_sensitive() {
        assert_eq!(
            unknown("mac=x").unwrap_err().msg,
            r#"ARGS: unknown args ["mac=x"]"#
        );
    }

    #[test]
    fn a_pair_without_exactly_one_equals_sign_is_refused() {
        assert_eq!(
            unknown("FOO").unwrap_err().msg,
            r#"ARGS: invalid pair "FOO""#
        );
        assert_eq!(
            unknown("A=b=c").unwrap_err().msg,
            r#"ARGS: invalid pair "A=b=c""#
        );
        assert_eq!(unknown("A=b;").unwrap_err().msg, r#"ARGS: invalid pair """#);
    }
}
