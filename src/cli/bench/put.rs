//! A slice of puts: threads that each wait for their commit, or one task with many in flight.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::floor::Bound;
use super::load::{Events, Load};
use super::pace::{Latency, Slice};
use crate::channel::{Error, FileChannel};
use crate::failure::Failure;

/// Commits that are still to be made, by whoever comes first.
pub(super) struct Tickets<'a> {
    taken: AtomicU64,
    bound: Bound,
    stop: &'a AtomicBool,
    /// A producer that failed ends the others as well.
    failed: AtomicBool,
}

impl<'a> Tickets<'a> {
    pub(super) fn new(bound: Bound, stop: &'a AtomicBool) -> Tickets<'a> {
        Tickets { taken: AtomicU64::new(0), bound, stop, failed: AtomicBool::new(false) }
    }

    /// Ends them all.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether one more commit is to be made.
    fn take(&self, started: Instant) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && !self.failed.load(Ordering::Relaxed)
            && started.elapsed() < self.bound.time
            && self.taken.fetch_add(1, Ordering::Relaxed) < self.bound.commits
    }
}

/// What a producer did.
pub(super) struct Produced {
    pub commits: u64,
    pub latency: Latency,
    pub started: Instant,
    pub ended: Instant,
}

/// Puts until the bound is reached.
pub(super) fn slice(
    channel: &FileChannel,
    events: &Events,
    load: &Load,
    bound: Bound,
    stop: &AtomicBool,
) -> Result<(Slice, Latency), Failure> {
    let tickets = Tickets::new(bound, stop);
    let produced = together(load.producers, || produce(channel, events, load, &tickets))?;
    Ok(sum(&produced, load))
}

/// The same work by so many threads, which begin together; one alone is this thread.
pub(super) fn together<T: Send>(
    count: usize,
    work: impl Fn() -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    if count == 1 {
        return Ok(vec![work()?]);
    }
    let all = Barrier::new(count);
    std::thread::scope(|scope| {
        let begin = || {
            all.wait();
            work()
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(begin)).collect();
        threads.into_iter().map(joined).collect()
    })
}

/// What a thread came to.
pub(super) fn joined<T>(
    thread: std::thread::ScopedJoinHandle<'_, Result<T, Failure>>,
) -> Result<T, Failure> {
    // It has said why on its own.
    thread.join().unwrap_or_else(|_| Err(Failure::new("a thread of the bench has panicked")))
}

/// One producer, in this thread.
pub(super) fn produce(
    channel: &FileChannel,
    events: &Events,
    load: &Load,
    tickets: &Tickets<'_>,
) -> Result<Produced, Failure> {
    let produced = if load.in_flight == 1 {
        produce_blocking(channel, events, load.batch, tickets).map_err(failed)
    } else {
        produce_in_flight(channel, events, load, tickets)
    };
    if produced.is_err() {
        tickets.fail();
    }
    produced
}

fn failed(error: Error) -> Failure {
    Failure::new("a put failed").because(error)
}

fn produce_blocking(
    channel: &FileChannel,
    events: &Events,
    batch: usize,
    tickets: &Tickets<'_>,
) -> Result<Produced, Error> {
    let mut latency = Latency::new();
    let (mut commits, mut next) = (0, 0);
    let started = Instant::now();
    while tickets.take(started) {
        let mut put = channel.put_transaction();
        events.put(&mut put, batch, &mut next)?;
        let begun = Instant::now();
        put.commit()?;
        latency.record(begun.elapsed());
        commits += 1;
    }
    Ok(Produced { commits, latency, started, ended: Instant::now() })
}

/// One task. It looks at its commits in their order, which is that in which they end.
fn produce_in_flight(
    channel: &FileChannel,
    events: &Events,
    load: &Load,
    tickets: &Tickets<'_>,
) -> Result<Produced, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime =
        runtime.map_err(|error| Failure::new("the runtime cannot be started").because(error))?;
    let mut latency = Latency::new();
    let (mut commits, mut next) = (0, 0);
    let mut in_flight = VecDeque::with_capacity(load.in_flight);
    let started = Instant::now();
    runtime.block_on(async {
        loop {
            while in_flight.len() < load.in_flight && tickets.take(started) {
                let mut put = channel.put_transaction();
                events.put(&mut put, load.batch, &mut next).map_err(failed)?;
                in_flight.push_back((Instant::now(), put.commit_async()));
            }
            let Some((begun, commit)) = in_flight.pop_front() else { break };
            commit.await.map_err(failed)?;
            latency.record(begun.elapsed());
            commits += 1;
        }
        Ok(Produced { commits, latency, started, ended: Instant::now() })
    })
}

/// All producers together, from the first one's start to the last one's end.
pub(super) fn sum(produced: &[Produced], load: &Load) -> (Slice, Latency) {
    let mut latency = Latency::new();
    produced.iter().for_each(|one| latency.add(&one.latency));
    let started = produced.iter().map(|one| one.started).min();
    let ended = produced.iter().map(|one| one.ended).max();
    let took = started.zip(ended).map_or(Duration::ZERO, |(started, ended)| ended - started);
    let commits = produced.iter().map(|one| one.commits).sum();
    (Slice { commits, events: commits * load.batch as u64, took }, latency)
}
