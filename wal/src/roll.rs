//! Where the log goes on: the active segment, the next one, another one after a failure.

use std::fmt::Display;
use std::io;

use crate::block::Body;
use crate::checkpoint::Checkpoint;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Mode;
use crate::log::{Log, Synced};
use crate::options::SyncClass;
use crate::ranges::SeqRange;
use crate::record::{Loss, Record};
use crate::segment::Segment;
use crate::state::{LiveSegment, State};
use crate::sync::{Ordering, lock, wait};

/// How many seqs a weaker sync class reserves ahead by a synced State: more than a transaction of
/// empty events may have.
pub(crate) const SEQS_RESERVED: u64 = 1 << 24;
/// From so many segments on the rest of one may stay unused for the sake of a faster one.
const SEGMENTS_TO_MOVE: u64 = 16;
/// How often the log rolls at most for the sake of one block.
const ROLLS_MAX: usize = 4;

impl Engine {
    /// Appends a block where there is room for it and syncs it as the class asks. If the disk
    /// fails, the same records go to a fresh segment; an error means that this failed too.
    pub(crate) fn append(&self, log: &mut Log, body: &Body, next_seq: u64) -> Result<()> {
        if self.should_move(log) {
            self.roll(log).map_err(not_written)?;
        }
        self.make_room(log, body.block_bytes()).map_err(not_written)?;
        if !log.class.is_commit() && next_seq > lock(&self.view).state.seq_reserved {
            self.write_snapshot(log).map_err(not_written)?;
            self.make_room(log, body.block_bytes()).map_err(not_written)?;
        }
        match log.append(&self.env, body, next_seq, log.class.is_commit()) {
            Ok(()) => Ok(()),
            Err(error) => self.append_elsewhere(log, body, next_seq, &error),
        }
    }

    /// Whether the log had better go on in a spare that was written ahead: the active segment was
    /// not, so that each sync there has metadata to write, and there is room enough to spare.
    fn should_move(&self, log: &Log) -> bool {
        let left = log.active.len_bytes - log.offset;
        if log.active.is_written() || left < log.active.len_bytes / 4 {
            return false;
        }
        self.geometry.segments_max >= SEGMENTS_TO_MOVE
            && lock(&self.segments).next_is_better(log.active.id)
    }

    /// Rolls until a block has room. Once is enough, unless the disk fails and what the next
    /// segment begins with has to be what was not yet synced of this one.
    fn make_room(&self, log: &mut Log, block_bytes: u64) -> Result<()> {
        for _ in 0..ROLLS_MAX {
            if log.fits(block_bytes) {
                return Ok(());
            }
            self.roll(log)?;
        }
        Err(Error::new(ErrorKind::Io, "segment after segment has no room for a block"))
    }

    /// The segment is poisoned: nothing is known of what was not synced, and nothing more is
    /// written to it. The records are appended again, in a new generation that voids them there.
    fn append_elsewhere(
        &self,
        log: &mut Log,
        body: &Body,
        next_seq: u64,
        first: &io::Error,
    ) -> Result<()> {
        let failed = log.active.name.clone();
        let doubt = |error: &dyn std::fmt::Display| in_doubt(&failed, first, &error.to_string());
        self.leave_poisoned(log, first).map_err(|error| doubt(&error))?;
        self.make_room(log, body.block_bytes()).map_err(|error| doubt(&error))?;
        log.append(&self.env, body, next_seq, log.class.is_commit()).map_err(|error| doubt(&error))
    }

    /// Goes on in a fresh segment after a failure of the active one.
    pub(crate) fn leave_poisoned(&self, log: &mut Log, why: &dyn Display) -> Result<()> {
        self.news.poisoned.fetch_add(1, Ordering::Relaxed);
        self.note_trouble(format!("segment {} is poisoned: {why}", log.active.name));
        if let Some(active) = lock(&self.segments).live.get_mut(&log.active.id) {
            active.poisoned = true;
        }
        if log.durable_lsn + 1 < log.next_lsn {
            return self.append_again(log);
        }
        log.unsynced = false;
        log.new_generation();
        let next = self.next_segment(log)?;
        self.begin_next(log, next)
    }

    /// Ends the active segment and goes on in the next one.
    pub(crate) fn roll(&self, log: &mut Log) -> Result<()> {
        let next = self.next_segment(log)?;
        if let Err(error) = log.write_seal(&self.env, &next) {
            // Everything acknowledged is synced; the seal says so only for convenience.
            lock(&self.segments).add_spare(next);
            return self.leave_poisoned(log, &error);
        }
        // If the new segment fails before anything relied on it: once more, with another one.
        self.begin_next(log, next).or_else(|error| self.leave_poisoned(log, &error))
    }

