//! One round: a child is started, listened to, and killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::plan::{Aim, Plan, Target};
use crate::failure::Failure;

/// How long a child may take to open and read, or, if it is not killed, to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long at work it is killed, whether or not what the aim waits for has come.
const WORK_MAX: Duration = Duration::from_millis(1500);
/// So long without a word at work, as everybody waits for space or for events, it is killed as well.
const SILENCE_MAX: Duration = Duration::from_millis(150);
/// How often the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_micros(100);

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Killed,
    /// By itself, and well.
    Done,
    /// By itself, and not well.
    Died(String),
    /// It was killed for want of patience.
    Stuck,
    /// It was killed because all is to end.
    Stopped,
}

/// What came of a round.
#[derive(Debug)]
pub(super) struct Outcome {
    /// All that was said, line by line. What a kill cut in the middle of a line was not said.
    pub lines: Vec<String>,
    pub end: End,
    /// How long it lived.
    pub took: Duration,
}

/// What is known of a child that is under way.
struct Watch<'a> {
    aim: Option<Aim>,
    data: &'a Path,
    started: Instant,
    /// When what the aim waits for came.
    hit: Option<Instant>,
    working: Option<Instant>,
    heard: Instant,
    words: u32,
    names: Option<BTreeSet<String>>,
    checkpoints: Option<[Option<SystemTime>; 2]>,
    changes: u32,
}

/// Starts a child, listens to it, kills it as aimed, or lets it end by itself.
pub(super) fn run(
    data: &Path,
    stderr: &Path,
    plan: &Plan,
    aim: Option<Aim>,
    stop: &AtomicBool,
) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let mut child = start(data, stderr, plan)?;
    let said = listen(&mut child)?;
    let mut watch = Watch::new(aim, data, started);
    let mut lines = Vec::new();
    let mut killed = None;
    loop {
        match said.recv_timeout(watch.pause(killed.is_some())) {
            Ok(line) => {
                watch.hear(&line);
                lines.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        watch.look();
        if killed.is_none()
            && let Some(why) = watch.why_kill(stop.load(Ordering::Relaxed))
        {
            child.kill().map_err(|error| Failure::new("kill the child").because(error))?;
            killed = Some(why);
        }
    }
    let status = child.wait().map_err(|error| Failure::new("wait for the child").because(error))?;
    let end = match killed {
        // It may have ended in the same moment; then it was not the kill that ended it.
        Some(End::Killed) if status.code().is_some() => ended(status),
        Some(why) => why,
        None => ended(status),
    };
    let end = match end {
        End::Done if aim.is_some() => End::Died("it ended, and was to work".to_owned()),
        End::Died(how) => End::Died(format!("{how}: {}", last_words(stderr))),
        end => end,
    };
    Ok(Outcome { lines, end, took: started.elapsed() })
}

fn ended(status: std::process::ExitStatus) -> End {
    if status.success() { End::Done } else { End::Died(format!("the child ended by {status}")) }
}

fn start(data: &Path, stderr: &Path, plan: &Plan) -> Result<Child, Failure> {
    let failed = |error| Failure::new("the child cannot be started").because(error);
    let plan = serde_json::to_string(plan)
        .map_err(|error| Failure::new("the plan cannot be written").because(error))?;
    let program = std::env::current_exe().map_err(failed)?;
    let stderr = File::create(stderr).map_err(failed)?;
    let mut command = Command::new(program);
    command.arg("torture-child").arg(data).arg("--plan").arg(plan);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
    // A signal from the terminal is for the parent alone.
    command.process_group(0).spawn().map_err(failed)
}

/// Reads what the child says, to the end. Only whole lines count.
fn listen(child: &mut Child) -> Result<Receiver<String>, Failure> {
    let output = child.stdout.take().ok_or_else(|| Failure::new("the child has no output"))?;
    let (sender, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::with_capacity(1 << 16, output);
        let mut line = String::new();
        // An error means what an end means: nothing more comes.
        while output.read_line(&mut line).is_ok_and(|length| length > 0) {
            if line.ends_with('\n') && sender.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    Ok(said)
}

fn last_words(stderr: &Path) -> String {
    let text = fs::read(stderr).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let from = text.len().saturating_sub(500);
    let tail = text.char_indices().find(|(at, _)| *at >= from).map_or("", |(at, _)| &text[at..]);
    tail.trim().replace('\n', "; ")
}

impl<'a> Watch<'a> {
    fn new(aim: Option<Aim>, data: &'a Path, started: Instant) -> Watch<'a> {
        let hit = aim.filter(|aim| aim.target == Target::Start).map(|_| started);
        Watch {
            aim,
            data,
            started,
            hit,
            working: None,
            heard: started,
            words: 0,
            names: None,
            checkpoints: None,
            changes: 0,
        }
    }

    fn target(&self) -> Option<Target> {
        self.aim.map(|aim| aim.target)
    }

    /// How long to wait for the next line at most.
    fn pause(&self, killed: bool) -> Duration {
        let looks = matches!(self.target(), Some(Target::Names(_) | Target::Checkpoint(_)));
        if killed {
            PATIENCE
        } else if let (Some(hit), Some(aim)) = (self.hit, self.aim) {
            aim.after.saturating_sub(hit.elapsed())
        } else if looks && self.working.is_some() {
            LOOK_EVERY
        } else {
            Duration::from_millis(20)
        }
    }

    fn hear(&mut self, line: &str) {
        self.heard = Instant::now();
        let word = line.split(' ').next().unwrap_or_default();
        if word == "working" {
            self.working = Some(Instant::now());
        }
        let hit = match self.target() {
            Some(Target::Open) => word == "opening",
            Some(Target::Read) => word == "opened",
            Some(Target::Work) => word == "working",
            Some(Target::Word(awaited, nth)) => {
                self.words += u32::from(self.working.is_some() && word == awaited);
                self.words >= nth
            }
            _ => false,
        };
        self.hit_if(hit);
    }

    fn hit_if(&mut self, hit: bool) {
        if hit && self.hit.is_none() {
            self.hit = Some(Instant::now());
        }
    }

    /// Looks at the channel's directory, if the aim is at something that shows there.
    fn look(&mut self) {
        if self.working.is_none() || self.hit.is_some() {
            return;
        }
        let (changed, nth) = match self.target() {
            Some(Target::Names(nth)) => {
                let names = names(self.data);
                let before = self.names.replace(names);
                (before.is_some() && before != self.names, nth)
            }
            Some(Target::Checkpoint(nth)) => {
                let written = ["checkpoint.a", "checkpoint.b"].map(|name| {
                    fs::metadata(self.data.join(name)).and_then(|file| file.modified()).ok()
                });
                let before = self.checkpoints.replace(written);
                (before.is_some() && before != self.checkpoints, nth)
            }
            _ => return,
        };
        self.changes += u32::from(changed);
        self.hit_if(self.changes >= nth);
    }

    fn why_kill(&self, stop: bool) -> Option<End> {
        if stop {
            return Some(End::Stopped);
        }
        let Some(aim) = self.aim else {
            return (self.started.elapsed() > PATIENCE).then_some(End::Stuck);
        };
        if self.hit.is_some_and(|hit| hit.elapsed() >= aim.after)
            || self.working.is_some_and(|working| working.elapsed() > WORK_MAX)
            || (self.working.is_some() && self.hit.is_none() && self.heard.elapsed() > SILENCE_MAX)
        {
            return Some(End::Killed);
        }
        let slow = self.working.is_none() && self.started.elapsed() > PATIENCE;
        slow.then_some(End::Stuck)
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
