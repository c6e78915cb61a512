//! A plain queue: what a channel should hold, told in the words of its promises and without a
//! thought of logs, blocks or disks.
//!
//! The model is told what every call answered, and says where an answer cannot be. Of a commit it
//! knows three outcomes: it is sure to outlive a power cut, it is acknowledged and may not (the
//! weaker classes), or it is in doubt. What is not sure stands in a journal; after a power cut some
//! beginning of the journal is there, each of its changes whole.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub use crate::common::{DIR, Dice, event, id_of, options, sized};

/// What one commit changes, whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put {
        ids: Vec<u64>,
        /// The seq of the first one, if it was told.
        first_seq: Option<u64>,
        position: Option<(String, u64)>,
        producer: Option<(String, u64)>,
    },
    Ack {
        cursor: String,
        places: Vec<usize>,
    },
    /// A cursor is made; what waits on it, if that was seen.
    Made {
        cursor: String,
        waiting: Option<Vec<usize>>,
    },
    Removed {
        cursor: String,
    },
}

/// What a look at the whole channel shows.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// All events that each cursor can take, as seqs and ids.
    pub cursors: BTreeMap<String, Vec<(u64, u64)>>,
    pub positions: BTreeMap<String, Vec<u8>>,
    pub producers: BTreeMap<String, u64>,
    pub next_seq: u64,
    /// How many losses were ever noticed, and the seqs that the last ones name.
    pub losses: u64,
    pub lost: Vec<Range<u64>>,
}

/// A queue at one moment.
#[derive(Debug, Default, Clone)]
struct Queue {
    /// The ids of all events that were ever committed, and their seqs as far as they are known. An
    /// event's place here is its place in the order of commits.
    log: Vec<(u64, Option<u64>)>,
    /// What each cursor has not acknowledged, by place.
    waiting: BTreeMap<String, BTreeSet<usize>>,
    positions: BTreeMap<String, u64>,
    producers: BTreeMap<String, u64>,
}

impl Queue {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { ids, first_seq, position, producer } => {
                for (n, id) in ids.iter().enumerate() {
                    let place = self.log.len();
                    self.log.push((*id, first_seq.map(|first| first + n as u64)));
                    self.waiting.values_mut().for_each(|waiting| {
                        waiting.insert(place);
                    });
                }
                self.positions.extend(position.clone());
                self.producers.extend(producer.clone());
            }
            Change::Ack { cursor, places } => {
                if let Some(waiting) = self.waiting.get_mut(cursor) {
                    places.iter().for_each(|place| {
                        waiting.remove(place);
                    });
                }
            }
            Change::Made { cursor, waiting } => {
                let waiting = waiting.iter().flatten().copied().collect();
                self.waiting.insert(cursor.clone(), waiting);
            }
            Change::Removed { cursor } => {
                self.waiting.remove(cursor);
            }
        }
    }

    /// The ledger names some of the events from a place on: nobody waits for them any more.
    fn lose(&mut self, named: &[Range<u64>], from: usize, lost: &mut BTreeSet<usize>) {
        for place in from..self.log.len() {
            let seq = self.log[place].1;
            if seq.is_some_and(|seq| named.iter().any(|range| range.contains(&seq))) {
                lost.insert(place);
            }
        }
        lost.retain(|place| *place < self.log.len());
        self.waiting.values_mut().for_each(|waiting| waiting.retain(|place| !lost.contains(place)));
    }

    /// The first thing in which a look differs from this queue.
    fn differs(&self, seen: &Seen) -> Option<String> {
        let names: Vec<_> = self.waiting.keys().collect();
        if !seen.cursors.keys().eq(self.waiting.keys()) {
            return Some(format!("the cursors are {:?}, not {names:?}", seen.cursors.keys()));
        }
        for (cursor, waiting) in &self.waiting {
            let expected = waiting.iter().map(|place| self.log[*place].0);
            let found = seen.cursors[cursor].iter().map(|(_, id)| *id);
            if !expected.clone().eq(found.clone()) {
                let (expected, found): (Vec<_>, Vec<_>) = (expected.collect(), found.collect());
                return Some(format!("{cursor} sees {found:?}, not {expected:?}"));
            }
            for ((seq, id), place) in seen.cursors[cursor].iter().zip(waiting) {
                if self.log[*place].1.is_some_and(|known| known != *seq) {
                    return Some(format!("{id} has seq {seq} now, it had {:?}", self.log[*place]));
                }
            }
        }
        let positions = self.positions.iter().map(|(k, v)| (k.clone(), v.to_le_bytes().to_vec()));
        if seen.positions != positions.collect() {
            return Some(format!("positions {:?}, not {:?}", seen.positions, self.positions));
        }
        (seen.producers != self.producers)
            .then(|| format!("producers {:?}, not {:?}", seen.producers, self.producers))
    }

    /// What a cursor that begins at the oldest event sees: events in order, and among them all that
    /// any other cursor waits for.
    fn oldest(&self, seen: &[(u64, u64)], lost: &BTreeSet<usize>) -> Option<Vec<usize>> {
        let mut there = (0..self.log.len()).filter(|place| !lost.contains(place));
        let find = |(_, id): &(u64, u64)| there.find(|place| self.log[*place].0 == *id);
        let places: Option<Vec<usize>> = seen.iter().map(find).collect();
        let needed: BTreeSet<usize> = self.waiting.values().flatten().copied().collect();
        places.filter(|places| needed.iter().all(|place| places.binary_search(place).is_ok()))
    }
}

