//! Texts of limited length.

/// Returns the start of a text, of at most `max` bytes and ending between characters.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= max).last().unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
