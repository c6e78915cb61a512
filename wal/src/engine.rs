//! The parts of an open channel, and how they hang together.
//!
//! Locks, outermost first: `care`, `log`, a cursor's reader, `queue`, `segments`, `view`, `tail`,
//! a slot. No lock but the first three is held over a call that reaches the disk.

use std::path::PathBuf;
use std::time::Duration;

use crate::buffers::Buffers;
use crate::checkpoint::{Checkpoint, Checkpoints};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Lock;
use crate::log::{Log, Written};
use crate::options::{Background, Geometry, Options};
use crate::queue::{Ended, PutWork, Queue};
use crate::ranges::RangeSet;
use crate::read_ahead::ReadAhead;
use crate::segments::Segments;
use crate::signal::Bell;
use crate::status::Status;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, lock};
use crate::tail::Tail;
use crate::view::View;

/// An open channel, without its threads.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) env: Env,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) geometry: Geometry,
    pub(crate) log: Mutex<Log>,
    pub(crate) segments: Mutex<Segments>,
    /// Rings when a segment that was being made or recycled has its place again.
    pub(crate) segment_made: Condvar,
    pub(crate) view: Mutex<View>,
    pub(crate) queue: Mutex<Queue>,
    /// How many are in line, for a leader that waits for company.
    pub(crate) in_line: AtomicUsize,
    pub(crate) tail: Mutex<Tail>,
    /// What transactions gather their events in.
    pub(crate) put_buffers: Arc<Buffers>,
    /// What is read from segments.
    pub(crate) read_buffers: Arc<Buffers>,
    pub(crate) read_ahead: ReadAhead,
    pub(crate) care: Mutex<Care>,
    /// What the leader and the tending thread tell each other.
    pub(crate) news: News,
    /// Losses that readers have reported and that may still be on their way into the log.
    pub(crate) reported: Mutex<RangeSet>,
    /// Held while a cursor is made.
    pub(crate) making_cursor: Mutex<()>,
    pub(crate) owner: Mutex<Option<Box<dyn Lock>>>,
    /// Wakes the thread that leads when nobody else can.
    pub(crate) log_bell: Bell,
    /// Wakes the thread that tends.
    pub(crate) care_bell: Bell,
}

/// What the tending thread remembers between two rounds.
#[derive(Debug, Default)]
pub(crate) struct Care {
    /// Without them, for whatever reason, opening takes longer and nothing else changes.
    pub(crate) checkpoints: Option<Checkpoints>,
    /// The page that others look at.
    pub(crate) status: Option<Status>,
    /// How many bytes of log had been written at the last checkpoint.
    pub(crate) checkpoint_at_bytes: u64,
    /// When a checkpoint was synced last.
    pub(crate) checkpoint_synced: Option<Duration>,
    /// A checkpoint that waits for the evidence that its place is synced.
    pub(crate) checkpoint_due: Option<Checkpoint>,
}

/// Numbers and wishes between the leader and the tending thread, without a lock.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Bytes of log written since the channel was opened.
    pub(crate) written_bytes: AtomicU64,
    /// The seq that the foremost cursor takes next, or took lately.
    pub(crate) reader_at: AtomicU64,
    /// The highest `durable_lsn` that stands in a synced block.
    pub(crate) evidence_lsn: AtomicU64,
    /// The highest LSN that the header of a segment behind the active one says was synced.
    pub(crate) headers_lsn: AtomicU64,
    /// A checkpoint is wanted: the leader leaves one in `captured`.
    pub(crate) capture: AtomicBool,
    pub(crate) captured: Mutex<Option<Checkpoint>>,
    /// The threads are to end.
    pub(crate) stop: AtomicBool,
    /// Why no segment could be made last time, if that is what puts wait for.
    pub(crate) no_segment: Mutex<Option<String>>,
    /// What went wrong last, aside from the commits.
    pub(crate) trouble: Mutex<Option<String>>,
    /// How many segments a failure has poisoned since the channel was opened.
    pub(crate) poisoned: AtomicU64,
    /// In how many rounds in a row a copy to quarantine failed.
    pub(crate) quarantine_failures: AtomicU64,
    /// The failure that ended writing.
    pub(crate) failure: Mutex<Option<String>>,
    /// What went to the disk.
    pub(crate) written: Mutex<Written>,
    /// Bytes that went into segments beside the log: headers, and zeroes ahead of it.
    pub(crate) preparing_bytes: AtomicU64,
}

