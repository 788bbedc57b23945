//! A page of docs/ and what was seen of its errors.

use std::path::PathBuf;
use testkit::{Invocation, fail};

/// A file of the repository.
pub(crate) fn text(file: &str) -> String {
    std::fs::read_to_string(path_of(file)).unwrap()
}

/// The path of a page.
pub(crate) fn path_of(file: &str) -> PathBuf {
    tests::workspace(file)
}

/// A text of a table's first column. `…` stands for anything.
struct Phrase {
    template: String,
    code: u32,
    seen: bool,
}

impl Phrase {
    fn fits(&self, msg: &str) -> bool {
        let mut parts = self.template.split('…');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = msg.strip_prefix(first) else {
            return false;
        };
        parts.all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    }

    /// The number of characters that are not `…`.
    fn weight(&self) -> usize {
        self.template.replace('…', "").len()
    }
}

/// The phrases of a part of a page, and those that hold for every plugin.
pub(crate) struct Page {
    file: &'static str,
    own: Vec<Phrase>,
    general: Vec<Phrase>,
}

impl Page {
    /// The part of the page that begins with a text and ends before one of others.
    pub(crate) fn of(file: &'static str, begin: &str, ends: &[&str]) -> Self {
        let own = phrases(file, begin, ends);
        assert!(!own.is_empty(), "{file} has no table of errors");
        let general = if file == "errors.md" {
            Vec::new()
        } else {
            phrases("errors.md", "## Errors", &[])
        };
        Self { file, own, general }
    }

    /// The request fails, and its error is on the page with its code: the phrase that fits best has
    /// it.
    #[track_caller]
    pub(crate) fn sees(&mut self, request: Invocation<'_>) {
        let error = request.run().error();
        let phrases = self.own.iter_mut().chain(&mut self.general);
        let best = phrases
            .filter(|phrase| phrase.fits(&error.msg))
            .max_by_key(|phrase| phrase.weight());
        match best {
            Some(phrase) if phrase.code == error.code.0 => phrase.seen = true,
            Some(phrase) => fail(format_args!(
                "{}: {:?} has code {}, and the page says {} of `{}`",
                self.file, error.msg, error.code.0, phrase.code, phrase.template
            )),
            None => fail(format_args!(
                "{} lacks {:?}, code {}",
                self.file, error.msg, error.code.0
            )),
        }
    }

    /// Every phrase was seen, but for those that begin with one of these; and those were not.
    #[track_caller]
    pub(crate) fn require_all_seen(&self, but: &[&str]) {
        for phrase in &self.own {
            let excused = but.iter().any(|begin| phrase.template.starts_with(begin));
            match (phrase.seen, excused) {
                (false, false) => fail(format_args!(
                    "{}: `{}` was not seen",
                    self.file, phrase.template
                )),
                (true, true) => fail(format_args!(
                    "{}: `{}` was seen after all",
                    self.file, phrase.template
                )),
                _ => {}
            }
        }
        let is_there = |begin: &&&str| {
            self.own
                .iter()
                .any(|phrase| phrase.template.starts_with(**begin))
        };
        if let Some(begin) = but.iter().find(|begin| !is_there(begin)) {
            fail(format_args!(
                "{} has nothing that begins with {begin:?}",
                self.file
            ));
        }
    }
}

fn phrases(file: &str, begin: &str, ends: &[&str]) -> Vec<Phrase> {
    let text = text(&format!("docs/{file}"));
    let from = text.find(begin).unwrap_or(text.len());
    let part = text.get(from..).unwrap_or_default();
    let to = ends
        .iter()
        .filter_map(|end| part.find(end))
        .min()
        .unwrap_or(part.len());
    part.get(..to)
        .unwrap_or_default()
        .lines()
        .flat_map(phrases_of_row)
        .collect()
}

/// `| `one`, `another` | 7 | what to do |`
fn phrases_of_row(row: &str) -> Vec<Phrase> {
    let mut cells = row.split(" | ");
    let (Some(texts), Some(Ok(code))) = (cells.next(), cells.next().map(str::parse)) else {
        return Vec::new();
    };
    let templates = texts.split('`').skip(1).step_by(2);
    templates
        .map(|template| Phrase {
            template: template.to_owned(),
            code,
            seen: false,
        })
        .collect()
}
