//! `forebay stat`: what a file channel holds, seen from outside.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Outcome;
use super::words::{Lines, counted, events, hyphenated, size};
use crate::channel::{Condition, FileChannel, Inspection, Loss, LossReason, Role};
use crate::failure::Failure;

/// Show what a channel holds: events, bytes, segments, cursors, losses.
///
/// It looks from outside and changes nothing; the channel's owner may be at work meanwhile. Exits
/// with 0 if all is well, with 1 if the channel has lost something or the next open will find that
/// it has, and with 2 if there is no channel or it cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forebay stat data\n  \
    forebay stat data --json | jq .events\n  \
    watch -n 1 forebay stat data")]
pub(super) struct Stat {
    /// The channel's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Stat {
    pub(super) fn execute(self) -> Result<Outcome, Failure> {
        let inspection = FileChannel::inspect(&self.directory).map_err(|error| {
            let text = format!("cannot look at {}", self.directory.display());
            Failure::new(text).because(error)
        })?;
        let now_us = now_us();
        let text = if self.json {
            let report = Report::new(&inspection, now_us);
            let json = serde_json::to_string_pretty(&report);
            json.map_err(|error| Failure::new("the figures cannot be written").because(error))?
        } else {
            describe(&self.directory, &inspection, now_us)
        };
        match writeln!(std::io::stdout(), "{}", text.trim_end()) {
            // The reader has what it wanted.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(Failure::new("standard output cannot be written").because(error));
            }
            _ => {}
        }
        let lost = inspection.losses > 0 || !inspection.new_losses.is_empty();
        Ok(if lost { Outcome::Finding } else { Outcome::Fine })
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// How long ago that was; a clock that was set back makes it no less than nothing.
fn age(then_us: i64, now_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(now_us.saturating_sub(then_us)).unwrap_or(0))
}

/// The JSON object. Its keys are stable: more may come, none goes or changes its meaning.
#[derive(Debug, Serialize)]
struct Report<'a> {
    uuid: String,
    events: u64,
    events_unproven: u64,
    next_seq: u64,
    next_lsn: u64,
    durable_lsn: u64,
    generation: u64,
    bytes: u64,
    bytes_max: u64,
    events_max: u64,
    segments: Vec<SegmentReport>,
    cursors: Vec<CursorReport<'a>>,
    oldest_seq: Option<u64>,
    oldest_age_ms: Option<u64>,
    losses: u64,
    lost_events: u64,
    dropped_events: u64,
    recent_losses: Vec<LossReport>,
    new_losses: Vec<LossReport>,
    torn_blocks: u64,
    replayed_blocks: u64,
    from_checkpoint: bool,
    quarantine_bytes: u64,
    live: Option<Map<String, Value>>,
    /// `open`, `full` or `read-only`, as the owner at work says; `closed` if there is none.
    condition: &'static str,
    poisoned: u64,
    why: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct SegmentReport {
    id: u64,
    bytes: u64,
    first_seq: Option<u64>,
    role: &'static str,
}

#[derive(Debug, Serialize)]
struct CursorReport<'a> {
    name: &'a str,
    floor: u64,
    pending: u64,
}

#[derive(Debug, Serialize)]
struct LossReport {
    reason: &'static str,
    events: u64,
    /// The first seq that is lost, and the one behind the last.
    first_seq: u64,
    end_seq: u64,
    segment: u64,
    offset_bytes: u64,
    len_bytes: u64,
    noticed_us: i64,
}

