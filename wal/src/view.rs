//! What takers and askers see of a channel: the published state, and the cursors at work.
//!
//! A record is in here only after it is acknowledged. Everything below `state.next_seq` may be
//! taken; that one number is all that takers wait for.

use std::collections::BTreeMap;

use crate::cursor::LiveCursor;
use crate::error::{Error, ErrorKind, Result};
use crate::ranges::SeqRange;
use crate::record::{Ack, CursorChange, Record};
use crate::signal::Slot;
use crate::state::{CursorState, State};
use crate::sync::Arc;

/// The published state of a channel.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) cursors: BTreeMap<u32, LiveCursor>,
    pub(crate) events_put: u64,
    pub(crate) events_taken: u64,
    pub(crate) duplicates: u64,
}

impl View {
    pub(crate) fn new(state: State) -> View {
        let cursors =
            state.cursors.iter().map(|(&id, cursor)| (id, LiveCursor::new(cursor))).collect();
        View { state, cursors, events_put: 0, events_taken: 0, duplicates: 0 }
    }

    /// Takes in a record that is acknowledged now.
    pub(crate) fn publish(&mut self, record: &Record) {
        self.state.apply(record);
        match record {
            Record::Put(put) => self.events_put += u64::from(put.count),
            Record::Ack(ack) => self.acknowledged(ack),
            Record::Cursor(CursorChange::Made { id, .. }) => {
                if let Some(cursor) = self.state.cursors.get(id) {
                    self.cursors.insert(*id, LiveCursor::new(cursor));
                }
            }
            Record::Cursor(CursorChange::Removed { id }) => {
                if let Some(mut removed) = self.cursors.remove(id) {
                    removed.all_waiters().iter().for_each(|waiter| waiter.complete(()));
                }
            }
            Record::Drop(dropped) => {
                for &range in &dropped.ranges {
                    self.pass_over(range);
                }
            }
            Record::Loss(loss) => {
                self.pass_over(loss.seqs);
            }
            Record::State(_) | Record::Seal(_) | Record::Optional(_) => {}
        }
    }

    /// Seqs that nobody will see any more are not handed out, but by a cursor whose state has no
    /// room to say so.
    pub(crate) fn pass_over(&mut self, range: SeqRange) {
        for (id, cursor) in &mut self.cursors {
            let passed = self.state.cursors.get(id).is_some_and(|state| state.acked.covers(range));
            if passed {
                cursor.absent(range);
            }
        }
    }

    fn acknowledged(&mut self, ack: &Ack) {
        if let Some(cursor) = self.cursors.get_mut(&ack.cursor) {
            cursor.acknowledged(&ack.ranges);
            self.events_taken += ack.ranges.iter().map(|range| range.len()).sum::<u64>();
        }
    }

    /// Whom to wake now, one of each cursor; it wakes the next one itself.
    pub(crate) fn wake_list(&mut self) -> Vec<Arc<Slot<()>>> {
        let next_seq = self.state.next_seq;
        let states = &self.state.cursors;
        self.cursors
            .iter_mut()
            .filter_map(|(id, cursor)| cursor.next_to_wake(&states.get(id)?.acked, next_seq))
            .collect()
    }

    /// A cursor at work and its state.
    pub(crate) fn cursor(&mut self, id: u32) -> Result<(&mut LiveCursor, &CursorState, u64)> {
        let next_seq = self.state.next_seq;
        match (self.cursors.get_mut(&id), self.state.cursors.get(&id)) {
            (Some(live), Some(state)) => Ok((live, state, next_seq)),
            _ => Err(Error::new(
                ErrorKind::NoSuchCursor,
                "the cursor of this take was removed; make it again",
            )),
        }
    }
}
