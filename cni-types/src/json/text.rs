//! The text of a checked document, read without copying: a value is the slice that contains it.
//!
//! Reading cannot fail on text that `check` accepted; on any other text it finds fewer values, and
//! never panics.

use std::borrow::Cow;

/// A value: its text, without surrounding white space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a>(&'a [u8]);

/// A value by its type.
pub(super) enum Shape<'a> {
    Null,
    Bool(bool),
    /// The number as it is written.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Elements<'a>),
    Object(Members<'a>),
}

impl<'a> Value<'a> {
    /// Returns the only value of a document.
    pub(super) fn of_document(text: &'a [u8]) -> Self {
        Self(text.trim_ascii())
    }

    pub(super) fn text(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_string(self) -> bool {
        self.0.first() == Some(&b'"')
    }

    pub(super) fn is_null(self) -> bool {
        self.0.first() == Some(&b'n')
    }

    pub(super) fn shape(self) -> Shape<'a> {
        match self.0 {
            [b'{', members @ .., b'}'] => Shape::Object(Members(Values(members))),
            [b'[', elements @ .., b']'] => Shape::Array(Elements(Values(elements))),
            [b'"', quoted @ .., b'"'] => Shape::String(unquoted(quoted)),
            [b't', ..] => Shape::Bool(true),
            [b'f', ..] => Shape::Bool(false),
            [b'n', ..] => Shape::Null,
            number => Shape::Number(str::from_utf8(number).unwrap_or_default()),
        }
    }
}

/// The values of an array.
#[derive(Clone, Debug)]
pub(super) struct Elements<'a>(Values<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.0.next()
    }
}

/// The keys and values of an object, in order, including duplicates.
#[derive(Clone, Debug)]
pub(super) struct Members<'a>(Values<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let Shape::String(key) = self.0.next()?.shape() else {
            return None;
        };
        Some((key, self.0.next()?))
    }
}

/// The inside of an array or an object: values separated by commas, colons and white space.
#[derive(Clone, Debug)]
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let is_between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':');
        let start = self.0.iter().position(|byte| !is_between(byte))?;
        let (_, text) = self.0.split_at_checked(start)?;
        let (value, rest) = text.split_at_checked(length_of_value(text))?;
        self.0 = rest;
        Some(Value(value))
    }
}

/// Returns the length of the value at the start of `text`.
fn length_of_value(text: &[u8]) -> usize {
    let is_end = |byte: &u8| {
        matches!(
            byte,
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}'
        )
    };
    match text.first() {
        Some(b'"') => length_of_string(text),
        Some(b'{' | b'[') => length_of_container(text),
        _ => text.iter().position(is_end).unwrap_or(text.len()).max(1),
    }
}

fn length_of_string(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn length_of_container(text: &[u8]) -> usize {
    let mut at = 0;
    let mut depth = 0_usize;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at += length_of_string(text.get(at..).unwrap_or_default());
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Unescapes a string. As in Go, each byte that is not UTF-8 and each half of a surrogate pair
/// become U+FFFD.
fn unquoted(quoted: &[u8]) -> Cow<'_, str> {
    if !quoted.contains(&b'\\')
        && let Ok(text) = str::from_utf8(quoted)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted;
    loop {
        let (plain, escape) = rest.split_at(
            rest.iter()
                .position(|byte| *byte == b'\\')
                .unwrap_or(rest.len()),
        );
        push_plain(&mut text, plain);
        rest = match escape {
            [_, b'u', rest @ ..] => push_code_unit(&mut text, rest),
            [_, escaped, rest @ ..] => {
                text.push(unescaped(*escaped));
                rest
            }
            _ => return Cow::Owned(text),
        };
    }
}

fn push_plain(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|_| text.push(char::REPLACEMENT_CHARACTER));
    }
}

fn unescaped(code: u8) -> char {
    match code {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        itself => char::from(itself),
    }
}

/// Pushes the character of the `\u` escape whose digits `rest` begins with; returns the text behind
/// it, or behind the second half of a surrogate pair.
fn push_code_unit<'a>(text: &mut String, rest: &'a [u8]) -> &'a [u8] {
    let (unit, rest) = code_unit(rest);
    let second = rest.strip_prefix(b"\\u").map(code_unit);
    if let Some((second, after)) = second
        && let Some(Ok(pair)) = char::decode_utf16([unit, second]).next()
        && char::from_u32(unit.into()).is_none()
    {
        text.push(pair);
        return after;
    }
    text.push(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
    rest
}

#[expect(
    clippy::expect_used,
    reason = "the text is checked: four hexadecimal digits follow"
)]
fn code_unit(text: &[u8]) -> (u16, &[u8]) {
    let (digits, rest) = text.split_at(text.len().min(4));
    let digits = str::from_utf8(digits).ok();
    let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    (unit.expect("four digits of a checked text"), rest)
}
