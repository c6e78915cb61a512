//! The works, as every rival in this process does them: durable puts, durable takes, and both.
//!
//! The clock runs in legs. A leg puts or takes at most the backlog; between legs what waits is
//! taken, or filled up again, and no clock runs. So the files stay of one size whatever a rival's
//! pace is, and each has the same time beside the clock for what it does in the background.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::event::{Order, Pool};
use crate::stores::Store;

/// The size of the commits that no clock sees.
const ASIDE_BATCH: usize = 1000;
/// How many commits of a producer a queue holds that is put into and taken from at once.
const BOUND_COMMITS: u64 = 8;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    Put,
    Take,
    Both,
}

impl Work {
    pub fn name(self) -> &'static str {
        match self {
            Work::Put => "put",
            Work::Take => "take",
            Work::Both => "both",
        }
    }
}

/// How it is measured.
#[derive(Debug, Clone)]
pub struct Load {
    pub work: Work,
    pub producers: usize,
    pub batch: usize,
    /// How long the clock runs.
    pub seconds: Duration,
    /// How long the same is done before.
    pub warm: Duration,
    /// The most events that wait.
    pub backlog: u64,
    /// End after so many commits, whatever the clock says, and say on stdout when they begin and
    /// when they are done: for who counts system calls.
    pub marked_commits: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub events: u64,
    pub commits: u64,
    pub seconds: f64,
}

impl Figure {
    pub fn events_per_s(&self) -> f64 {
        self.events as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    pub fn add(&mut self, other: Figure) {
        self.events += other.events;
        self.commits += other.commits;
        self.seconds += other.seconds;
    }
}

/// What stands around the commits that are counted.
pub const MARK_BEGIN: &str = "rivals-begin";
pub const MARK_END: &str = "rivals-end";

/// A store with what is known of its content.
pub struct Bench<'a> {
    pub store: &'a dyn Store,
    pub pool: &'a Pool,
    /// All that were ever put, which says which event comes next.
    pub put: &'a mut u64,
    pub waiting: u64,
}

