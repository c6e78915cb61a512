//! Space: segments are made, become spares again, or go. The only file that removes files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::Engine;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::format::STATE_OFFSET;
use crate::log::Log;
use crate::names;
use crate::options::SPARES_RESERVED;
use crate::quarantine;
use crate::ranges::SeqRange;
use crate::segment::{self, Segment};
use crate::segments::Segments;
use crate::signal::Slot;
use crate::state::{Damaged, State};
use crate::sync::{Ordering, lock, wait_timeout};

/// How long the leader waits for a segment that the tending thread has in hand.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);
/// After so many rounds in a row in which a copy to quarantine failed, what failed is given up.
const QUARANTINE_ROUNDS_MAX: u64 = 5;

impl Engine {
    /// Whether the oldest segment is needed by nobody: a quick look.
    pub(crate) fn has_reclaimable(&self, state: &State) -> bool {
        match &state.segments[..] {
            [first, second, ..] => !state.needs(SeqRange::new(first.first_seq, second.first_seq)),
            _ => false,
        }
    }

    /// Whether any segment but the active one is needed by nobody, those included, or not, that
    /// wait for their damaged ranges to be copied.
    fn has_reclaimable_anywhere(&self, damaged_too: bool) -> bool {
        let view = lock(&self.view);
        let state = &view.state;
        state.segments.windows(2).any(|pair| {
            let held_back = || state.damaged.iter().any(|range| range.segment == pair[0].id);
            !state.needs(SeqRange::new(pair[0].first_seq, pair[1].first_seq))
                && (damaged_too || !held_back())
        })
    }

    /// Acknowledgements were published: if puts wait, or soon will, space should follow.
    pub(crate) fn space_may_be_back(&self, reclaimable: bool) {
        let short = || lock(&self.segments).spares.len() <= SPARES_RESERVED;
        if (reclaimable && short()) || lock(&self.queue).blocked {
            self.care_bell.ring();
        }
    }

    /// Makes one more spare for the puts that wait, by the leader itself; whether it did.
    pub(crate) fn make_spare_now(&self, log: &mut Log) -> bool {
        let before = lock(&self.segments).spares.len();
        if matches!(self.make_spare(false), Ok(true)) {
            return true;
        }
        if lock(&self.segments).free.is_empty() && self.has_reclaimable_anywhere(false) {
            // The error, if any, comes again and is handled when something must be written.
            let _ = self.write_snapshot(log);
        }
        self.recycle_all();
        lock(&self.segments).spares.len() > before
    }

    /// Sees to it that there is a spare while the log cannot take a State: it is about to move.
    pub(crate) fn free_a_spare(&self) -> Result<()> {
        self.recycle_all();
        let mut segments = lock(&self.segments);
        // The tending thread may have the one that is wanted in hand.
        while segments.spares.is_empty() && segments.making > 0 {
            let (again, late) =
                wait_timeout(&self.segment_made, &self.segments, segments, HAND_OVER_MAX);
            segments = again;
            if late {
                break;
            }
        }
        if !segments.spares.is_empty() {
            return Ok(());
        }
        drop(segments);
        // Two segments are always kept back for this. Only a lowered limit, or files that somebody
        // removed, lead here; going on is worth more than the limit.
        self.make_spare(true).map(|_| ())
    }

    /// Makes one new segment, if the byte limit has room for it or must not count; whether it did.
    pub(crate) fn make_spare(&self, beyond_limit: bool) -> Result<bool> {
        let id = {
            let mut segments = lock(&self.segments);
            if !beyond_limit && !segments.may_make(&self.geometry) {
                *lock(&self.news.no_segment) = None;
                return Ok(false);
            }
            segments.making += 1;
            segments.new_id()
        };
        let uuid = lock(&self.view).state.uuid;
        let known = self.known();
        let len_bytes = self.geometry.segment_bytes;
        let made = segment::create(&self.env, &self.dir, uuid, id, len_bytes, known);
        if made.is_err() {
            // What was begun has no use, whichever name it had come to; if it cannot be removed,
            // the next open does it.
            for name in [names::temporary(id), names::segment(id)] {
                let _ = self.env.fs.remove(&names::path(&self.dir, &name));
            }
        }
        if made.is_ok() {
            self.note_prepared(STATE_OFFSET);
            self.note_known(known.0);
        }
        let why = made.as_ref().err().map(ToString::to_string);
        *lock(&self.news.no_segment) = why;
        self.out_of_hand(|segments| {
            segments.add_spare(made?);
            Ok(true)
        })
    }

