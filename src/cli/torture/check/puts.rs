//! What the checker knows of the puts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::line::{Op, PutIntent};
use super::Figures;

/// What a put came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Doubt,
    /// It is in the channel, from that seq on.
    Stored(u64),
    /// It was not put.
    Refused,
    /// It repeated another one.
    Same,
    /// It was in doubt, and it was not there.
    Absent,
}

#[derive(Debug)]
struct Put {
    intent: PutIntent,
    fate: Fate,
    acknowledged: bool,
    let_go: bool,
    /// Whether a process has ended since it began.
    in_doubt: bool,
    /// The highest seq that was known when it began.
    floor: u64,
    /// The sums of its events, once they are needed.
    sums: Vec<Option<u32>>,
}

/// Puts under one producer and sequence.
#[derive(Debug, Default)]
struct Sequence {
    attempts: Vec<Op>,
    acknowledged: bool,
}

/// All puts.
#[derive(Debug, Default)]
pub(super) struct Puts {
    all: HashMap<Op, Put>,
    doubtful: BTreeSet<Op>,
    /// Those in the channel, by their first seq, with how many seqs they have.
    by_seq: BTreeMap<u64, (Op, u32)>,
    /// The same by thread, in the order in which they were handed over.
    by_op: BTreeMap<Op, u64>,
    sequences: BTreeMap<(String, u64), Sequence>,
    /// The highest seq that is known.
    top: u64,
    positions: HashMap<u32, (u64, Op)>,
    /// The first seq of each sequence that is in the channel.
    entered: BTreeMap<(String, u64), u64>,
}

