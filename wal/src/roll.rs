//! Where the log goes on: the active segment, the next one, another one after a failure.

use std::io;

use crate::block::Body;
use crate::checkpoint::Checkpoint;
use crate::checksum::Sum;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Mode;
use crate::log::Log;
use crate::options::SyncClass;
use crate::queue::Ended;
use crate::ranges::SeqRange;
use crate::record::{Loss, LossReason, Record};
use crate::segment::Segment;
use crate::segments::Segments;
use crate::state::{LiveSegment, State};
use crate::sync::{Ordering, lock};

/// How many seqs a weaker sync class reserves ahead by a synced State: more than a transaction of
/// empty events may have.
const SEQS_RESERVED: u64 = 1 << 23;

impl Engine {
    /// Appends a block where there is room for it and syncs it as the class asks. If the disk
    /// fails, the same records go to a fresh segment; an error means that this failed too.
    pub(crate) fn append(&self, log: &mut Log, body: &Body, next_seq: u64) -> Result<()> {
        let sync = log.class.is_commit();
        if !log.fits(body.block_bytes()) {
            self.roll(log).map_err(not_written)?;
        }
        if !sync && next_seq > lock(&self.view).state.seq_reserved {
            self.write_snapshot(log).map_err(not_written)?;
            if !log.fits(body.block_bytes()) {
                self.roll(log).map_err(not_written)?;
            }
        }
        match log.append(&self.env, body, next_seq, sync) {
            Ok(()) => Ok(()),
            Err(error) => self.append_elsewhere(log, body, next_seq, &error),
        }
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
        self.leave_poisoned(log).map_err(|error| in_doubt(&failed, first, &error.to_string()))?;
        log.append(&self.env, body, next_seq, true)
            .map_err(|error| in_doubt(&failed, first, &error.to_string()))
    }

    /// Goes on in a fresh segment after a failure of the active one.
    pub(crate) fn leave_poisoned(&self, log: &mut Log) -> Result<()> {
        if let Some(active) = lock(&self.segments).live.get_mut(&log.active.id) {
            active.poisoned = true;
        }
        // What a weaker class had acknowledged before a sync is gone with the failed one.
        let loss = (log.unsynced && log.synced_seq < log.next_seq).then(|| Loss {
            reason: LossReason::Unsynced,
            seqs: SeqRange::new(log.synced_seq, log.next_seq),
            lsns: (log.durable_lsn + 1, log.next_lsn),
            segment: log.active.id,
            offset_bytes: log.offset,
            len_bytes: 0,
            noticed_us: self.env.clock.wall_us(),
        });
        log.unsynced = false;
        log.new_generation();
        let next = self.next_segment(log)?;
        self.begin_next(log, next, loss.as_ref())
    }

    /// Ends the active segment and goes on in the next one.
    pub(crate) fn roll(&self, log: &mut Log) -> Result<()> {
        let next = self.next_segment(log)?;
        if log.write_seal(&self.env, &next).is_err() {
            // Everything acknowledged is synced; the seal says so only for convenience.
            lock(&self.segments).add_spare(next);
            return self.leave_poisoned(log);
        }
        match self.begin_next(log, next, None) {
            Ok(()) => Ok(()),
            // The new segment failed before anything relied on it: once more, with another one.
            Err(_) => self.leave_poisoned(log),
        }
    }

    /// Begins the next segment with the State. What no cursor needs any more is not in its list
    /// and becomes free.
    fn begin_next(&self, log: &mut Log, segment: Segment, loss: Option<&Loss>) -> Result<()> {
        let file = match segment.open(&self.env, &self.dir, Mode::ReadWrite) {
            Ok(file) => file,
            Err(error) => {
                lock(&self.segments).abandon(segment);
                return Err(error);
            }
        };
        let mut state = self.state_now(log);
        if let Some(loss) = loss {
            state.note_loss(loss);
        }
        state.prev_end = (log.active.id, log.offset, log.prev_crc);
        state.segments.push(LiveSegment {
            id: segment.id,
            salt: segment.salt,
            first_seq: log.next_seq,
            first_lsn: log.next_lsn,
        });
        drop_unneeded(&mut state, segment.id);
        let segment = Segment { file: Some(file.clone()), ..segment };
        if let Err(error) = log.begin(&self.env, segment.clone(), file, state.clone()) {
            let text = format!("write the State of segment {}", segment.name);
            lock(&self.segments).abandon(segment);
            return Err(Error::io(text, error));
        }
        let mut segments = lock(&self.segments);
        if let Some(before) = segments.live.values_mut().next_back() {
            before.file = None;
        }
        segments.enter(segment);
        self.adopt(log, &mut segments, state, loss);
        Ok(())
    }

    /// A synced State lists the live segments: all others are free.
    fn adopt(&self, log: &Log, segments: &mut Segments, state: State, loss: Option<&Loss>) {
        let mut view = lock(&self.view);
        let listed = |id: &u64| state.segments.iter().any(|live| live.id == *id);
        let gone: Vec<u64> = segments.live.keys().filter(|id| !listed(id)).copied().collect();
        for id in gone {
            segments.free.extend(segments.live.remove(&id));
        }
        view.publish(&Record::State(Box::new(state)));
        if let Some(loss) = loss {
            view.cursors.values_mut().for_each(|cursor| cursor.absent(loss.seqs));
        }
        self.news.evidence_lsn.store(log.evidence_lsn, Ordering::Release);
    }

    /// Writes the State into the log, so that segments that nothing needs become free.
    pub(crate) fn write_snapshot(&self, log: &mut Log) -> Result<()> {
        let mut state = self.state_now(log);
        drop_unneeded(&mut state, log.active.id);
        let mut body = Body::default();
        body.push(&Record::State(Box::new(state.clone())), Sum::default());
        if !log.fits(body.block_bytes()) {
            // The State at the head of the next segment says the same.
            return self.roll(log);
        }
        if log.append(&self.env, &body, log.next_seq, true).is_err() {
            return self.leave_poisoned(log);
        }
        self.adopt(log, &mut lock(&self.segments), state, None);
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
        if self.news.capture.load(Ordering::Acquire) {
            self.capture(log);
        }
    }

    /// Syncs what a weaker class left unsynced. If that fails, the segment is poisoned.
    pub(crate) fn sync_now(&self, log: &mut Log) {
        log.last_sync = self.env.clock.monotonic();
        if log.sync().is_err() {
            self.leave_or_end(log);
        }
    }

    /// Goes on elsewhere after a failure that no commit waits for; if that fails too, the channel
    /// ends.
    pub(crate) fn leave_or_end(&self, log: &mut Log) {
        if let Err(error) = self.leave_poisoned(log) {
            self.note_trouble(error.to_string());
            self.end(Ended::Failed);
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

    /// The segment that the log goes on in: a spare, or one that is made or freed right now.
    fn next_segment(&self, log: &mut Log) -> Result<Segment> {
        if let Some(spare) = lock(&self.segments).take_spare(log.active.id) {
            return Ok(spare);
        }
        self.free_a_spare()?;
        lock(&self.segments).take_spare(log.active.id).ok_or_else(|| {
            Error::new(
                ErrorKind::Io,
                format!("no segment is free in {} for the log to go on", self.dir.display()),
            )
        })
    }
}

/// Takes the segments off the list that no cursor needs; the active one stays.
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
