//! `forebay bench`: what a file channel does in a second, beside what its disk gives to a plain
//! program in the same run.
//!
//! | what | file |
//! | --- | --- |
//! | the events, and how many at once           | `load.rs` |
//! | where it happens, and what the system says | `home.rs`, `system.rs` |
//! | slices, latencies, medians                 | `pace.rs` |
//! | the plain program: the floor               | `floor.rs` |
//! | a channel, filled, drained, at rest        | `bed.rs` |
//! | a slice of puts; of puts and takes         | `put.rs`, `both.rs` |
//! | all of these by turns                      | `contest.rs` |
//! | a backlog drained, beside a plain reader   | `take.rs`, `cold.rs` |
//! | a backlog opened, in other processes       | `open.rs`, `child.rs` |
//! | what is told                               | `report.rs`, `table.rs` |

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};

use super::Outcome;
use super::progress::Progress;
use crate::channel::SyncClass;
use crate::config::parse_size;
use crate::failure::Failure;
use crate::shutdown;

mod bed;
mod both;
mod child;
mod cold;
mod contest;
mod floor;
mod home;
mod load;
mod open;
mod pace;
mod put;
mod report;
mod system;
mod table;
mod take;

pub(super) use child::BenchChild;

use contest::{Contest, Lap, Rules};
use home::Home;
use load::Load;
use report::Report;

/// The byte limit of a channel for puts, unless one is given: all segments have their full length.
const BYTES_MAX: u64 = 2 << 30;
/// The segments of a channel that goes round take up to so many eighths of the limit, which is
/// then no larger than this.
const ROUND_BYTES: u64 = 1 << 30;
/// The most bytes of log of a first lap, unless a number of events is given.
const FIRST_BYTES: u64 = 2 << 30;
/// The length of a segment at most.
const SEGMENT_BYTES: u64 = 64 << 20;
/// More threads than anybody has a use for.
const THREADS_MAX: usize = 4096;

/// Measure what a channel does in a second, beside what the disk gives to a plain program.
///
/// Each phase stands beside its floor, measured by turns with it in the same run: for puts, one
/// plain write of the same bytes and one fdatasync a commit, into a file that was written before.
/// Rates are medians over slices of the run.
///
/// A later lap measures a channel that has been in use, whose segments have all been written once;
/// a first lap measures a fresh one. SIGINT and SIGTERM end it early, with what is known by then.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forebay bench\n  \
    forebay bench --phase put --batch 100 --producers 4\n  \
    forebay bench --phase put --batch 1 --in-flight 64\n  \
    forebay bench --batch 100 --consumers 1\n  \
    forebay bench --dir /mnt/disk/bench --phase take --cold --events 2000000\n  \
    forebay bench --phase put --json | jq .ratio_to_floor")]
pub(super) struct Bench {
    /// Where it is measured: a new or empty directory [default: a temporary one]
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
    /// The bytes of an event's body, like 512 or 4KiB; it has one short header as well
    #[arg(long, value_name = "B", default_value = "512", value_parser = parse_some_size)]
    size: u64,
    /// The events of a transaction
    #[arg(long, value_name = "N", default_value = "100")]
    batch: NonZeroUsize,
    /// Threads that put, each waiting for its commit
    #[arg(long, value_name = "P", default_value = "1")]
    producers: NonZeroUsize,
    /// Commits in flight of a single task that puts; 1 is a thread that waits for each
    #[arg(long, value_name = "N", default_value = "1")]
    in_flight: NonZeroUsize,
    /// Threads that take [default: none, or 1 where a phase takes]
    #[arg(long, value_name = "C", default_value = "0", hide_default_value = true)]
    consumers: usize,
    /// The events of each phase, in whole batches [default: as many as come in 3 s; for `take`
    /// 1,500,000, for `open` 1,000,000]
    #[arg(long, value_name = "N")]
    events: Option<NonZeroU64>,
    /// When the channel syncs: commit, interval:TIME or os
    #[arg(long, value_name = "SYNC", default_value = "commit")]
    sync: String,
    /// Let the channel write past the system's cache; the floor goes through it
    #[arg(long)]
    direct: bool,
    /// Let the channel write one checkpoint in two segments, to see what more of them cost
    #[arg(long)]
    few_checkpoints: bool,
    /// What is measured, several with commas [default: put,open,take, or both with --consumers]
    #[arg(long, value_name = "PHASE", value_delimiter = ',')]
    phase: Vec<Phase>,
    /// The most bytes the channel may take on the disk, like 64MiB [default: large enough]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes_max: Option<u64>,
    /// Whether the channel's segments have been written before
    #[arg(long, value_name = "LAP", default_value = "later")]
    lap: Lap,
    /// Let the system forget a backlog before it is drained or opened
    #[arg(long)]
    cold: bool,
    /// Measure the channel alone
    #[arg(long)]
    no_floor: bool,
    /// Leave what was made in the directory
    #[arg(long)]
    keep: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Phase {
    /// Puts alone
    Put,
    /// A backlog drained
    Take,
    /// Puts and takes at once, beside puts alone
    Both,
    /// A channel with a backlog opened, and its first event taken
    Open,
}

fn parse_some_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("it must be at least 1".to_owned()),
        size => Ok(size),
    }
}

