//! The floor, the puts, and puts and takes at once, by turns: a disk whose pace drifts drifts for
//! all of them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bed;
use super::both::{self, Consumed};
use super::floor::{self, Bound, FloorFile, FloorSync};
use super::load::{BLOCK, Events, Load};
use super::pace::{Tally, median, per_second};
use super::put;
use crate::channel::{Channel, FileChannel};
use crate::failure::Failure;

/// How long a slice is at most.
const SLICE: Duration = Duration::from_millis(300);
/// How long a slice of the disk's own pace is at most, and how many writes.
const DISK_SLICE: Bound = Bound { commits: 64, time: Duration::from_millis(100) };
/// The disk has so long to come to rest behind it.
const DISK_PAUSE: Duration = Duration::from_millis(100);
/// So many slices, if there are enough commits for them.
const SLICES: u64 = 10;
/// Without a number of events: the slices of one contender together, in time.
const TIME: Duration = Duration::from_secs(3);
/// And so many at most: they are short where a slice must not come to fresh segments.
const SLICES_MAX: f64 = 40.0;
/// The write of which a disk gives its bandwidth.
const LARGE: u64 = 1 << 20;
/// The floor's file, if the channel is not small.
const FLOOR_FILE_MAX: u64 = 256 << 20;

/// Whether segments have been written before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Lap {
    /// A fresh channel, as it is: its segments are being prepared
    First,
    /// Segments that have been written before, as in a channel that has been in use
    Later,
}

impl Lap {
    pub(super) fn word(self) -> &'static str {
        match self {
            Lap::First => "first",
            Lap::Later => "later",
        }
    }
}

/// Who takes part, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub lap: Lap,
    pub with_floor: bool,
    pub with_put: bool,
    pub with_both: bool,
    /// The events that each puts; nothing for as many as come in a given time.
    pub events: Option<u64>,
    /// The most bytes of log that a first lap writes.
    pub bytes: u64,
    pub bytes_max: u64,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub floor: Tally,
    pub put: Tally,
    pub both: Tally,
    pub consumed: Consumed,
    pub disk: DiskPace,
}

/// The disk's own pace, slice by slice.
#[derive(Debug, Default)]
pub(super) struct DiskPace {
    large: Vec<f64>,
    small: Vec<f64>,
}

impl DiskPace {
    /// Megabytes a second in large writes with a sync each.
    pub(super) fn large_mb_per_s(&self) -> Option<f64> {
        median(self.large.iter().map(|writes| writes * LARGE as f64 / 1e6))
    }

    /// Small writes with a sync each, a second.
    pub(super) fn small_per_s(&self) -> Option<f64> {
        median(self.small.iter().copied())
    }
}

/// The length of the floor's file: as much as the channel goes round in, about.
pub(super) fn floor_file_bytes(load: &Load, bytes_max: u64) -> u64 {
    let block = load.floor_bytes().max(LARGE);
    (bytes_max / 2).clamp(4 * block, FLOOR_FILE_MAX.max(4 * block))
}

/// All contenders.
pub(super) struct Contest<'a> {
    rules: Rules,
    load: &'a Load,
    stop: &'a AtomicBool,
    file: FloorFile,
    block: Vec<u8>,
    small: Vec<u8>,
    large: Vec<u8>,
    outcome: Outcome,
    done: &'a mut dyn FnMut(f64),
}

/// A channel and the events for it.
struct Lane {
    channel: FileChannel,
    events: Events,
}

impl<'a> Contest<'a> {
    /// Everybody's turn, again and again; `done` is told how much of it is done.
    pub(super) fn run(
        dir: &Path,
        rules: Rules,
        load: &'a Load,
        stop: &'a AtomicBool,
        done: &'a mut dyn FnMut(f64),
    ) -> Result<Outcome, Failure> {
        let lane = |name: &str, events_max: u64| -> Result<Lane, Failure> {
            let path = dir.join(name);
            let channel = bed::open(&path, load, rules.bytes_max, 0)?;
            let events = Events::new(load, &channel)?;
            if rules.lap == Lap::Later {
                bed::go_round(&channel, &events, load, stop)?;
            }
            channel.close();
            let channel = bed::open(&path, load, rules.bytes_max, events_max)?;
            bed::rest(&channel, stop);
            Ok(Lane { channel, events })
        };
        let put = rules.with_put.then(|| lane("put", 0)).transpose()?;
        let both = rules.with_both.then(|| lane("both", both::events_max(load))).transpose()?;
        let file_bytes = floor_file_bytes(load, rules.bytes_max);
        let mut contest = Contest {
            rules,
            load,
            stop,
            file: FloorFile::make(&dir.join("floor"), file_bytes)?,
            block: floor::block(load.floor_bytes()),
            small: floor::block(BLOCK),
            large: floor::block(LARGE),
            outcome: Outcome {
                floor: Tally::new(),
                put: Tally::new(),
                both: Tally::new(),
                consumed: Consumed::new(),
                disk: DiskPace::default(),
            },
            done,
        };
        match rules.lap {
            Lap::Later => contest.later(put.as_ref(), both.as_ref())?,
            Lap::First => contest.first(put.as_ref(), both.as_ref())?,
        }
        Ok(contest.outcome)
    }

    /// The floor goes first in one turn and last in the next: whoever comes behind another finds
    /// what that has left to the disk. The large writes of the disk's own pace leave the most, so
    /// that a pause follows them.
    fn later(&mut self, put: Option<&Lane>, both: Option<&Lane>) -> Result<(), Failure> {
        for turn in 1.. {
            let floor_first = turn % 2 == 1;
            if floor_first {
                self.floor()?;
            }
            if let Some(lane) = put {
                self.put(lane)?;
                bed::drain(&lane.channel)?;
                bed::rest(&lane.channel, self.stop);
            }
            if let Some(lane) = both {
                self.both(lane)?;
                bed::rest(&lane.channel, self.stop);
            }
            if !floor_first {
                self.floor()?;
            }
            self.disk()?;
            if self.is_over(turn) {
                break;
            }
        }
        Ok(())
    }

