//! What a memory channel knows, and every rule of it that needs no waiting.
//!
//! - **M1** An event is kept once, with a count of the cursors that have yet to acknowledge it,
//!   and is freed when that count comes to nothing, whatever stands before it.
//! - **M2** Space is given first come, first served: nobody enters past one that waits.
//! - **M3** A producer's sequences enter in rising order: when one is refused, those that wait
//!   behind it are refused with it, and so are later ones until it is committed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::channel::{Durability, Error, ErrorKind, Receipt, Stats, Taken};
use crate::event::Event;

/// What one commit brings.
#[derive(Default)]
pub(super) struct Put {
    events: Vec<(Event, usize)>,
    bytes: usize,
    pub(super) positions: Vec<(String, Bytes)>,
    pub(super) producer: Option<(String, u64)>,
}

impl Put {
    pub(super) fn push(&mut self, event: Event, bytes: usize) {
        self.events.push((event, bytes));
        self.bytes += bytes;
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes
    }
}

/// What became of a commit at the moment it was called.
pub(super) enum Entered {
    /// It is decided.
    Done(Result<Receipt, Error>),
    /// It waits for space; the answer comes when there is some.
    Waits { ticket: u64, answer: oneshot::Receiver<Result<Receipt, Error>> },
}

/// What a take got at the moment it asked.
pub(super) struct TakenNow {
    pub(super) events: Vec<Taken>,
    pub(super) bytes: usize,
    /// Whether the limits, and not the want of events, ended it.
    pub(super) at_limit: bool,
}

struct Waiting {
    ticket: u64,
    put: Put,
    answer: oneshot::Sender<Result<Receipt, Error>>,
}

struct Slot {
    event: Event,
    bytes: usize,
    /// How many cursors have not acknowledged it.
    cursors_left: usize,
}

#[derive(Default)]
struct Cursor {
    /// The lowest seq that was never taken.
    next_seq: u64,
    /// Seqs below `next_seq` that came back.
    returned: BTreeSet<u64>,
    /// How many events are in open takes.
    open: u64,
    /// How many events it has yet to acknowledge.
    left: u64,
    state: Option<Bytes>,
}

#[derive(Default)]
struct Producer {
    /// The last sequence that was committed.
    committed: Option<u64>,
    /// The lowest sequence that was refused and has not been committed since.
    refused: Option<u64>,
}

pub(super) struct State {
    /// The events from `first_seq` on; `None` where all cursors have acknowledged.
    slots: VecDeque<Option<Slot>>,
    first_seq: u64,
    events: u64,
    bytes: u64,
    bytes_max: u64,
    events_max: Option<u64>,
    cursors: BTreeMap<String, Cursor>,
    producers: HashMap<String, Producer>,
    positions: HashMap<String, Bytes>,
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
    events_put: u64,
    events_taken: u64,
    closed: bool,
}

impl State {
    pub(super) fn new(bytes_max: u64, events_max: Option<u64>) -> State {
        State {
            slots: VecDeque::new(),
            first_seq: 1,
            events: 0,
            bytes: 0,
            bytes_max,
            events_max,
            cursors: BTreeMap::new(),
            producers: HashMap::new(),
            positions: HashMap::new(),
            waiting: VecDeque::new(),
            next_ticket: 0,
            events_put: 0,
            events_taken: 0,
            closed: false,
        }
    }

    /// Makes a cursor at the oldest event, unless it is there.
    pub(super) fn make_cursor(&mut self, name: &str) {
        if self.cursors.contains_key(name) {
            return;
        }
        for slot in self.slots.iter_mut().flatten() {
            slot.cursors_left += 1;
        }
        let cursor = Cursor { next_seq: self.first_seq, left: self.events, ..Cursor::default() };
        self.cursors.insert(name.to_owned(), cursor);
    }

    pub(super) fn begin_take(&mut self, cursor: &str) -> Result<(), Error> {
        self.check_open()?;
        self.make_cursor(cursor);
        Ok(())
    }

    pub(super) fn position(&self, key: &str) -> Option<Bytes> {
        self.positions.get(key).cloned()
    }

