//! What a channel does beside its commits: checkpoints, watermarks, spare segments, the status
//! page. One thread does it, or, for simulations, the program by calling `tend`.

use std::io::IoSlice;
use std::time::Duration;

use crate::engine::{Care, Engine, Shared};
use crate::error::Result;
use crate::format::STATE_OFFSET;
use crate::fs::write_all_at;
use crate::options::SyncClass;
use crate::segment::{self, Segment, is_full};
use crate::stats::Condition;
use crate::sync::{Ordering, TryLockError, lock};

/// How long the thread sleeps when nothing rings.
const ROUND: Duration = Duration::from_millis(100);
/// How often a checkpoint is synced at most while the log is being written to.
const CHECKPOINT_SYNC_EVERY: Duration = Duration::from_secs(1);
/// So long after the last block the log counts as busy.
const BUSY_FOR: Duration = Duration::from_millis(200);
/// How much longer than it worked it rests then.
const REST_FACTOR: u32 = 2;
/// How much of a new segment is written ahead at once.
const SLICE_BYTES: u64 = 512 << 10;

/// The thread that leads for those who cannot block.
pub(crate) fn log_thread(engine: &Shared) {
    while !engine.news.stop.load(Ordering::Acquire) {
        engine.log_bell.sleep(Duration::from_secs(3600));
        let leads = std::mem::take(&mut lock(&engine.queue).thread_leads);
        if leads {
            engine.lead(None);
        }
    }
}

/// The thread that tends.
pub(crate) fn care_thread(engine: &Shared) {
    let mut log = (0, Duration::ZERO);
    while !engine.news.stop.load(Ordering::Acquire) {
        engine.care_bell.sleep(engine.next_round());
        if engine.news.stop.load(Ordering::Acquire) {
            break;
        }
        engine.tend();
        engine.write_ahead(&mut log);
    }
}

impl Engine {
    fn next_round(&self) -> Duration {
        let mut round = ROUND.min(self.options.watermark_after);
        if let SyncClass::Interval(every) = self.options.sync {
            round = round.min(every);
        }
        let now = self.env.clock.monotonic();
        let deadline = lock(&self.queue).next_deadline();
        let until = deadline.map_or(round, |at| at.saturating_sub(now));
        round.min(until).max(Duration::from_millis(1))
    }

    /// One round of all that is due.
    pub(crate) fn tend(&self) {
        if self.refuse_expired() {
            // A smaller one behind them may fit.
            self.call_leader();
        }
        let idle = self.tend_log();
        if self.check().is_err() {
            self.show_status(&mut lock(&self.care));
            return;
        }
        self.make_space(idle);
        if lock(&self.queue).blocked {
            // Whether there is room now is the leader's to see.
            self.call_leader();
        }
        let mut care = lock(&self.care);
        self.tend_checkpoint(&mut care, idle);
        self.show_status(&mut care);
    }

    /// While nobody leads: sync what a weaker class left, close the ambiguous window. Whether the
    /// log is idle.
    fn tend_log(&self) -> bool {
        let mut log = match self.log.try_lock() {
            Ok(log) => log,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody leads, and does what is due after each group.
            Err(TryLockError::WouldBlock) => return false,
        };
        if self.check().is_err() {
            return false;
        }
        let now = self.env.clock.monotonic();
        if let SyncClass::Interval(every) = log.class
            && log.unsynced
            && now.saturating_sub(log.last_sync) >= every
        {
            self.sync_now(&mut log);
        }
        let idle = now.saturating_sub(log.last_write) >= self.options.watermark_after;
        let settled = idle && !log.unsynced;
        if settled
            && log.wants_watermark()
            && let Err(error) = log.write_watermark(&self.env)
        {
            // The disk failed: whatever is written next must not go to that file.
            self.leave_or_end(&mut log, &error);
        }
        self.testify(&log, settled);
        *lock(&self.news.written) = log.written;
        self.news.evidence_lsn.store(log.evidence_lsn, Ordering::Release);
        if self.news.capture.load(Ordering::Acquire) {
            self.capture(&log);
        }
        idle
    }

