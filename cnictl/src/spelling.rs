//! Suggestions for misspelt words.

/// Returns the nearest of `known` to `word`, if one is near enough: case does not count, and a
/// third of the letters may be wrong.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let with_distance = known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate));
    with_distance
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Returns the number of letters that must be inserted, removed, replaced, or exchanged with their
/// neighbour to get from one word to the other. Neither case nor `_` and `-` count.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    strsim::osa_distance(&letters(a), &letters(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = [
            "isGateway",
            "isDefaultGateway",
            "ipMasq",
            "mtu",
            "hairpinMode",
            "dataDir",
        ];
        for (word, wanted) in [
            ("isGatway", Some("isGateway")),
            ("is_gateway", Some("isGateway")),
            ("ipMsaq", Some("ipMasq")),
            ("ipMasquerade", None),
            ("hairpin", None),
            ("hairpinMod", Some("hairpinMode")),
            ("mut", Some("mtu")),
            ("datadirs", Some("dataDir")),
            ("comment", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), wanted, "{word}");
        }
    }
}
