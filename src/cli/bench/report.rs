//! What a bench has to say, as an object.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use super::Plan;
use super::contest::{Outcome, Rules};
use super::floor::FloorSync;
use super::home::Home;
use super::load::{BLOCK, Load};
use super::pace::{Figures, Percentiles, Tally, per_second, ratio};
use super::{system, take};
use crate::failure::Failure;

/// All figures. The keys of the JSON object are stable: more may come, none goes or changes its
/// meaning. At the top stand those of the main phase: `both` if it was measured, else `put`, else
/// `take`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub main: Option<&'static str>,
    #[serde(flatten)]
    pub phase: Option<Measured>,
    pub floor: Option<Floor>,
    pub disk: Option<Disk>,
    pub size: usize,
    pub batch: usize,
    pub producers: usize,
    pub in_flight: usize,
    pub consumers: usize,
    pub sync: String,
    pub direct: bool,
    pub lap: &'static str,
    pub file_system: Option<String>,
    pub phases: Phases,
    /// A signal ended it early.
    pub interrupted: bool,
    pub kept: Option<String>,
}

/// The phases that were measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Phases {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put: Option<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub both: Option<Both>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub take: Option<Take>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

/// A phase beside its floor.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measured {
    #[serde(flatten)]
    pub figures: Figures,
    /// Commits a second over the floor's, which is that of one producer.
    pub ratio_to_floor: Option<f64>,
    /// The 99th percentile of a commit over the floor's: here less is better.
    pub ratio_p99_to_floor: Option<f64>,
    /// Payload over the disk's bandwidth in writes of 1 MiB with a sync each.
    pub ratio_to_disk_bandwidth: Option<f64>,
    /// Events a second over those of puts alone in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_to_put_only: Option<f64>,
}

/// Puts and takes at once: the figures are those of the puts.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Both {
    #[serde(flatten)]
    pub put: Measured,
    pub events_taken: u64,
    pub events_taken_per_s: f64,
    pub takes: u64,
    pub take_commit_us: Percentiles,
    /// How long takes waited for their first event.
    pub take_wait_us: Percentiles,
    pub backlog_events_max: u64,
}

/// A backlog drained: the commits are those of takes, the payload is what was taken.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Take {
    #[serde(flatten)]
    pub take: Measured,
    pub cold: bool,
    /// One small write and a sync a batch: what a reader needs to know durably how far it has come.
    pub floor: Option<Floor>,
    /// A plain reader of the same segments, and the log that was read while draining.
    pub read_floor: Option<ReadFloor>,
    pub ratio_to_read_floor: Option<f64>,
    /// To a plain reader that makes one small write and a sync for each batch.
    pub ratio_to_acked_read_floor: Option<f64>,
    pub take_wait_us: Percentiles,
}

/// What the disk, or the system's memory, gave to a plain reader of whole segments.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct ReadFloor {
    pub mb_per_s: f64,
    /// The same with one small write and a sync for each batch.
    pub acked_mb_per_s: f64,
    /// The bytes of log that were drained, with all that stands around the payload.
    pub drained_mb_per_s: f64,
}

/// A channel with a backlog, opened by other processes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Open {
    pub events: u64,
    pub events_drained: u64,
    /// From before the open to the first event: the median, and each.
    pub first_event_ms: f64,
    pub first_event_ms_each: Vec<f64>,
    /// The same, after both checkpoints were removed.
    pub without_checkpoints_ms: f64,
    pub cold: bool,
    pub fill_events_per_s: f64,
    pub drain_events_per_s: f64,
    pub peak_rss_mib: OpenPeaks,
}

/// The peak memory of each process; of several opens the largest.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct OpenPeaks {
    pub fill: Option<f64>,
    pub open: Option<f64>,
    pub without_checkpoints: Option<f64>,
    pub drain: Option<f64>,
}

/// What the disk gave to the plain program.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Floor {
    #[serde(flatten)]
    pub figures: Figures,
    /// The bytes of one write, which stands for a commit.
    pub write_bytes: u64,
    /// What came after each: `fdatasync`, or `none`.
    pub sync: String,
}

/// The disk's own pace, with a sync after each write.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Disk {
    pub write_1mib_sync_mb_per_s: f64,
    pub write_4k_sync_per_s: f64,
}

impl Report {
    pub(super) fn new(plan: &Plan, home: &Home) -> Report {
        let load = plan.load;
        Report {
            main: None,
            phase: None,
            floor: None,
            disk: None,
            size: load.size,
            batch: load.batch,
            producers: load.producers,
            in_flight: load.in_flight,
            consumers: load.consumers,
            sync: load.sync.to_string(),
            direct: load.direct,
            lap: plan.lap.word(),
            file_system: system::file_system(home.path()),
            phases: Phases::default(),
            interrupted: false,
            kept: None,
        }
    }