/// The model: what is sure, what is not, and what is under way.
#[derive(Debug, Default, Clone)]
pub struct Model {
    sure: Queue,
    /// What follows on `sure` and a power cut may take, from the end.
    journal: Vec<Change>,
    /// Whether the last of the journal was not acknowledged: nobody knows whether it happened.
    in_doubt: bool,
    /// What the running channel shows.
    now: Queue,
    /// What open takes hold: cursor and places, by a number of theirs.
    open: BTreeMap<u64, (String, Vec<usize>)>,
    /// The highest place that each cursor has handed out since the last open, and one.
    handed: BTreeMap<String, usize>,
    /// The lowest refused sequence of a producer, until the next open.
    refused: BTreeMap<String, u64>,
    /// The highest seq that was ever told.
    given_seq: u64,
    losses: u64,
    lost: BTreeSet<usize>,
    next_number: u64,
    /// Whether a power cut may take what was acknowledged.
    weak: bool,
}

/// What the model has to say against an answer.
pub type Verdict<T> = Result<T, String>;

impl Model {
    pub fn new(cursors: &[&str], weak: bool) -> Model {
        let mut model = Model { weak, ..Model::default() };
        for cursor in cursors {
            model.sure.waiting.insert((*cursor).to_owned(), BTreeSet::new());
        }
        model.now = model.sure.clone();
        model
    }

    /// A commit was acknowledged.
    pub fn committed(&mut self, change: Change) -> Verdict<()> {
        if self.in_doubt {
            return Err("a commit is acknowledged while another is in doubt (P10)".to_owned());
        }
        if let Change::Put { ids, first_seq: Some(first), .. } = &change
            && !ids.is_empty()
        {
            if *first <= self.given_seq {
                return Err(format!("seq {first} is given out, and {} was", self.given_seq));
            }
            self.given_seq = first + ids.len() as u64 - 1;
        }
        self.now.apply(&change);
        self.journal.push(change);
        if !self.weak {
            self.all_is_sure();
        }
        Ok(())
    }

    /// Nobody knows whether a commit happened, until the channel is opened again.
    pub fn doubtful(&mut self, change: Change) {
        self.journal.push(change);
        self.in_doubt = true;
    }

    /// What was acknowledged so far outlives a power cut.
    pub fn all_is_sure(&mut self) {
        let doubtful = if self.in_doubt { self.journal.pop() } else { None };
        for change in std::mem::take(&mut self.journal) {
            self.sure.apply(&change);
        }
        if !self.lost.is_empty() {
            let from = self.sure.log.len();
            self.sure.lose(&[], from, &mut self.lost);
        }
        self.journal.extend(doubtful);
    }

