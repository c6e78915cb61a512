//! The child: opens the channel, reads it, and works on it from many threads until it is killed.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use fastrand::Rng;

use super::super::{Outcome, child};
use super::line::{Line, Op, Sight};
use super::plan::{CURSORS, PUTTERS, Plan, Style, producer_of};
use super::{put, take};
use crate::channel::{Channel, ErrorKind, FileChannel, FileOptions};
use crate::failure::Failure;

/// How many events of a read stand in one line.
const READ_EVENTS: usize = 50;

/// What `forebay torture` starts and kills. It ends when its standard input does.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(in crate::cli) struct TortureChild {
    /// The channel's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What to do, as JSON
    #[arg(long, value_name = "PLAN")]
    plan: String,
}

impl TortureChild {
    pub(in crate::cli) fn execute(self) -> Result<Outcome, Failure> {
        let plan: Plan = serde_json::from_str(&self.plan)
            .map_err(|error| Failure::new("--plan is not one").because(error))?;
        child::end_with_the_parent();
        let log = Log::new()?;
        let ended = Child::open(&self.directory, plan, &log).and_then(|child| child.live());
        if let Err(failure) = &ended {
            log.say(&Line::Error(failure.to_string()));
        }
        ended.map(|()| Outcome::Fine)
    }
}

/// The acknowledgement log: each line is one write.
pub(super) struct Log(Mutex<File>);

impl Log {
    fn new() -> Result<Log, Failure> {
        let output = std::io::stdout().as_fd().try_clone_to_owned();
        let output = output
            .map_err(|error| Failure::new("standard output cannot be used").because(error))?;
        Ok(Log(Mutex::new(File::from(output))))
    }

    /// The line is in the pipe when this returns.
    pub(super) fn say(&self, line: &Line) {
        let line = format!("{line}\n");
        let written = lock(&self.0).write_all(line.as_bytes());
        if written.is_err() {
            // The parent is gone.
            std::process::exit(2);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A channel under torture, and what its threads share.
pub(super) struct Child<'a> {
    pub plan: Plan,
    pub log: &'a Log,
    pub channel: FileChannel,
    /// How many threads have begun.
    threads: AtomicU32,
}

impl<'a> Child<'a> {
    fn open(directory: &std::path::Path, plan: Plan, log: &'a Log) -> Result<Child<'a>, Failure> {
        let failed = |error| Failure::new("the channel cannot be opened").because(error);
        let options = FileOptions {
            bytes_max: plan.bytes_max,
            events_max: plan.events_max,
            put_timeout: Duration::from_millis(plan.put_wait_ms),
            sync: plan.sync.parse().map_err(|_| Failure::new("the plan's sync is not one"))?,
            cursors: CURSORS.map(str::to_owned).to_vec(),
            ..FileOptions::default()
        };
        log.say(&Line::Opening);
        let opened = FileChannel::open(directory, options.clone());
        let channel = match opened {
            // A limit may be lowered only as far as the state has room.
            Err(error) if error.kind() == ErrorKind::Invalid && options.bytes_max.is_some() => {
                let as_it_was = FileOptions { bytes_max: None, ..options };
                FileChannel::open(directory, as_it_was).map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        log.say(&Line::Opened);
        Ok(Child { plan, log, channel, threads: AtomicU32::new(0) })
    }

    fn live(&self) -> Result<(), Failure> {
        for cursor in &self.plan.read {
            self.read(cursor)?;
        }
        if !self.plan.read.is_empty() {
            self.tell_positions();
        }
        self.log.say(&Line::Working);
        if self.plan.last { self.drain() } else { self.work() }
    }

    pub(super) fn say(&self, line: &Line) {
        self.log.say(line);
    }

    /// A thread's own dice.
    pub(super) fn dice(&self) -> Rng {
        let thread = self.threads.fetch_add(1, Ordering::Relaxed);
        Rng::with_seed(self.plan.seed.wrapping_add(u64::from(thread)))
    }

    pub(super) fn op(&self, thread: u32, number: u32) -> Op {
        Op { thread, round: self.plan.round, number }
    }

    pub(super) fn rest(&self, dice: &mut Rng) {
        if self.plan.rest_us > 0 {
            std::thread::sleep(Duration::from_micros(dice.u64(0..2 * self.plan.rest_us)));
        }
    }

    /// Reads a cursor from end to end and acknowledges nothing.
    fn read(&self, cursor: &str) -> Result<(), Failure> {
        let failed = |error| Failure::new(format!("cursor {cursor} cannot be read")).because(error);
        self.say(&Line::Read(cursor.to_owned()));
        let mut take = self.channel.take_transaction(cursor).map_err(failed)?;
        loop {
            let taken = take.take_many(READ_EVENTS, Duration::ZERO).map_err(failed)?;
            if taken.is_empty() {
                break;
            }
            self.say(&Line::Saw(taken.iter().map(Sight::of).collect()));
        }
        take.rollback();
        self.say(&Line::Whole);
        let state = self.channel.cursor_state(cursor).map(|state| parsed(&state));
        self.say(&Line::State(cursor.to_owned(), state));
        Ok(())
    }

    fn tell_positions(&self) {
        for putter in 0..PUTTERS {
            let producer = producer_of(putter);
            let position = self.channel.position(&producer).map(|value| parsed(&value));
            self.say(&Line::Position(putter, position));
            if Style::of(putter).named {
                let sequence = self.channel.producer_sequence(&producer);
                self.say(&Line::Sequence(producer, sequence));
            }
        }
    }

    /// All at once, until the end of the process.
    fn work(&self) -> Result<(), Failure> {
        let fail = |ended: Result<(), Failure>| {
            if let Err(failure) = ended {
                self.say(&Line::Error(failure.to_string()));
                std::process::exit(1);
            }
        };
        std::thread::scope(|scope| {
            for &putter in &self.plan.putters {
                scope.spawn(move || fail(put::Putter::new(self, putter).run()));
            }
            let mut thread = 0;
            for cursor in &self.plan.cursors {
                for _ in 0..self.plan.takers {
                    scope.spawn(move || fail(take::Taker::new(self, thread, cursor).run()));
                    thread += 1;
                }
            }
            if let Some(cursor) = &self.plan.make {
                scope.spawn(move || fail(take::make(self, thread, cursor)));
            }
            // Nobody may be there to do anything, and the kill still comes.
            loop {
                std::thread::park();
            }
        })
    }

    /// Takes and acknowledges all there is.
    fn drain(&self) -> Result<(), Failure> {
        for (thread, cursor) in (0..).zip(&self.plan.cursors) {
            take::Taker::new(self, thread, cursor).drain()?;
            self.read(cursor)?;
        }
        self.say(&Line::Done);
        Ok(())
    }
}

/// An operation's number, as a position or a state holds it.
fn parsed(value: &[u8]) -> Op {
    let parsed = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    // Some other operation than any there was.
    parsed.unwrap_or(Op { thread: u32::MAX, round: u32::MAX, number: u32::MAX })
}
