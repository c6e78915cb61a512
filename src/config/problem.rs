//! All that is wrong with a configuration, said at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; 0 when it concerns the file.
    pub line: usize,
    /// The key with its tables, like `sources.in.port`; empty when it concerns the file.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// Everything that is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: PathBuf,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &Path) -> Problems {
        Problems { file: file.to_owned(), list: Vec::new() }
    }

    pub(super) fn add(&mut self, line: usize, key: impl Into<String>, text: impl Into<String>) {
        self.list.push(Problem { line, key: key.into(), text: text.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|problem| problem.line);
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.list.iter().enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{}", self.file.display())?;
            if problem.line > 0 {
                write!(formatter, ":{}", problem.line)?;
            }
            if !problem.key.is_empty() {
                write!(formatter, ": {}", problem.key)?;
            }
            write!(formatter, ": {}", problem.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Longer names are not compared: nobody mistypes them, and comparing takes memory for each pair
/// of letters.
const COMPARED_BYTES_MAX: usize = 64;
/// So many known names are told, or looked through for the one that was meant.
const LISTED_MAX: usize = 16;
const COMPARED_MAX: usize = 256;

/// The known name that was probably meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let is_short = |name: &&str| name.len() <= COMPARED_BYTES_MAX;
    let known = known.into_iter().filter(is_short).take(COMPARED_MAX);
    let known = known.filter(|_| is_short(&name));
    let near = known.map(|known| (distance(name, known), known));
    let (distance, known) = near.min()?;
    (distance <= 1.max(name.len() / 3)).then_some(known)
}

/// A sentence that suggests the nearest of the known names, or else lists them.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None if known.len() <= LISTED_MAX => format!("known are `{}`", known.join("`, `")),
        None => {
            let (some, more) = known.split_at(LISTED_MAX);
            format!("known are `{}`, and {} more", some.join("`, `"), more.len())
        }
    }
}

/// How many letters have to be added, removed, changed or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=one.len() {
        for j in 1..=other.len() {
            let changed = usize::from(one[i - 1] != other[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            best = best.min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["bind", "port", "batch_size", "max_line_length"];
        let table = [
            ("prot", Some("port")),
            ("max-line-length", Some("max_line_length")),
            ("batchsize", Some("batch_size")),
            ("zzz", None),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest("port", []), None);
        assert!(suggestion("zzz", &known).contains("`batch_size`"));
    }

    #[test]
    fn long_names_and_long_lists_are_not_compared_letter_by_letter() {
        // Each letter with each other one would be 8 * 10^10 bytes.
        let (one, other) = ("a".repeat(100_000), "b".repeat(100_000));
        assert_eq!(nearest(&one, [&*other, &*one]), None);
        let names: Vec<String> = (0..100).map(|n| format!("name-{n}")).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let told = suggestion("something else", &known);
        assert!(told.ends_with("`name-15`, and 84 more"), "{told}");
        assert!(suggestion("nam-99", &known).contains("`name-99`"));
    }
}
