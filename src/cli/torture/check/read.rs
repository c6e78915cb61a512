//! What a process tells of a channel that it has read from end to end: what is in doubt is decided.

use std::collections::HashSet;

use super::super::line::{Maybe, Op};
use super::super::plan::producer_of;
use super::Checker;
use super::cursor::Take;

impl Checker {
    /// A cursor was read from end to end: what is not there is not there.
    pub(super) fn whole(&mut self) {
        let Some((name, seen)) = self.reading.take() else {
            return self.blame("error", "the end of a read that was not begun".to_owned());
        };
        self.figures.cursors_read += 1;
        if !seen.is_sorted_by(|one, next| one.seq < next.seq) {
            self.blame("P3", format!("cursor {name} gave seqs out of their order"));
        }
        let mut here = HashSet::new();
        for sight in &seen {
            if self.known(&name, sight) && self.due(&name, sight) {
                here.insert(sight.seq);
            }
        }
        self.settle_takes(&name, &here);
        let missing = self.cursors.get_mut(&name).map(|cursor| cursor.missing(&here));
        for (seq, pending) in missing.unwrap_or_default() {
            let (put, index) = (pending.put, pending.index);
            let text = format!("seq {seq} (event {index} of put {put}) is not in cursor {name}");
            if pending.came_back {
                let text = format!("{text}; others of a take that held it came back");
                self.blame("P2", text);
            } else if self.puts.is_acknowledged(put) {
                self.blame("P1", text);
            } else {
                self.blame("P2", format!("{text}; others of that put are there, or were"));
            }
        }
        for (promise, text) in self.puts.settle(self.round) {
            self.blame(promise, text);
        }
    }

    /// Takes in doubt of which nothing is there have been acknowledged.
    fn settle_takes(&mut self, name: &str, here: &HashSet<u64>) {
        let Some(cursor) = self.cursors.get_mut(name) else { return };
        let gone = |take: &Take| {
            take.is_in_doubt() && take.cursor == name && take.seqs.iter().all(|s| !here.contains(s))
        };
        let found: Vec<Op> =
            self.takes.iter().filter(|(_, take)| gone(take)).map(|(op, _)| *op).collect();
        for op in found {
            if let Some(take) = self.takes.remove(&op) {
                self.figures.takes_found += 1;
                cursor.acknowledge(op, &take, take.ended);
            }
        }
    }

    pub(super) fn position(&mut self, thread: u32, value: Option<Op>) {
        let last = self.puts.last_position(thread);
        if last != value {
            let name = producer_of(thread);
            let (value, last) = (Maybe(value), Maybe(last));
            let text = format!("position {name} is of put {value}, the last one is {last}");
            self.blame("P2", text);
        }
    }

    pub(super) fn sequence(&mut self, producer: &str, value: Option<u64>) {
        let last = self.puts.last_sequence(producer);
        if last != value {
            let (value, last) = (Maybe(value), Maybe(last));
            let text = format!("sequence {value} is the last of {producer}, it must be {last}");
            self.blame("P4", text);
        }
    }

    pub(super) fn state(&mut self, name: &str, value: Option<Op>) {
        let Some(cursor) = self.cursors.get(name) else { return };
        if let Err(text) = cursor.may_have_state(value) {
            let value = Maybe(value);
            self.blame("P2", format!("cursor {name} has the state of take {value}: {text}"));
        }
    }
}
