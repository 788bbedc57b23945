//! The lines on which a configuration's keys stand. Several plugins may have the same key, so a key
//! is found by its path.

/// The path of a value in a document, for programs and for people.
#[derive(Clone, Debug)]
pub(super) struct KeyPath {
    /// The keys and indices, for instance `/plugins/0/ipam/subnet`.
    pointer: String,
    /// The path for people, for instance `bridge.ipam.ranges[0]`.
    shown: String,
}

impl KeyPath {
    /// Returns the path of the value at `pointer`, which people see as `shown`.
    pub(super) fn new(pointer: String, shown: &str) -> Self {
        Self {
            pointer,
            shown: shown.to_owned(),
        }
    }

    /// Returns the path of a key's value.
    pub(super) fn key(&self, key: &str) -> Self {
        let dot = if self.shown.is_empty() { "" } else { "." };
        Self {
            pointer: format!("{}/{key}", self.pointer),
            shown: format!("{}{dot}{key}", self.shown),
        }
    }

    /// Returns the path of a list's entry.
    pub(super) fn entry(&self, index: usize) -> Self {
        Self {
            pointer: format!("{}/{index}", self.pointer),
            shown: format!("{}[{index}]", self.shown),
        }
    }

    /// Returns the pointer without the indices at its end, so that it ends in a key: only keys have
    /// lines.
    fn key_pointer(&self) -> &str {
        let mut pointer = self.pointer.as_str();
        while let Some((above, last)) = pointer.rsplit_once('/') {
            if last.is_empty() || last.contains(|symbol: char| !symbol.is_ascii_digit()) {
                break;
            }
            pointer = above;
        }
        pointer
    }

    /// Returns the path for people.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

/// The keys of a document and their lines, in the order of the document.
pub(super) struct Lines(Vec<(String, usize)>);

/// An object or list around a position in the document.
enum Level {
    /// An object, with the key that was read last.
    Object(String),
    /// A list, with the index of the next entry.
    List(usize),
}

impl Lines {
    /// Reads the keys of a document that is known to be JSON; of other text it may miss some.
    pub(super) fn of(text: &str) -> Self {
        let mut keys = Vec::new();
        let mut levels = Vec::new();
        let mut line = 1;
        let mut is_key = false;
        let mut rest = text.char_indices();
        while let Some((at, symbol)) = rest.next() {
            match symbol {
                '\n' => line += 1,
                '{' => levels.push(Level::Object(String::new())),
                '[' => levels.push(Level::List(0)),
                '}' | ']' => drop(levels.pop()),
                ',' => {
                    if let Some(Level::List(index)) = levels.last_mut() {
                        *index += 1;
                    }
                }
                '"' => {
                    let end = end_of_string(&mut rest);
                    if let (true, Some(Level::Object(key))) = (is_key, levels.last_mut()) {
                        *key = end
                            .and_then(|end| text.get(at..=end))
                            .and_then(|word| serde_json::from_str(word).ok())
                            .unwrap_or_default();
                        keys.push((pointer(&levels), line));
                    }
                }
                _ => {}
            }
            // A key follows an opening brace, or a comma in an object.
            is_key = match symbol {
                '{' => true,
                ',' => matches!(levels.last(), Some(Level::Object(_))),
                symbol => is_key && symbol.is_whitespace(),
            };
        }
        Self(keys)
    }

    /// Returns the lines of the path's last key, counted from 1; several if the key is duplicate.
    /// Ignores case, as the JSON library of Go does.
    pub(super) fn of_key(&self, path: &KeyPath) -> impl DoubleEndedIterator<Item = usize> {
        let wanted = path.key_pointer();
        self.0
            .iter()
            .filter(move |(pointer, _)| pointer.eq_ignore_ascii_case(wanted))
            .map(|(_, line)| *line)
    }
}

/// Returns the position of the quotation mark that ends a string; `None` if the text ends before.
fn end_of_string(rest: &mut std::str::CharIndices<'_>) -> Option<usize> {
    let mut is_escaped = false;
    for (at, symbol) in rest {
        match symbol {
            '"' if !is_escaped => return Some(at),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

/// Returns the pointer to the position inside `levels`.
fn pointer(levels: &[Level]) -> String {
    let part = |level: &Level| match level {
        Level::Object(key) => format!("/{key}"),
        Level::List(index) => format!("/{index}"),
    };
    levels.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "a\"b": {"x": "{[,\\"},
  "list": [
    {"x": 1},
    ["y", {"x": [],
           "X": 2}]
  ], "end": null
}"#;

    #[test]
    fn a_key_is_found_by_its_path() {
        let lines = Lines::of(TEXT);
        let found = |pointer: &str| {
            lines
                .of_key(&KeyPath::new(pointer.to_owned(), ""))
                .collect::<Vec<_>>()
        };
        for (pointer, wanted) in [
            ("/a\"b", vec![2]),
            ("/a\"b/x", vec![2]),
            ("/list", vec![3]),
            ("/list/0/x", vec![4]),
            ("/list/1/1/x", vec![5, 6]),
            ("/end", vec![7]),
            ("/list/0", vec![3]),
            ("/list/1/1", vec![3]),
            ("/x", vec![]),
        ] {
            assert_eq!(found(pointer), wanted, "{pointer}");
        }
    }

    #[test]
    fn a_text_that_ends_in_a_string_is_read_to_its_end() {
        assert_eq!(Lines::of("{\"a").0.len(), 1);
    }
}