    /// Nothing is prepared, and nothing has time to get ready between two slices: so the floor's
    /// slices stand before and after.
    fn first(&mut self, put: Option<&Lane>, both: Option<&Lane>) -> Result<(), Failure> {
        self.floor_alone()?;
        for turn in 1.. {
            if let Some(lane) = put {
                self.put(lane)?;
            }
            if let Some(lane) = both {
                self.both(lane)?;
            }
            if self.is_over(turn) {
                break;
            }
        }
        for lane in put.into_iter().chain(both) {
            bed::rest(&lane.channel, self.stop);
        }
        self.floor_alone()
    }

    fn floor_alone(&mut self) -> Result<(), Failure> {
        for _ in 0..SLICES / 2 {
            self.floor()?;
            self.disk()?;
        }
        Ok(())
    }

    /// Whether everybody has done enough; tells how much that is.
    fn is_over(&mut self, turn: u32) -> bool {
        let tallies = [
            self.rules.with_put.then_some(&self.outcome.put),
            self.rules.with_both.then_some(&self.outcome.both),
        ];
        let in_turns = f64::from(turn) / SLICES as f64;
        let share = |tally: &Tally| {
            let of = |commits: u64| tally.commits() as f64 / commits as f64;
            if self.rules.events.is_some() {
                return self.commits().map_or(1.0, of);
            }
            let in_time = tally.took().as_secs_f64() / TIME.as_secs_f64();
            let in_bytes = self.commits().map_or(0.0, of);
            in_time.min(in_turns).max(f64::from(turn) / SLICES_MAX).max(in_bytes)
        };
        let share = tallies.into_iter().flatten().map(share).fold(1.0, f64::min);
        (self.done)(share);
        share >= 1.0 || self.stop.load(Ordering::Relaxed)
    }

    /// How many commits each is to make.
    fn commits(&self) -> Option<u64> {
        let batch = self.load.batch as u64;
        let most = (self.rules.lap == Lap::First).then(|| {
            let commit = self.load.log_bytes(batch, batch);
            (self.rules.bytes / commit).max(1)
        });
        self.rules.events.map(|events| events.div_ceil(batch)).or(most)
    }

    /// The bound of the next slice of someone who has made so many commits.
    fn bound(&self, made: u64, turn_bytes: u64) -> Bound {
        let batch = self.load.batch as u64;
        let in_bytes = turn_bytes / self.load.log_bytes(batch, batch);
        let commits = match self.commits() {
            None => u64::MAX,
            Some(commits) => commits.div_ceil(SLICES).min(commits.saturating_sub(made)),
        };
        Bound { commits: commits.min(in_bytes.max(1)), time: SLICE }
    }

    fn floor(&mut self) -> Result<(), Failure> {
        if !self.rules.with_floor {
            return Ok(());
        }
        let commits = self.commits().map_or(u64::MAX, |commits| commits.div_ceil(SLICES));
        let bound = Bound { commits, time: SLICE };
        let sync = FloorSync::of(self.load.sync);
        let batch = self.load.batch as u64;
        let (slice, latency, disk) = self.file.slice(&self.block, batch, sync, bound, self.stop)?;
        self.outcome.floor.add(slice, &latency, disk);
        Ok(())
    }

    /// Always with a sync: it is the disk's pace, not that of the system's memory.
    fn disk(&mut self) -> Result<(), Failure> {
        if !self.rules.with_floor {
            return Ok(());
        }
        for (block, rates) in [
            (&self.large, &mut self.outcome.disk.large),
            (&self.small, &mut self.outcome.disk.small),
        ] {
            let ran = self.file.slice(block, 1, FloorSync::Each, DISK_SLICE, self.stop)?;
            if ran.0.commits > 0 {
                rates.push(per_second(ran.0.commits as f64, ran.0.took));
            }
        }
        std::thread::sleep(DISK_PAUSE);
        Ok(())
    }

    fn put(&mut self, lane: &Lane) -> Result<(), Failure> {
        let before = lane.channel.log_stats();
        let disk = bed::disk(&before);
        let recycled = self.turn_bytes(bed::recycled_bytes(&before));
        let bound = self.bound(self.outcome.put.commits(), recycled);
        let (slice, latency) =
            put::slice(&lane.channel, &lane.events, self.load, bound, self.stop)?;
        let after = bed::stats_after(&lane.channel, before.commits + slice.commits);
        let disk = bed::disk(&after).since(disk);
        self.outcome.put.add(slice, &latency, disk);
        Ok(())
    }

    /// Puts are recycled while they are taken, so that no number of bytes ends it.
    fn both(&mut self, lane: &Lane) -> Result<(), Failure> {
        let before = lane.channel.log_stats();
        let disk = bed::disk(&before);
        let bound = self.bound(self.outcome.both.commits(), u64::MAX);
        let (slice, latency, consumed) =
            both::slice(&lane.channel, &lane.events, self.load, bound, self.stop)?;
        let commits = before.commits + slice.commits + consumed.commits;
        let after = bed::stats_after(&lane.channel, commits);
        let disk = bed::disk(&after).since(disk);
        self.outcome.both.add(slice, &latency, disk);
        self.outcome.consumed.add(&consumed);
        Ok(())
    }

    fn turn_bytes(&self, recycled: u64) -> u64 {
        match self.rules.lap {
            Lap::First => u64::MAX,
            Lap::Later => recycled,
        }
    }
}