impl Engine {
    /// The error of a channel that has ended, if it has.
    pub(crate) fn check(&self) -> Result<()> {
        lock(&self.queue).check()
    }

    pub(crate) fn is_manual(&self) -> bool {
        self.options.background == Background::Manual
    }

    /// Ends the channel after a failure: who looks at it is told which.
    pub(crate) fn fail(&self, error: &Error) {
        *lock(&self.news.failure) = Some(error.to_string());
        self.note_trouble(error.to_string());
        self.end(Ended::Failed);
    }

    /// Ends the channel: nothing is accepted any more, all waits end.
    pub(crate) fn end(&self, ended: Ended) {
        let was_failed = {
            let mut queue = lock(&self.queue);
            let was_failed = queue.ended == Some(Ended::Failed);
            queue.end(ended);
            self.in_line.store(queue.in_line(), Ordering::Release);
            was_failed
        };
        if ended == Ended::Failed && was_failed {
            return;
        }
        self.wake_all_takers();
        self.log_bell.ring();
        self.care_bell.ring();
        self.read_ahead.bell.ring();
    }

    pub(crate) fn wake_all_takers(&self) {
        let waiters: Vec<_> = {
            let mut view = lock(&self.view);
            view.cursors.values_mut().flat_map(|cursor| cursor.all_waiters()).collect()
        };
        waiters.iter().for_each(|waiter| waiter.complete(()));
    }

    /// Refuses puts whose time to wait for space is over; whether there were any.
    pub(crate) fn refuse_expired(&self) -> bool {
        self.refuse_older(self.env.clock.monotonic())
    }

    /// Refuses all puts that wait for space.
    pub(crate) fn refuse_blocked(&self) -> bool {
        self.refuse_older(Duration::MAX)
    }

    fn refuse_older(&self, now: Duration) -> bool {
        let expired = {
            let mut queue = lock(&self.queue);
            if queue.blocked { queue.take_expired(now) } else { Vec::new() }
        };
        for work in &expired {
            self.refuse(work, ErrorKind::Full);
        }
        !expired.is_empty()
    }

    fn refuse(&self, work: &PutWork, kind: ErrorKind) {
        let text = self.why_full(u64::from(work.put.count));
        for slot in &work.slots {
            slot.complete(Err(Error::new(kind, text.clone())));
        }
    }

    /// How full it is for a put of so many events, why, and which cursor pins.
    pub(crate) fn why_full(&self, count: u64) -> String {
        let used = lock(&self.segments).bytes(&self.geometry);
        let view = lock(&self.view);
        let state = &view.state;
        let slowest = state.cursors.values().min_by_key(|cursor| cursor.floor());
        let pin = slowest.map_or_else(
            || "no cursor reads it, so that nothing is ever freed".to_owned(),
            |cursor| {
                let pending = cursor.pending(state.next_seq);
                let (name, floor) = (&cursor.name, cursor.floor());
                if pending == 0 {
                    return "all events are taken and space is being prepared".to_owned();
                }
                format!("cursor {name:?} has {pending} events to take, the oldest is seq {floor}")
            },
        );
        let no_segment = lock(&self.news.no_segment).clone();
        let limit = if let Some(why) = no_segment {
            format!("{why}, although segments use only {used} of {} bytes", self.geometry.bytes_max)
        } else if state.events_max > 0 && state.pending() + count > state.events_max {
            format!("{} of {} events wait", state.pending(), state.events_max)
        } else {
            format!("segments use {used} of {} bytes", self.geometry.bytes_max)
        };
        format!(
            "the channel {} is full: {limit}; {pin}; take and commit, or make room for more, then \
             put again",
            self.dir.display()
        )
    }
}

/// An engine that many hold.
pub(crate) type Shared = Arc<Engine>;
