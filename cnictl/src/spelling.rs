//! The known word that was probably meant.

/// The nearest of `known` to `word`, if it is near: case does not count, and a third of the letters
/// may be wrong.
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

/// How many letters must be added, taken away, replaced, or exchanged with their neighbour (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| {
        text.to_lowercase()
            .chars()
            .filter(|c| !matches!(c, '_' | '-'))
            .collect::<Vec<_>>()
    };
    let (a, b) = (letters(a), letters(b));
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = at(&last, j) + usize::from(x != y);
            let mut best = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let neighbours = i.checked_sub(1).zip(j.checked_sub(1));
            if neighbours.is_some_and(|(i, j)| a.get(i) == Some(y) && b.get(j) == Some(x)) {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
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