    /// A take that asked for so many got these seqs and ids: the first that it may see, in order,
    /// and all of them unless the bound of pieces holds it back. Its number, if it got any.
    pub fn took(
        &mut self,
        cursor: &str,
        asked: usize,
        taken: &[(u64, Option<u64>)],
        pieces_max: usize,
    ) -> Verdict<Option<u64>> {
        let visible = self.visible(cursor);
        for (n, (seq, id)) in taken.iter().enumerate() {
            let Some(id) = id else { return Err(format!("seq {seq} has wrong bytes (P6)")) };
            let Some(place) = visible.get(n) else {
                return Err(format!("{cursor} got {id}, seq {seq}, which it may not see (P4, P5)"));
            };
            let (expected, known) = self.now.log[*place];
            if expected != *id || known.is_some_and(|known| known != *seq) {
                let text = format!("{cursor} got {id}, seq {seq}; {expected} is next (P3, P4, P5)");
                return Err(text);
            }
        }
        let fewer = taken.len() < asked.min(visible.len());
        if fewer && self.pieces(cursor) < pieces_max {
            return Err(format!("{cursor} got {} of {} events", taken.len(), visible.len()));
        }
        if taken.is_empty() {
            return Ok(None);
        }
        let places = visible[..taken.len()].to_vec();
        let handed = self.handed.entry(cursor.to_owned()).or_default();
        *handed = (*handed).max(places[places.len() - 1] + 1);
        self.next_number += 1;
        self.open.insert(self.next_number, (cursor.to_owned(), places));
        Ok(Some(self.next_number))
    }

    /// What a cursor may hand out now: not acknowledged, and not in an open take.
    fn visible(&self, cursor: &str) -> Vec<usize> {
        let Some(waiting) = self.now.waiting.get(cursor) else { return Vec::new() };
        let held: BTreeSet<usize> = self.held(cursor).flatten().copied().collect();
        waiting.difference(&held).copied().collect()
    }

    fn held<'a>(&'a self, cursor: &'a str) -> impl Iterator<Item = &'a Vec<usize>> {
        self.open.values().filter(move |(name, _)| name == cursor).map(|(_, places)| places)
    }

    /// Into how many pieces fall the events that were handed out and not acknowledged; none while
    /// no take is open, for a lone take always goes on.
    fn pieces(&self, cursor: &str) -> usize {
        let takes: Vec<_> = self.held(cursor).collect();
        let owner = |place: usize| takes.iter().position(|places| places.contains(&place));
        let handed = self.handed.get(cursor).copied().unwrap_or(0);
        let Some(waiting) = self.now.waiting.get(cursor).filter(|_| !takes.is_empty()) else {
            return 0;
        };
        let all: Vec<usize> = waiting.range(..handed).copied().collect();
        let borders = all
            .windows(2)
            .filter(|pair| pair[0] + 1 != pair[1] || owner(pair[0]) != owner(pair[1]));
        borders.count() + 2
    }

    /// A take ends: what its acknowledgement would change.
    pub fn end_take(&mut self, number: u64) -> Option<Change> {
        let (cursor, places) = self.open.remove(&number)?;
        Some(Change::Ack { cursor, places })
    }

    /// A cursor was made at the oldest event, or at the next, and then showed this.
    pub fn made(&self, cursor: &str, oldest: bool, seen: &[(u64, u64)]) -> Verdict<Change> {
        let waiting = if oldest { self.now.oldest(seen, &self.lost) } else { Some(Vec::new()) };
        match waiting {
            Some(waiting) if waiting.len() == seen.len() => {
                Ok(Change::Made { cursor: cursor.to_owned(), waiting: Some(waiting) })
            }
            _ => {
                let seen: Vec<u64> = seen.iter().map(|(_, id)| *id).collect();
                let log = &self.now.log;
                let others: Vec<(&String, Vec<_>)> = self
                    .now
                    .waiting
                    .iter()
                    .map(|(cursor, waiting)| {
                        (cursor, waiting.iter().map(|place| log[*place]).collect())
                    })
                    .collect();
                let begins = if oldest { "the oldest event" } else { "the next event" };
                Err(format!(
                    "the new cursor {cursor}, from {begins} on, sees {seen:?}; others: {others:?}"
                ))
            }
        }
    }

    /// A put of this producer and sequence was refused.
    pub fn refused(&mut self, producer: &str, sequence: u64) {
        let lowest = self.refused.entry(producer.to_owned()).or_insert(sequence);
        *lowest = (*lowest).min(sequence);
    }

    /// The sequence that was refused before and holds back higher ones.
    pub fn refused_before(&mut self, producer: &str, sequence: u64) -> bool {
        match self.refused.get(producer) {
            Some(lowest) if sequence > *lowest => true,
            Some(lowest) if sequence == *lowest => {
                self.refused.remove(producer).is_some_and(|_| false)
            }
            _ => false,
        }
    }

