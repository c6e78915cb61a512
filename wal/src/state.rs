//! The derived state of a channel: what all records so far add up to.
//!
//! [`State::apply`] is the only way it changes, for a record that was just written as for one
//! that is replayed: what the running channel knows and what the next open will know are the
//! same by construction.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::format::Uuid;
use crate::options::Geometry;
use crate::ranges::{RangeSet, SeqRange};
use crate::record::{Ack, CursorChange, DropReason, Dropped, Loss, Put, Record};

/// How many of the last losses the ledger tells one by one; older ones are in its totals.
pub(crate) const LOSSES_KEPT: usize = 16;
/// How many damaged ranges are remembered for quarantine.
pub(crate) const DAMAGED_KEPT: usize = 32;

/// All that a channel is, but for its events.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct State {
    pub(crate) uuid: Uuid,
    pub(crate) generation: u64,
    pub(crate) generation_lsn: u64,
    pub(crate) next_lsn: u64,
    pub(crate) next_seq: u64,
    /// No seq below this is used again, whatever a power cut takes (weaker sync classes only).
    pub(crate) seq_reserved: u64,
    pub(crate) bytes_max: u64,
    pub(crate) events_max: u64,
    pub(crate) next_cursor: u32,
    pub(crate) cursors: BTreeMap<u32, CursorState>,
    pub(crate) producers: BTreeMap<String, u64>,
    pub(crate) positions: BTreeMap<String, Bytes>,
    /// Seqs that no cursor will ever see: lost, dropped, never used; and those of segments that
    /// were reclaimed while an older one is still needed.
    pub(crate) absent: RangeSet,
    pub(crate) ledger: Ledger,
    /// Damaged ranges to copy to quarantine when their segment is reclaimed.
    pub(crate) damaged: Vec<Damaged>,
    /// The live segments, oldest first; the last one is active.
    pub(crate) segments: Vec<LiveSegment>,
    /// Where the segment before the active one ends, and the checksum of its last block.
    pub(crate) prev_end: (u64, u64, u32),
}

/// One cursor.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct CursorState {
    pub(crate) name: String,
    /// What this cursor will not see again; begins at 1 as soon as it is not empty.
    pub(crate) acked: RangeSet,
    pub(crate) state: Option<Bytes>,
}

/// The totals of what was lost or dropped, and the last losses.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Ledger {
    pub(crate) losses: u64,
    pub(crate) lost_events: u64,
    pub(crate) dropped_events: u64,
    pub(crate) recent: Vec<Loss>,
}

/// A damaged range of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub(crate) segment: u64,
    pub(crate) offset_bytes: u64,
    pub(crate) len_bytes: u64,
}

/// A segment that holds something still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveSegment {
    pub(crate) id: u64,
    pub(crate) salt: u64,
    /// The first seq that it may hold.
    pub(crate) first_seq: u64,
    pub(crate) first_lsn: u64,
}

impl CursorState {
    /// How many events it has not acknowledged, of those before `next_seq`.
    pub(crate) fn pending(&self, next_seq: u64) -> u64 {
        let seen = SeqRange::new(1, next_seq);
        // What is acknowledged lies below next_seq, but for ranges dropped ahead of use.
        seen.len().saturating_sub(self.acked.len())
    }

    /// The oldest seq that it has not acknowledged.
    pub(crate) fn floor(&self) -> u64 {
        self.acked.first().filter(|first| first.start <= 1).map_or(1, |first| first.end)
    }
}

impl State {
    /// The state of a channel that has never held anything.
    pub(crate) fn new(uuid: Uuid, bytes_max: u64) -> State {
        State {
            uuid,
            generation: 1,
            generation_lsn: 1,
            next_lsn: 1,
            next_seq: 1,
            bytes_max,
            next_cursor: 1,
            ..State::default()
        }
    }