type Verdict<T> = Result<T, (&'static str, String)>;

impl Puts {
    pub(super) fn intend(&mut self, intent: PutIntent) {
        let op = intent.op;
        if let Some(producer) = &intent.producer {
            self.sequences.entry(producer.clone()).or_default().attempts.push(op);
        }
        self.doubtful.insert(op);
        let sums = vec![None; intent.events as usize];
        let put = Put {
            intent,
            fate: Fate::Doubt,
            acknowledged: false,
            let_go: false,
            in_doubt: false,
            floor: self.top,
            sums,
        };
        self.all.insert(op, put);
    }

    /// Its commit was acknowledged; how many events it has.
    pub(super) fn acknowledge(&mut self, op: Op) -> Option<u32> {
        let put = self.all.get_mut(&op)?;
        put.acknowledged = true;
        if let Some(sequence) = put.intent.producer.as_ref().and_then(|p| self.sequences.get_mut(p))
        {
            sequence.acknowledged = true;
        }
        Some(put.intent.events)
    }

    pub(super) fn is_acknowledged(&self, op: Op) -> bool {
        self.all.get(&op).is_some_and(|put| put.acknowledged)
    }

    /// Whether a process has ended before its outcome was told.
    pub(super) fn was_in_doubt(&self, op: Op) -> bool {
        self.all.get(&op).is_some_and(|put| put.in_doubt)
    }

    pub(super) fn let_go(&mut self, op: Op) {
        if let Some(put) = self.all.get_mut(&op) {
            put.let_go = true;
        }
    }

    /// It is not in the channel, and will never be.
    pub(super) fn refuse(&mut self, op: Op, fate: Fate) -> Verdict<()> {
        let Some(put) = self.all.get_mut(&op) else {
            return Err(("error", format!("put {op} was never begun")));
        };
        self.doubtful.remove(&op);
        match put.fate {
            Fate::Stored(first) if fate == Fate::Same => {
                Err(("P4", format!("put {op} repeated another one, and came as seq {first}")))
            }
            Fate::Stored(first) => {
                Err(("P2", format!("put {op} was refused, and came as seq {first}")))
            }
            _ => {
                put.fate = fate;
                Ok(())
            }
        }
    }

    /// It was acknowledged as a repeat: then something was put that it repeats.
    pub(super) fn repeats(&mut self, op: Op) -> Verdict<()> {
        let producer = self.all.get(&op).and_then(|put| put.intent.producer.clone());
        let Some((name, number)) = producer else {
            return Err(("P4", format!("put {op} has no producer, and was called a repeat")));
        };
        let Some(sequence) = self.sequences.get_mut(&(name.clone(), number)) else {
            return Err(("error", format!("put {op} was never begun")));
        };
        sequence.acknowledged = true;
        let mut fates = sequence.attempts.iter().filter_map(|op| self.all.get(op));
        if fates.any(|put| matches!(put.fate, Fate::Stored(_) | Fate::Doubt)) {
            Ok(())
        } else {
            let text = format!("put {op} was called a repeat of sequence {number} of {name}");
            Err(("P1", format!("{text}, under which nothing is there")))
        }
    }

    /// It is in the channel from that seq on. How many events it has, if that is news.
    pub(super) fn store(&mut self, op: Op, first: u64) -> Verdict<Option<u32>> {
        let Some(put) = self.all.get(&op) else {
            return Err(("error", format!("put {op} was never begun")));
        };
        let events = put.intent.events;
        match put.fate {
            Fate::Stored(known) if known == first => return Ok(None),
            Fate::Stored(known) => {
                return Err(("P3", format!("put {op} is at seq {known}, and at seq {first}")));
            }
            Fate::Same => {
                return Err((
                    "P4",
                    format!("put {op} repeated another one, and is at seq {first}"),
                ));
            }
            Fate::Refused => {
                return Err(("P2", format!("put {op} was refused, and is at seq {first}")));
            }
            Fate::Absent => {
                return Err(("P2", format!("put {op} was not there, and now is, at seq {first}")));
            }
            Fate::Doubt => {}
        }
        self.check_place(op, first, put)?;
        self.check_producer(op, first, put)?;
        let end = first + u64::from(events);
        self.top = self.top.max(end - 1);
        self.by_seq.insert(first, (op, events));
        self.by_op.insert(op, first);
        self.doubtful.remove(&op);
        self.remember_last(op, first);
        if let Some(put) = self.all.get_mut(&op) {
            put.fate = Fate::Stored(first);
        }
        Ok(Some(events))
    }

    fn check_place(&self, op: Op, first: u64, put: &Put) -> Verdict<()> {
        if first <= put.floor {
            let floor = put.floor;
            let text = format!("put {op} is at seq {first}, and began when seq {floor} was there");
            return Err(("P3", text));
        }
        let end = first + u64::from(put.intent.events);
        if let Some((seq, (other, events))) = self.by_seq.range(..end).next_back()
            && seq + u64::from(*events) > first
        {
            return Err(("P3", format!("puts {op} and {other} have seqs in common, at {first}")));
        }
        let before = self.by_op.range(..op).next_back();
        let after = self.by_op.range(op..).next();
        let overtaken = before.filter(|(other, seq)| other.thread == op.thread && **seq > first);
        let overtakes = after.filter(|(other, seq)| other.thread == op.thread && **seq < first);
        match overtaken.or(overtakes) {
            Some((other, seq)) => Err((
                "P3",
                format!("put {op}, seq {first}, and {other}, seq {seq}, changed places"),
            )),
            None => Ok(()),
        }
    }

    fn check_producer(&self, op: Op, first: u64, put: &Put) -> Verdict<()> {
        let Some(producer) = &put.intent.producer else { return Ok(()) };
        let Some(sequence) = self.sequences.get(producer) else { return Ok(()) };
        let stored = |other: &&Op| **other != op && self.is_stored(**other);
        let (name, number) = producer;
        if let Some(other) = sequence.attempts.iter().find(stored) {
            let text = format!("puts {other} and {op} are there, both as sequence {number}");
            return Err(("P4", format!("{text} of {name}")));
        }
        let (low, high) = ((name.clone(), 0), (name.clone(), u64::MAX));
        let before = self.entered.range(low..producer.clone()).next_back();
        let after = self.entered.range(producer.clone()..high).next();
        let risen = before.filter(|(_, seq)| **seq > first);
        match risen.or(after.filter(|(_, seq)| **seq < first)) {
            Some(((_, other), _)) => {
                let text = format!("sequences {number} and {other} of {name} changed places");
                Err(("P4", text))
            }
            None => Ok(()),
        }
    }

    fn remember_last(&mut self, op: Op, first: u64) {
        let Some(put) = self.all.get(&op) else { return };
        if put.intent.position {
            let last = self.positions.entry(op.thread).or_insert((first, op));
            *last = (*last).max((first, op));
        }
        if let Some(producer) = &put.intent.producer {
            self.entered.insert(producer.clone(), first);
        }
    }

    /// How many events a put has, and what their bytes follow from.
    pub(super) fn shape(&self, op: Op) -> Option<(u32, u32)> {
        self.all.get(&op).map(|put| (put.intent.events, put.intent.longest))
    }

    /// The sum of one of its events.
    pub(super) fn sum(&mut self, op: Op, index: u32, compute: impl FnOnce() -> u32) -> u32 {
        match self.all.get_mut(&op).and_then(|put| put.sums.get_mut(index as usize)) {
            Some(sum) => *sum.get_or_insert_with(compute),
            None => compute(),
        }
    }

    /// Every event in the channel: its seq, its put and its place there.
    pub(super) fn events(&self) -> impl Iterator<Item = (u64, Op, u32)> {
        self.by_seq.iter().flat_map(|(first, (op, events))| {
            (0..*events).map(move |index| (first + u64::from(index), *op, index))
        })
    }

    /// Whether the outcome of a put of this process is awaited.
    pub(super) fn is_putting(&self) -> bool {
        self.doubtful.iter().any(|op| self.all.get(op).is_some_and(|put| !put.in_doubt))
    }

    pub(super) fn has_stored(&self) -> bool {
        !self.by_seq.is_empty()
    }

    pub(super) fn last_position(&self, thread: u32) -> Option<Op> {
        self.positions.get(&thread).map(|(_, op)| *op)
    }

    pub(super) fn last_sequence(&self, producer: &str) -> Option<u64> {
        let mine = (producer.to_owned(), 0)..=(producer.to_owned(), u64::MAX);
        self.entered.range(mine).next_back().map(|((_, number), _)| *number)
    }

    /// The sequences of a producer in doubt, and the last one that is there, in order.
    pub(super) fn again(&self, producer: &str) -> Vec<u64> {
        let mine = (producer.to_owned(), 0)..=(producer.to_owned(), u64::MAX);
        let is_there = |sequence: &Sequence| {
            sequence.acknowledged || sequence.attempts.iter().any(|op| self.is_stored(*op))
        };
        let in_doubt =
            |sequence: &Sequence| sequence.attempts.iter().any(|op| self.doubtful.contains(op));
        let mine: Vec<_> = self.sequences.range(mine).collect();
        let last = mine.iter().rev().find(|(_, sequence)| is_there(sequence));
        let last = last.map(|((_, number), _)| *number);
        // Below one that is there, any would be called a repeat.
        let behind = mine.iter().filter(|((_, number), _)| Some(*number) > last);
        let in_doubt = behind.filter(|(_, sequence)| in_doubt(sequence));
        last.into_iter().chain(in_doubt.map(|((_, number), _)| *number)).collect()
    }

    fn is_stored(&self, op: Op) -> bool {
        matches!(self.all.get(&op).map(|put| put.fate), Some(Fate::Stored(_)))
    }

    /// The process has ended: what was under way is in doubt.
    pub(super) fn end(&mut self, figures: &mut Figures) {
        for op in &self.doubtful {
            if let Some(put) = self.all.get_mut(op).filter(|put| !put.in_doubt) {
                put.in_doubt = true;
                figures.puts_in_doubt += 1;
            }
        }
    }

    /// All that is there was seen: of the puts of processes that have ended, what was not seen is
    /// not there.
    pub(super) fn settle(&mut self, round: u32) -> Vec<(&'static str, String)> {
        let absent: Vec<Op> = self.doubtful.iter().copied().filter(|op| op.round < round).collect();
        for op in &absent {
            self.doubtful.remove(op);
            if let Some(put) = self.all.get_mut(op) {
                put.fate = Fate::Absent;
            }
        }
        absent.into_iter().flat_map(|op| self.may_be_absent(op)).collect()
    }

    /// What is wrong with a put's absence.
    fn may_be_absent(&self, op: Op) -> Vec<(&'static str, String)> {
        let Some(put) = self.all.get(&op) else { return Vec::new() };
        let mut wrong = Vec::new();
        let later = self.by_op.range(op..).next().map(|(later, _)| *later);
        let later = later.filter(|later| (later.thread, later.round) == (op.thread, op.round));
        if let Some(later) = later.filter(|_| put.intent.patient && !put.let_go) {
            wrong.push(("P3", format!("put {later} is there, and {op} before it is not")));
        }
        let sequence = put.intent.producer.as_ref().and_then(|name| self.sequences.get(name));
        let vouched = sequence.filter(|sequence| sequence.acknowledged);
        if vouched.is_some_and(|sequence| !sequence.attempts.iter().any(|op| self.is_stored(*op))) {
            let text = format!("put {op} is not there, nor any other of its sequence");
            wrong.push(("P1", format!("{text}, and a repeat of it was acknowledged")));
        }
        wrong
    }
}
