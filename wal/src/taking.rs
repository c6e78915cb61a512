//! Taking: seqs are reserved under the view's lock, and read outside it.

use bytes::Bytes;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Mode;
use crate::names;
use crate::queue::ControlWork;
use crate::ranges::{RangeSet, SeqRange};
use crate::reader::{Missing, Reader, Source};
use crate::record::{Loss, LossReason, Record};
use crate::sync::{Ordering, READS_AHEAD, lock};
use crate::transaction::Taken;

/// What came of reading one event.
enum Outcome {
    Event(Bytes),
    /// It and all before that seq are not to be had.
    Missing(u64),
}

impl Engine {
    /// Takes events of a cursor into what a transaction holds.
    pub(crate) fn take_events(
        &self,
        cursor: u32,
        held: &mut RangeSet,
        events_max: u64,
        bytes_max: usize,
    ) -> Result<Vec<Taken>> {
        let mut reserve_max = events_max;
        loop {
            let taken = self.take_reserved(cursor, held, reserve_max, (events_max, bytes_max))?;
            match taken {
                // All that was reserved is lost: there may be more behind it. However much it is,
                // its end is found in a few rounds.
                Some(taken) if taken.is_empty() => reserve_max = reserve_max.saturating_mul(2),
                taken => return Ok(taken.unwrap_or_default()),
            }
        }
    }

    /// Reserves seqs and reads them; nothing if there are none.
    fn take_reserved(
        &self,
        cursor: u32,
        held: &mut RangeSet,
        reserve_max: u64,
        limits: (u64, usize),
    ) -> Result<Option<Vec<Taken>>> {
        let (ranges, reader, wake) = {
            let mut view = lock(&self.view);
            let (live, state, next_seq) = view.cursor(cursor)?;
            let pieces_max = self.geometry.fragments_max;
            let ranges = live.reserve(held, &state.acked, next_seq, reserve_max, pieces_max);
            let wake = live.next_to_wake(&state.acked, next_seq);
            self.news.reader_at.fetch_max(live.fresh(), Ordering::Relaxed);
            (ranges, live.reader.clone(), wake)
        };
        if let Some(waiter) = wake {
            waiter.complete(());
        }
        if ranges.is_empty() {
            return Ok(None);
        }
        let expected: u64 = ranges.iter().map(|range| range.len()).sum();
        let mut taken = Vec::with_capacity(expected.min(limits.0).min(1 << 16) as usize);
        let outcome = {
            let mut reader = lock(&reader);
            self.read_ranges(&mut reader, &ranges, limits, &mut taken)
        };
        let rest = match outcome {
            Ok(rest) => rest,
            Err((rest, error)) => {
                self.give_back(cursor, held, &rest);
                if taken.is_empty() {
                    return Err(error);
                }
                return Ok(Some(taken));
            }
        };
        self.give_back(cursor, held, &rest);
        Ok(Some(taken))
    }

    /// Reads events until there are enough, or enough bytes; what is left of the ranges.
    fn read_ranges(
        &self,
        reader: &mut Reader,
        ranges: &[SeqRange],
        (events_max, bytes_max): (u64, usize),
        taken: &mut Vec<Taken>,
    ) -> std::result::Result<Vec<SeqRange>, (Vec<SeqRange>, Error)> {
        let mut bytes = 0;
        for (index, range) in ranges.iter().enumerate() {
            let mut seq = range.start;
            let rest = |seq: u64| {
                let mut rest = vec![SeqRange::new(seq, range.end)];
                rest.extend_from_slice(&ranges[index + 1..]);
                rest
            };
            while seq < range.end {
                let enough = bytes >= bytes_max || taken.len() as u64 >= events_max;
                if enough && !taken.is_empty() {
                    return Ok(rest(seq));
                }
                match self.read_event(reader, seq) {
                    Ok(Outcome::Event(event)) => {
                        let fits = taken.is_empty() || bytes + event.len() <= bytes_max;
                        if !fits {
                            return Ok(rest(seq));
                        }
                        bytes += event.len();
                        taken.push(Taken { seq, bytes: event });
                        seq += 1;
                    }
                    Ok(Outcome::Missing(until)) => seq = until.max(seq + 1),
                    Err(error) => return Err((rest(seq), error)),
                }
            }
        }
        Ok(Vec::new())
    }

    fn read_event(&self, reader: &mut Reader, seq: u64) -> Result<Outcome> {
        loop {
            if let Some(event) = reader.ready(seq) {
                return Ok(Outcome::Event(event));
            }
            let cached = lock(&self.tail).get(seq);
            if let Some(run) = cached {
                reader.use_run(run);
                continue;
            }
            let source = match self.source_of(reader, seq)? {
                Ok(source) => source,
                Err(missing) => {
                    return Ok(self.report_missing(&missing, LossReason::SegmentMissing));
                }
            };
            let ahead = (READS_AHEAD && !self.is_manual()).then_some(&self.read_ahead);
            let filled = reader.fill(&source, seq, ahead).map_err(|error| {
                Error::io(format!("read segment {} for seq {seq}", source.owner.segment), error)
            })?;
            if let Some(missing) = filled
                && missing.seqs.end > seq
            {
                if self.is_being_left(source.owner.segment) {
                    let text = format!(
                        "segment {} failed, and the log goes on elsewhere; take again",
                        source.owner.segment
                    );
                    return Err(Error::new(ErrorKind::Io, text));
                }
                return Ok(self.report_missing(&missing, LossReason::Damaged));
            }
        }
    }

    /// Whether a segment failed and what it holds is just being appended again: what cannot be
    /// read in it may be readable there.
    fn is_being_left(&self, segment: u64) -> bool {
        let (segments, view) = (lock(&self.segments), lock(&self.view));
        view.state.segments.last().is_some_and(|last| last.id == segment)
            && segments.live.get(&segment).is_some_and(|segment| segment.poisoned)
    }