impl<'a> Report<'a> {
    fn new(inspection: &'a Inspection, now_us: i64) -> Report<'a> {
        let segments = inspection.segments.iter().map(|segment| SegmentReport {
            id: segment.id,
            bytes: segment.bytes,
            first_seq: segment.first_seq,
            role: role(segment.role),
        });
        let cursors = inspection.cursors.iter().map(|cursor| CursorReport {
            name: &cursor.name,
            floor: cursor.floor,
            pending: cursor.pending,
        });
        let oldest_age = inspection.oldest_us.map(|then_us| age(then_us, now_us));
        let live = inspection.live.as_ref().map(|figures| {
            figures.iter().map(|(key, value)| (key.clone(), (*value).into())).collect()
        });
        Report {
            uuid: hyphenated(&inspection.uuid),
            events: inspection.events,
            events_unproven: inspection.events_unproven,
            next_seq: inspection.next_seq,
            next_lsn: inspection.next_lsn,
            durable_lsn: inspection.durable_lsn,
            generation: inspection.generation,
            bytes: inspection.bytes,
            bytes_max: inspection.bytes_max,
            events_max: inspection.events_max,
            segments: segments.collect(),
            cursors: cursors.collect(),
            oldest_seq: inspection.oldest_seq,
            oldest_age_ms: oldest_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            losses: inspection.losses,
            lost_events: inspection.lost_events,
            dropped_events: inspection.dropped_events,
            recent_losses: inspection.recent_losses.iter().map(LossReport::new).collect(),
            new_losses: inspection.new_losses.iter().map(LossReport::new).collect(),
            torn_blocks: inspection.torn_blocks,
            replayed_blocks: inspection.replayed_blocks,
            from_checkpoint: inspection.from_checkpoint,
            quarantine_bytes: inspection.quarantine_bytes,
            live,
            condition: inspection.condition.word(),
            poisoned: inspection.poisoned,
            why: inspection.why.as_deref(),
        }
    }
}

impl LossReport {
    fn new(loss: &Loss) -> LossReport {
        LossReport {
            reason: match loss.reason {
                LossReason::Damaged => "damaged",
                LossReason::SegmentMissing => "segment_missing",
                LossReason::Unsynced => "unsynced",
                _ => "other",
            },
            events: loss.seqs.len(),
            first_seq: loss.seqs.start,
            end_seq: loss.seqs.end,
            segment: loss.segment,
            offset_bytes: loss.offset_bytes,
            len_bytes: loss.len_bytes,
            noticed_us: loss.noticed_us,
        }
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Active => "active",
        Role::Sealed => "sealed",
        Role::Spare => "spare",
        Role::Missing => "missing",
        _ => "other",
    }
}

/// The figures for people.
fn describe(directory: &Path, inspection: &Inspection, now_us: i64) -> String {
    let mut lines = Lines::default();
    lines.add("channel", directory.display());
    lines.add("uuid", hyphenated(&inspection.uuid));
    lines.add("owner", owner(inspection, now_us));
    lines.add("condition", condition(inspection));
    lines.add("waiting", waiting(inspection, now_us));
    let (bytes, bytes_max) = (size(inspection.bytes), size(inspection.bytes_max));
    lines.add("bytes", format!("{bytes} of {bytes_max}"));
    lines.add("segments", segments(inspection));
    describe_cursors(&mut lines, inspection);
    lines.add("written", written(inspection));
    lines.add("synced", synced(inspection));
    lines.add("next open", next_open(inspection));
    describe_losses(&mut lines, inspection, now_us);
    lines.into_text()
}

fn owner(inspection: &Inspection, now_us: i64) -> String {
    let Some(figures) = &inspection.live else { return "nobody is at work".to_owned() };
    let figure =
        |key: &str| figures.iter().find(|(known, _)| known == key).map_or(0, |(_, value)| *value);
    let told_us = i64::try_from(figure("wall_us")).unwrap_or(i64::MAX);
    format!(
        "at work {} ago; since it opened: {} put, {} taken; {} in open takes",
        ago(age(told_us, now_us)),
        events(figure("put")),
        figure("taken"),
        figure("in_flight"),
    )
}

/// What it is: open, full, read-only; and what its owner has to say about it.
fn condition(inspection: &Inspection) -> String {
    let mut text = inspection.condition.word().to_owned();
    if inspection.poisoned > 0 {
        let poisoned = counted(inspection.poisoned, "segment");
        text += &format!("; {poisoned} poisoned since it opened");
    }
    match (&inspection.why, inspection.condition) {
        (Some(trouble), Condition::Open) => text += &format!("; what went wrong last: {trouble}"),
        (Some(why), _) => text += &format!(": {why}"),
        (None, _) => {}
    }
    text
}

fn waiting(inspection: &Inspection, now_us: i64) -> String {
    let mut text = events(inspection.events);
    if inspection.events_max > 0 {
        text += &format!(" of {} at most", inspection.events_max);
    }
    if let Some(seq) = inspection.oldest_seq {
        text += &format!(", the oldest is seq {seq}");
    }
    if let Some(then_us) = inspection.oldest_us {
        text += &format!(", put {} ago", ago(age(then_us, now_us)));
    }
    text
}

fn segments(inspection: &Inspection) -> String {
    let counts = [Role::Active, Role::Sealed, Role::Spare, Role::Missing].map(|wanted| {
        let count = inspection.segments.iter().filter(|segment| segment.role == wanted).count();
        (count, role(wanted))
    });
    let told = counts.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, role)| format!("{count} {role}")).collect();
    let largest = inspection.segments.iter().map(|segment| segment.bytes).max().unwrap_or(0);
    format!("{}, of {}", told.join(", "), size(largest))
}

