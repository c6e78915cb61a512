//! The phase that drains a backlog, beside reading the same files, and beside one small write and
//! sync a batch.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::bed;
use super::both::{self, Consumed};
use super::cold;
use super::floor::{self, Bound, FloorFile, FloorSync};
use super::load::{BLOCK, Events, Load};
use super::pace::{Slice, Tally, median, per_second};
use super::put;
use crate::channel::{Channel, FileChannel};
use crate::failure::Failure;

/// The events, unless they are given.
pub(super) const EVENTS: u64 = 1_500_000;
/// The backlog is filled and drained so many times, with a part of the events each.
const ROUNDS: u64 = 5;
/// How long a slice of the floor is at most.
const SLICE: Duration = Duration::from_millis(300);
/// The length of the floor's file.
const FLOOR_FILE: u64 = 16 << 20;

/// What is to be drained, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub events: u64,
    pub bytes_max: u64,
    /// Nothing of it is in the system's memory.
    pub cold: bool,
    pub with_floor: bool,
}

impl Rules {
    /// How many events wait at once.
    pub(super) fn backlog(&self, load: &Load) -> u64 {
        let batch = load.batch as u64;
        self.events.div_ceil(batch).div_ceil(ROUNDS).saturating_mul(batch)
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub takes: Tally,
    pub consumed: Consumed,
    pub floor: Tally,
    /// Bytes of log a second, while draining and while only reading.
    pub log_mb_per_s: Option<f64>,
    pub read_mb_per_s: Option<f64>,
    /// While reading, with a small write and a sync for each batch.
    pub acked_mb_per_s: Option<f64>,
    pub peak_rss_mib: Option<f64>,
}

/// Fills, and drains, and again; `done` is told how much of it is done.
pub(super) fn run(
    dir: &Path,
    rules: Rules,
    load: &Load,
    stop: &AtomicBool,
    done: &mut dyn FnMut(f64),
) -> Result<Outcome, Failure> {
    let mut drains = Drains {
        dir: dir.join("take"),
        rules,
        load,
        stop,
        file: FloorFile::make(&dir.join("take-floor"), FLOOR_FILE)?,
        outcome: Outcome {
            takes: Tally::new(),
            consumed: Consumed::new(),
            floor: Tally::new(),
            log_mb_per_s: None,
            read_mb_per_s: None,
            acked_mb_per_s: None,
            peak_rss_mib: None,
        },
        log_rates: Vec::new(),
        read_rates: Vec::new(),
        acked_rates: Vec::new(),
    };
    let batch = load.batch as u64;
    let batches = rules.events.div_ceil(batch);
    let mut drained = 0;
    for round in 1..=ROUNDS {
        let until = (batches * round).div_ceil(ROUNDS);
        if until > drained && !stop.load(Ordering::Relaxed) {
            drains.round((until - drained) * batch)?;
            drained = until;
        }
        done(round as f64 / ROUNDS as f64);
    }
    drains.outcome.log_mb_per_s = median(drains.log_rates.into_iter());
    drains.outcome.read_mb_per_s = median(drains.read_rates.into_iter());
    drains.outcome.acked_mb_per_s = median(drains.acked_rates.into_iter());
    Ok(drains.outcome)
}

struct Drains<'a> {
    dir: PathBuf,
    rules: Rules,
    load: &'a Load,
    stop: &'a AtomicBool,
    file: FloorFile,
    outcome: Outcome,
    log_rates: Vec<f64>,
    read_rates: Vec<f64>,
    acked_rates: Vec<f64>,
}

