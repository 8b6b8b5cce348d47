//! A TOML document as written: every mistake in it with its key path and line, not only the first.

use std::{fmt, ops::Range, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Something about one key of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The key path, `profile.device.challenge`; empty for the file as a whole.
    pub key: String,
    /// The line of the file, from 1, where it is known. A key that is left out has the line of its section.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), self.line) {
            ("", None) => write!(f, "{}", self.problem),
            ("", Some(line)) => write!(f, "line {line}: {}", self.problem),
            (key, None) => write!(f, "{key}: {}", self.problem),
            (key, Some(line)) => write!(f, "{key} (line {line}): {}", self.problem),
        }
    }
}

/// A configuration file that cannot be used: every mistake in it, and the warnings beside them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// What stops; at least one.
    pub mistakes: Vec<Finding>,
    /// What does not stop.
    pub warnings: Vec<Finding>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used:", self.path.display())?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

/// Where a key and its value stand in the text.
#[derive(Clone, Debug)]
struct Place {
    path: Vec<String>,
    key: Range<usize>,
    value: Range<usize>,
}

/// Where the keys of a document stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    places: Vec<Place>,
    line_starts: Vec<usize>,
}

impl Places {
    fn new(text: &str, document: &DeTable<'_>) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut places = Self { places: Vec::new(), line_starts };
        places.add(&[], document);
        places
    }

    fn add(&mut self, parent: &[String], table: &DeTable<'_>) {
        for (key, value) in table {
            let path = [parent, &[key.get_ref().to_string()]].concat();
            if let DeValue::Table(table) = value.get_ref() {
                self.add(&path, table);
            }
            self.places.push(Place { path, key: key.span(), value: value.span() });
        }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The deepest key whose name or value holds `offset`.
    fn at(&self, offset: usize) -> Option<&Place> {
        let holds = |place: &&Place| place.key.contains(&offset) || place.value.contains(&offset);
        self.places.iter().filter(holds).max_by_key(|place| place.path.len())
    }

    /// What is to be said of `key`: with the line of it, or else of the nearest section around it.
    pub(super) fn finding(&self, key: &str, problem: impl fmt::Display) -> Finding {
        // A value of a list stands where the list does.
        let whole = |key: &str| key.split_once('[').map_or(key, |(list, _)| list).to_owned();
        let line_of = |key: &str| self.places.iter().find(|place| place.path.join(".") == whole(key));
        let mut outwards =
            std::iter::successors(Some(key), |key| key.rsplit_once('.').map(|(outer, _)| outer));
        let line = outwards.find_map(line_of).map(|place| self.line_at(place.key.start));
        Finding { key: key.to_owned(), line, problem: problem.to_string() }
    }

    /// The names directly below `section`, as written.
    pub(super) fn names_in(&self, section: &str) -> impl Iterator<Item = &str> {
        self.places.iter().filter_map(move |place| match place.path.as_slice() {
            [outer, name] if outer == section => Some(name.as_str()),
            _ => None,
        })
    }
}

/// A document and the mistakes found in it so far.
pub(super) struct Document<'i> {
    table: Spanned<DeTable<'i>>,
    pub(super) places: Places,
    pub(super) mistakes: Vec<Finding>,
}

impl<'i> Document<'i> {
    /// Reads `text` as far as it is TOML.
    pub(super) fn parse(text: &'i str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let places = Places::new(text, table.get_ref());
        let mistake = |error: &toml::de::Error| Finding {
            key: String::new(),
            line: error.span().map(|span| places.line_at(span.start)),
            problem: error.message().replace('\n', "; "),
        };
        let mistakes = errors.iter().map(mistake).collect();
        Self { table, places, mistakes }
    }

    /// Takes `key` out of each table of `section`: (name of the table, value).
    pub(super) fn take_from_each(&mut self, section: &str, key: &str) -> Vec<(String, Spanned<DeValue<'i>>)> {
        let mut taken = Vec::new();
        if let Some(DeValue::Table(section)) = self.table.get_mut().get_mut(section).map(Spanned::get_mut) {
            for (name, value) in section.iter_mut() {
                if let DeValue::Table(table) = value.get_mut()
                    && let Some(value) = table.remove(key)
                {
                    taken.push((name.get_ref().to_string(), value));
                }
            }
        }
        taken
    }