fn describe_cursors(lines: &mut Lines, inspection: &Inspection) {
    if inspection.cursors.is_empty() {
        lines.add("cursors", "none: nothing is ever freed");
    }
    let width = inspection.cursors.iter().map(|cursor| cursor.name.chars().count()).max();
    let width = width.unwrap_or(0);
    for (at, cursor) in inspection.cursors.iter().enumerate() {
        let name = if at == 0 { "cursors" } else { "" };
        let pending = events(cursor.pending);
        let text = format!("{:<width$}  {pending} to take, from seq {}", cursor.name, cursor.floor);
        lines.add(name, text);
    }
}

fn written(inspection: &Inspection) -> String {
    let Inspection { next_seq, next_lsn, generation, .. } = inspection;
    format!("next seq {next_seq}, next LSN {next_lsn}, generation {generation}")
}

fn synced(inspection: &Inspection) -> String {
    let unproven = match inspection.events_unproven {
        0 => String::new(),
        1 => "; 1 event stands above it".to_owned(),
        count => format!("; {count} events stand above it"),
    };
    format!("shown up to LSN {}{unproven}", inspection.durable_lsn)
}

/// What replay does, and finds, from what stands there now.
fn next_open(inspection: &Inspection) -> String {
    let start = if inspection.from_checkpoint { "a checkpoint" } else { "a segment's State" };
    let blocks = counted(inspection.replayed_blocks, "block");
    let mut text = format!("begins at {start} and reads {blocks} behind it");
    if inspection.torn_blocks > 0 {
        let torn = counted(inspection.torn_blocks, "block");
        text += &format!("; {torn} at the end that never were acknowledged are cut off");
    }
    if !inspection.new_losses.is_empty() {
        let losses = match inspection.new_losses.len() {
            1 => "a loss".to_owned(),
            count => format!("{count} losses"),
        };
        text += &format!("; finds {losses} that the ledger does not know");
    }
    text
}

fn describe_losses(lines: &mut Lines, inspection: &Inspection, now_us: i64) {
    let known = match inspection.losses {
        0 => "none known".to_owned(),
        1 => format!("1 known, {}", events(inspection.lost_events)),
        count => format!("{count} known, {}", events(inspection.lost_events)),
    };
    lines.add("losses", known);
    for loss in &inspection.recent_losses {
        let noticed = format!("noticed {} ago", ago(age(loss.noticed_us, now_us)));
        lines.add("", describe_loss(loss, &noticed));
    }
    for loss in &inspection.new_losses {
        lines.add("", describe_loss(loss, "new"));
    }
    if inspection.dropped_events > 0 {
        lines.add("dropped", format!("{} by the owner", events(inspection.dropped_events)));
    }
    if inspection.quarantine_bytes > 0 {
        lines.add("quarantine", size(inspection.quarantine_bytes));
    }
}

fn describe_loss(loss: &Loss, noticed: &str) -> String {
    let seqs = match loss.seqs.len() {
        0 => "no event, but other records".to_owned(),
        1 => format!("seq {}", loss.seqs.start),
        _ => format!("seqs {} to {}", loss.seqs.start, loss.seqs.end - 1),
    };
    let place = format!("segment {} at {}", loss.segment, loss.offset_bytes);
    format!("{seqs}: {} ({place}; {noticed})", loss.reason.words())
}

/// A time as people say it: `0.4s`, `3m 20s`, `2d 3h`.
fn ago(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=59 => format!("{:.1}s", time.as_secs_f64()),
        60..=3599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let times = [(0, "0.0s"), (59, "59.0s"), (200, "3m 20s"), (7260, "2h 1m")];
        for (seconds, text) in times {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
        assert_eq!(ago(Duration::from_secs(183_600)), "2d 3h");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_younger_than_now() {
        assert_eq!(age(2_000_000, 1_000_000), Duration::ZERO);
        assert_eq!(age(1_000_000, 2_500_000), Duration::from_millis(1500));
    }
}
