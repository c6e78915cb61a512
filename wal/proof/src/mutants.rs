//! The tests on trial: the engine is broken in a named way, in a copy of the tree, and tests must
//! turn red. A mutant that nobody notices is a hole in the tests.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A way to break the engine.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    pub name: &'static str,
    /// What is broken, in words.
    pub what: &'static str,
    /// The edits: file, text that stands there once, text in its place.
    pub edits: &'static [(&'static str, &'static str, &'static str)],
    /// Tests that must turn red.
    pub killers: &'static [&'static str],
}

/// After so long a test run counts as hung, which is red too.
const RUN_MAX: Duration = Duration::from_secs(600);

/// The mutants, those of the gate first.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "skip-directory-sync",
        what: "a new or recycled segment is used without a sync of the directory",
        edits: &[
            (
                "wal/src/segment.rs",
                "        env.fs.sync_dir(dir)?;\n        Ok(file)",
                "        Ok(file)",
            ),
            (
                "wal/src/segment.rs",
                "    env.fs.sync_dir(dir)?;\n    spare.file = Some(file);",
                "    spare.file = Some(file);",
            ),
        ],
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "publish-before-sync",
        what: "takers see a put before its block is written and synced",
        edits: &[
            (
                "wal/src/group_commit.rs",
                "        if let Err(error) = self.append(log, &body, next_seq) {",
                "        self.publish(&group, &puts);\n        if let Err(error) = self.append(log, &body, next_seq) {",
            ),
            (
                "wal/src/group_commit.rs",
                "        self.publish(&group, &puts);\n        self.acknowledge(&group, &puts);",
                "        self.acknowledge(&group, &puts);",
            ),
        ],
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "forget-the-salt",
        what: "a block of the right segment id and place is believed whatever its salt",
        edits: &[(
            "wal/src/block.rs",
            "    if (header.segment, header.salt) != (owner.segment, owner.salt) {",
            "    if header.segment != owner.segment {",
        )],
        killers: &[
            "stale::p2_blocks_of_another_channel_in_the_same_place_are_not_taken_for_this_ones",
        ],
    },
    Mutant {
        name: "retry-failed-sync",
        what: "a sync that failed is called again on the same file, and believed",
        edits: &[(
            "wal/src/log.rs",
            "        if sync {\n            self.file.sync_data()?;",
            "        if sync {\n            self.file.sync_data().or_else(|_| self.file.sync_data())?;",
        )],
        killers: &["flume_probes::p10_no_file_is_touched_again_after_its_sync_failed"],
    },
    Mutant {
        name: "acknowledge-before-write",
        what: "commits are answered before their block is written",
        edits: &[
            (
                "wal/src/group_commit.rs",
                "        if let Err(error) = self.append(log, &body, next_seq) {",
                "        self.acknowledge(&group, &puts);\n        if let Err(error) = self.append(log, &body, next_seq) {",
            ),
            (
                "wal/src/group_commit.rs",
                "            for slot in group.slots() {\n                slot.complete(Err(error.again()));\n            }\n            return Err(error);",
                "            return Err(error);",
            ),
        ],
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "reclaim-one-early",
        what: "the oldest segment is given up although some cursor still needs its last event",
        edits: &[(
            "wal/src/roll.rs",
            "            || state.needs(held)",
            "            || state.needs(SeqRange::new(held.start, held.end.max(held.start + 1) - 1))",
        )],
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "drop-ack-range-end",
        what: "the last seq of an acknowledged range is forgotten in the log",
        edits: &[(
            "wal/src/record.rs",
            "        out.put_u64(range.end);",
            "        out.put_u64(range.end - u64::from(range.len() > 1));",
        )],
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "trust-bad-checkpoint",
        what: "a checkpoint whose checksum is bad is believed if it can be decoded",
        edits: &[(
            "wal/src/checkpoint.rs",
            "        if crc(body) != body_crc {",
            "        if crc(body) != body_crc && body.is_empty() {",
        )],
        killers: &["evidence::p6_p11_a_checkpoint_with_any_flipped_bit_is_as_none"],
    },
    Mutant {
        name: "ignore-short-write",
        what: "a write that the system cut short counts as done",
        edits: &[(
            "wal/src/fs/mod.rs",
            "                IoSlice::advance_slices(&mut rest, n);",
            "                IoSlice::advance_slices(&mut rest, n);\n                if rest.len() <= BUFS_MAX {\n                    return Ok(());\n                }",
        )],
        killers: &["failures::p10_one_short_write_loses_nothing"],
    },
    Mutant {
        name: "reuse-a-seq",
        what: "an open hands out the seqs again that a weaker class may have handed out before",
        edits: &[(
            "wal/src/open.rs",
            "    if state.seq_reserved > state.next_seq {",
            "    if state.seq_reserved > state.next_seq && state.seq_reserved == 0 {",
        )],
        killers: &["classes::p2_p3_p4_a_power_cut_takes_what_was_not_synced_and_nothing_else"],
    },
    Mutant {
        name: "keep-generation",
        what: "an open goes on in the old generation, so that old blocks behind a cut are not void",
        edits: &[("wal/src/open.rs", "    log.new_generation();\n", "")],
        killers: &["stale::p2_p4_what_was_cut_off_does_not_come_back_behind_what_is_put_later"],
    },
    // Further ones, beside those of the gate.
    Mutant {
        name: "skip-sync",
        what: "commits are acknowledged without a sync",
        edits: &[(
            "wal/src/log.rs",
            "        if sync {\n            self.file.sync_data()?;",
            "        if sync {",
        )],
        killers: &["crash::p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut"],
    },
    Mutant {
        name: "believe-the-cache",
        what: "what stands above W is believed from the cache at open",
        edits: &[(
            "wal/src/replay/walk.rs",
            "        Ok(!self.writable || found.header.records == 0",
            "        Ok(self.writable || found.header.records == 0",
        )],
        killers: &[],
    },
    Mutant {
        name: "no-void-rule",
        what: "blocks of an ended generation are taken in",
        edits: &[(
            "wal/src/replay/mod.rs",
            "        later.into_iter().any(|(_, &first)| first < lsn)",
            "        later.into_iter().any(|(_, &first)| first == 0 && first < lsn)",
        )],
        killers: &[],
    },
    Mutant {
        name: "keep-the-salt",
        what: "a recycled segment keeps the salt of its earlier lap",
        edits: &[(
            "wal/src/segment.rs",
            "    old: &mut Segment,\n) -> io::Result<Segment> {\n    let salt = env.random_u64();",
            "    old: &mut Segment,\n) -> io::Result<Segment> {\n    let salt = old.salt;",
        )],
        killers: &["crash::p6_every_lap_of_a_segment_has_a_salt_of_its_own"],
    },
    Mutant {
        name: "recycle-before-state",
        what: "a segment is recycled before the State that leaves it out is synced",
        edits: &[(
            "wal/src/roll.rs",
            "        if let Err(error) = log.append(&self.env, &body, log.next_seq, true) {",
            "        if let Err(error) = log.append(&self.env, &body, log.next_seq, false) {",
        )],
        killers: &[],
    },
];

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
    let mut build = cargo(&tree, work);
    if !build.arg("--no-run").status()?.success() {
        return Err(io::Error::other(format!("{} does not compile", mutant.name)));
    }
    let output = work.join("output");
    let mut command = cargo(&tree, work);
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

fn cargo(tree: &Path, work: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--quiet", "-p", "forebay-wal", "--test", "it"])
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
