//! Patterns for names of cases and for lines of a state: `*` is any text.

/// Returns true if the whole of `text` fits the pattern, in which `*` stands for any text.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return text.ends_with(piece);
        }
        let Some((_, after)) = text.split_once(piece) else {
            return false;
        };
        text = after;
    }
    true
}

/// As [`matches`]; a pattern without `*` fits wherever it occurs.
pub(super) fn occurs(pattern: &str, text: &str) -> bool {
    if pattern.contains('*') {
        matches(pattern, text)
    } else {
        text.contains(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("a*", "a"),
            ("a*c", "abc"),
            ("*b*", "abc"),
            ("a*b*c", "a-b-b-c"),
            ("*bc", "abcbc"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "ab"),
            ("a*c", "ab"),
            ("a*a", "a"),
            ("*b*c", "acb"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn without_a_star_a_part_is_enough() {
        assert!(occurs("del-twice", "bridge:lifecycle/del-twice@1.0.0"));
        assert!(!occurs("del-*", "bridge:lifecycle/del-twice@1.0.0"));
        assert!(occurs("*del-twice@1.*", "bridge:lifecycle/del-twice@1.0.0"));
    }
}
