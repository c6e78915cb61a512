//! A cursor of a running channel: which seqs it hands out next, and who waits for them.

use std::collections::VecDeque;

use crate::ranges::{RangeSet, SeqRange};
use crate::reader::Reader;
use crate::signal::Slot;
use crate::state::CursorState;
use crate::sync::{Arc, Mutex};

/// The part of a cursor that the log does not hold: it is rebuilt from the acknowledgements.
#[derive(Debug)]
pub(crate) struct LiveCursor {
    /// The lowest seq that was never handed out.
    fresh: u64,
    /// What was handed out and given back; it comes before what is newer.
    returned: RangeSet,
    /// In how many pieces the seqs of open takes lie.
    open_pieces: usize,
    /// How many open takes hold something.
    open_takes: usize,
    /// How many seqs they hold.
    open_events: u64,
    /// Who waits for something to take, first come first served.
    waiters: VecDeque<Arc<Slot<()>>>,
    /// Where it reads.
    pub(crate) reader: Arc<Mutex<Reader>>,
}

impl LiveCursor {
    /// Begins where the acknowledgements say: the gaps in them were open or returned.
    pub(crate) fn new(state: &CursorState) -> LiveCursor {
        let fresh = state.acked.end().max(1);
        let returned = state.acked.missing_in(SeqRange::new(1, fresh)).into_iter().collect();
        LiveCursor {
            fresh,
            returned,
            open_pieces: 0,
            open_takes: 0,
            open_events: 0,
            waiters: VecDeque::new(),
            reader: Arc::default(),
        }
    }

    /// The lowest seq that was never handed out.
    pub(crate) fn fresh(&self) -> u64 {
        self.fresh
    }

    /// How many seqs open takes hold.
    pub(crate) fn open_events(&self) -> u64 {
        self.open_events
    }

    /// How many open takes hold something.
    pub(crate) fn open_takes(&self) -> usize {
        self.open_takes
    }

    /// Whether there is something to hand out.
    pub(crate) fn has_visible(&mut self, acked: &RangeSet, next_seq: u64) -> bool {
        self.skip_acked(acked);
        !self.returned.is_empty() || self.fresh < next_seq
    }

    /// What was lost or dropped ahead of its turn is passed over.
    fn skip_acked(&mut self, acked: &RangeSet) {
        while let Some(held) = acked.holding(self.fresh) {
            self.fresh = held.end;
        }
    }

    /// Hands up to `max` seqs to a take, the lowest first, what was returned before what is new;
    /// how many. Fewer, or none, when the unacknowledged seqs would fall into too many pieces: then
    /// the take waits until others end. A lone take always goes on.
    pub(crate) fn reserve(
        &mut self,
        mine: &mut RangeSet,
        acked: &RangeSet,
        next_seq: u64,
        max: u64,
        pieces_max: usize,
    ) -> Vec<SeqRange> {
        let (pieces_before, held_before) = (mine.pieces(), !mine.is_empty());
        let alone = self.open_takes == usize::from(held_before);
        let mut handed = Vec::new();
        let mut left = max;
        while left > 0 {
            let pieces = self.returned.pieces() + self.open_pieces - pieces_before + mine.pieces();
            let may_split = alone || pieces < pieces_max;
            let Some(range) = self.next_range(acked, next_seq, left, may_split) else { break };
            left -= range.len();
            mine.insert(range);
            handed.push(range);
        }
        self.open_pieces = self.open_pieces - pieces_before + mine.pieces();
        self.open_takes += usize::from(!held_before && !mine.is_empty());
        self.open_events += max - left;
        handed
    }

    fn next_range(
        &mut self,
        acked: &RangeSet,
        next_seq: u64,
        max: u64,
        may_split: bool,
    ) -> Option<SeqRange> {
        if let Some(first) = self.returned.first() {
            return if first.len() <= max || may_split {
                self.returned.pop_front(max)
            } else {
                None
            };
        }
        self.skip_acked(acked);
        let until = next_seq.min(self.fresh.saturating_add(max));
        if self.fresh >= until || !may_split {
            return None;
        }
        let range = acked.missing_in(SeqRange::new(self.fresh, until)).into_iter().next()?;
        self.fresh = range.end;
        Some(range)
    }

    /// Gives back some of what an open take holds, which goes on.
    pub(crate) fn give_back(&mut self, mine: &mut RangeSet, ranges: &[SeqRange], acked: &RangeSet) {
        let (pieces, held) = (mine.pieces(), !mine.is_empty());
        for &range in ranges {
            self.open_events -= mine.remove(range);
            for left in acked.missing_in(range) {
                self.returned.insert(left);
            }
        }
        self.open_pieces = self.open_pieces - pieces + mine.pieces();
        self.open_takes -= usize::from(held && mine.is_empty());
    }

    /// A take was rolled back.
    pub(crate) fn rollback(&mut self, mine: &mut RangeSet, acked: &RangeSet) {
        let all: Vec<SeqRange> = mine.iter().collect();
        self.give_back(mine, &all, acked);
    }

    /// A take was acknowledged, and the acknowledgement is in the state.
    pub(crate) fn acknowledged(&mut self, ranges: &[SeqRange]) {
        if ranges.is_empty() {
            return;
        }
        self.open_pieces -= ranges.len();
        self.open_takes -= 1;
        self.open_events -= ranges.iter().map(|range| range.len()).sum::<u64>();
    }

    /// Seqs that nobody will see any more.
    pub(crate) fn absent(&mut self, range: SeqRange) {
        self.returned.remove(range);
    }

    /// Waits in line.
    pub(crate) fn enqueue(&mut self, waiter: Arc<Slot<()>>) {
        self.waiters.push_back(waiter);
    }

    /// Leaves the line; whether it still stood there. If not, it was woken, and must wake the next
    /// one if it does not take what it was woken for.
    pub(crate) fn leave(&mut self, waiter: &Arc<Slot<()>>) -> bool {
        let at = self.waiters.iter().position(|other| Arc::ptr_eq(other, waiter));
        at.and_then(|at| self.waiters.remove(at)).is_some()
    }

    /// The one to wake, if there is something for it.
    pub(crate) fn next_to_wake(
        &mut self,
        acked: &RangeSet,
        next_seq: u64,
    ) -> Option<Arc<Slot<()>>> {
        if self.waiters.is_empty() || !self.has_visible(acked, next_seq) {
            return None;
        }
        self.waiters.pop_front()
    }

    /// All who wait: the channel closes, or the cursor goes.
    pub(crate) fn all_waiters(&mut self) -> Vec<Arc<Slot<()>>> {
        self.waiters.drain(..).collect()
    }
}