    /// Reads the document as a `T`. Each key that does not fit is noted as a mistake and left out, so that the next is found too.
    pub(super) fn read<T: DeserializeOwned + Default>(&mut self) -> T {
        loop {
            let error = match T::deserialize(toml::Deserializer::from(self.table.clone())) {
                Ok(read) => return read,
                Err(error) => error,
            };
            let place = error.span().and_then(|span| self.places.at(span.start)).cloned();
            let mistake = Finding {
                key: place.as_ref().map_or_else(String::new, |place| place.path.join(".")),
                line: error.span().map(|span| self.places.line_at(span.start)),
                problem: in_words(error.message()),
            };
            if !self.is_said(&mistake) {
                self.mistakes.push(mistake);
            }
            if !place.is_some_and(|place| remove(self.table.get_mut(), &place.path)) {
                return T::default();
            }
        }
    }

    /// Whether a key is only missing because it was wrong and left out.
    fn is_said(&self, mistake: &Finding) -> bool {
        self.mistakes.iter().any(|said| {
            let name = said.key.strip_prefix(&mistake.key).and_then(|rest| rest.strip_prefix('.'));
            name.is_some_and(|name| mistake.problem == format!("missing field `{name}`"))
        })
    }
}

/// The reader's words without those of its own language.
fn in_words(message: &str) -> String {
    let message = message.replace("expected a sequence", "expected a list");
    match message.rsplit_once("expected ") {
        Some((before, "u8" | "u16" | "u32" | "u64" | "usize")) => {
            format!("{before}expected a whole number")
        }
        _ => message,
    }
}

/// Removes a key, and a section that has none left: what is not written has its default.
fn remove(table: &mut DeTable<'_>, path: &[String]) -> bool {
    match path {
        [] => false,
        [key] => table.remove(key.as_str()).is_some(),
        [section, rest @ ..] => {
            let Some(DeValue::Table(inner)) = table.get_mut(section.as_str()).map(Spanned::get_mut) else {
                return false;
            };
            let removed = remove(inner, rest);
            if inner.is_empty() {
                table.remove(section.as_str());
            }
            removed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Raw {
        a: Inner,
        named: BTreeMap<String, Inner>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        number: u8,
        flag: bool,
    }

    fn read(text: &str) -> (Raw, Vec<String>) {
        let mut document = Document::parse(text);
        let raw = document.read();
        (raw, document.mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_mistake_is_found_with_its_key_and_line() {
        let (raw, mistakes) =
            read("b = 1\n[a]\nnumber = 300\nflag = 1\n\n[named.x]\nnumbr = 2\nflag = true\n");
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
        for start in
            ["b (line 1): unknown field", "a.number (line 3):", "a.flag (line 4):", "named.x.numbr (line 7):"]
        {
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(start)), "{start} in {mistakes:#?}");
        }
        assert!(raw.named["x"].flag, "what is right is still read");
    }

    #[test]
    fn what_is_expected_is_said_in_words() {
        let (_, mistakes) = read("[a]\nnumber = \"5\"\n");
        assert!(mistakes[0].ends_with("expected a whole number"), "{mistakes:?}");
        assert_eq!(
            in_words("invalid type: string \"x\", expected a sequence"),
            "invalid type: string \"x\", expected a list"
        );
    }

    #[test]
    fn wrong_kind_of_section_is_named() {
        let (_, mistakes) = read("a = 7\n");
        assert!(mistakes[0].starts_with("a (line 1):"), "{mistakes:?}");
    }

    #[test]
    fn syntax_errors_have_their_line() {
        let (_, mistakes) = read("[a]\nnumber = \nflag = tru\n");
        assert!(mistakes[0].starts_with("line 2:"), "{mistakes:?}");
        assert!(mistakes.iter().any(|mistake| mistake.contains("line 3")), "{mistakes:?}");
    }

    #[test]
    fn absent_key_has_the_line_of_its_section() {
        let document = Document::parse("\n[a]\n");
        assert_eq!(
            document.places.finding("a.number", "is missing").to_string(),
            "a.number (line 2): is missing"
        );
        assert_eq!(document.places.finding("z", "is missing").to_string(), "z: is missing");
        let document = Document::parse("[a]\nflag = true\nnames = [\"x\"]\n");
        assert_eq!(
            document.places.finding("a.names[0]", "is wrong").to_string(),
            "a.names[0] (line 3): is wrong"
        );
    }
}
