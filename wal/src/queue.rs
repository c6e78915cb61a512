//! The line of commits that wait for the log: puts in their order, and what goes before them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::checksum::Sum;
use crate::error::{Error, ErrorKind, Result};
use crate::format::RECORD_HEADER_LEN;
use crate::options::SyncClass;
use crate::record::{PUT_FIXED_LEN, Put, Record};
use crate::signal::{Crowd, Slot};
use crate::sync::Arc;

/// Where a commit's outcome arrives.
pub(crate) type CommitSlot = Slot<Result<Receipt>>;

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The seq of the first event that was put; 0 for everything else.
    pub first_seq: u64,
    /// How many events were put or acknowledged.
    pub events: u64,
    /// Whether the put had been committed before, under the same producer and sequence.
    pub duplicate: bool,
    /// What the acknowledgement waited for.
    pub sync: SyncClass,
}

/// A put that waits.
#[derive(Debug)]
pub(crate) struct PutWork {
    pub(crate) put: Put,
    /// The sum of its events, if they are so many that it was made on the caller's thread.
    pub(crate) sum: Option<Sum>,
    pub(crate) slots: Vec<Arc<CommitSlot>>,
    /// A thread waits for it, which can lead.
    pub(crate) blocking: bool,
    /// Until when it waits for space.
    pub(crate) deadline: Duration,
    /// Nobody waits for it any more: it does not wait for space either.
    pub(crate) abandoned: bool,
}

impl PutWork {
    /// The bytes of its record.
    pub(crate) fn len(&self) -> usize {
        PUT_FIXED_LEN + self.put.extras_len() + self.put.events.len()
    }
}

/// Anything but a put: an acknowledgement, a cursor's beginning or end, a loss.
#[derive(Debug)]
pub(crate) struct ControlWork {
    pub(crate) record: Record,
    pub(crate) len: usize,
    pub(crate) slot: Option<Arc<CommitSlot>>,
    pub(crate) blocking: bool,
}

impl ControlWork {
    pub(crate) fn new(record: Record, slot: Option<Arc<CommitSlot>>, blocking: bool) -> Self {
        let len = match &record {
            Record::Ack(ack) => ack.encoded_len(),
            // The others are short: names, a few numbers.
            _ => RECORD_HEADER_LEN + 256,
        };
        ControlWork { record, len, slot, blocking }
    }
}

/// From so many commits at once on, their threads wait in a crowd.
const CROWD_FROM: usize = 8;
/// Who is woken with the wrong group looks in vain and sleeps on, so that few places will do.
const CROWDS: usize = 4;

/// Why no more commits are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Closed,
    Failed,
}

/// The line.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) puts: VecDeque<PutWork>,
    pub(crate) controls: VecDeque<ControlWork>,
    /// Those who wait for a State to be written into the log, on its own.
    pub(crate) snapshots: Vec<Arc<CommitSlot>>,
    /// Somebody leads: takes from the line, writes, and looks at the line again.
    pub(crate) leading: bool,
    /// The log's own thread is asked to lead.
    pub(crate) thread_leads: bool,
    /// The first put does not fit, until space returns.
    pub(crate) blocked: bool,
    pub(crate) ended: Option<Ended>,
    /// How many commits were on their way at once when the last group was done.
    pub(crate) lately: usize,
    /// How many groups have been gathered.
    pub(crate) groups: usize,
    /// Where threads wait when there are many of them: those of a group at one place.
    crowds: [Arc<Crowd>; CROWDS],
    /// The lowest sequence of a producer that was refused, and not yet committed.
    refused: HashMap<String, u64>,
}