impl Bench<'_> {
    /// Measures a work.
    pub fn run(&mut self, load: &Load) -> Result<Figure> {
        let warmed = Instant::now();
        while warmed.elapsed() < load.warm {
            self.leg(load, load.warm.saturating_sub(warmed.elapsed()), load.backlog)?;
        }
        if let Some(commits) = load.marked_commits {
            self.ready(load)?;
            mark(MARK_BEGIN)?;
            let figure = self.leg_as_ready(load, Duration::MAX, commits * load.batch as u64)?;
            mark(MARK_END)?;
            self.drain()?;
            return Ok(figure);
        }
        let mut all = Figure::default();
        while all.seconds < load.seconds.as_secs_f64() {
            let left = load.seconds.saturating_sub(Duration::from_secs_f64(all.seconds));
            all.add(self.leg(load, left, load.backlog)?);
        }
        self.drain()?;
        Ok(all)
    }

    /// Puts and takes so many events in large commits, so that every file has been written.
    pub fn lap(&mut self, events: u64, backlog: u64) -> Result<()> {
        let end = *self.put + events;
        while *self.put < end {
            self.fill(backlog)?;
            self.drain()?;
        }
        Ok(())
    }

    fn leg(&mut self, load: &Load, limit: Duration, events_max: u64) -> Result<Figure> {
        self.ready(load)?;
        self.leg_as_ready(load, limit, events_max)
    }

    fn ready(&mut self, load: &Load) -> Result<()> {
        match load.work {
            Work::Take => self.fill(load.backlog),
            Work::Put | Work::Both => self.drain(),
        }
    }

    fn leg_as_ready(&mut self, load: &Load, limit: Duration, events_max: u64) -> Result<Figure> {
        match load.work {
            Work::Put => self.put_leg(load, limit, events_max),
            Work::Take => self.take_leg(load.batch, limit, events_max),
            Work::Both => self.both_leg(load.batch, limit, events_max),
        }
    }

    /// Puts in large commits until so many wait.
    pub fn fill(&mut self, backlog: u64) -> Result<()> {
        let mut producer = self.store.producer()?;
        while self.waiting < backlog {
            let left = usize::try_from(backlog - self.waiting).unwrap_or(usize::MAX);
            let events = self.pool.batch(*self.put, ASIDE_BATCH.min(left));
            producer.put(events)?;
            *self.put += events.len() as u64;
            self.waiting += events.len() as u64;
        }
        Ok(())
    }

    /// Takes all that wait.
    pub fn drain(&mut self) -> Result<()> {
        let mut taker = self.store.taker()?;
        let mut taken = Vec::with_capacity(ASIDE_BATCH);
        while self.waiting > 0 {
            taken.clear();
            taker.take(ASIDE_BATCH, &mut taken)?;
            if taken.is_empty() {
                bail!("{} events were put and do not come out", self.waiting);
            }
            self.waiting = self.waiting.saturating_sub(taken.len() as u64);
        }
        drop(taker);
        self.store.settle()
    }

    /// One leg of puts: as many commits as fit into the time and into the backlog.
    pub fn put_leg(&mut self, load: &Load, limit: Duration, events_max: u64) -> Result<Figure> {
        let batch = load.batch as u64;
        let left = AtomicU64::new(events_max.max(batch) / batch);
        let barrier = Barrier::new(load.producers);
        let (store, pool, put) = (self.store, self.pool, *self.put);
        let produce = || -> Result<(u64, Duration)> {
            let producer = store.producer();
            barrier.wait();
            let mut producer = producer?;
            let started = Instant::now();
            let mut commits = 0;
            while claim(&left) {
                producer.put(pool.batch(put + commits * batch, load.batch))?;
                commits += 1;
                if started.elapsed() >= limit {
                    break;
                }
            }
            Ok((commits, started.elapsed()))
        };
        let done = in_threads(load.producers, produce)?;
        let commits: u64 = done.iter().map(|(commits, _)| commits).sum();
        let longest = done.iter().map(|(_, spent)| *spent).max().unwrap_or_default();
        *self.put += commits * batch;
        self.waiting += commits * batch;
        Ok(Figure { events: commits * batch, commits, seconds: longest.as_secs_f64() })
    }

    /// One leg of takes.
    fn take_leg(&mut self, batch: usize, limit: Duration, events_max: u64) -> Result<Figure> {
        let mut taker = self.store.taker()?;
        let mut taken = Vec::with_capacity(batch);
        let mut order = Order::default();
        let mut figure = Figure::default();
        let started = Instant::now();
        while figure.events + batch as u64 <= events_max.min(self.waiting) {
            taken.clear();
            taker.take(batch, &mut taken)?;
            expect_whole(&taken, batch)?;
            order.check(&taken)?;
            figure.commits += 1;
            figure.events += batch as u64;
            if started.elapsed() >= limit {
                break;
            }
        }
        figure.seconds = started.elapsed().as_secs_f64();
        self.waiting -= figure.events;
        Ok(figure)
    }

    /// One leg of both: a producer and a taker, each in a thread, and a bounded queue.
    fn both_leg(&mut self, batch: usize, limit: Duration, events_max: u64) -> Result<Figure> {
        let gate = Gate::new(BOUND_COMMITS);
        let (store, pool, put) = (self.store, self.pool, *self.put);
        let commits_max = events_max / batch as u64;
        let started = Instant::now();
        let produce = || -> Result<u64> {
            let _closed = CloseAtEnd(&gate);
            let mut producer = store.producer()?;
            let mut commits = 0;
            while commits < commits_max && started.elapsed() < limit && gate.wait_for_room() {
                producer.put(pool.batch(put + commits * batch as u64, batch))?;
                commits += 1;
                gate.put();
            }
            Ok(commits)
        };
        let take = || -> Result<u64> {
            let _closed = CloseAtEnd(&gate);
            let mut taker = store.taker()?;
            let mut taken = Vec::with_capacity(batch);
            let mut order = Order::default();
            let mut commits = 0;
            while gate.wait_for_one() {
                taken.clear();
                taker.take(batch, &mut taken)?;
                expect_whole(&taken, batch)?;
                order.check(&taken)?;
                commits += 1;
                gate.took();
            }
            Ok(commits)
        };
        let (produced, took) = std::thread::scope(|scope| {
            let producer = scope.spawn(produce);
            let took = take();
            (producer.join().expect("a producer does not panic"), took)
        });
        let (produced, took) = (produced?, took?);
        *self.put += produced * batch as u64;
        self.waiting += (produced - took) * batch as u64;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Figure { events: took * batch as u64, commits: took, seconds })
    }
}

/// Takes one from what is left.
fn claim(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn expect_whole(taken: &[forebay::event::Event], batch: usize) -> Result<()> {
    if taken.len() != batch {
        bail!("a take of {batch} events brought {}, though more wait", taken.len());
    }
    Ok(())
}

/// Says where the commits that are counted begin or end, in one call to the system.
fn mark(mark: &str) -> Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("{mark}\n").as_bytes())?;
    Ok(stdout.flush()?)
}

/// Runs the same in some threads; one of them is this one, so that a lone one is no thread more.
pub fn in_threads<T: Send>(threads: usize, run: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(&run)).collect();
        let mut done = vec![run()];
        done.extend(others.into_iter().map(|one| one.join().expect("a worker does not panic")));
        done.into_iter().collect()
    })
}

/// How many commits wait between a producer and a taker. Both sleep where they must wait: under a
/// real-time scheduler whoever spins keeps the other from its core.
struct Gate {
    bound: u64,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    waiting: u64,
    closed: bool,
}

impl Gate {
    fn new(bound: u64) -> Gate {
        Gate { bound, state: Mutex::default(), changed: Condvar::new() }
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn put(&self) {
        self.change(|state| state.waiting += 1);
    }

    fn took(&self) {
        self.change(|state| state.waiting -= 1);
    }

    /// Waits until there is room; false if the taker is gone.
    fn wait_for_room(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |state: &mut GateState| state.waiting >= self.bound && !state.closed;
        let state = self.changed.wait_while(state, full);
        !state.unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Waits until a commit waits; false if none does and the producer is done.
    fn wait_for_one(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut GateState| state.waiting == 0 && !state.closed;
        let state = self.changed.wait_while(state, idle);
        state.unwrap_or_else(PoisonError::into_inner).waiting > 0
    }
}

/// Lets the other side go when this one ends, in whatever way.
struct CloseAtEnd<'a>(&'a Gate);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.closed = true);
    }
}
