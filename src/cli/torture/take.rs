//! The child's threads that take.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::Runtime;

use super::child::Child;
use super::line::{Line, Op, Sight};
use super::put::runtime;
use crate::channel::{Commit, Error, FileTake, Receipt};
use crate::failure::Failure;

/// The most takes that one thread holds open.
const OPEN: usize = 4;
/// The most commits of one thread that are in flight.
const IN_FLIGHT: usize = 3;
/// The most events of one call.
const EVENTS_MAX: usize = 60;
/// How long a take waits for the first event.
const WAIT: Duration = Duration::from_millis(20);

/// A thread that takes from one cursor.
pub(super) struct Taker<'a> {
    child: &'a Child<'a>,
    thread: u32,
    cursor: &'a str,
    dice: Rng,
    takes: u32,
    open: Vec<(Op, FileTake)>,
    in_flight: VecDeque<(Op, Commit)>,
}

/// Makes a cursor after a while, and takes from it.
pub(super) fn make<'a>(child: &'a Child<'a>, thread: u32, cursor: &'a str) -> Result<(), Failure> {
    let mut taker = Taker::new(child, thread, cursor);
    std::thread::sleep(Duration::from_millis(taker.dice.u64(0..50)));
    child.say(&Line::Make(cursor.to_owned()));
    // The first take of a cursor makes it.
    drop(child.channel.take_transaction(cursor).map_err(|error| taker.failed(error))?);
    child.say(&Line::Made(cursor.to_owned()));
    taker.run()
}

impl<'a> Taker<'a> {
    pub(super) fn new(child: &'a Child<'a>, thread: u32, cursor: &'a str) -> Taker<'a> {
        Taker {
            child,
            thread,
            cursor,
            dice: child.dice(),
            takes: 0,
            open: Vec::new(),
            in_flight: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<(), Failure> {
        let runtime = runtime()?;
        loop {
            let more = self.open.len() < OPEN && self.dice.bool();
            if self.open.is_empty() || more {
                self.take(EVENTS_MAX, WAIT)?;
            } else {
                // Any of them, so that acknowledgements come out of their order.
                let chosen = self.dice.usize(0..self.open.len());
                let (op, take) = self.open.swap_remove(chosen);
                self.finish(&runtime, op, take)?;
            }
            self.child.rest(&mut self.dice);
        }
    }

    /// Takes and acknowledges until there is nothing.
    pub(super) fn drain(mut self) -> Result<(), Failure> {
        loop {
            self.take(EVENTS_MAX, Duration::ZERO)?;
            let Some((op, take)) = self.open.pop() else { return Ok(()) };
            self.child.say(&Line::Commit(op, false));
            let committed = take.commit();
            self.told(op, committed)?;
        }
    }

    fn take(&mut self, events_max: usize, wait: Duration) -> Result<(), Failure> {
        self.takes += 1;
        let op = self.child.op(self.thread, self.takes);
        let begun = self.child.channel.take_transaction(self.cursor);
        let mut take = begun.map_err(|error| self.failed(error))?;
        // A take may take more than once.
        for _ in 0..self.dice.usize(1..3) {
            self.child.say(&Line::Take(op, self.cursor.to_owned()));
            let taken = take.take_many(self.dice.usize(1..=events_max), wait);
            let taken = taken.map_err(|error| self.failed(error))?;
            self.child.say(&Line::Took(op, taken.iter().map(Sight::of).collect()));
        }
        if !take.is_empty() {
            self.open.push((op, take));
        }
        Ok(())
    }

    /// Acknowledges a take or gives it back.
    fn finish(&mut self, runtime: &Runtime, op: Op, mut take: FileTake) -> Result<(), Failure> {
        if self.dice.u32(0..5) == 0 {
            self.child.say(&Line::Rollback(op));
            take.rollback();
            self.child.say(&Line::RolledBack(op));
            return Ok(());
        }
        let state = self.dice.u32(0..3) == 0;
        if state {
            take.set_state(op.to_string().as_bytes()).map_err(|error| self.failed(error))?;
        }
        self.child.say(&Line::Commit(op, state));
        if self.dice.bool() {
            let committed = take.commit();
            return self.told(op, committed);
        }
        self.in_flight.push_back((op, take.commit_async()));
        while self.in_flight.len() > self.dice.usize(0..=IN_FLIGHT) {
            let Some((op, commit)) = self.in_flight.pop_front() else { break };
            self.told(op, runtime.block_on(commit))?;
        }
        Ok(())
    }

    fn told(&self, op: Op, outcome: Result<Receipt, Error>) -> Result<(), Failure> {
        let receipt = outcome.map_err(|error| self.failed(error))?;
        self.child.say(&Line::Committed(op, receipt.events));
        Ok(())
    }

    fn failed(&self, error: Error) -> Failure {
        Failure::new(format!("a take of cursor {} failed", self.cursor)).because(error)
    }
}
