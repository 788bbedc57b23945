//! Checks that bytes are one JSON document (RFC 8259). Accepts what Go's encoding/json accepts, and
//! refuses the rest with Go's texts: invalid UTF-8, halves of surrogate pairs and numbers of any
//! size are valid syntax. Does not recurse: a level of nesting costs one byte.

use super::DecodeError;

/// The deepest nesting that Go's encoding/json accepts.
const MAX_DEPTH: usize = 10_000;

/// Checks that `bytes` are one JSON document.
pub(super) fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut checker = Checker {
        bytes,
        at: 0,
        open: Vec::new(),
    };
    let mut next = Next::Value;
    loop {
        checker.skip_space();
        next = match next {
            Next::Value => checker.value()?,
            Next::Separator => checker.separator()?,
            Next::Nothing => return Ok(()),
        };
    }
}

/// The next token in a valid document.
enum Next {
    Value,
    /// A comma, or the end of the innermost array or object, or of the document.
    Separator,
    Nothing,
}

struct Checker<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The closing brackets of the arrays and objects around the current position, innermost last.
    open: Vec<u8>,
}

impl Checker<'_> {
    fn value(&mut self) -> Result<Next, DecodeError> {
        match self.peek() {
            Some(b'{') => return self.open(b'}'),
            Some(b'[') => return self.open(b']'),
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return Err(self.unexpected("looking for beginning of value")),
        }
        Ok(Next::Separator)
    }

    /// Enters an array or an object.
    fn open(&mut self, closing: u8) -> Result<Next, DecodeError> {
        if self.open.len() == MAX_DEPTH {
            return Err(self.unexpected("exceeded max depth"));
        }
        self.at += 1;
        self.skip_space();
        if self.take(closing) {
            return Ok(Next::Separator);
        }
        self.open.push(closing);
        if closing == b'}' {
            self.key()?;
        }
        Ok(Next::Value)
    }

    fn separator(&mut self) -> Result<Next, DecodeError> {
        let Some(closing) = self.open.last().copied() else {
            return match self.peek() {
                None => Ok(Next::Nothing),
                Some(_) => Err(self.unexpected("after top-level value")),
            };
        };
        if self.take(closing) {
            self.open.pop();
            return Ok(Next::Separator);
        }
        let in_object = closing == b'}';
        if !self.take(b',') {
            return Err(self.unexpected(if in_object {
                "after object key:value pair"
            } else {
                "after array element"
            }));
        }
        if in_object {
            self.key()?;
        }
        Ok(Next::Value)
    }

    fn key(&mut self) -> Result<(), DecodeError> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        self.string()?;
        self.skip_space();
        if self.take(b':') {
            Ok(())
        } else {
            Err(self.unexpected("after object key"))
        }
    }

    fn string(&mut self) -> Result<(), DecodeError> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(b' '..) => self.at += 1,
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), DecodeError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|digit| digit.is_ascii_hexdigit()) {
                        return Err(self.unexpected("in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected("in string escape code")),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), DecodeError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits("in numeric literal")?;
        }
        if self.take(b'.') {
            self.digits("after decimal point in numeric literal")?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self, place: &str) -> Result<(), DecodeError> {
        let start = self.at;
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.unexpected(place))
        } else {
            Ok(())
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), DecodeError> {
        for byte in literal.bytes() {
            if !self.take(byte) {
                let expecting = char::from(byte);
                return Err(
                    self.unexpected(&format!("in literal {literal} (expecting {expecting:?})"))
                );
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Skips `byte` if it comes next; returns true if it did.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_space(&mut self) {
        while self
            .peek()
            .is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        {
            self.at += 1;
        }
    }

    /// Returns the error for an unexpected byte or an unexpected end.
    fn unexpected(&self, place: &str) -> DecodeError {
        let Some(byte) = self.peek() else {
            return DecodeError::new(format!("unexpected end of JSON input{}", self.place()));
        };
        let found = quoted(byte);
        let mark = if self.at == 0 {
            byte_order_mark(self.bytes)
        } else {
            ""
        };
        DecodeError::new(format!(
            "invalid character {found} {place}{}{mark}",
            self.place()
        ))
    }

    fn place(&self) -> String {
        let before = self.bytes.get(..self.at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before
            .iter()
            .rev()
            .take_while(|byte| **byte != b'\n')
            .count()
            + 1;
        format!(" at line {line} column {column}")
    }
}

/// Quotes a byte as Go does: as a character of Latin-1.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' | b'\n' | b'\r' | b'\t' | b' '..=b'~' | 0xa1..=0xac | 0xae.. => {
            format!("{:?}", char::from(byte))
        }
        0x80.. => format!(r"'\u{byte:04x}'"),
        _ => format!(r"'\x{byte:02x}'"),
    }
}

/// Returns a remark for a document that begins with a byte order mark, which RFC 8259, section 8.1,
/// forbids; else empty text.
fn byte_order_mark(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xEF, 0xBB, 0xBF, ..] => {
            ": the document begins with a byte order mark (EF BB BF); save it as UTF-8 without one"
        }
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => {
            ": the document begins with a byte order mark of UTF-16; save it as UTF-8 without one"
        }
        _ => "",
    }
}