    /// The segment that holds a seq, open.
    fn source_of(&self, reader: &Reader, seq: u64) -> Result<std::result::Result<Source, Missing>> {
        let (live, end_seq, found, sealed) = {
            let (segments, view) = (lock(&self.segments), lock(&self.view));
            let all = &view.state.segments;
            let at = all.partition_point(|live| live.first_seq <= seq).saturating_sub(1);
            let live = all[at];
            let end_seq = all.get(at + 1).map_or(view.state.next_seq, |next| next.first_seq);
            let sealed = at + 1 < all.len();
            (live, end_seq, segments.live.get(&live.id).cloned(), sealed)
        };
        // What stands before the oldest segment is gone, and that segment is not.
        let gone =
            if seq < live.first_seq { (seq, live.first_seq) } else { (live.first_seq, end_seq) };
        let missing = Missing {
            seqs: SeqRange::new(gone.0, gone.1),
            segment: live.id,
            offset_bytes: 0,
            len_bytes: 0,
        };
        let Some(segment) = found.filter(|_| live.first_seq <= seq && seq < end_seq) else {
            return Ok(Err(missing));
        };
        let owner = segment.owner();
        let open = reader.file_of(owner).or_else(|| segment.file.clone());
        let file = match open {
            Some(file) => file,
            None => {
                let path = names::path(&self.dir, &segment.name);
                match self.env.fs.open(&path, Mode::Read) {
                    Ok(file) => file,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        return Ok(Err(missing));
                    }
                    Err(error) => {
                        return Err(Error::io(format!("open {}", path.display()), error));
                    }
                }
            }
        };
        let (len_bytes, first_seq) = (segment.len_bytes, live.first_seq);
        let buffers = self.read_buffers.clone();
        Ok(Ok(Source { owner, len_bytes, first_seq, end_seq, sealed, file, buffers }))
    }

    /// Sends a loss on its way into the ledger, once. Seqs that are known to be absent, as lost
    /// before or never used, are not in it.
    fn report_missing(&self, missing: &Missing, reason: LossReason) -> Outcome {
        let next_seq = lock(&self.view).state.next_seq;
        // A block may say that it goes further than the log does; what was never given out is not
        // lost.
        let seqs = SeqRange::new(missing.seqs.start, missing.seqs.end.min(next_seq));
        let new = lock(&self.reported).insert(seqs);
        let lost: Vec<SeqRange> = {
            let view = lock(&self.view);
            let needed = new > 0 && view.state.needs(seqs);
            let unknown = needed.then(|| view.state.absent.missing_in(seqs));
            unknown.into_iter().flatten().collect()
        };
        for seqs in lost {
            let loss = Loss {
                reason,
                seqs,
                lsns: (0, 0),
                segment: missing.segment,
                offset_bytes: missing.offset_bytes,
                len_bytes: missing.len_bytes,
                noticed_us: self.env.clock.wall_us(),
            };
            let work = ControlWork::new(Record::Loss(loss), None, false);
            // A channel that has ended notices it again when it is opened.
            let _ = self.commit_later(|queue| queue.push_control(work));
        }
        Outcome::Missing(seqs.end)
    }

    fn give_back(&self, cursor: u32, held: &mut RangeSet, ranges: &[SeqRange]) {
        if ranges.is_empty() {
            return;
        }
        if let Ok((live, state, _)) = lock(&self.view).cursor(cursor) {
            live.give_back(held, ranges, &state.acked);
        }
        self.wake_next(cursor);
    }

    /// A take ends without a commit.
    pub(crate) fn give_back_all(&self, cursor: u32, held: &mut RangeSet) {
        if let Ok((live, state, _)) = lock(&self.view).cursor(cursor) {
            live.rollback(held, &state.acked);
        }
        self.wake_next(cursor);
    }

    /// Wakes the next one in a cursor's line, if there is something for it.
    pub(crate) fn wake_next(&self, cursor: u32) {
        let waiter = {
            let mut view = lock(&self.view);
            view.cursor(cursor)
                .ok()
                .and_then(|(live, state, next_seq)| live.next_to_wake(&state.acked, next_seq))
        };
        if let Some(waiter) = waiter {
            waiter.complete(());
        }
    }

    /// The cursor of that name, made at the oldest event there is if it is new.
    pub(crate) fn cursor_id(&self, name: &str) -> Result<u32> {
        if let Some((id, _)) = lock(&self.view).state.cursor_named(name) {
            return Ok(id);
        }
        self.make_cursor(name, None)
    }

    /// Makes a cursor. Fine if there is one of that name.
    pub(crate) fn make_cursor(&self, name: &str, start: Option<u64>) -> Result<u32> {
        crate::options::check_cursor_name(name)?;
        // One at a time, so that two takes that name a new cursor make one.
        let _making = lock(&self.making_cursor);
        let (id, start) = {
            let view = lock(&self.view);
            if let Some((id, _)) = view.state.cursor_named(name) {
                return Ok(id);
            }
            let most = self.geometry.cursors_max;
            if view.state.cursors.len() >= most {
                let text =
                    format!("the channel has {most} cursors, which is its limit; remove one");
                return Err(Error::new(ErrorKind::LimitReached, text));
            }
            let oldest = view.state.segments.first().map_or(1, |segment| segment.first_seq);
            let start = start.unwrap_or(oldest).clamp(oldest, view.state.next_seq);
            (view.state.next_cursor, start)
        };
        let change = crate::record::CursorChange::Made { id, name: name.to_owned(), start };
        self.commit_control(Record::Cursor(change))?;
        Ok(id)
    }
}
