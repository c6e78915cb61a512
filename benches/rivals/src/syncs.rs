//! What each rival really asks of the system for a commit: strace counts the calls of a child
//! between two marks that it prints, so that opening, warming up and closing are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::flume::{self, Flume};
use crate::stores::Kind;
use crate::work::{Load, MARK_BEGIN, MARK_END, Work};

const SYNCS: [&str; 4] = ["fsync", "fdatasync", "sync_file_range", "msync"];
const WRITES: [&str; 5] = ["write", "pwrite64", "writev", "pwritev", "pwritev2"];
/// Other ways to write and to sync: submissions, whose number is counted, and files that are opened
/// to sync in each write.
const OTHERS: [&str; 2] = ["io_uring_enter", "openat"];

/// The calls between the marks.
#[derive(Debug, Default, PartialEq)]
pub struct Calls {
    /// How many, by their names.
    pub counts: BTreeMap<String, u64>,
    /// What the writes wrote.
    pub written_bytes: u64,
    /// How many of the writes sync by themselves: their file was opened so, or their flags say so.
    pub synced_writes: u64,
}

/// Who takes part.
#[derive(Debug, Clone)]
pub enum Traced {
    Native(Kind),
    Flume(Flume),
}

impl Traced {
    pub fn all(flume: &Flume) -> Vec<Traced> {
        let mut all: Vec<Traced> = Kind::ALL.iter().copied().map(Traced::Native).collect();
        all.push(Traced::Flume(flume.clone()));
        all
    }

    pub fn word(&self) -> &'static str {
        match self {
            Traced::Native(kind) => kind.name(),
            Traced::Flume(_) => flume::NAME,
        }
    }

    /// The command that does so many commits, marked.
    fn command(&self, dir: &Path, load: &Load) -> Result<Command> {
        match self {
            Traced::Flume(flume) => {
                if let Some(missing) = flume.missing() {
                    bail!("{missing}");
                }
                Ok(flume.work(dir, load))
            }
            Traced::Native(kind) => {
                let commits = load.marked_commits.unwrap_or_default();
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .args(["child", "work", "--rival", kind.name(), "--dir"])
                    .arg(dir)
                    .args(["--work", load.work.name()])
                    .args(["--producers", &load.producers.to_string()])
                    .args(["--batch", &load.batch.to_string()])
                    .args(["--backlog", &load.backlog.to_string()])
                    .args(["--marked-commits", &commits.to_string()]);
                Ok(command)
            }
        }
    }
}

/// One work whose calls are counted.
const WORKS: [(&str, Work, usize, usize); 4] = [
    ("put, batch 1", Work::Put, 1, 1),
    ("put, batch 100", Work::Put, 1, 100),
    ("put, 4 producers, batch 1", Work::Put, 4, 1),
    ("take, batch 100", Work::Take, 1, 100),
];

/// Counts, and prints a table. Whether a rival failed.
pub fn run(home: &Path, rivals: &[Traced], commits: u64, command: &str) -> Result<bool> {
    println!("## What each rival asks of the system for a commit\n");
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no strace");
        return Ok(false);
    }
    println!("Calls per commit over {commits} commits, counted by strace in all threads of the");
    println!("process; in brackets the bytes written by them per byte of the events' bodies.");
    println!("\n    {command}\n");
    println!("| rival | {} |", WORKS.map(|(name, ..)| name).join(" | "));
    println!("|{}", " --- |".repeat(1 + WORKS.len()));
    let mut problems = Vec::new();
    let mut failed = false;
    for rival in rivals {
        let mut line = format!("| {} |", rival.word());
        for (name, work, producers, batch) in WORKS {
            let load = Load {
                work,
                producers,
                batch,
                seconds: Duration::ZERO,
                warm: Duration::ZERO,
                backlog: commits * 100,
                marked_commits: Some(commits),
            };
            let dir = tempfile::tempdir_in(home)?;
            let words = match traced(rival, dir.path(), &load) {
                Ok(calls) => in_words(&calls, &load),
                Err(error) => {
                    let is_skipped = error.to_string().starts_with("skipped");
                    failed |= !is_skipped;
                    problems.push(format!("{}, {name}: {error:#}", rival.word()));
                    "-".to_owned()
                }
            };
            line.push_str(&format!(" {words} |"));
        }
        println!("{line}");
    }
    problems.dedup();
    for problem in &problems {
        println!("\n{problem}");
    }
    Ok(failed)
}

