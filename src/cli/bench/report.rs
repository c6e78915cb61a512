//! What a bench has to say, as an object.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use super::Plan;
use super::contest::{Outcome, Rules};
use super::floor::FloorSync;
use super::home::Home;
use super::load::Load;
use super::pace::{Figures, Percentiles, Tally, per_second, ratio};
use super::system;
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
        self.floor = outcome.floor.figures(payload, None).map(|figures| Floor {
            figures,
            write_bytes: load.floor_bytes(),
            sync: FloorSync::of(load.sync).words(),
        });
        let disk = outcome.disk.large_mb_per_s().zip(outcome.disk.small_per_s());
        self.disk = disk.map(|(large, small)| Disk {
            write_1mib_sync_mb_per_s: large,
            write_4k_sync_per_s: small,
        });
        let measured = |tally: &Tally| {
            let figures = tally.figures(payload, peak)?;
            Some(self.beside(figures))
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
        self.main = if rules.with_both { Some("both") } else { Some("put") };
        self.phase =
            if rules.with_both { both.as_ref().map(|both| both.put.clone()) } else { put.clone() };
        self.phases.put = put;
        self.phases.both = both;
    }

    fn beside(&self, figures: Figures) -> Measured {
        let floor = self.floor.as_ref().map(|floor| &floor.figures);
        let disk = self.disk.map(|disk| disk.write_1mib_sync_mb_per_s);
        Measured {
            ratio_to_floor: floor.map(|floor| ratio(figures.commits_per_s, floor.commits_per_s)),
            ratio_p99_to_floor: floor
                .map(|floor| ratio(figures.commit_us.p99, floor.commit_us.p99)),
            ratio_to_disk_bandwidth: disk.map(|disk| ratio(figures.mb_per_s, disk)),
            ratio_to_put_only: None,
            figures,
        }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Failure::new("the figures cannot be written").because(error))
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
