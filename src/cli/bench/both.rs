//! A slice of puts and takes at once, with a bounded backlog between them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::floor::Bound;
use super::load::{Events, Load};
use super::pace::{Latency, Slice};
use super::put::{self, Produced, Tickets};
use crate::channel::{Error, FileChannel, MAIN_CURSOR};
use crate::failure::Failure;

/// The most batches of the backlog.
const BACKLOG_BATCHES: u64 = 64;
/// The most bytes of it: takers that keep up find what they take in memory.
const BACKLOG_BYTES: u64 = 4 << 20;
/// After so long without an event a consumer looks whether the producers have ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The most events that wait: some for everybody, more if they are small.
pub(super) fn events_max(load: &Load) -> u64 {
    let batch = load.batch as u64;
    let in_bytes = BACKLOG_BYTES / (load.payload_bytes() * batch);
    let everybody = 2 * (load.producers * load.in_flight + load.consumers) as u64;
    BACKLOG_BATCHES.min(in_bytes).max(everybody) * batch
}

/// What consumers did.
#[derive(Debug, Clone)]
pub(super) struct Consumed {
    pub events: u64,
    pub commits: u64,
    /// How long commits of takes took.
    pub commit: Latency,
    /// How long takes waited for their first event.
    pub wait: Latency,
}

impl Consumed {
    pub(super) fn new() -> Consumed {
        Consumed { events: 0, commits: 0, commit: Latency::new(), wait: Latency::new() }
    }

    pub(super) fn add(&mut self, other: &Consumed) {
        self.events += other.events;
        self.commits += other.commits;
        self.commit.add(&other.commit);
        self.wait.add(&other.wait);
    }
}

/// Takes and commits. It ends when `ends` says so of the events of its last take.
pub(super) fn consume(
    channel: &FileChannel,
    batch: usize,
    wait: Duration,
    mut ends: impl FnMut(usize) -> bool,
) -> Result<Consumed, Error> {
    let mut consumed = Consumed::new();
    // A take that has to look again has waited all the time.
    let mut waits = Instant::now();
    loop {
        let mut take = channel.take_transaction(MAIN_CURSOR)?;
        let taken = take.take_many(batch, wait)?.len();
        if taken > 0 {
            let begun = Instant::now();
            consumed.wait.record(begun - waits);
            take.commit()?;
            waits = Instant::now();
            consumed.commit.record(waits - begun);
            consumed.events += taken as u64;
            consumed.commits += 1;
        }
        if ends(taken) {
            return Ok(consumed);
        }
    }
}

/// Puts until the bound is reached, and takes as long as anybody puts.
pub(super) fn slice(
    channel: &FileChannel,
    events: &Events,
    load: &Load,
    bound: Bound,
    stop: &AtomicBool,
) -> Result<(Slice, Latency, Consumed), Failure> {
    let tickets = Tickets::new(bound, stop);
    let producing = AtomicUsize::new(load.producers);
    let together = Barrier::new(load.producers + load.consumers);
    let produce = || {
        let ends = Ends(&producing);
        together.wait();
        let produced = put::produce(channel, events, load, &tickets);
        drop(ends);
        produced
    };
    let take = || {
        together.wait();
        let ends = |_| producing.load(Ordering::Acquire) == 0;
        let consumed = consume(channel, load.batch, LOOK_EVERY, ends).map_err(|error| {
            tickets.fail();
            Failure::new("a take failed").because(error)
        });
        if consumed.is_err() {
            // Producers would wait for space that nobody gives back.
            crate::channel::Channel::close(channel);
        }
        consumed
    };
    let (produced, taken) = std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..load.consumers).map(|_| scope.spawn(take)).collect();
        let producers: Vec<_> = (0..load.producers).map(|_| scope.spawn(produce)).collect();
        let produced: Result<Vec<Produced>, _> = producers.into_iter().map(put::joined).collect();
        let taken: Result<Vec<Consumed>, _> = consumers.into_iter().map(put::joined).collect();
        (produced, taken)
    });
    // What came in the way of the takes ended the puts as well.
    let (taken, produced) = (taken?, produced?);
    let (slice, latency) = put::sum(&produced, load);
    let mut consumed = Consumed::new();
    taken.iter().for_each(|one| consumed.add(one));
    Ok((slice, latency, consumed))
}

/// One producer fewer, however it ends.
struct Ends<'a>(&'a AtomicUsize);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::SyncClass;

    #[test]
    fn the_backlog_has_room_for_everybody_and_stays_in_memory_where_it_can() {
        let load = |batch, producers, consumers| Load {
            size: 512,
            batch,
            producers,
            in_flight: 1,
            consumers,
            sync: SyncClass::Commit,
            direct: false,
            few_checkpoints: false,
        };
        assert_eq!(events_max(&load(1, 1, 1)), 64);
        assert_eq!(events_max(&load(100, 1, 1)), 6400);
        assert_eq!(events_max(&load(1000, 1, 1)), 8000);
        assert_eq!(events_max(&load(1000, 8, 2)), 20_000);
        assert_eq!(events_max(&load(1, 64, 64)), 256);
    }
}