/// Runs a child under strace.
fn traced(rival: &Traced, dir: &Path, load: &Load) -> Result<Calls> {
    let inner = rival.command(&dir.join("store"), load)?;
    let trace = dir.join("trace");
    let calls = [SYNCS.as_slice(), &WRITES, &OTHERS].concat().join(",");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "32", "-e", "signal=none", "-e"]).arg(format!("trace={calls}"));
    strace.arg("-o").arg(&trace).arg(inner.get_program()).args(inner.get_args());
    let output = strace.stdin(Stdio::null()).output().context("strace cannot be started")?;
    if !output.status.success() {
        bail!("the child failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    between_marks(&fs::read_to_string(&trace)?)
}

/// Counts what stands between the marks. A call that another thread interrupts has two lines in the
/// trace, of which the first one has its name and the second one what it returned.
fn between_marks(trace: &str) -> Result<Calls> {
    let mut calls = Calls::default();
    let mut synced = BTreeSet::new();
    let (mut inside, mut ended) = (false, false);
    for line in trace.lines() {
        if line.contains("openat(") && (line.contains("O_DSYNC") || line.contains("O_SYNC")) {
            synced.extend(line.split('"').nth(1));
        }
        if line.contains(MARK_BEGIN) {
            inside = true;
        } else if line.contains(MARK_END) {
            (inside, ended) = (false, true);
        } else if inside {
            count(line, &synced, &mut calls);
        }
    }
    if !ended {
        bail!("the trace has no marks");
    }
    Ok(calls)
}

fn count(line: &str, synced: &BTreeSet<&str>, calls: &mut Calls) {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let name = match rest.strip_prefix("<... ") {
        Some(resumed) => resumed.split(' ').next().unwrap_or_default(),
        None => {
            let name = rest.split('(').next().unwrap_or_default();
            *calls.counts.entry(name.to_owned()).or_default() += 1;
            if WRITES.contains(&name) {
                let path = rest.split(['<', '>']).nth(1);
                let syncs = path.is_some_and(|path| synced.contains(path));
                calls.synced_writes += u64::from(syncs || rest.contains("RWF_DSYNC"));
            }
            name
        }
    };
    if WRITES.contains(&name)
        && let Some((_, returned)) = rest.rsplit_once(" = ")
        && let Some(bytes) = returned.split(' ').next().and_then(|bytes| bytes.parse::<u64>().ok())
    {
        calls.written_bytes += bytes;
    }
}

fn in_words(calls: &Calls, load: &Load) -> String {
    let commits = load.marked_commits.unwrap_or_default().max(1);
    let each = |names: &[&str]| -> Vec<String> {
        let counts = names.iter().filter_map(|&name| Some((name, *calls.counts.get(name)?)));
        counts.map(|(name, n)| format!("{:.2} {name}", n as f64 / commits as f64)).collect()
    };
    let mut parts = each(&SYNCS);
    if calls.synced_writes > 0 {
        let each = calls.synced_writes as f64 / commits as f64;
        parts.push(format!("{each:.2} writes that sync by themselves"));
    }
    if parts.is_empty() {
        parts.push("no sync".to_owned());
    }
    parts.extend(each(&WRITES));
    parts.extend(each(&OTHERS[..1]));
    let payload = commits * (load.batch * crate::event::BODY_BYTES) as u64;
    let per_byte = calls.written_bytes as f64 / payload as f64;
    let per_byte =
        if load.work == Work::Take { String::new() } else { format!(" ({per_byte:.2})") };
    format!("{}{per_byte}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
7  openat(AT_FDCWD</x>, \"/x/1.wal\", O_RDWR|O_CLOEXEC) = 3</x/1.wal>
7  openat(AT_FDCWD</x>, \"/x/aside\", O_RDWR|O_DSYNC) = 9</x/aside>
7  write(3</x/1.wal>, \"before\", 6) = 6
7  write(1<pipe:[5]>, \"rivals-begin\\n\", 13) = 13
7  pwritev(3</x/1.wal>, [{iov_base=\"a = 9\", iov_len=5}], 1, 0) = 4096
8  fdatasync(3</x/1.wal> <unfinished ...>
7  pwrite64(4</x/2>, \"b\", 1, 0 <unfinished ...>
8  <... fdatasync resumed>)     = 0
7  <... pwrite64 resumed>)      = 100
7  write(5</x/3>, \"c\", 1)     = -1 EIO (Input/output error)
7  write(1<pipe:[5]>, \"rivals-end\\n\", 11) = 11
7  fsync(3</x/1.wal>)           = 0
";

    #[test]
    fn what_lies_between_the_marks_is_counted_once() {
        let calls = between_marks(TRACE).expect("marks");
        let counts: Vec<(&str, u64)> = calls.counts.iter().map(|(k, &n)| (k.as_str(), n)).collect();
        assert_eq!(counts, [("fdatasync", 1), ("pwrite64", 1), ("pwritev", 1), ("write", 1)]);
        assert_eq!(calls.written_bytes, 4196);
        assert_eq!(calls.synced_writes, 0, "the file that syncs is not written to");
        between_marks("7  fsync(3) = 0\n").expect_err("no marks");
    }

    #[test]
    fn a_write_that_syncs_by_itself_is_seen() {
        let opened = TRACE.replace("O_RDWR|O_CLOEXEC", "O_RDWR|O_DIRECT|O_DSYNC");
        assert_eq!(between_marks(&opened).expect("marks").synced_writes, 1);
        let flagged =
            TRACE.replace("pwritev(3", "pwritev2(3").replace("1, 0) =", "1, 0, RWF_DSYNC) =");
        assert_eq!(between_marks(&flagged).expect("marks").synced_writes, 1);
    }
}
