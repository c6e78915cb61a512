//! One component's table, read key by key.
//!
//! A component asks for each of its keys; what it asked for is what is known, so that a key
//! nobody asked for is an error and gets the nearest known one suggested. A problem is noted and
//! a stand-in value handed out, so that all problems are found in one go.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::document::{Entry, Value};
use super::problem::{Problems, suggestion};
use super::units::{parse_duration, parse_size};

/// What is noted over all sections.
pub(super) struct Notes {
    pub(super) problems: Problems,
    /// What only one component may have, and who has it.
    claims: HashMap<String, String>,
}

impl Notes {
    pub(super) fn new(problems: Problems) -> Notes {
        Notes { problems, claims: HashMap::new() }
    }
}

/// One component's table.
pub struct Section<'a> {
    path: String,
    line: usize,
    entries: BTreeMap<String, Entry>,
    asked: Vec<&'static str>,
    notes: &'a mut Notes,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        path: impl Into<String>,
        line: usize,
        entries: BTreeMap<String, Entry>,
        notes: &'a mut Notes,
    ) -> Section<'a> {
        Section { path: path.into(), line, entries, asked: Vec::new(), notes }
    }

    /// Notes a problem with a key, or with the whole section if the key is not there.
    pub fn problem(&mut self, key: &str, text: impl Into<String>) {
        let line = self.entries.get(key).map_or(self.line, |entry| entry.line);
        let key = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        self.notes.problems.add(line, key, text);
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        match self.value(key)? {
            Value::Text(text) => Some(text.clone()),
            other => {
                let text = format!("a text is needed here, not {}", other.kind());
                self.problem(key, text);
                None
            }
        }
    }

    /// A text that must be there.
    pub fn required_text(&mut self, key: &'static str) -> String {
        if !self.entries.contains_key(key) {
            self.problem(key, "is missing");
        }
        self.text(key).unwrap_or_default()
    }

    /// A path; a relative one starts at the directory the process runs in.
    pub fn required_path(&mut self, key: &'static str) -> PathBuf {
        let path = self.required_text(key);
        if path.is_empty() && self.entries.contains_key(key) {
            self.problem(key, "is empty");
        }
        PathBuf::from(path)
    }

    /// A list of texts, which may be written as one text.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list = match self.value(key)? {
            Value::Text(text) => return Some(vec![text.clone()]),
            Value::List(list) => list,
            other => {
                let text = format!("a list of texts is needed here, not {}", other.kind());
                self.problem(key, text);
                return None;
            }
        };
        let mut texts = Vec::new();
        let mut wrong = None;
        for value in list {
            match value {
                Value::Text(text) => texts.push(text.clone()),
                other => wrong = Some(other.kind()),
            }
        }
        if let Some(kind) = wrong {
            self.problem(key, format!("a list of texts is needed here; it holds {kind}"));
        }
        Some(texts)
    }

    /// A whole number that must be there; the least one stands in if it is not.
    pub fn required_whole(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
        let least = *range.start();
        if !self.entries.contains_key(key) {
            self.problem(key, "is missing");
        }
        self.whole(key, range).unwrap_or(least)
    }

    /// A whole number in a range.
    pub fn whole(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match self.value(key)? {
            Value::Whole(number) => u64::try_from(*number).ok(),
            // A variable of the environment is always a text.
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let (least, most) = (range.start(), range.end());
        let text = if *most == u64::MAX {
            format!("a whole number from {least} is needed here")
        } else {
            format!("a whole number from {least} to {most} is needed here")
        };
        self.problem(key, text);
        None
    }

    /// How many of something a loop handles at once: from 1, and small enough to hold.
    pub fn count_or(&mut self, key: &'static str, default: usize) -> usize {
        let count = self.whole(key, 1..=1_000_000);
        count.and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
    }

    /// `true` or `false`.
    pub fn flag_or(&mut self, key: &'static str, default: bool) -> bool {
        match self.value(key) {
            None => default,
            Some(Value::Flag(flag)) => *flag,
            Some(Value::Text(text)) if text == "true" => true,
            Some(Value::Text(text)) if text == "false" => false,
            Some(_) => {
                self.problem(key, "true or false is needed here");
                default
            }
        }
    }

    /// A size like `"64MiB"`, or a number of bytes.
    pub fn size(&mut self, key: &'static str) -> Option<u64> {
        let size = match self.value(key)? {
            Value::Whole(bytes) => u64::try_from(*bytes).map_err(|_| {
                "a size is needed here, like \"64MiB\"; it cannot be below 0".to_owned()
            }),
            Value::Text(text) => parse_size(text),
            other => Err(format!("a size is needed here, like \"64MiB\", not {}", other.kind())),
        };
        self.noted(key, size)
    }

    /// A time like `"100ms"`, or 0.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let duration = match self.value(key)? {
            Value::Whole(0) => Ok(Duration::ZERO),
            Value::Text(text) => parse_duration(text),
            Value::Whole(number) => {
                Err(format!("a time needs its unit, like \"{number}s\" or \"{number}ms\""))
            }
            other => Err(format!("a time is needed here, like \"30s\", not {}", other.kind())),
        };
        self.noted(key, duration)
    }

    /// Says that this component alone may have a thing; a second claim is a problem at `key`.
    pub fn claim(&mut self, key: &str, thing: impl Into<String>) {
        let thing = thing.into();
        match self.notes.claims.get(&thing) {
            Some(owner) => {
                let text = format!("{thing} is used by `{owner}` already");
                self.problem(key, text);
            }
            None => {
                self.notes.claims.insert(thing, self.path.clone());
            }
        }
    }

    /// The component's path in the file, like `sinks.out`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Ends the reading: keys that nobody asked for are problems.
    pub(super) fn finish(self) {
        for (key, entry) in &self.entries {
            if !self.asked.contains(&key.as_str()) {
                let text = format!("is not a key of this table; {}", suggestion(key, &self.asked));
                self.notes.problems.add(entry.line, format!("{}.{key}", self.path), text);
            }
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&Value> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.get(key).map(|entry| &entry.value)
    }

    fn noted<T>(&mut self, key: &'static str, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|problem| self.problem(key, problem)).ok()
    }
}