    /// The last committed sequence of a producer.
    pub fn sequence(&self, producer: &str) -> Option<u64> {
        self.now.producers.get(producer).copied()
    }

    pub fn has_cursor(&self, cursor: &str) -> bool {
        self.now.waiting.contains_key(cursor)
    }

    pub fn cursors(&self) -> Vec<String> {
        self.now.waiting.keys().cloned().collect()
    }

    /// Whether some cursor has still something to acknowledge.
    pub fn holds_something(&self) -> bool {
        self.now.waiting.values().any(|waiting| !waiting.is_empty())
    }

    /// The channel was closed or died: what was under way is over.
    pub fn ended(&mut self) {
        self.open.clear();
        self.handed.clear();
        self.refused.clear();
    }

    /// The ledger names more. Only what a weaker class had not synced may be lost: the rest stays
    /// in the model, and will be missed (P1, P6).
    pub fn lose(&mut self, losses: u64, lost: &[Range<u64>]) -> Verdict<()> {
        if losses == self.losses {
            return Ok(());
        }
        self.losses = losses;
        self.now.lose(lost, self.sure.log.len(), &mut self.lost);
        Ok(())
    }

    /// Damage on purpose costs these seqs, and the ledger will say so in one loss.
    pub fn lose_on_purpose(&mut self, seqs: Range<u64>) {
        self.sure.lose(&[seqs], 0, &mut self.lost);
        self.now = self.sure.clone();
        self.losses += 1;
    }

    /// The channel was opened again and all of it looked at. With `cut`, what was not sure may be
    /// gone, from the end; what is in doubt is settled either way.
    pub fn opened(&mut self, seen: &Seen, cut: bool) -> Verdict<()> {
        for (cursor, events) in &seen.cursors {
            if !events.windows(2).all(|pair| pair[0].0 < pair[1].0) {
                return Err(format!("{cursor} sees events out of order: {events:?} (P3)"));
            }
            if let Some((seq, id)) = events.iter().find(|(seq, _)| *seq >= seen.next_seq) {
                return Err(format!("{id} has seq {seq}, and {} is next", seen.next_seq));
            }
            let named = |seq: &u64| seen.lost.iter().any(|range| range.contains(seq));
            if let Some((seq, id)) = events.iter().find(|(seq, _)| named(seq)) {
                return Err(format!("{id}, seq {seq}, is there and in the ledger (P6)"));
            }
        }
        self.settle(seen, cut)?;
        if seen.losses != self.losses && !(cut && self.weak) {
            return Err(format!("the ledger names {:?}, and nothing is lost (P6)", seen.lost));
        }
        self.losses = seen.losses;
        if seen.next_seq <= self.given_seq {
            return Err(format!("{} is the next seq, {} was given", seen.next_seq, self.given_seq));
        }
        Ok(())
    }

    /// Finds how much of the journal is there.
    fn settle(&mut self, seen: &Seen, cut: bool) -> Verdict<()> {
        let len = self.journal.len();
        let least = if cut { 0 } else { len - usize::from(self.in_doubt) };
        let mut queue = self.sure.clone();
        let (mut found, mut why) = (None, None);
        for kept in 0..=len {
            if kept >= least {
                let (mut there, mut lost) = (queue.clone(), self.lost.clone());
                if cut && self.weak {
                    // After a failure the rest may go on without what the ledger names.
                    there.lose(&seen.lost, self.sure.log.len(), &mut lost);
                }
                match there.differs(seen) {
                    None => found = Some((there, lost)),
                    differs => why = differs,
                }
            }
            if let Some(change) = self.journal.get_mut(kept) {
                if let Change::Made { cursor, waiting: waiting @ None } = change
                    && let Some(events) = seen.cursors.get(cursor)
                {
                    *waiting = queue.oldest(events, &self.lost);
                }
                queue.apply(change);
            }
        }
        let Some((queue, lost)) = found else {
            let why = why.unwrap_or_default();
            let journal = &self.journal;
            return Err(format!("{why}; not sure were {journal:?}, cut: {cut} (P1, P2, P4)"));
        };
        self.now = queue.clone();
        self.sure = queue;
        self.lost = lost;
        self.journal.clear();
        self.in_doubt = false;
        Ok(())
    }

    /// All of the open channel was looked at, takes apart.
    pub fn check(&self, seen: &Seen) -> Verdict<()> {
        self.now.differs(seen).map_or(Ok(()), Err)
    }
}