impl Bench {
    pub(super) fn execute(self) -> Result<Outcome, Failure> {
        let plan = Plan::new(&self)?;
        let home = Home::claim(self.dir.as_deref())?;
        home.has_room(plan.needed_bytes())?;
        let stop = shutdown::flag_at_signals();
        let stop =
            stop.map_err(|error| Failure::new("signals cannot be listened to").because(error))?;
        let mut report = Report::new(&plan, &home);
        plan.measure(&home, &stop, &mut report)?;
        report.interrupted = stop.load(Ordering::Relaxed);
        if self.keep {
            report.kept = Some(home.keep().display().to_string());
        } else {
            drop(home);
        }
        report::print(&if self.json { report.json()? } else { table::text(&report) })?;
        Ok(Outcome::Fine)
    }

    /// What is measured without being asked for.
    fn phases(&self) -> Vec<Phase> {
        match (&self.phase[..], self.consumers) {
            ([], 0) => vec![Phase::Put, Phase::Open, Phase::Take],
            ([], _) => vec![Phase::Both],
            (named, _) => named.to_vec(),
        }
    }
}

/// What is to be done, when it can be.
#[derive(Debug)]
struct Plan {
    load: Load,
    lap: Lap,
    phases: Vec<Phase>,
    events: Option<u64>,
    bytes_max: Option<u64>,
    with_floor: bool,
    cold: bool,
    keep: bool,
}

impl Plan {
    fn new(options: &Bench) -> Result<Plan, Failure> {
        let sync = options.sync.parse::<SyncClass>();
        let sync =
            sync.map_err(|error| Failure::new(format!("--sync {}: {error}", options.sync)))?;
        let phases = options.phases();
        let (producers, in_flight) = (options.producers.get(), options.in_flight.get());
        if in_flight > 1 && producers > 1 {
            let text = "--in-flight is for a single task, and --producers for threads that wait";
            return Err(Failure::new(format!("{text}: give one of them")));
        }
        if producers.max(options.consumers) > THREADS_MAX || in_flight > 1 << 20 {
            let text = format!("--producers and --consumers are at most {THREADS_MAX}");
            return Err(Failure::new(format!("{text}, --in-flight at most {}", 1 << 20)));
        }
        let takes = phases.iter().any(|phase| matches!(phase, Phase::Take | Phase::Both));
        let load = Load {
            size: usize::try_from(options.size).unwrap_or(usize::MAX >> 1).min(usize::MAX >> 1),
            batch: options.batch.get(),
            producers,
            in_flight,
            consumers: options.consumers.max(usize::from(takes)),
            sync,
            direct: options.direct,
            few_checkpoints: options.few_checkpoints,
        };
        let plan = Plan {
            load,
            lap: options.lap,
            phases,
            events: options.events.map(NonZeroU64::get),
            bytes_max: options.bytes_max,
            with_floor: !options.no_floor,
            cold: options.cold,
            keep: options.keep,
        };
        plan.check_limit()?;
        Ok(plan)
    }

    /// A backlog has to have room below a limit that is given.
    fn check_limit(&self) -> Result<(), Failure> {
        let first = self.rules().filter(|rules| rules.lap == Lap::First && rules.events.is_some());
        let backlogs = [
            first.map(|rules| rules.bytes),
            self.take().map(|take| self.backlog_bytes(take.backlog(&self.load))),
            self.open().map(|open| self.backlog_bytes(open.events)),
        ];
        let largest = backlogs.into_iter().flatten().max().unwrap_or(0);
        let Some(limit) = self.bytes_max else { return Ok(()) };
        // Two segments are kept back, one is begun, and one is being made.
        let room = limit - 4 * (limit / 8).min(SEGMENT_BYTES);
        if largest <= room {
            return Ok(());
        }
        let text = format!("--bytes-max {limit} has room for {room} bytes of events");
        Err(Failure::new(format!("{text}, and {largest} are to wait; raise it, or lower --events")))
    }