    /// A segment that was being made or recycled has its place again, or is gone.
    pub(crate) fn out_of_hand<T>(&self, place: impl FnOnce(&mut Segments) -> T) -> T {
        let mut segments = lock(&self.segments);
        segments.making -= 1;
        let outcome = place(&mut segments);
        drop(segments);
        self.segment_made.notify_all();
        outcome
    }

    /// Makes spares of the free segments, as many as are wanted; the others go.
    pub(crate) fn recycle_all(&self) {
        let mut failed = Vec::new();
        loop {
            let (mut segment, keep) = {
                let mut segments = lock(&self.segments);
                let Some(segment) = segments.free.pop() else {
                    // Still there, still counted; the next round tries to remove them.
                    segments.free.append(&mut failed);
                    return;
                };
                let keep = segments.wants_spares(&self.geometry)
                    && !segment.poisoned
                    && segment.len_bytes == self.geometry.segment_bytes;
                segments.making += 1;
                (segment, keep)
            };
            let outcome = if keep {
                self.recycle(&mut segment).map(Some)
            } else {
                self.remove_segment(&segment).map(|()| None)
            };
            let outcome = self.out_of_hand(|segments| {
                outcome.map(|spare| spare.into_iter().for_each(|spare| segments.add_spare(spare)))
            });
            if let Err(error) = outcome {
                self.note_trouble(format!("recycle segment {}: {error}", segment.name));
                failed.push(Segment { poisoned: true, ..segment });
            }
        }
    }

    fn recycle(&self, old: &mut Segment) -> io::Result<Segment> {
        let id = lock(&self.segments).new_id();
        let uuid = lock(&self.view).state.uuid;
        let known = self.known();
        let spare = segment::relabel(&self.env, &self.dir, uuid, id, known, old)?;
        self.note_prepared(STATE_OFFSET);
        self.note_known(known.0);
        Ok(spare)
    }

    /// The highest LSN that is synced, and the seq behind what is acknowledged: a new header tells
    /// it, in case that the segment with the log's end is lost.
    pub(crate) fn known(&self) -> (u64, u64) {
        let state = &lock(&self.view).state;
        let lsn = if self.options.sync.is_commit() {
            state.next_lsn - 1
        } else {
            self.news.evidence_lsn.load(Ordering::Acquire)
        };
        (lsn, state.next_seq)
    }

    /// Says in the header of a spare what is synced: when the log's end is damaged together with
    /// all that stands beside it, another file still knows of it. That is due once a segment, as
    /// soon as something in it is synced, and whenever the log comes to rest. Nobody takes a spare
    /// while the log is held.
    pub(crate) fn testify(&self, log: &Log, at_rest: bool) {
        let said = self.news.headers_lsn.load(Ordering::Acquire);
        let begun = said < log.begun_lsn && log.begun_lsn <= log.durable_lsn;
        let rests = at_rest && said < log.durable_lsn;
        if !(begun || rests) {
            return;
        }
        let Some(spare) = lock(&self.segments).witness().cloned() else { return };
        let spare = Segment { known: (log.durable_lsn, log.synced_seq), ..spare };
        let outcome = segment::rewrite_header(&self.env, &self.dir, log.uuid, &spare);
        match outcome {
            Ok(()) => {
                self.note_prepared(STATE_OFFSET);
                self.note_known(log.durable_lsn);
            }
            Err(error) => {
                lock(&self.segments).poison_spare(spare.id);
                self.note_trouble(error.to_string());
            }
        }
    }

    /// The header of a spare says so.
    pub(crate) fn note_known(&self, durable_lsn: u64) {
        self.news.headers_lsn.fetch_max(durable_lsn, Ordering::AcqRel);
    }