impl Drains<'_> {
    fn round(&mut self, count: u64) -> Result<(), Failure> {
        let channel = self.open()?;
        let events = Events::new(self.load, &channel)?;
        let before = channel.log_stats();
        let filled = bed::fill(&channel, &events, self.load, count, self.stop)?;
        let log_bytes = channel.log_stats().written_bytes - before.written_bytes;
        bed::rest(&channel, self.stop);
        channel.close();
        if filled < count {
            return Ok(());
        }
        self.forget()?;
        if self.rules.with_floor {
            self.read()?;
            self.forget()?;
            self.read_and_ack()?;
            self.forget()?;
            self.floor()?;
        }
        let channel = self.open()?;
        bed::rest(&channel, self.stop);
        // Opening has read some of it.
        self.forget()?;
        super::system::reset_peak_rss();
        let took = self.drain(&channel, count)?;
        let peak = super::system::peak_rss_mib();
        self.outcome.peak_rss_mib = super::open::larger(self.outcome.peak_rss_mib, peak);
        if let Some(took) = took {
            self.log_rates.push(per_second(log_bytes as f64 / 1e6, took));
        }
        bed::drain(&channel)?;
        bed::rest(&channel, self.stop);
        channel.close();
        Ok(())
    }

    fn open(&self) -> Result<FileChannel, Failure> {
        bed::open(&self.dir, self.load, self.rules.bytes_max, 0)
    }

    /// Everybody takes, until all is drained; how long that took, if no signal ended it.
    fn drain(&mut self, channel: &FileChannel, count: u64) -> Result<Option<Duration>, Failure> {
        let before = channel.log_stats();
        let disk = bed::disk(&before);
        let left = AtomicU64::new(count);
        let batch = self.load.batch;
        let consumers = self.load.consumers.max(1);
        let stop = self.stop;
        let started = Instant::now();
        let take = || {
            let ends = |taken: usize| {
                let taken = taken as u64;
                let left = left.fetch_sub(taken, Ordering::Relaxed) - taken;
                left == 0 || taken == 0 || stop.load(Ordering::Relaxed)
            };
            both::consume(channel, batch, Duration::ZERO, ends)
                .map_err(|error| Failure::new("a take failed").because(error))
        };
        let consumed = put::together(consumers, take)?;
        let took = started.elapsed();
        let mut all = Consumed::new();
        consumed.iter().for_each(|one| all.add(one));
        let after = bed::stats_after(channel, before.commits + all.commits);
        let slice = Slice { commits: all.commits, events: all.events, took };
        self.outcome.takes.add(slice, &all.commit, bed::disk(&after).since(disk));
        self.outcome.consumed.add(&all);
        Ok((all.events == count).then_some(took))
    }

    /// One small write and sync a batch: what says durably how far a reader has come.
    fn floor(&mut self) -> Result<(), Failure> {
        let bound = Bound { commits: u64::MAX, time: SLICE };
        let sync = FloorSync::of(self.load.sync);
        let block = floor::block(BLOCK);
        let batch = self.load.batch as u64;
        let (slice, latency, disk) = self.file.slice(&block, batch, sync, bound, self.stop)?;
        self.outcome.floor.add(slice, &latency, disk);
        Ok(())
    }

    /// A plain reader reads the same files.
    fn read(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let bytes = cold::read_sealed(&self.dir, &mut |_| Ok(()))?;
        if bytes > 0 {
            self.read_rates.push(per_second(bytes as f64 / 1e6, started.elapsed()));
        }
        Ok(())
    }

    /// The same reader, which says durably how far it has come after each batch.
    fn read_and_ack(&mut self) -> Result<(), Failure> {
        let (batch, block) = (self.load.floor_bytes(), floor::block(BLOCK));
        let (file, sync) = (&mut self.file, FloorSync::of(self.load.sync));
        let started = Instant::now();
        let mut unsaid = 0;
        let bytes = cold::read_sealed(&self.dir, &mut |read| {
            unsaid += read;
            while unsaid >= batch {
                unsaid -= batch;
                file.commit(&block, sync, Instant::now())?;
            }
            Ok(())
        })?;
        if bytes > 0 {
            self.acked_rates.push(per_second(bytes as f64 / 1e6, started.elapsed()));
        }
        Ok(())
    }

    /// If it is to be cold: the system remembers nothing of the segments.
    fn forget(&self) -> Result<(), Failure> {
        if self.rules.cold { cold::forget(&self.dir) } else { Ok(()) }
    }
}