    /// Begins the next segment with the State of this moment.
    fn begin_next(&self, log: &mut Log, next: Segment) -> Result<()> {
        let mut state = self.state_now(log);
        self.begin_in(log, next, &mut state)?;
        self.adopt(log, state, &[]);
        Ok(())
    }

    /// Begins a segment with a State, which then lists it. What no cursor needs any more is not in
    /// its list and becomes free once it is adopted.
    pub(crate) fn begin_in(
        &self,
        log: &mut Log,
        segment: Segment,
        state: &mut State,
    ) -> Result<()> {
        let file = match segment.open(&self.env, &self.dir, Mode::ReadWrite) {
            Ok(file) => file,
            Err(error) => {
                lock(&self.segments).abandon(segment);
                return Err(error);
            }
        };
        state.prev_end = (log.active.id, log.offset, log.prev_crc);
        state.segments.push(LiveSegment {
            id: segment.id,
            salt: segment.salt,
            first_seq: log.next_seq,
            first_lsn: log.next_lsn,
        });
        drop_unneeded(state, segment.id);
        let end = log.offset;
        let segment = Segment { file: Some(file.clone()), ..segment };
        if let Err(error) = log.begin(&self.env, segment.clone(), file, state.clone()) {
            let text = format!("write the State of segment {}", segment.name);
            lock(&self.segments).abandon(segment);
            return Err(Error::io(text, error));
        }
        let mut segments = lock(&self.segments);
        if let Some(before) = segments.live.values_mut().next_back() {
            before.file = None;
            before.written_bytes = before.written_bytes.max(end);
        }
        segments.enter(segment);
        Ok(())
    }

    /// A synced State is what holds from now on. It lists the live segments: all others are free.
    pub(crate) fn adopt(&self, log: &mut Log, state: State, losses: &[Loss]) {
        {
            let mut guard = lock(&self.segments);
            let segments = &mut *guard;
            let mut view = lock(&self.view);
            let listed = |id: &u64| state.segments.iter().any(|live| live.id == *id);
            let gone: Vec<u64> = segments.live.keys().filter(|id| !listed(id)).copied().collect();
            for id in gone {
                let gone = segments.live.remove(&id);
                segments.free.extend(gone);
            }
            view.publish(&Record::State(Box::new(state)));
            for loss in losses {
                view.pass_over(loss.seqs);
            }
        }
        self.note_synced(log);
        self.news.evidence_lsn.store(log.evidence_lsn, Ordering::Release);
    }

    /// All of the log is synced: a weaker class remembers the moment, as a later sync may fail.
    pub(crate) fn note_synced(&self, log: &mut Log) {
        if !log.class.is_commit() {
            let state = lock(&self.view).state.clone();
            log.synced = Some(Box::new(Synced { offset: log.offset, state }));
        }
    }

    /// Writes the State into the log, so that segments that nothing needs become free.
    pub(crate) fn write_snapshot(&self, log: &mut Log) -> Result<()> {
        // It vouches for all that it follows: segments that it leaves out are used again, so that
        // damage before it must not look like a hole that a power cut left.
        if let Err(error) = log.sync() {
            return self.leave_poisoned(log, &error);
        }
        let mut state = self.state_now(log);
        drop_unneeded(&mut state, log.active.id);
        let mut body = Body::default();
        body.push(&Record::State(Box::new(state.clone())), None);
        if !log.fits(body.block_bytes()) {
            // The State at the head of the next segment says the same.
            return self.roll(log);
        }
        if let Err(error) = log.append(&self.env, &body, log.next_seq, true) {
            return self.leave_poisoned(log, &error);
        }
        self.adopt(log, state, &[]);
        Ok(())
    }

    /// The state at the log's end.
    fn state_now(&self, log: &Log) -> State {
        let mut state = lock(&self.view).state.clone();
        assert_eq!(state.next_lsn, log.next_lsn);
        assert_eq!(state.next_seq, log.next_seq);
        self.stamp(log, &mut state);
        state
    }

    /// What a State says of its writer.
    pub(crate) fn stamp(&self, log: &Log, state: &mut State) {
        state.generation = log.generation;
        state.generation_lsn = log.generation_lsn;
        let reserved = log.next_seq + SEQS_RESERVED;
        state.seq_reserved = if log.class.is_commit() { 0 } else { reserved };
    }

