//! Looking at a channel from outside: nothing is written, no lock is taken, the owner may be at
//! work.

use std::path::Path;

use crate::block::{Seen, look};
use crate::checkpoint::{self, Checkpoint};
use crate::directory::Directory;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{BLOCK_ALIGN, BLOCK_HEADER_LEN, STATE_OFFSET};
use crate::fs::{Entry, Kind, Mode, read_full_at};
use crate::names;
use crate::quarantine;
use crate::record::{Loss, LossReason};
use crate::replay::{Recovered, Window, replay};
use crate::segment::Segment;
use crate::state::State;
use crate::stats::Condition;
use crate::status;

/// How often a look is begun again when the owner changed something meanwhile.
const TRIES: usize = 20;

/// What a channel's directory says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspection {
    /// The channel's identity.
    pub uuid: [u8; 16],
    /// The generation of its last writer.
    pub generation: u64,
    /// Events that the slowest cursor has still to acknowledge.
    pub events: u64,
    /// How many events stand in blocks of which the log does not show yet that they are synced.
    pub events_unproven: u64,
    /// The seq that the next event will get.
    pub next_seq: u64,
    /// The LSN that the next record will get.
    pub next_lsn: u64,
    /// W: the highest LSN that the log shows to be synced.
    pub durable_lsn: u64,
    /// Bytes allocated for the channel's files, quarantine excepted.
    pub bytes: u64,
    /// The byte limit.
    pub bytes_max: u64,
    /// The event limit; 0 for none.
    pub events_max: u64,
    /// The segments, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// The cursors.
    pub cursors: Vec<CursorInfo>,
    /// The oldest event that some cursor has still to acknowledge.
    pub oldest_seq: Option<u64>,
    /// When the block that holds it was written, in microseconds since 1970.
    pub oldest_us: Option<i64>,
    /// Losses that the ledger knows.
    pub losses: u64,
    /// Events lost by them.
    pub lost_events: u64,
    /// Events dropped by the owner.
    pub dropped_events: u64,
    /// The last losses of the ledger.
    pub recent_losses: Vec<Loss>,
    /// Losses that the next open will write into the ledger.
    pub new_losses: Vec<Loss>,
    /// Blocks at the log's end that were not written whole and never were acknowledged.
    pub torn_blocks: u64,
    /// How many blocks had to be read behind the newest state.
    pub replayed_blocks: u64,
    /// Whether that state was a checkpoint.
    pub from_checkpoint: bool,
    /// Bytes in quarantine.
    pub quarantine_bytes: u64,
    /// Figures that the owner at work has left, if there is one; never older than a few seconds.
    pub live: Option<Vec<(String, u64)>>,
    /// What the channel is, as the owner at work says; closed if there is none.
    pub condition: Condition,
    /// Segments that were poisoned since the owner at work opened the channel.
    pub poisoned: u64,
    /// Why it is not open, or else what went wrong last; as the owner at work says.
    pub why: Option<String>,
}

/// A segment, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its id.
    pub id: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The first seq that it may hold, if it is live.
    pub first_seq: Option<u64>,
    /// What it is for.
    pub role: Role,
}

/// What a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Blocks go to its end.
    Active,
    /// It holds something needed.
    Sealed,
    /// It is ready to become active, or will be made so.
    Spare,
    /// It is listed and not in the directory.
    Missing,
}

/// A cursor, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorInfo {
    /// Its name.
    pub name: String,
    /// The oldest seq that it has not acknowledged.
    pub floor: u64,
    /// How many events it has still to acknowledge.
    pub pending: u64,
}