    /// Takes in the next record.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Put(put) => self.apply_put(put),
            Record::Ack(ack) => self.apply_ack(ack),
            Record::Cursor(change) => self.apply_cursor(change),
            Record::Drop(dropped) => self.apply_drop(dropped),
            Record::Loss(loss) => self.apply_loss(loss),
            // It says what its reader has just come to know by itself; after damage, more.
            Record::State(state) => *self = (**state).clone(),
            Record::Seal(_) | Record::Optional(_) => {}
        }
        if record.has_lsn() {
            self.next_lsn = self.next_lsn.saturating_add(1);
        }
    }

    fn apply_put(&mut self, put: &Put) {
        self.next_seq = self.next_seq.max(put.first_seq.saturating_add(u64::from(put.count)));
        if let Some((name, sequence)) = &put.producer {
            match self.producers.get_mut(name) {
                Some(last) => *last = (*last).max(*sequence),
                None => {
                    self.producers.insert(name.clone(), *sequence);
                }
            }
        }
        for (key, value) in &put.positions {
            if value.is_empty() {
                self.positions.remove(key);
            } else {
                self.positions.insert(key.clone(), Bytes::copy_from_slice(value));
            }
        }
    }

    fn apply_ack(&mut self, ack: &Ack) {
        // The record that made the cursor may be lost: its acknowledgements are still worth
        // something, unless the cursor was removed.
        if !self.cursors.contains_key(&ack.cursor) {
            if ack.cursor < self.next_cursor {
                return;
            }
            self.recover_cursor(ack.cursor);
        }
        let Some(cursor) = self.cursors.get_mut(&ack.cursor) else { return };
        for &range in &ack.ranges {
            cursor.acked.insert(range);
        }
        if let Some(state) = &ack.state {
            cursor.state = (!state.is_empty()).then(|| Bytes::copy_from_slice(state));
        }
    }

    fn recover_cursor(&mut self, id: u32) {
        let name = if id == 1 { "main".to_owned() } else { format!("recovered-{id}") };
        self.begin_cursor(id, name, 1);
    }

    /// A cursor begins at a seq, or at the oldest there is.
    fn begin_cursor(&mut self, id: u32, name: String, start: u64) {
        // What it was to begin with may have been reclaimed while its record waited.
        let oldest = self.segments.first().map_or(1, |segment| segment.first_seq);
        let mut acked = RangeSet::new();
        acked.insert(SeqRange::new(1, oldest.max(start)));
        // What it is not told of here, it finds absent when it comes there.
        let room = self.gaps_max().saturating_sub(self.pieces());
        self.absent.iter().take(room).for_each(|range| _ = acked.insert(range));
        self.cursors.insert(id, CursorState { name, acked, state: None });
        self.next_cursor = self.next_cursor.max(id.saturating_add(1));
    }

    /// Into how many pieces the seqs fall that all cursors have acknowledged.
    fn pieces(&self) -> usize {
        self.cursors.values().map(|cursor| cursor.acked.pieces()).sum()
    }

    fn gaps_max(&self) -> usize {
        Geometry::new(self.bytes_max).gaps_max
    }

    fn apply_cursor(&mut self, change: &CursorChange) {
        match change {
            CursorChange::Made { id, name, start } => {
                self.begin_cursor(*id, name.clone(), *start);
            }
            CursorChange::Removed { id } => {
                self.cursors.remove(id);
            }
        }
    }

    fn apply_drop(&mut self, dropped: &Dropped) {
        for &range in &dropped.ranges {
            let new = self.make_absent(range);
            if dropped.reason != DropReason::Unused {
                self.ledger.dropped_events += new;
            }
        }
    }

    fn apply_loss(&mut self, loss: &Loss) {
        let new = self.make_absent(loss.seqs);
        self.ledger.losses += 1;
        self.ledger.lost_events += new;
        self.ledger.recent.push(loss.clone());
        if self.ledger.recent.len() > LOSSES_KEPT {
            self.ledger.recent.remove(0);
        }
        let damaged = Damaged {
            segment: loss.segment,
            offset_bytes: loss.offset_bytes,
            len_bytes: loss.len_bytes,
        };
        if loss.len_bytes > 0
            && self.damaged.len() < DAMAGED_KEPT
            && !self.damaged.contains(&damaged)
        {
            self.damaged.push(damaged);
        }
    }

    /// Takes a loss in that was noticed while opening: it has no record of its own, the State of
    /// the new generation tells it.
    pub(crate) fn note_loss(&mut self, loss: &Loss) {
        self.apply_loss(loss);
    }

    /// Passes over seqs that may have been given out and are not in the log.
    pub(crate) fn note_unused(&mut self, until: u64) {
        self.make_absent(SeqRange::new(self.next_seq, until));
    }

    /// No cursor will see `range`; how many of its seqs some cursor had still to see.
    fn make_absent(&mut self, range: SeqRange) -> u64 {
        self.next_seq = self.next_seq.max(range.end);
        let missed = self.pass_over(range);
        self.make_unavailable(range);
        if self.cursors.is_empty() { range.len() } else { missed }
    }

    /// All cursors pass over `range`; how many of its seqs some cursor had still to see. When their
    /// sets would fall into too many pieces it stays before them: a take that comes there finds it
    /// absent, and passes it with what it acknowledges.
    pub(crate) fn pass_over(&mut self, range: SeqRange) -> u64 {
        let (most, mut pieces) = (self.gaps_max(), self.pieces());
        let mut missed = 0;
        for cursor in self.cursors.values_mut() {
            let before = cursor.acked.pieces();
            missed = missed.max(cursor.acked.insert(range));
            let after = cursor.acked.pieces();
            if after > before && pieces >= most {
                // It touches nothing that was there.
                cursor.acked.remove(range);
            } else {
                pieces = pieces - before + after;
            }
        }
        missed
    }

    /// No cursor that is made from now on will see `range`. Beyond so many pieces the oldest are
    /// forgotten, and would be noticed once more by a cursor made at the oldest event.
    pub(crate) fn make_unavailable(&mut self, range: SeqRange) {
        let most = Geometry::new(self.bytes_max).absent_max;
        self.absent.insert(range);
        while self.absent.pieces() > most {
            self.absent.pop_front(u64::MAX);
        }
    }

    /// Forgets what lies before the oldest live segment.
    pub(crate) fn forget_before_live(&mut self) {
        let first = self.segments.first().map_or(self.next_seq, |segment| segment.first_seq);
        self.absent.remove(SeqRange::new(0, first));
        let segments = &self.segments;
        self.damaged.retain(|damaged| segments.iter().any(|live| live.id == damaged.segment));
    }

    /// Whether some cursor has something of `range` still to acknowledge; without any cursor,
    /// every event waits for one.
    pub(crate) fn needs(&self, range: SeqRange) -> bool {
        if range.is_empty() {
            return false;
        }
        if self.cursors.is_empty() {
            return !self.absent.covers(range);
        }
        self.cursors.values().any(|cursor| !cursor.acked.covers(range))
    }

    /// Whether some cursor has something of `range` still to acknowledge that is not known to be
    /// absent.
    pub(crate) fn expects(&self, range: SeqRange) -> bool {
        self.needs(range) && !self.absent.covers(range)
    }

    /// How many events wait on the cursor that has most of them before it.
    pub(crate) fn pending(&self) -> u64 {
        let none = || {
            let oldest = self.segments.first().map_or(self.next_seq, |segment| segment.first_seq);
            self.next_seq.saturating_sub(oldest).saturating_sub(self.absent.len())
        };
        let most = self.cursors.values().map(|cursor| cursor.pending(self.next_seq)).max();
        most.unwrap_or_else(none)
    }

    /// The cursor of that name.
    pub(crate) fn cursor_named(&self, name: &str) -> Option<(u32, &CursorState)> {
        self.cursors.iter().find(|(_, cursor)| cursor.name == name).map(|(&id, found)| (id, found))
    }
}