    fn remove_segment(&self, segment: &Segment) -> io::Result<()> {
        match self.env.fs.remove(&names::path(&self.dir, &segment.name)) {
            // An earlier try came as far as this, and its sync of the directory failed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        self.env.fs.sync_dir(&self.dir)
    }

    /// Copies the damaged ranges of segments that nothing needs any more to quarantine; only then
    /// may a State leave them out. What fails is tried again in the next rounds, until it has been
    /// enough or puts wait for the space.
    fn quarantine_unneeded(&self) {
        let damaged: Vec<(Damaged, Segment)> = {
            let (segments, view) = (lock(&self.segments), lock(&self.view));
            let unneeded = |id: u64| {
                let at = view.state.segments.partition_point(|live| live.id < id);
                match &view.state.segments[at..] {
                    [live, next, ..] if live.id == id => {
                        !view.state.needs(SeqRange::new(live.first_seq, next.first_seq))
                    }
                    _ => false,
                }
            };
            let ready = view.state.damaged.iter().filter(|damaged| unneeded(damaged.segment));
            let found = |damaged: &Damaged| segments.live.get(&damaged.segment).cloned();
            ready.filter_map(|damaged| Some((*damaged, found(damaged)?))).collect()
        };
        let mut failed = Vec::new();
        for (range, segment) in damaged {
            let most = self.options.quarantine_bytes_max;
            let done = match quarantine::is_full(&self.env, &self.dir, range, most) {
                Some(full) => Err((full, false)),
                None => self.quarantine(range, &segment).map_err(|error| (error.to_string(), true)),
            };
            if let Err((why, _)) = &done {
                self.note_trouble(format!("quarantine of segment {}: {why}", segment.name));
            }
            failed.extend(matches!(done, Err((_, true))).then_some(range));
            if failed.last() != Some(&range) {
                self.forget_damaged(range);
            }
        }
        let rounds = &self.news.quarantine_failures;
        let in_a_row = if failed.is_empty() { 0 } else { rounds.load(Ordering::Relaxed) + 1 };
        let puts_wait = {
            let queue = lock(&self.queue);
            queue.blocked && !queue.puts.is_empty()
        };
        let give_up = puts_wait || in_a_row >= QUARANTINE_ROUNDS_MAX;
        rounds.store(if give_up { 0 } else { in_a_row }, Ordering::Relaxed);
        if give_up {
            failed.into_iter().for_each(|range| self.forget_damaged(range));
        }
    }

    /// Copies one damaged range; what other tries have left of it goes.
    fn quarantine(&self, range: Damaged, segment: &Segment) -> io::Result<()> {
        let remove_begun = || {
            for path in quarantine::begun(&self.env, &self.dir, range) {
                // It is in nobody's way but the limit's; the next try sees it again.
                let _ = self.env.fs.remove(&path);
            }
        };
        remove_begun();
        quarantine::copy(&self.env, &self.dir, segment, range).inspect_err(|_| remove_begun())
    }

    /// The next State does without that range.
    fn forget_damaged(&self, range: Damaged) {
        lock(&self.view).state.damaged.retain(|damaged| *damaged != range);
    }

    /// One round: frees segments if that helps, and sees to the spares.
    pub(crate) fn make_space(&self, idle: bool) {
        let blocked = lock(&self.queue).blocked;
        let short = lock(&self.segments).spares.len() <= SPARES_RESERVED;
        if (blocked || short || idle) && self.has_reclaimable_anywhere(true) {
            self.quarantine_unneeded();
        }
        // A State would not leave out those whose bytes are still to be copied.
        if (blocked || short || idle) && self.has_reclaimable_anywhere(false) {
            let slot = Slot::new();
            let pushed = self.commit_blocking(&slot, |queue| {
                queue.check()?;
                queue.snapshots.push(slot.clone());
                Ok(())
            });
            if pushed.is_err() {
                return;
            }
        }
        self.recycle_all();
        while lock(&self.segments).spares.len() <= SPARES_RESERVED {
            match self.make_spare(false) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.note_trouble(error.to_string());
                    break;
                }
            }
        }
    }

    /// So many bytes went into a segment beside the log.
    pub(crate) fn note_prepared(&self, bytes: u64) {
        self.news.preparing_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note_trouble(&self, text: String) {
        *lock(&self.news.trouble) = Some(text);
    }
}

/// Removes what a crash left of segments that were being made.
pub(crate) fn remove_temporaries(env: &Env, dir: &Path, temporaries: &[String]) -> Result<()> {
    for name in temporaries {
        let path = names::path(dir, name);
        env.fs.remove(&path).map_err(|error| {
            Error::new(ErrorKind::Io, format!("remove {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Removes checkpoints that are to be made anew; what went wrong.
pub(crate) fn remove_checkpoints(env: &Env, paths: &[PathBuf]) -> Option<String> {
    let failed = |path: &PathBuf| {
        env.fs.remove(path).err().map(|error| format!("remove {}: {error}", path.display()))
    };
    paths.iter().filter_map(failed).next_back()
}