impl Inspection {
    /// Looks at the channel in a directory.
    ///
    /// # Errors
    ///
    /// `NotAChannel` if there is none, `NewerVersion`, or `Io`.
    ///
    /// ```
    /// use forebay_wal::{Channel, Inspection, Options};
    /// let dir = tempfile::tempdir()?;
    /// let channel = Channel::open(dir.path(), Options::new().bytes_max(1 << 20))?;
    /// let mut put = channel.put_transaction();
    /// put.put(b"one")?;
    /// put.commit()?;
    /// assert_eq!(Inspection::read(dir.path())?.events, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(dir: impl AsRef<Path>) -> Result<Inspection> {
        Inspection::read_in(dir.as_ref(), &Env::os())
    }

    /// Whether there is a channel in a directory, without a look at its log.
    ///
    /// # Errors
    ///
    /// `NewerVersion`, or `Io`.
    pub fn is_channel(dir: impl AsRef<Path>) -> Result<bool> {
        match find(dir.as_ref(), &Env::os()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotAChannel => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same as [`Inspection::read`] in a world of one's own.
    ///
    /// # Errors
    ///
    /// As [`Inspection::read`].
    pub fn read_in(dir: &Path, env: &Env) -> Result<Inspection> {
        settled(|| look_once(dir, env), |found| &found.new_losses)
    }
}

/// Looks until two looks agree about what is missing.
pub(crate) fn settled<T>(
    look: impl Fn() -> Result<T>,
    losses: impl Fn(&T) -> &[Loss],
) -> Result<T> {
    let mut seen_before: Option<T> = None;
    let mut tries = 0;
    loop {
        tries += 1;
        match look() {
            // The owner turned a segment into a spare under our eyes.
            Err(error) if error.kind() == ErrorKind::Io && tries < TRIES => {}
            // A log that grows while it is read seems to miss what came between two reads: what
            // is lost is missing in the next look as well, at the very same place.
            Ok(found)
                if tries < TRIES
                    && !is_confirmed(losses(&found), seen_before.as_ref().map(&losses)) =>
            {
                seen_before = Some(found);
            }
            outcome => return outcome,
        }
    }
}

/// Whether two looks found the same missing.
fn is_confirmed(found: &[Loss], before: Option<&[Loss]>) -> bool {
    let places = |losses: &[Loss]| -> Vec<_> {
        let place = |loss: &Loss| (loss.seqs, loss.lsns, loss.segment, loss.offset_bytes);
        losses.iter().map(place).collect()
    };
    let confirmed = before.is_some_and(|before| places(before) == places(found));
    found.is_empty() || confirmed
}

/// What a channel's directory holds, before the log is read.
pub(crate) struct Files {
    pub(crate) entries: Vec<Entry>,
    pub(crate) known: Vec<Checkpoint>,
    pub(crate) directory: Directory,
}

pub(crate) fn find(dir: &Path, env: &Env) -> Result<Files> {
    let missing = |text: String| Error::new(ErrorKind::NotAChannel, text);
    let entries = match env.fs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(missing(format!("there is no directory {}", dir.display())));
        }
        Err(error) => return Err(Error::io(format!("list {}", dir.display()), error)),
    };
    let known = checkpoint::read_all(env, dir);
    let directory = Directory::read(env, dir, &known)?;
    if directory.segments.is_empty() && known.is_empty() {
        return Err(missing(format!("there is no channel in {}", dir.display())));
    }
    Ok(Files { entries, known, directory })
}

fn look_once(dir: &Path, env: &Env) -> Result<Inspection> {
    let Files { entries, known, directory } = find(dir, env)?;
    let recovered = replay(env, dir, &directory, &known, false)?;
    let ours = entries.iter().filter(|entry| {
        entry.kind == Kind::File && names::parse(&entry.name) != names::Name::Foreign
    });
    let bytes = ours.map(|entry| entry.allocated_bytes).sum();
    let mut inspection = describe(&recovered, &directory, bytes);
    inspection.quarantine_bytes = quarantine::used_bytes(env, dir);
    show_live(env, dir, &mut inspection);
    inspection.oldest_us = inspection
        .oldest_seq
        .and_then(|seq| written_us(env, dir, &directory, &recovered.state, seq));
    Ok(inspection)
}

fn describe(recovered: &Recovered, directory: &Directory, bytes: u64) -> Inspection {
    let mut state = recovered.state.clone();
    // What the next open will find lost is not waiting any more.
    let noticed = recovered.losses.iter().cloned();
    noticed.for_each(|loss| state.note_loss(&loss));
    let known = &recovered.state.ledger;
    let floors = state.cursors.values().map(|cursor| cursor.floor());
    let oldest = floors.min().filter(|&floor| floor < state.next_seq);
    Inspection {
        uuid: state.uuid,
        generation: state.generation,
        events: state.pending(),
        events_unproven: recovered.events_unproven,
        next_seq: state.next_seq,
        next_lsn: recovered.state.next_lsn,
        durable_lsn: recovered.durable_lsn,
        bytes,
        bytes_max: state.bytes_max,
        events_max: state.events_max,
        segments: segments(&state, directory),
        cursors: cursors(&state),
        oldest_seq: oldest,
        oldest_us: None,
        losses: known.losses,
        lost_events: known.lost_events,
        dropped_events: known.dropped_events,
        recent_losses: known.recent.clone(),
        new_losses: recovered.losses.clone(),
        torn_blocks: recovered.report.torn_blocks,
        replayed_blocks: recovered.report.blocks,
        from_checkpoint: recovered.report.from_checkpoint,
        quarantine_bytes: 0,
        live: None,
        condition: Condition::Closed,
        poisoned: 0,
        why: None,
    }
}

