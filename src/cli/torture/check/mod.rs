//! The checker: reads the acknowledgement log of one channel's life, and says what the promises
//! forbid. It knows the log alone: nothing of the engine, its files, or its counters.
//!
//! Each line has a number. An operation's intent stands before it began, its outcome after it
//! ended, so that of two numbers the lower one was earlier, and nothing is concluded where two
//! operations overlap.

mod cursor;
mod puts;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::event::{event, sum_of};
use super::line::{Line, Op, Sight};
use cursor::{Cursor, Pending, Take, TakeState};
use puts::{Fate, Puts};

/// More are counted and not kept.
const KEPT_MAX: usize = 20;

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Violation {
    /// The promise that is broken, or "error" for what is no matter of the log.
    pub promise: &'static str,
    pub round: u32,
    pub text: String,
}

/// What was seen so far, over all lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Figures {
    /// Puts whose commit was acknowledged, and their events.
    pub puts: u64,
    pub events_put: u64,
    /// Puts refused for want of space or sequence.
    pub puts_refused: u64,
    /// Takes whose commit was acknowledged, and their events.
    pub takes: u64,
    pub events_acked: u64,
    pub takes_rolled_back: u64,
    /// Events that came out and were compared with what was put.
    pub events_checked: u64,
    /// Repeats that were acknowledged as such.
    pub duplicates_checked: u64,
    /// Cursors read from end to end.
    pub cursors_read: u64,
    /// Puts and takes in doubt at a kill, and how many of them turned out to have been committed.
    pub puts_in_doubt: u64,
    pub puts_found: u64,
    pub takes_in_doubt: u64,
    pub takes_found: u64,
}

/// All that is known of one channel.
#[derive(Debug)]
pub(super) struct Checker {
    /// The number of the line that is looked at.
    now: u64,
    round: u32,
    /// How far the process has come, by its own words.
    stage: &'static str,
    making: bool,
    puts: Puts,
    cursors: BTreeMap<String, Cursor>,
    takes: HashMap<Op, Take>,
    /// The cursor that is being read, and what came so far.
    reading: Option<(String, Vec<Sight>)>,
    figures: Figures,
    found: Vec<Violation>,
    violations: u64,
}

impl Checker {
    /// A new channel, with the cursors it is made with.
    pub(super) fn new(cursors: &[&str]) -> Checker {
        let cursors = cursors.iter().map(|&name| (name.to_owned(), Cursor::default())).collect();
        Checker {
            now: 0,
            round: 0,
            stage: "start",
            making: false,
            puts: Puts::default(),
            cursors,
            takes: HashMap::new(),
            reading: None,
            figures: Figures::default(),
            found: Vec::new(),
            violations: 0,
        }
    }

    /// A process begins to live on the channel.
    pub(super) fn begin(&mut self, round: u32) {
        (self.round, self.stage, self.making) = (round, "start", false);
    }

