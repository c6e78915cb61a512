//! TOML as it was written: values with their lines, and `${env:NAME:-default}` filled in.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// A value of the file.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Flag(bool),
    List(Vec<Value>),
    Table(BTreeMap<String, Entry>),
    /// What no key of ours takes; the word for it.
    Other(&'static str),
}

impl Value {
    /// The word for what it is, to say what stands where something else was asked for.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Whole(_) => "a whole number",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }
}

/// A value and the line of its key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// Where values of `${env:...}` come from.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a whole file; what cannot be read is a problem, and the rest is still there.
pub(super) fn parse(
    text: &str,
    environment: Environment<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, Entry> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::of(text);
    for error in errors {
        let line = error.span().map_or(0, |span| lines.holding(span.start));
        problems.add(line, "", error.message());
    }
    let mut reader = Reader { lines, environment, problems };
    reader.table(document.into_inner(), "")
}

/// Where the lines of a text end.
struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Lines {
        Lines { ends: text.match_indices('\n').map(|(at, _)| at).collect() }
    }

    /// The line, from 1, that holds a byte of the text.
    fn holding(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|&end| end < at)
    }
}

struct Reader<'a> {
    lines: Lines,
    environment: Environment<'a>,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn table(&mut self, table: DeTable<'_>, path: &str) -> BTreeMap<String, Entry> {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let line = self.lines.holding(key.span().start);
            let key = key.into_inner().into_owned();
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let value = self.value(value, line, &path);
            entries.insert(key, Entry { line, value });
        }
        entries
    }

    fn value(&mut self, value: Spanned<DeValue<'_>>, line: usize, path: &str) -> Value {
        match value.into_inner() {
            DeValue::String(text) => match fill_in(&text, self.environment) {
                Ok(text) => Value::Text(text),
                Err(problem) => {
                    self.problems.add(line, path, problem);
                    Value::Text(text.into_owned())
                }
            },
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Whole(number),
                    Err(_) => Value::Other("a number too large to count with"),
                }
            }
            DeValue::Boolean(flag) => Value::Flag(flag),
            DeValue::Array(list) => {
                Value::List(list.into_iter().map(|value| self.value(value, line, path)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, path)),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
        }
    }
}

/// Replaces each `${env:NAME}` and `${env:NAME:-default}`; `$${` stands for `${` itself.
fn fill_in(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            filled += before;
            filled += "${";
            rest = &after[2..];
            continue;
        }
        filled += before;
        let (reference, behind) =
            after[2..].split_once('}').ok_or_else(|| format!("`{after}` has no closing `}}`"))?;
        filled += &look_up(reference, environment)?;
        rest = behind;
    }
    filled += rest;
    Ok(filled)
}

fn look_up(reference: &str, environment: Environment<'_>) -> Result<String, String> {
    let Some(name) = reference.strip_prefix("env:") else {
        return Err(format!(
            "`${{{reference}}}` is unknown; write `${{env:NAME}}` or `${{env:NAME:-default}}`, \
             or `$${{` for the characters themselves"
        ));
    };
    let (name, default) = match name.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (name, None),
    };
    // As in a shell, an empty variable counts as unset when there is a default.
    match (environment(name), default) {
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(value), None) => Ok(value),
        (None, None) => Err(format!(
            "the environment has no variable {name}; set it, or write `${{env:{name}:-default}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_dollars_escape() {
        let environment = |name: &str| match name {
            "HOME" => Some("/h".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let table = [
            ("plain $5", Ok("plain $5")),
            ("${env:HOME}/data", Ok("/h/data")),
            ("${env:HOME}${env:NONE:-x}", Ok("/hx")),
            ("${env:EMPTY:-x}|${env:EMPTY}", Ok("x|")),
            ("$${env:HOME}", Ok("${env:HOME}")),
            ("${env:NONE}", Err("NONE")),
            ("${file:x}", Err("unknown")),
            ("${env:HOME", Err("closing")),
        ];
        for (text, expected) in table {
            match (fill_in(text, &environment), expected) {
                (Ok(filled), Ok(expected)) => assert_eq!(filled, expected),
                (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
                (filled, _) => panic!("{text}: {filled:?}"),
            }
        }
    }
}