fn cursors(state: &State) -> Vec<CursorInfo> {
    let info = |cursor: &crate::state::CursorState| CursorInfo {
        name: cursor.name.clone(),
        floor: cursor.floor(),
        pending: cursor.pending(state.next_seq),
    };
    state.cursors.values().map(info).collect()
}

fn segments(state: &State, directory: &Directory) -> Vec<SegmentInfo> {
    let active = state.segments.last().map(|last| last.id);
    let listed = |id: u64| state.segments.iter().find(|live| live.id == id);
    let mut all: Vec<SegmentInfo> = directory
        .segments
        .values()
        .map(|segment| {
            let live = listed(segment.id);
            let role = match live {
                Some(live) if Some(live.id) == active => Role::Active,
                Some(_) => Role::Sealed,
                None => Role::Spare,
            };
            let first_seq = live.map(|live| live.first_seq);
            SegmentInfo { id: segment.id, bytes: segment.len_bytes, first_seq, role }
        })
        .collect();
    let missing = state.segments.iter().filter(|live| !directory.segments.contains_key(&live.id));
    all.extend(missing.map(|live| SegmentInfo {
        id: live.id,
        bytes: 0,
        first_seq: Some(live.first_seq),
        role: Role::Missing,
    }));
    all.sort_by_key(|segment| segment.id);
    all
}

/// Adds what the owner at work says, if there is one.
fn show_live(env: &Env, dir: &Path, inspection: &mut Inspection) {
    let Some(page) = status_page(env, dir) else { return };
    let Some(mut figures) = live_figures(env, &page) else { return };
    let condition = figures.iter().position(|(key, _)| key == "condition");
    let condition = condition.and_then(|at| Condition::from_code(figures.remove(at).1));
    let poisoned = figures.iter().find(|(key, _)| key == "poisoned");
    inspection.condition = condition.unwrap_or(Condition::Open);
    inspection.poisoned = poisoned.map_or(0, |(_, count)| *count);
    inspection.why = status::parse_words(&page);
    inspection.live = Some(figures);
}

fn status_page(env: &Env, dir: &Path) -> Option<Vec<u8>> {
    let file = env.fs.open(&names::path(dir, names::STATUS), Mode::Read).ok()?;
    let mut page = vec![0; 4096];
    let got = read_full_at(&*file, &mut page, 0).ok()?;
    page.truncate(got);
    Some(page)
}

/// The figures of an owner at work: an old page is one that nobody keeps.
fn live_figures(env: &Env, page: &[u8]) -> Option<Vec<(String, u64)>> {
    const FRESH_US: u64 = 3_000_000;
    let figures = status::parse(page)?;
    let (_, wall_us) = figures.iter().find(|(key, _)| key == "wall_us")?;
    let now = env.clock.wall_us().max(0) as u64;
    (now.abs_diff(*wall_us) <= FRESH_US).then_some(figures)
}

/// When the block that holds a seq was written: goes from header to header.
fn written_us(
    env: &Env,
    dir: &Path,
    directory: &Directory,
    state: &State,
    seq: u64,
) -> Option<i64> {
    let live = state.segments.iter().rev().find(|live| live.first_seq <= seq)?;
    let segment: &Segment = directory.segments.get(&live.id)?;
    let file = segment.open(env, dir, Mode::Read).ok()?;
    let mut window = Window::new(&*file);
    let mut offset = STATE_OFFSET;
    while offset + BLOCK_ALIGN <= segment.len_bytes {
        let slot = window.at(offset, BLOCK_HEADER_LEN).ok()?;
        match look(slot, segment.owner(), offset) {
            Seen::Header(header, _) if header.next_seq_after > seq => {
                return Some(header.written_us);
            }
            Seen::Header(header, _) => offset += header.total_bytes(),
            Seen::Nothing | Seen::Bad => offset += BLOCK_ALIGN,
        }
    }
    None
}

impl LossReason {
    /// The reason in plain words.
    pub fn words(self) -> &'static str {
        match self {
            LossReason::Damaged => "its bytes changed after they had been synced",
            LossReason::SegmentMissing => "its segment is not in the directory",
            LossReason::Unsynced => {
                "it was acknowledged before a sync, as the channel was asked to, and a power cut \
                 or a failed disk took it"
            }
        }
    }
}