    /// What is under way, as the process has told.
    pub(super) fn under_way(&self) -> Vec<&'static str> {
        if self.stage != "work" {
            return vec![self.stage];
        }
        let is = |what: fn(&Take) -> bool| {
            self.takes.values().any(|take| !take.is_in_doubt() && what(take))
        };
        let phases = [
            ("put", self.puts.is_putting()),
            ("take", is(|take| take.asking)),
            ("ack", is(Take::may_be_acked)),
            ("rollback", is(|take| take.state == TakeState::RollingBack)),
            ("make a cursor", self.making),
        ];
        let mut phases: Vec<_> =
            phases.into_iter().filter(|(_, is)| *is).map(|(phase, _)| phase).collect();
        if phases.is_empty() {
            phases.push("nothing");
        }
        phases
    }

    /// The process has ended, and all that it held open with it.
    pub(super) fn end(&mut self) {
        self.now += 1;
        self.reading = None;
        self.puts.end(&mut self.figures);
        for cursor in self.cursors.values_mut() {
            cursor.end(self.now, &self.takes);
        }
        let (now, figures) = (self.now, &mut self.figures);
        self.takes.retain(|_, take| take.end(now, figures));
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The violations that were kept, and how many there are.
    pub(super) fn found(&self) -> (&[Violation], u64) {
        (&self.found, self.violations)
    }

    /// Whether a cursor is known to have been made.
    pub(super) fn has_cursor(&self, name: &str) -> bool {
        self.cursors.contains_key(name)
    }

    /// Whether something was acknowledged, so that there must be a channel.
    pub(super) fn has_stored(&self) -> bool {
        self.puts.has_stored()
    }

    /// The sequences of a producer that are to be put again: those in doubt, and the last one that
    /// was acknowledged.
    pub(super) fn again(&self, producer: &str) -> Vec<u64> {
        self.puts.again(producer)
    }

    pub(super) fn blame(&mut self, promise: &'static str, text: String) {
        self.violations += 1;
        if self.found.len() < KEPT_MAX {
            self.found.push(Violation { promise, round: self.round, text });
        }
    }

    /// Takes in the next line.
    pub(super) fn line(&mut self, line: &Line) {
        self.now += 1;
        match line {
            Line::Opening => self.stage = "open",
            Line::Opened => self.stage = "read",
            Line::Working => self.stage = "work",
            Line::Done => {}
            Line::Error(text) => self.blame("error", text.clone()),
            Line::Read(cursor) => self.reading = Some((cursor.clone(), Vec::new())),
            Line::Saw(sights) => {
                if let Some((_, seen)) = &mut self.reading {
                    seen.extend_from_slice(sights);
                }
            }
            Line::Whole => self.whole(),
            Line::Position(thread, value) => self.position(*thread, *value),
            Line::Sequence(producer, value) => self.sequence(producer, *value),
            Line::State(cursor, value) => self.state(cursor, *value),
            Line::Put(intent) => self.puts.intend(intent.clone()),
            Line::Stored(op, first, events) => self.stored(*op, *first, *events),
            Line::Same(op) => self.same(*op),
            Line::Full(op) | Line::OutOfSequence(op) => {
                self.figures.puts_refused += 1;
                if let Err((promise, text)) = self.puts.refuse(*op, Fate::Refused) {
                    self.blame(promise, text);
                }
            }
            Line::LetGo(op) => self.puts.let_go(*op),
            Line::Take(op, cursor) => {
                let take = self.takes.entry(*op).or_insert_with(|| Take::new(cursor));
                (take.asked, take.asking) = (self.now, true);
            }
            Line::Took(op, sights) => self.took(*op, sights),
            Line::Commit(op, state) => {
                self.set_take(*op, TakeState::Committing { since: self.now, state: *state });
            }
            Line::Committed(op, events) => self.committed(*op, *events),
            Line::Rollback(op) => self.set_take(*op, TakeState::RollingBack),
            Line::RolledBack(op) => self.rolled_back(*op),
            Line::Make(_) => self.making = true,
            Line::Made(cursor) => {
                self.making = false;
                self.made(cursor);
            }
        }
    }

    fn stored(&mut self, op: Op, first: u64, events: u64) {
        match self.puts.acknowledge(op) {
            Some(put) if u64::from(put) == events => {
                self.figures.puts += 1;
                self.figures.events_put += events;
                self.store(op, first);
            }
            Some(put) => {
                self.blame("P2", format!("put {op} has {put} events, {events} were acknowledged"));
            }
            None => self.blame("error", format!("put {op} was never begun")),
        }
    }

    /// A put is in the channel, from that seq on; whether that can be.
    fn store(&mut self, op: Op, first: u64) -> bool {
        match self.puts.store(op, first) {
            Ok(None) => true,
            Ok(Some(events)) => {
                self.figures.puts_found += u64::from(self.puts.was_in_doubt(op));
                for cursor in self.cursors.values_mut() {
                    for index in 0..events {
                        let pending = Pending::new(op, index, self.now);
                        cursor.pending.insert(first + u64::from(index), pending);
                    }
                }
                true
            }
            Err((promise, text)) => {
                self.blame(promise, text);
                false
            }
        }
    }

    fn same(&mut self, op: Op) {
        self.figures.duplicates_checked += 1;
        let refused = self.puts.refuse(op, Fate::Same);
        let repeated = refused.and_then(|()| self.puts.repeats(op));
        if let Err((promise, text)) = repeated {
            self.blame(promise, text);
        }
    }

    /// An event came out: it is what was put there. Whether more can be said of it.
    fn known(&mut self, cursor: &str, sight: &Sight) -> bool {
        self.figures.events_checked += 1;
        let Sight { seq, put: op, index, sum } = *sight;
        let Some((events, longest)) = self.puts.shape(op).filter(|(events, _)| index < *events)
        else {
            let text = format!("seq {seq} of cursor {cursor} says it is event {index} of put {op}");
            self.blame("P6", format!("{text}, which there is not"));
            return false;
        };
        let right = self.puts.sum(op, index, || sum_of(&event(op, index, longest)));
        if sum != right {
            self.blame("P6", format!("event {index} of put {op}, seq {seq}: its bytes are wrong"));
            return false;
        }
        if seq <= u64::from(index) {
            let text = format!("event {index} of {events} of put {op} came as seq {seq}");
            self.blame("P3", text);
            return false;
        }
        self.store(op, seq - u64::from(index))
    }

    /// An event came out of a cursor: it may, if it is pending there.
    fn due(&mut self, cursor_name: &str, sight: &Sight) -> bool {
        let Some(cursor) = self.cursors.get_mut(cursor_name) else {
            self.blame("error", format!("cursor {cursor_name} was never made"));
            return false;
        };
        let (op, index, seq) = (sight.put, sight.index, sight.seq);
        if cursor.maybe.remove(&seq) {
            cursor.pending.insert(seq, Pending::new(op, index, self.now));
        }
        let Some(pending) = cursor.pending.get(&seq) else {
            let why = if cursor.acked.contains(&seq) {
                "was acknowledged there"
            } else {
                "was not there before"
            };
            let text = format!("seq {seq} (event {index} of put {op}) came out of cursor");
            self.blame("P4", format!("{text} {cursor_name}, and {why}"));
            return false;
        };
        if let Some(holder) = pending.holder
            && let Some(take) = self.takes.get(&holder)
            && take.is_in_doubt()
        {
            // One of its events is there, so that all must be.
            let take = self.takes.remove(&holder);
            cursor.release(take.map_or(Vec::new(), |take| take.seqs), holder, self.now, true);
        }
        true
    }

    fn took(&mut self, op: Op, sights: &[Sight]) {
        let Some(take) = self.takes.get_mut(&op) else {
            return self.blame("error", format!("take {op} was never begun"));
        };
        take.asking = false;
        let (name, asked) = (take.cursor.clone(), take.asked);
        if !sights.is_sorted_by(|one, next| one.seq < next.seq) {
            self.blame("P3", format!("take {op} of cursor {name} gave seqs out of their order"));
        }
        for sight in sights {
            if !self.known(&name, sight) || !self.due(&name, sight) {
                continue;
            }
            self.hold(op, &name, asked, sight.seq);
        }
        if let (Some(last), Some(cursor)) = (sights.last(), self.cursors.get_mut(&name)) {
            cursor.pass_over(asked, self.now, last.seq);
        }
    }

    /// A take holds an event, and nobody else may.
    fn hold(&mut self, op: Op, name: &str, asked: u64, seq: u64) {
        let Some(pending) = self.cursors.get_mut(name).and_then(|c| c.pending.get_mut(&seq)) else {
            return;
        };
        let holder = pending.holder.replace(op);
        let passed_over = pending.passed_over.take();
        if let Some(held) = holder
            && self.takes.get(&held).is_some_and(|take| take.state != TakeState::RollingBack)
        {
            self.blame("P5", format!("seq {seq} of cursor {name} is in takes {held} and {op}"));
        }
        if passed_over.is_some_and(|passed_over| asked > passed_over) {
            let text = format!("seq {seq} of cursor {name} could be taken, and newer ones were");
            self.blame("P3", format!("{text}; take {op} got it later"));
        }
        if let Some(take) = self.takes.get_mut(&op) {
            take.seqs.push(seq);
        }
    }

    fn set_take(&mut self, op: Op, state: TakeState) {
        match self.takes.get_mut(&op) {
            Some(take) => take.state = state,
            None => self.blame("error", format!("take {op} was never begun")),
        }
    }

    fn committed(&mut self, op: Op, events: u64) {
        let Some(take) = self.takes.remove(&op) else {
            return self.blame("error", format!("take {op} was never begun"));
        };
        let held = take.seqs.len() as u64;
        if held != events {
            let text = format!("take {op} holds {held} events, {events} were acknowledged");
            self.blame("P2", text);
        }
        self.figures.takes += 1;
        self.figures.events_acked += held;
        if let Some(cursor) = self.cursors.get_mut(&take.cursor) {
            cursor.acknowledge(op, &take, self.now);
        }
    }

    fn rolled_back(&mut self, op: Op) {
        self.figures.takes_rolled_back += 1;
        if let Some(take) = self.takes.remove(&op)
            && let Some(cursor) = self.cursors.get_mut(&take.cursor)
        {
            cursor.release(take.seqs, op, self.now, false);
        }
    }

    /// A cursor was made at the oldest event there is: that is not above the oldest one that some
    /// other cursor has not acknowledged.
    fn made(&mut self, name: &str) {
        if self.cursors.contains_key(name) {
            return;
        }
        let mut made = Cursor::default();
        for (seq, put, index) in self.puts.events() {
            let needed = self.cursors.values().any(|cursor| {
                let holder = cursor.pending.get(&seq).map(|pending| pending.holder);
                holder.is_some_and(|holder| {
                    let take = holder.and_then(|op| self.takes.get(&op));
                    !take.is_some_and(Take::may_be_acked)
                })
            });
            if needed {
                made.pending.insert(seq, Pending::new(put, index, self.now));
            } else {
                made.maybe.insert(seq);
            }
        }
        self.cursors.insert(name.to_owned(), made);
    }
}
