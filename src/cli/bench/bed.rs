//! An open channel between two measurements: filled, drained, and at rest.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::load::{Events, Load};
use super::pace::Disk;
use super::system;
use crate::channel::{Channel, FileChannel, FileOptions, LogStats, MAIN_CURSOR};
use crate::failure::Failure;

/// How long a producer waits for space that the consumers give back.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a channel may take to come to rest; then things go on, and the figures tell.
const REST_MAX: Duration = Duration::from_secs(3);
/// So long nothing has changed: the channel is at rest.
const REST: Duration = Duration::from_millis(30);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// After so many laps of a segment each, all spares should have been written once.
const LAPS_MAX: u32 = 16;
/// Spares that the channel keeps back from puts, and one more: with as many it makes new ones.
const SPARES_KEPT: usize = 3;
/// How many events an untimed take takes at most.
const DRAIN_EVENTS: usize = 4_000;

/// Opens a channel for a measurement.
pub(super) fn open(
    path: &Path,
    load: &Load,
    bytes_max: u64,
    events_max: u64,
) -> Result<FileChannel, Failure> {
    let options = FileOptions {
        bytes_max: Some(bytes_max),
        events_max: Some(events_max),
        put_timeout: PUT_TIMEOUT,
        sync: load.sync,
        direct: load.direct,
        checkpoint_bytes: load.few_checkpoints.then_some(u64::MAX),
        cursors: Vec::new(),
    };
    FileChannel::open(path, options).map_err(|error| {
        Failure::new(format!("the channel {} cannot be opened", path.display())).because(error)
    })
}

/// Puts so many events, as fast as it goes. Ends early at a signal.
pub(super) fn fill(
    channel: &FileChannel,
    events: &Events,
    load: &Load,
    count: u64,
    stop: &AtomicBool,
) -> Result<u64, Failure> {
    let failed = |error| Failure::new("the channel cannot be filled").because(error);
    let most = channel.limits().transaction_bytes / (load.size + 64);
    let batch = load.fill_batch().min(most).max(1);
    let (mut filled, mut next) = (0, 0);
    while filled < count && !stop.load(Ordering::Relaxed) {
        let now = usize::try_from(count - filled).map_or(batch, |left| left.min(batch));
        let mut put = channel.put_transaction();
        events.put(&mut put, now, &mut next).map_err(failed)?;
        put.commit().map_err(failed)?;
        filled += now as u64;
    }
    Ok(filled)
}

/// Takes and acknowledges all there is; how much that was.
pub(super) fn drain(channel: &FileChannel) -> Result<u64, Failure> {
    let failed = |error| Failure::new("the channel cannot be drained").because(error);
    let mut drained = 0;
    loop {
        let mut take = channel.take_transaction(MAIN_CURSOR).map_err(failed)?;
        let taken = take.take_many(DRAIN_EVENTS, Duration::ZERO).map_err(failed)?.len();
        if taken == 0 {
            return Ok(drained);
        }
        take.commit().map_err(failed)?;
        drained += taken as u64;
    }
}

/// Waits until the channel has its spares back and does nothing any more.
pub(super) fn rest(channel: &FileChannel, stop: &AtomicBool) {
    let deadline = Instant::now() + REST_MAX;
    let mut before = Sight::of(&channel.log_stats());
    let mut since = Instant::now();
    while Instant::now() < deadline && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
        let now = Sight::of(&channel.log_stats());
        if now != before || !now.is_at_rest() {
            since = Instant::now();
        }
        if since.elapsed() >= REST {
            return;
        }
        before = now;
    }
}

/// What moves while a channel is not at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sight {
    events: u64,
    live: usize,
    spare: usize,
    free: usize,
    making: usize,
    preparing_bytes: u64,
}

impl Sight {
    fn of(stats: &LogStats) -> Sight {
        Sight {
            events: stats.events,
            live: stats.segments_live,
            spare: stats.segments_spare,
            free: stats.segments_free,
            making: stats.segments_making,
            preparing_bytes: stats.preparing_bytes,
        }
    }

    fn is_at_rest(self) -> bool {
        self.free == 0 && self.making == 0 && (self.events > 0 || self.live <= 1)
    }
}

/// Goes round until every spare has been written before: puts and drains a segment at a time.
pub(super) fn go_round(
    channel: &FileChannel,
    events: &Events,
    load: &Load,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    rest(channel, stop);
    for _ in 0..LAPS_MAX {
        let stats = channel.log_stats();
        let written = stats.segments_spare_written == stats.segments_spare;
        if (written && stats.segments_spare >= SPARES_KEPT) || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let in_segment = stats.segment_bytes / (load.payload_bytes() + 16);
        fill(channel, events, load, in_segment.max(1), stop)?;
        drain(channel)?;
        rest(channel, stop);
    }
    Ok(())
}

/// How many bytes of log may be written before the channel would make new segments.
pub(super) fn recycled_bytes(stats: &LogStats) -> u64 {
    let rolls = stats.segments_spare_written.saturating_sub(SPARES_KEPT).max(1) as u64;
    // Not to the last byte: segments end where a block does not fit any more.
    rolls * (stats.segment_bytes / 10 * 9)
}

/// What has gone to the disk so far.
pub(super) fn disk(stats: &LogStats) -> Disk {
    Disk {
        syncs: stats.syncs,
        bytes: stats.written_bytes,
        preparing: stats.preparing_bytes,
        rolls: stats.rolls,
        fresh: stats.fresh_rolls,
        write_calls: system::write_calls_bytes(),
    }
}

/// The log's figures once they count so many commits: those of the last group come just behind its
/// acknowledgement.
pub(super) fn stats_after(channel: &FileChannel, commits: u64) -> LogStats {
    let deadline = Instant::now() + REST_MAX;
    loop {
        let stats = channel.log_stats();
        if stats.commits >= commits || Instant::now() >= deadline {
            return stats;
        }
        std::thread::yield_now();
    }
}
