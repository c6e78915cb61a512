//! The tests on trial: the engine is broken in a named way, in a copy of the tree, and tests must
//! turn red. A mutant that nobody notices is a hole in the tests.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

mod list;

pub use list::MUTANTS;

/// A way to break the engine.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    pub name: &'static str,
    /// What is broken, in words.
    pub what: &'static str,
    /// The edits: file, text that stands there once, text in its place.
    pub edits: &'static [(&'static str, &'static str, &'static str)],
    /// Tests that must turn red, all of one suite.
    pub suite: Suite,
    pub killers: &'static [&'static str],
}

/// Which tests of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Those inside of the sources.
    Units,
    /// Those from outside.
    It,
    /// Schedules, chosen at random.
    Schedules,
}

impl Suite {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Suite::Units => &["--lib"],
            Suite::It => &["--test", "it"],
            Suite::Schedules => &["--features", "shuttle", "--test", "schedules"],
        }
    }
}

/// After so long a test run counts as hung, which is red too.
const RUN_MAX: Duration = Duration::from_secs(600);

/// What came of one mutant.
#[derive(Debug)]
pub struct Verdict {
    pub name: &'static str,
    /// The tests that turned red.
    pub red: BTreeSet<String>,
    /// Those that should have and did not.
    pub green: Vec<&'static str>,
    pub hung: bool,
    pub took: Duration,
}

impl Verdict {
    /// Whether the tests did what they are for.
    pub fn is_killed(&self) -> bool {
        self.green.is_empty() && (self.hung || !self.red.is_empty())
    }
}

/// The top of the project.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Breaks a source; an error says which edit has gone stale.
fn apply(tree: &Path, mutant: &Mutant) -> io::Result<()> {
    for (file, from, to) in mutant.edits {
        let path = tree.join(file);
        let text = fs::read_to_string(&path)?;
        let times = text.matches(from).count();
        if times != 1 {
            let text = format!("{}: the text to edit stands {times} times in {file}", mutant.name);
            return Err(io::Error::other(text));
        }
        fs::write(&path, text.replacen(from, to, 1))?;
    }
    Ok(())
}

/// A copy of the sources, without what was built.
fn copy_tree(to: &Path) -> io::Result<()> {
    for part in ["Cargo.toml", "Cargo.lock", "src", "wal", "benches", "tests", "examples", "fuzz"] {
        copy(&top().join(part), &to.join(part))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(|_| ());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if name != "target" {
            copy(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}

/// Tries the tests on one mutant: on those that must turn red, or on all.
///
/// `work` is a directory for the copy and for what is built; it may be used again.
///
/// # Errors
///
/// If a file cannot be copied, an edit is stale, or the mutant does not compile.
pub fn try_one(mutant: &Mutant, work: &Path, all: bool) -> io::Result<Verdict> {
    let started = Instant::now();
    let tree = work.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    fs::create_dir_all(&tree)?;
    copy_tree(&tree)?;
    apply(&tree, mutant)?;
    let mut build = cargo(&tree, work, mutant.suite);
    if !build.arg("--no-run").status()?.success() {
        return Err(io::Error::other(format!("{} does not compile", mutant.name)));
    }
    let output = work.join("output");
    let mut command = cargo(&tree, work, mutant.suite);
    command.arg("--").stdout(fs::File::create(&output)?);
    if !all {
        command.arg("--exact").args(mutant.killers);
    }
    let hung = !ends_in_time(&mut command)?;
    let red = red_tests(&fs::read_to_string(&output)?);
    let green = mutant.killers.iter().filter(|killer| !hung && !red.contains(**killer));
    let green = green.copied().collect();
    Ok(Verdict { name: mutant.name, red, green, hung, took: started.elapsed() })
}

fn cargo(tree: &Path, work: &Path, suite: Suite) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--quiet", "-p", "forebay-wal"])
        .args(suite.arguments())
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", work.join("target"))
        .env("RUST_BACKTRACE", "0")
        // One edit after the other of the same tree.
        .env("CARGO_INCREMENTAL", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Whether a command came to an end by itself.
fn ends_in_time(command: &mut Command) -> io::Result<bool> {
    let mut child = command.spawn()?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > RUN_MAX {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

/// The names that the test runner lists as failures.
fn red_tests(output: &str) -> BTreeSet<String> {
    let listed = output.rsplit_once("failures:\n").map_or("", |(_, listed)| listed);
    let names = listed.lines().take_while(|line| line.starts_with("    "));
    names.map(|line| line.trim().to_owned()).collect()
}

/// Tries mutants one after the other and prints a table; whether all were killed. `names` chooses
/// some, none of them all.
pub fn try_all(names: &[String], work: &Path, all_tests: bool) -> bool {
    println!("| mutant | what is broken | tests that turn red |\n| --- | --- | --- |");
    let chosen = MUTANTS.iter().filter(|mutant| {
        let gate = names.is_empty() && (all_tests || !mutant.killers.is_empty());
        gate || names.iter().any(|name| name == mutant.name)
    });
    let mut killed = true;
    for mutant in chosen {
        match try_one(mutant, work, all_tests) {
            Ok(verdict) => {
                let red: Vec<String> = verdict.red.iter().map(|test| format!("`{test}`")).collect();
                let word = match (verdict.is_killed(), verdict.hung) {
                    (false, _) => "**NOT KILLED** ",
                    (true, true) => "hung ",
                    (true, false) => "",
                };
                println!("| {} | {} | {word}{} |", mutant.name, mutant.what, red.join(", "));
                eprintln!("{} took {} s", mutant.name, verdict.took.as_secs());
                for green in &verdict.green {
                    eprintln!("{}: {green} stayed green", mutant.name);
                }
                killed &= verdict.is_killed();
            }
            Err(error) => {
                eprintln!("{}: {error}", mutant.name);
                killed = false;
            }
        }
    }
    killed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edit_has_its_place_in_the_sources() {
        for mutant in MUTANTS {
            let mut files: std::collections::BTreeMap<&str, String> = Default::default();
            for (file, from, to) in mutant.edits {
                let text = files.entry(file).or_insert_with(|| {
                    fs::read_to_string(top().join(file)).expect("a source of the engine")
                });
                assert_eq!(text.matches(from).count(), 1, "{}: {from:?} in {file}", mutant.name);
                *text = text.replacen(from, to, 1);
            }
        }
    }

    #[test]
    fn the_red_tests_are_those_that_the_runner_lists_last() {
        let output = "\nrunning 3 tests\n.F.\nfailures:\n\n---- a::b stdout ----\nsaid\n\n\
                      failures:\n    a::b\n    c::d\n\ntest result: FAILED. 1 passed\n";
        let red = red_tests(output);
        assert_eq!(red.into_iter().collect::<Vec<_>>(), ["a::b", "c::d"]);
        assert!(red_tests("test result: ok. 3 passed").is_empty());
    }
}