    /// The bytes of log of a backlog that is filled with large transactions.
    fn backlog_bytes(&self, events: u64) -> u64 {
        self.load.log_bytes(events, self.load.fill_batch() as u64)
    }

    fn backlog_bytes_max(&self, events: u64) -> u64 {
        let bytes = self.backlog_bytes(events);
        self.bytes_max.unwrap_or(bytes.saturating_add(bytes / 8).saturating_add(BYTES_MAX))
    }

    fn take(&self) -> Option<take::Rules> {
        let events = self.events.unwrap_or(take::EVENTS);
        self.has(Phase::Take).then(|| take::Rules {
            events,
            bytes_max: self.backlog_bytes_max(events),
            cold: self.cold,
            with_floor: self.with_floor,
        })
    }

    fn open(&self) -> Option<open::Rules> {
        let events = self.events.unwrap_or(open::EVENTS);
        self.has(Phase::Open).then(|| open::Rules {
            events,
            bytes_max: self.backlog_bytes_max(events),
            cold: self.cold,
        })
    }

    fn has(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }

    /// The rules of the phases with puts, if there is one.
    fn rules(&self) -> Option<Rules> {
        let with_both = self.has(Phase::Both);
        let with_put = with_both || self.has(Phase::Put);
        let batch = self.load.batch as u64;
        let bytes = self.events.map_or(FIRST_BYTES, |events| self.load.log_bytes(events, batch));
        let bytes_max = match self.lap {
            Lap::Later => BYTES_MAX,
            // All of it stays, with some segments beside it.
            Lap::First => bytes.saturating_add(bytes / 8).saturating_add(BYTES_MAX),
        };
        with_put.then_some(Rules {
            lap: self.lap,
            with_floor: self.with_floor,
            with_put,
            with_both,
            events: self.events,
            bytes,
            bytes_max: self.bytes_max.unwrap_or(bytes_max),
        })
    }

    /// How much may stand on the disk at once.
    fn needed_bytes(&self) -> u64 {
        let contest = self.rules().map_or(0, |rules| {
            let channel = match rules.lap {
                Lap::Later => rules.bytes_max.min(ROUND_BYTES),
                Lap::First => rules.bytes_max.min(rules.bytes.saturating_add(ROUND_BYTES)),
            };
            let channels = u64::from(rules.with_put) + u64::from(rules.with_both);
            let floor = contest::floor_file_bytes(&self.load, rules.bytes_max);
            channel.saturating_mul(channels).saturating_add(floor)
        });
        // One phase stands on the disk with all that those before it have left.
        let take = self.take().map(|take| self.backlog_bytes(take.backlog(&self.load)));
        let open = self.open().map(|open| self.backlog_bytes(open.events));
        let backlog = |bytes: u64| bytes.saturating_add(ROUND_BYTES);
        contest.max(take.map_or(0, backlog)).max(open.map_or(0, backlog))
    }

    fn measure(&self, home: &Home, stop: &AtomicBool, report: &mut Report) -> Result<(), Failure> {
        if let Some(rules) = self.rules() {
            let mut progress = Progress::share("put");
            system::reset_peak_rss();
            let dir = home.place("contest")?;
            let mut done = |share| progress.reach(share);
            let outcome = Contest::run(&dir, rules, &self.load, stop, &mut done)?;
            report.contest(&self.load, rules, &outcome);
            self.end(home, &dir)?;
        }
        if let Some(rules) = self.open().filter(|_| !stop.load(Ordering::Relaxed)) {
            let mut progress = Progress::share("open");
            let dir = home.place("open")?;
            let mut done = |share| progress.reach(share);
            report.phases.open = open::run(&dir, rules, &self.load, stop, &mut done)?;
            self.end(home, &dir)?;
        }
        if let Some(rules) = self.take().filter(|_| !stop.load(Ordering::Relaxed)) {
            let mut progress = Progress::share("take");
            let dir = home.place("take")?;
            let mut done = |share| progress.reach(share);
            let outcome = take::run(&dir, rules, &self.load, stop, &mut done)?;
            report.take(&self.load, rules, &outcome);
            self.end(home, &dir)?;
        }
        Ok(())
    }

    /// What a phase has made goes before the next one, unless it is to be kept.
    fn end(&self, home: &Home, place: &Path) -> Result<(), Failure> {
        if self.keep { Ok(()) } else { home.remove(place) }
    }
}