    pub(super) fn cursor_state(&self, cursor: &str) -> Option<Bytes> {
        self.cursors.get(cursor)?.state.clone()
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            events: self.events,
            bytes: self.bytes,
            bytes_max: self.bytes_max,
            events_in_flight: self.cursors.values().map(|cursor| cursor.open).sum(),
            events_put: self.events_put,
            events_taken: self.events_taken,
            pinned_by: self.farthest_behind().map(|(name, _)| name.to_owned()),
        }
    }

    /// Takes a commit in: it enters, is refused, or waits behind those that came before.
    pub(super) fn enter(&mut self, put: Put) -> Entered {
        if let Err(error) = self.check_open().and_then(|()| self.check_sequence(&put)) {
            return Entered::Done(Err(error));
        }
        // M2: also what needs no space stays behind what waits, or its position would overtake.
        if self.is_duplicate(&put) || (self.waiting.is_empty() && self.fits(&put)) {
            return Entered::Done(Ok(self.apply(put)));
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let (sender, answer) = oneshot::channel();
        self.waiting.push_back(Waiting { ticket, put, answer: sender });
        Entered::Waits { ticket, answer }
    }

    /// Takes a commit out of those that wait, if it is among them.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<Put> {
        let at = self.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        let left = self.waiting.remove(at)?;
        if let Some((producer, sequence)) = &left.put.producer {
            self.refuse_behind(producer, *sequence);
        }
        self.give_space();
        Some(left.put)
    }

    /// Refuses a commit that waited too long; `None` if space was given to it before.
    pub(super) fn refuse(&mut self, ticket: u64, waited: Duration) -> Option<Error> {
        let text = self.full_text();
        let put = self.leave(ticket)?;
        let text = format!(
            "{text}; no room for {} events in {} bytes came within {waited:?}",
            put.len(),
            put.bytes
        );
        Some(Error::new(ErrorKind::Full, text))
    }

    fn full_text(&self) -> String {
        let mut text = format!("the channel is full: it holds {} events", self.events);
        if let Some(events_max) = self.events_max {
            text += &format!(" of at most {events_max}");
        }
        text += &format!(" in {} of {} bytes", self.bytes, self.bytes_max);
        if let Some((name, left)) = self.farthest_behind() {
            text += &format!(", and cursor {name:?} has yet to acknowledge {left} of them");
        }
        text
    }

    fn farthest_behind(&self) -> Option<(&str, u64)> {
        let (name, cursor) = self.cursors.iter().max_by_key(|(_, cursor)| cursor.left)?;
        (cursor.left > 0).then_some((name.as_str(), cursor.left))
    }

    /// M3: what waits behind a refused sequence is refused with it.
    fn refuse_behind(&mut self, producer: &str, sequence: u64) {
        let known = self.producers.entry(producer.to_owned()).or_default();
        known.refused = Some(known.refused.map_or(sequence, |refused| refused.min(sequence)));
        let waiting = std::mem::take(&mut self.waiting);
        for waiting in waiting {
            match &waiting.put.producer {
                Some((name, later)) if name == producer && *later > sequence => {
                    let error = out_of_sequence(producer, *later, sequence);
                    // Whoever asked may be gone; then nobody needs the answer.
                    let _ = waiting.answer.send(Err(error));
                }
                _ => self.waiting.push_back(waiting),
            }
        }
    }

    /// M2: lets in those that wait, in order, as far as there is space.
    fn give_space(&mut self) {
        while let Some(next) = self.waiting.front() {
            if !self.is_duplicate(&next.put) && !self.fits(&next.put) {
                return;
            }
            let Some(next) = self.waiting.pop_front() else { return };
            let receipt = self.apply(next.put);
            // Whoever asked may be gone; the commit stands.
            let _ = next.answer.send(Ok(receipt));
        }
    }

    fn fits(&self, put: &Put) -> bool {
        let events = self.events + put.events.len() as u64;
        self.bytes + put.bytes as u64 <= self.bytes_max
            && self.events_max.is_none_or(|events_max| events <= events_max)
    }

    fn is_duplicate(&self, put: &Put) -> bool {
        put.producer.as_ref().is_some_and(|(producer, sequence)| {
            let known = self.producers.get(producer);
            known.and_then(|known| known.committed).is_some_and(|last| *sequence <= last)
        })
    }

    fn check_sequence(&self, put: &Put) -> Result<(), Error> {
        let Some((producer, sequence)) = &put.producer else { return Ok(()) };
        let refused = self.producers.get(producer).and_then(|known| known.refused);
        match refused {
            Some(refused) if *sequence > refused => {
                Err(out_of_sequence(producer, *sequence, refused))
            }
            _ => Ok(()),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed { Err(closed()) } else { Ok(()) }
    }

    /// Lets a commit in for which there is space.
    fn apply(&mut self, put: Put) -> Receipt {
        let events = put.events.len() as u64;
        if self.is_duplicate(&put) {
            return Receipt::new(0, events, true, Durability::Memory);
        }
        if let Some((producer, sequence)) = put.producer {
            let known = self.producers.entry(producer).or_default();
            known.committed = Some(sequence);
            known.refused = known.refused.filter(|refused| *refused > sequence);
        }
        for (key, value) in put.positions {
            if value.is_empty() {
                self.positions.remove(&key);
            } else {
                self.positions.insert(key, value);
            }
        }
        let first_seq = self.first_seq + self.slots.len() as u64;
        let cursors_left = self.cursors.len();
        self.slots.extend(
            put.events.into_iter().map(|(event, bytes)| Some(Slot { event, bytes, cursors_left })),
        );
        for cursor in self.cursors.values_mut() {
            cursor.left += events;
        }
        self.events += events;
        self.bytes += put.bytes as u64;
        self.events_put += events;
        let first_seq = if events == 0 { 0 } else { first_seq };
        Receipt::new(first_seq, events, false, Durability::Memory)
    }

    /// Takes the oldest events that no other take of the cursor holds.
    pub(super) fn take(
        &mut self,
        cursor: &str,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<TakenNow, Error> {
        self.check_open()?;
        let mut now = TakenNow { events: Vec::new(), bytes: 0, at_limit: true };
        while now.events.len() < events_max {
            let Some(seq) = self.visible(cursor) else {
                now.at_limit = false;
                break;
            };
            let Some(slot) = self.slot(seq) else { break };
            if now.bytes + slot.bytes > bytes_max {
                break;
            }
            now.bytes += slot.bytes;
            now.events.push(Taken { seq, event: slot.event.clone() });
            if let Some(cursor) = self.cursors.get_mut(cursor) {
                cursor.open += 1;
                if !cursor.returned.remove(&seq) {
                    cursor.next_seq = seq + 1;
                }
            }
        }
        Ok(now)
    }

    /// The seq that the cursor's next take gets: the lowest that came back, or else the next that
    /// is still kept.
    fn visible(&self, cursor: &str) -> Option<u64> {
        let cursor = self.cursors.get(cursor)?;
        if let Some(seq) = cursor.returned.first() {
            return Some(*seq);
        }
        let from = cursor.next_seq.max(self.first_seq);
        let end = self.first_seq + self.slots.len() as u64;
        (from..end).find(|seq| self.slot(*seq).is_some())
    }

    fn slot(&self, seq: u64) -> Option<&Slot> {
        let at = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        self.slots.get(at)?.as_ref()
    }

    pub(super) fn acknowledge(
        &mut self,
        cursor: &str,
        seqs: &[u64],
        state: Option<Bytes>,
    ) -> Result<(), Error> {
        self.check_open()?;
        if let Some(cursor) = self.cursors.get_mut(cursor) {
            cursor.open -= seqs.len() as u64;
            cursor.left -= seqs.len() as u64;
            if state.is_some() {
                cursor.state = state;
            }
        }
        self.events_taken += seqs.len() as u64;
        for seq in seqs {
            self.acknowledge_one(*seq);
        }
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first_seq += 1;
        }
        self.give_space();
        Ok(())
    }

    /// M1: the last acknowledgement frees the event.
    fn acknowledge_one(&mut self, seq: u64) {
        let at = usize::try_from(seq - self.first_seq).expect("it was an index when it was taken");
        let place = &mut self.slots[at];
        let Some(slot) = place else { return };
        slot.cursors_left -= 1;
        if slot.cursors_left == 0 {
            self.bytes -= slot.bytes as u64;
            self.events -= 1;
            *place = None;
        }
    }

    pub(super) fn give_back(&mut self, cursor: &str, seqs: &[u64]) {
        if let Some(cursor) = self.cursors.get_mut(cursor) {
            cursor.open -= seqs.len() as u64;
            cursor.returned.extend(seqs);
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        for waiting in self.waiting.drain(..) {
            // Whoever asked may be gone; then nobody needs the answer.
            let _ = waiting.answer.send(Err(closed()));
        }
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the channel is closed")
}

fn out_of_sequence(producer: &str, sequence: u64, refused: u64) -> Error {
    let text = format!(
        "sequence {sequence} of producer {producer:?} comes behind {refused}, which was refused; \
         commit {refused} first"
    );
    Error::new(ErrorKind::OutOfSequence, text)
}