    /// Asks for a checkpoint when enough log has been written, and writes one as soon as the log
    /// itself says that its place is synced.
    fn tend_checkpoint(&self, care: &mut Care, idle: bool) {
        let written = self.news.written_bytes.load(Ordering::Relaxed);
        // A small channel goes round before much is written: it has a checkpoint all the same.
        let every = self.options.checkpoint_bytes.min(2 * self.geometry.segment_bytes);
        if written.saturating_sub(care.checkpoint_at_bytes) >= every {
            care.checkpoint_at_bytes = written;
            self.news.capture.store(true, Ordering::Release);
        }
        if let Some(captured) = lock(&self.news.captured).take() {
            care.checkpoint_due = Some(captured);
        }
        let evidence = self.news.evidence_lsn.load(Ordering::Acquire);
        let ready = |due: &crate::checkpoint::Checkpoint| due.state.next_lsn - 1 <= evidence;
        let due = care.checkpoint_due.take_if(|due| ready(due));
        let Some(checkpoints) = &mut care.checkpoints else { return };
        let mut outcome = Ok(());
        if let Some(mut due) = due {
            due.number = checkpoints.next_number();
            outcome = checkpoints.write(&due);
        }
        // Commits wait for the same disk.
        let now = self.env.clock.monotonic();
        let recently =
            care.checkpoint_synced.is_some_and(|at| now.saturating_sub(at) < CHECKPOINT_SYNC_EVERY);
        if outcome.is_ok() && (idle || !recently) {
            outcome = checkpoints.sync().map(|synced| {
                if synced {
                    care.checkpoint_synced = Some(now);
                }
            });
        }
        if let Err(error) = outcome {
            self.note_trouble(format!("write a checkpoint: {error}"));
        }
    }

    /// Asks for a checkpoint now.
    pub(crate) fn want_checkpoint(&self) {
        self.news.capture.store(true, Ordering::Release);
        self.care_bell.ring();
    }

    fn show_status(&self, care: &mut Care) {
        let Some(status) = &mut care.status else { return };
        let (condition, why) = Condition::of(self);
        let poisoned = self.news.poisoned.load(Ordering::Relaxed);
        let trouble = lock(&self.news.trouble).clone();
        let (put, taken, pending, next_seq, open) = {
            let view = lock(&self.view);
            let open: u64 = view.cursors.values().map(|cursor| cursor.open_events()).sum();
            let state = &view.state;
            (view.events_put, view.events_taken, state.pending(), state.next_seq, open)
        };
        let bytes = lock(&self.segments).bytes(&self.geometry);
        let figures = [
            ("wall_us", self.env.clock.wall_us().max(0) as u64),
            ("events", pending),
            ("next_seq", next_seq),
            ("in_flight", open),
            ("bytes", bytes),
            ("put", put),
            ("taken", taken),
            ("condition", condition.code()),
            ("poisoned", poisoned),
        ];
        status.store(&figures, why.or(trouble).as_deref());
    }

    /// Writes zeroes over a piece of the next spare that was never written, so that the log's first
    /// lap syncs as fast as later ones; whether there may be more to write.
    fn write_slice_ahead(&self) -> bool {
        let Some(spare) = lock(&self.segments).begin_ahead() else { return false };
        let from = spare.written_bytes.max(STATE_OFFSET);
        let len = SLICE_BYTES.min(spare.len_bytes - from);
        let written = match write_zeroes(&spare, from, len) {
            Ok(()) => {
                self.note_prepared(len);
                let written = Segment { written_bytes: from + len, ..spare.clone() };
                self.note_written(&written).ok().map(|()| written.written_bytes)
            }
            // Where what is allocated still needs room to be written: it is of use as it is.
            Err(error) if is_full(&error) => Some(spare.len_bytes),
            Err(_) => None,
        };
        lock(&self.segments).end_ahead(spare.id, written);
        self.segment_made.notify_all();
        written.is_some()
    }

    /// The header of a spare that is all written says so: who opens the channel next need not write
    /// it again.
    fn note_written(&self, spare: &Segment) -> Result<()> {
        if !spare.is_written() {
            return Ok(());
        }
        let uuid = lock(&self.view).state.uuid;
        let known = self.known();
        let spare = Segment { known, ..spare.clone() };
        segment::rewrite_header(&self.env, &self.dir, uuid, &spare)?;
        self.note_known(known.0);
        Ok(())
    }

    /// Goes on with that until the thread is needed for something else. It gives way: while the log
    /// is being written to, it rests longer than it works. `log` is how many bytes had been written
    /// there, and when that was seen to change last.
    fn write_ahead(&self, log: &mut (u64, Duration)) {
        let begun = self.env.clock.monotonic();
        let mut now = begun;
        while now.saturating_sub(begun) < ROUND && !self.news.stop.load(Ordering::Acquire) {
            if !self.write_slice_ahead() {
                return;
            }
            let done = self.env.clock.monotonic();
            let written = self.news.written_bytes.load(Ordering::Relaxed);
            if written != log.0 {
                *log = (written, done);
            }
            let busy = done.saturating_sub(log.1) < BUSY_FOR;
            let rest = REST_FACTOR * done.saturating_sub(now);
            if busy && self.care_bell.rings_within(rest) {
                return;
            }
            now = self.env.clock.monotonic();
        }
        // The next round comes at once.
        self.care_bell.ring();
    }
}

fn write_zeroes(spare: &Segment, from: u64, len: u64) -> std::io::Result<()> {
    let Some(file) = &spare.file else { return Err(std::io::ErrorKind::NotFound.into()) };
    let zeroes = vec![0; len as usize];
    write_all_at(&**file, &mut [IoSlice::new(&zeroes)], from)?;
    file.sync_data()
}
