//! The child's threads that put.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::Runtime;

use super::child::Child;
use super::event::event;
use super::line::{Line, Op, PutIntent};
use super::plan::{Style, producer_of};
use crate::channel::{Channel, Commit, Error, ErrorKind, FilePut, Receipt};
use crate::failure::Failure;

/// The most events of one put.
const EVENTS_MAX: u32 = 40;
/// The most commits of one thread that are in flight.
const IN_FLIGHT: usize = 8;
/// How long a thread rests after a refusal.
const REFUSED: Duration = Duration::from_millis(1);

/// A thread that puts.
pub(super) struct Putter<'a> {
    child: &'a Child<'a>,
    thread: u32,
    style: Style,
    name: String,
    dice: Rng,
    puts: u32,
    /// How many sequences of its own it has used in this round.
    sequences: u32,
    in_flight: VecDeque<(Op, Commit)>,
}

impl<'a> Putter<'a> {
    pub(super) fn new(child: &'a Child<'a>, thread: u32) -> Putter<'a> {
        Putter {
            child,
            thread,
            style: Style::of(thread),
            name: producer_of(thread),
            dice: child.dice(),
            puts: 0,
            sequences: 0,
            in_flight: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<(), Failure> {
        let runtime = runtime()?;
        let again = self.child.plan.again.iter().find(|(thread, _)| *thread == self.thread);
        for &sequence in again.map_or(&[][..], |(_, sequences)| sequences) {
            while !self.put_once(&runtime, Some(sequence))? {}
        }
        loop {
            if self.style.pipelined {
                self.put_ahead(&runtime)?;
            } else if self.style.named {
                self.put_repeatedly(&runtime)?;
            } else {
                self.put_once(&runtime, None)?;
            }
            self.child.rest(&mut self.dice);
        }
    }

    /// A put, its outcome awaited; whether it is in the channel.
    fn put_once(&mut self, runtime: &Runtime, sequence: Option<u64>) -> Result<bool, Failure> {
        let (op, put) = self.next(sequence, false)?;
        let outcome =
            if self.dice.bool() { put.commit() } else { runtime.block_on(put.commit_async()) };
        self.told(op, outcome)
    }

    /// A put under a new sequence until it is in the channel, sometimes twice at once, and sometimes
    /// once more.
    fn put_repeatedly(&mut self, runtime: &Runtime) -> Result<(), Failure> {
        let sequence = self.next_sequence();
        loop {
            let mut stored = false;
            if self.dice.u32(0..4) == 0 {
                let (first, put) = self.next(Some(sequence), false)?;
                let first_commit = put.commit_async();
                let (second, put) = self.next(Some(sequence), false)?;
                let second_commit = put.commit_async();
                stored |= self.told(first, runtime.block_on(first_commit))?;
                stored |= self.told(second, runtime.block_on(second_commit))?;
            } else {
                stored |= self.put_once(runtime, Some(sequence))?;
            }
            if stored && self.dice.u32(0..4) > 0 {
                return Ok(());
            }
        }
    }

    /// A put behind others that are still in flight.
    fn put_ahead(&mut self, runtime: &Runtime) -> Result<(), Failure> {
        while self.in_flight.len() >= IN_FLIGHT {
            self.await_first(runtime)?;
        }
        let sequence = self.style.named.then(|| self.next_sequence());
        let (op, put) = self.next(sequence, true)?;
        self.in_flight.push_back((op, put.commit_async()));
        match self.dice.u32(0..20) {
            0..=9 => self.await_first(runtime),
            10 if !self.style.named => {
                if let Some((op, commit)) = self.in_flight.pop_back() {
                    // Said first: what is dropped while it waits for space is rolled back.
                    self.child.say(&Line::LetGo(op));
                    drop(commit);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn await_first(&mut self, runtime: &Runtime) -> Result<(), Failure> {
        if let Some((op, commit)) = self.in_flight.pop_front() {
            self.told(op, runtime.block_on(commit))?;
        }
        Ok(())
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequences += 1;
        u64::from(self.child.plan.round) << 32 | u64::from(self.sequences)
    }

    /// The next put, its intent told.
    fn next(&mut self, sequence: Option<u64>, patient: bool) -> Result<(Op, FilePut), Failure> {
        let failed = |error| Failure::new("an event cannot be put").because(error);
        self.puts += 1;
        let op = self.child.op(self.thread, self.puts);
        let room = self.child.channel.limits().event_bytes;
        // Two headers and the event's name go with what varies.
        let longest = self.child.plan.longest.min(u32::try_from(room).unwrap_or(u32::MAX) - 256);
        let most = self.dice.u32(1..=EVENTS_MAX);
        let wanted = self.dice.u32(1..=most);
        let mut put = self.child.channel.put_transaction();
        let position = self.dice.u32(0..3) == 0;
        if position {
            put.set_position(&self.name, op.to_string().as_bytes()).map_err(failed)?;
        }
        if let Some(sequence) = sequence {
            put.set_producer(&self.name, sequence).map_err(failed)?;
        }
        if patient {
            put.set_wait(Duration::MAX);
        }
        for index in 0..wanted {
            match put.put(&event(op, index, longest)) {
                Err(error) if error.kind() == ErrorKind::TransactionTooLarge => break,
                put => put.map_err(failed)?,
            }
        }
        let events = u32::try_from(put.len()).unwrap_or(u32::MAX);
        let producer = sequence.map(|sequence| (self.name.clone(), sequence));
        let intent = PutIntent { op, events, longest, position, patient, producer };
        self.child.say(&Line::Put(intent));
        Ok((op, put))
    }

    /// Tells an outcome; whether the events are in the channel.
    fn told(&self, op: Op, outcome: Result<Receipt, Error>) -> Result<bool, Failure> {
        let (line, stored) = match outcome {
            Ok(receipt) if receipt.duplicate => (Line::Same(op), true),
            Ok(receipt) => (Line::Stored(op, receipt.first_seq, receipt.events), true),
            Err(error) if error.kind() == ErrorKind::Full => (Line::Full(op), false),
            Err(error) if error.kind() == ErrorKind::OutOfSequence => {
                (Line::OutOfSequence(op), false)
            }
            Err(error) => return Err(Failure::new(format!("put {op} failed")).because(error)),
        };
        self.child.say(&line);
        if !stored {
            // Else those who need not wait for space would fill the log with refusals.
            std::thread::sleep(REFUSED);
        }
        Ok(stored)
    }
}

/// What a thread awaits its commits with.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new("a runtime cannot be started").because(error))
}