impl Queue {
    /// The error that everything gets once the channel has ended.
    pub(crate) fn check(&self) -> Result<()> {
        match self.ended {
            None => Ok(()),
            Some(Ended::Closed) => Err(Error::closed()),
            Some(Ended::Failed) => Err(Error::failed()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.controls.is_empty() && self.snapshots.is_empty()
    }

    /// How many commits are in line.
    pub(crate) fn members(&self) -> usize {
        self.puts.len() + self.controls.len()
    }

    /// Where a thread that commits now should wait, if many do: the leader then is the log's own
    /// thread, which wakes all of a group with one call.
    pub(crate) fn crowd(&self) -> Option<Arc<Crowd>> {
        let many = self.lately.max(self.members()) >= CROWD_FROM;
        many.then(|| self.crowds[self.groups % CROWDS].clone())
    }

    /// Whether what is in line can be written, and nothing else is to be done first.
    fn is_flowing(&self) -> bool {
        self.ended.is_none() && !self.blocked && self.snapshots.is_empty()
    }

    /// What a leader that waits for company looks at: how many are in line, or more than it could
    /// wait for when there is something else to do.
    pub(crate) fn in_line(&self) -> usize {
        if self.is_flowing() { self.members() } else { usize::MAX }
    }

    /// Adds a put at the end of the line. A repeat of one that stands there shares its fate.
    pub(crate) fn push_put(&mut self, work: PutWork) -> Result<()> {
        self.check()?;
        if work.put.producer.is_some()
            && let Some(same) =
                self.puts.iter_mut().find(|other| other.put.producer == work.put.producer)
        {
            same.slots.extend(work.slots);
            same.deadline = same.deadline.max(work.deadline);
            same.abandoned = false;
            return Ok(());
        }
        if let Some((name, sequence)) = &work.put.producer
            && let Some(&refused) = self.refused.get(name)
        {
            if *sequence > refused {
                return Err(out_of_sequence(name, *sequence, refused));
            }
            if *sequence == refused {
                self.refused.remove(name);
            }
        }
        self.puts.push_back(work);
        Ok(())
    }

    /// Adds anything else.
    pub(crate) fn push_control(&mut self, work: ControlWork) -> Result<()> {
        self.check()?;
        self.controls.push_back(work);
        Ok(())
    }

    /// Nobody waits for that commit any more. If it stands in the line and others wait for it too,
    /// nothing changes; else it leaves as soon as it would have to wait for space. Whether some left.
    pub(crate) fn abandon(&mut self, slot: &Arc<CommitSlot>) -> bool {
        let mine = |other: &Arc<CommitSlot>| Arc::ptr_eq(other, slot);
        let Some(work) = self.puts.iter_mut().find(|work| work.slots.iter().any(mine)) else {
            return false;
        };
        if work.slots.len() > 1 {
            work.slots.retain(|other| !mine(other));
            return false;
        }
        work.abandoned = true;
        self.blocked && self.drop_abandoned()
    }

    /// The first put has to wait for space: those that nobody waits for leave, with those of their
    /// producers behind them. Whether some did.
    pub(crate) fn drop_abandoned(&mut self) -> bool {
        let before = self.puts.len();
        while let Some(at) = self.puts.iter().position(|work| work.abandoned) {
            let Some(work) = self.puts.remove(at) else { break };
            self.refuse_behind(&work, at);
        }
        self.puts.len() < before
    }

    /// Takes the puts out of the line whose time is over.
    pub(crate) fn take_expired(&mut self, now: Duration) -> Vec<PutWork> {
        let mut expired = Vec::new();
        while let Some(at) = self.puts.iter().position(|work| work.deadline <= now) {
            let Some(work) = self.puts.remove(at) else { break };
            self.refuse_behind(&work, at);
            expired.push(work);
        }
        expired
    }

    /// When the first put that waits for space gives up.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        if !self.blocked {
            return None;
        }
        self.puts.iter().map(|work| work.deadline).min()
    }

    /// Refuses a put that a leader had taken out of the line already. A repeat of it that stands
    /// there since then shares its fate, those of its producer behind it are out of sequence.
    pub(crate) fn refuse(&mut self, mut work: PutWork, error: &Error) {
        let same = |other: &PutWork| {
            other.put.producer.is_some() && other.put.producer == work.put.producer
        };
        if let Some(at) = self.puts.iter().position(same)
            && let Some(repeat) = self.puts.remove(at)
        {
            work.slots.extend(repeat.slots);
        }
        self.refuse_behind(&work, 0);
        work.slots.iter().for_each(|slot| slot.complete(Err(error.again())));
    }

    /// A sequence was refused: so are those of its producer that stand behind it, and those that
    /// come before it is repeated.
    fn refuse_behind(&mut self, refused: &PutWork, from: usize) {
        let Some((name, sequence)) = &refused.put.producer else { return };
        let lowest = self.refused.entry(name.clone()).or_insert(*sequence);
        *lowest = (*lowest).min(*sequence);
        let mut at = from;
        while at < self.puts.len() {
            let behind = match &self.puts[at].put.producer {
                Some((other, later)) if other == name && later > sequence => *later,
                _ => {
                    at += 1;
                    continue;
                }
            };
            if let Some(work) = self.puts.remove(at) {
                let error = out_of_sequence(name, behind, *sequence);
                work.slots.iter().for_each(|slot| slot.complete(Err(error.again())));
            }
        }
    }

    /// Forgets that sequences of a producer were refused: it gives them up.
    pub(crate) fn forgive(&mut self, producer: &str) {
        self.refused.remove(producer);
    }

    /// Somebody who waits in the line with a thread of their own, to lead next.
    pub(crate) fn successor(&self) -> Option<Arc<CommitSlot>> {
        let controls = self.controls.iter().filter(|work| work.blocking);
        let puts = self.puts.iter().filter(|work| work.blocking);
        controls
            .filter_map(|work| work.slot.clone())
            .chain(puts.filter_map(|work| work.slots.first().cloned()))
            .find(|slot| !slot.is_in_crowd())
    }

    /// Ends the line: all who wait get the error.
    pub(crate) fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
        let error = if ended == Ended::Closed { Error::closed() } else { Error::failed() };
        let puts = self.puts.drain(..).flat_map(|work| work.slots);
        let controls = self.controls.drain(..).filter_map(|work| work.slot);
        let slots: Vec<_> = puts.chain(controls).chain(self.snapshots.drain(..)).collect();
        slots.iter().for_each(|slot| slot.complete(Err(error.again())));
    }
}

pub(crate) fn out_of_sequence(producer: &str, sequence: u64, refused: u64) -> Error {
    Error::new(
        ErrorKind::OutOfSequence,
        format!(
            "sequence {sequence} of producer {producer:?} comes before its sequence {refused}, \
             which was refused; commit {refused} first"
        ),
    )
}