    /// The phases with puts.
    pub(super) fn contest(&mut self, load: &Load, rules: Rules, outcome: &Outcome) {
        let peak = system::peak_rss_mib();
        let payload = load.payload_bytes();
        let sync = FloorSync::of(load.sync);
        let floor = Floor::of(&outcome.floor, payload, load.floor_bytes(), sync);
        let disk = outcome.disk.large_mb_per_s().zip(outcome.disk.small_per_s());
        self.disk = disk.map(|(large, small)| Disk {
            write_1mib_sync_mb_per_s: large,
            write_4k_sync_per_s: small,
        });
        let measured = |tally: &Tally| {
            let mut measured = Measured::of(tally.figures(payload, peak)?, floor.as_ref());
            let disk = self.disk.map(|disk| disk.write_1mib_sync_mb_per_s);
            measured.ratio_to_disk_bandwidth =
                disk.map(|disk| ratio(measured.figures.mb_per_s, disk));
            Some(measured)
        };
        let put = measured(&outcome.put);
        let both = measured(&outcome.both).map(|mut both| {
            let alone = put.as_ref().map(|put| put.figures.events_per_s);
            both.ratio_to_put_only = alone.map(|alone| ratio(both.figures.events_per_s, alone));
            let consumed = &outcome.consumed;
            Both {
                put: both,
                events_taken: consumed.events,
                events_taken_per_s: per_second(consumed.events as f64, outcome.both.took()),
                takes: consumed.commits,
                take_commit_us: consumed.commit.percentiles(),
                take_wait_us: consumed.wait.percentiles(),
                backlog_events_max: super::both::events_max(load),
            }
        });
        let main = if rules.with_both { both.as_ref().map(|both| &both.put) } else { put.as_ref() };
        self.main = main.map(|_| if rules.with_both { "both" } else { "put" });
        self.phase = main.cloned();
        self.floor = floor;
        self.phases.put = put;
        self.phases.both = both;
    }

    /// The phase that drains.
    pub(super) fn take(&mut self, load: &Load, rules: take::Rules, outcome: &take::Outcome) {
        let payload = load.payload_bytes();
        let floor = Floor::of(&outcome.floor, payload, BLOCK, FloorSync::of(load.sync));
        let Some(figures) = outcome.takes.figures(payload, outcome.peak_rss_mib) else { return };
        let take = Measured::of(figures, floor.as_ref());
        let rates = outcome.read_mb_per_s.zip(outcome.acked_mb_per_s).zip(outcome.log_mb_per_s);
        let read_floor = rates.map(|((mb_per_s, acked_mb_per_s), drained_mb_per_s)| ReadFloor {
            mb_per_s,
            acked_mb_per_s,
            drained_mb_per_s,
        });
        if self.phase.is_none() {
            self.main = Some("take");
            self.phase = Some(take.clone());
            self.floor.clone_from(&floor);
        }
        self.phases.take = Some(Take {
            take,
            cold: rules.cold,
            floor,
            read_floor,
            ratio_to_read_floor: read_floor.map(|one| ratio(one.drained_mb_per_s, one.mb_per_s)),
            ratio_to_acked_read_floor: read_floor
                .map(|one| ratio(one.drained_mb_per_s, one.acked_mb_per_s)),
            take_wait_us: outcome.consumed.wait.percentiles(),
        });
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Failure::new("the figures cannot be written").because(error))
    }
}

impl Measured {
    fn of(figures: Figures, floor: Option<&Floor>) -> Measured {
        let floor = floor.map(|floor| &floor.figures);
        let over = |of: fn(&Figures) -> f64| floor.map(|floor| ratio(of(&figures), of(floor)));
        Measured {
            ratio_to_floor: over(|figures| figures.commits_per_s),
            ratio_p99_to_floor: over(|figures| figures.commit_us.p99),
            ratio_to_disk_bandwidth: None,
            ratio_to_put_only: None,
            figures,
        }
    }
}

impl Floor {
    fn of(tally: &Tally, payload: u64, write_bytes: u64, sync: FloorSync) -> Option<Floor> {
        let figures = tally.figures(payload, None)?;
        Some(Floor { figures, write_bytes, sync: sync.words() })
    }
}

/// Prints, also when nobody reads any more.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout();
    match writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new("standard output cannot be written").because(error))
        }
        _ => Ok(()),
    }
}