    /// After a group: what is due now and then, and what the tending thread asked for.
    pub(crate) fn after_group(&self, log: &mut Log) {
        if let SyncClass::Interval(every) = log.class {
            let now = self.env.clock.monotonic();
            if now.saturating_sub(log.last_sync) >= every {
                self.sync_now(log);
            }
        }
        self.news.written_bytes.store(log.written.bytes, Ordering::Relaxed);
        *lock(&self.news.written) = log.written;
        self.news.evidence_lsn.store(log.evidence_lsn, Ordering::Release);
        self.testify(log, false);
        if self.news.capture.load(Ordering::Acquire) {
            self.capture(log);
        }
    }

    /// Syncs what a weaker class left unsynced. If that fails, the segment is poisoned.
    pub(crate) fn sync_now(&self, log: &mut Log) {
        log.last_sync = self.env.clock.monotonic();
        match log.sync() {
            Ok(()) => self.note_synced(log),
            Err(error) => self.leave_or_end(log, &error),
        }
    }

    /// Goes on elsewhere after a failure that no commit waits for; if that fails too, the channel
    /// ends.
    pub(crate) fn leave_or_end(&self, log: &mut Log, why: &dyn Display) {
        if let Err(error) = self.leave_poisoned(log, why) {
            self.fail(&error);
        }
    }

    /// Leaves a checkpoint of this moment for the tending thread.
    pub(crate) fn capture(&self, log: &Log) {
        let mut state = lock(&self.view).state.clone();
        state.generation = log.generation;
        state.generation_lsn = log.generation_lsn;
        let checkpoint = Checkpoint {
            number: 0,
            segment: log.active.id,
            offset_bytes: log.offset,
            prev_crc: log.prev_crc,
            state,
        };
        *lock(&self.news.captured) = Some(checkpoint);
        self.news.capture.store(false, Ordering::Release);
        self.care_bell.ring();
    }

    /// The next spare, as soon as nobody writes to it any more.
    fn take_spare(&self, above: u64) -> Option<Segment> {
        let mut segments = lock(&self.segments);
        while segments.ahead.is_some() && segments.ahead == segments.next_spare(above) {
            // A slice of zeroes is on its way to the disk.
            segments = wait(&self.segment_made, segments);
        }
        segments.take_spare(above)
    }

    /// The segment that the log goes on in: a spare, or one that is made or freed right now.
    pub(crate) fn next_segment(&self, log: &mut Log) -> Result<Segment> {
        if let Some(spare) = self.take_spare(log.active.id) {
            return Ok(spare);
        }
        self.free_a_spare()?;
        self.take_spare(log.active.id).ok_or_else(|| {
            Error::new(
                ErrorKind::Io,
                format!("no segment is free in {} for the log to go on", self.dir.display()),
            )
        })
    }
}

/// Takes the segments off the list that no cursor needs; the active one stays. What they held is
/// absent from then on, so that a cursor made at an older event passes it and finds no loss.
fn drop_unneeded(state: &mut State, active: u64) {
    let ends = state.segments.iter().skip(1).map(|next| next.first_seq);
    let ends: Vec<u64> = ends.chain([state.next_seq]).collect();
    let mut ends = ends.into_iter();
    for segment in std::mem::take(&mut state.segments) {
        let held = SeqRange::new(segment.first_seq, ends.next().unwrap_or(state.next_seq));
        let kept = segment.id == active
            || state.needs(held)
            // Its damaged ranges go to quarantine first.
            || state.damaged.iter().any(|damaged| damaged.segment == segment.id);
        if kept {
            state.segments.push(segment);
        } else {
            // One before it may be kept: a cursor that is made later must not miss these.
            state.make_unavailable(held);
        }
    }
    state.forget_before_live();
}

/// The log could not go on before anything of the commit was written.
#[expect(clippy::needless_pass_by_value, reason = "it is used as a function from error to error")]
fn not_written(error: Error) -> Error {
    Error::new(
        ErrorKind::Failed,
        format!(
            "the log cannot go on ({error}); nothing of this commit was written; close the \
             channel and open it again"
        ),
    )
}

fn in_doubt(segment: &str, first: &io::Error, then: &str) -> Error {
    Error::new(
        ErrorKind::InDoubt,
        format!(
            "writing segment {segment} failed ({first}), and so did going on elsewhere ({then}); \
             whether this commit is durable shows when the channel is opened again"
        ),
    )
}
