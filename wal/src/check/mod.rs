//! Reading every block of a channel from outside, to say whether all of it is as it was written.
//!
//! Replay says what the log adds up to, and judges its end ([`crate::replay`]); it reads no further
//! back than the newest state. `walk.rs` goes along all of the live segments, block by block;
//! `contents.rs` looks into the blocks, `stream.rs` reads them. Nothing is written, no lock is
//! taken, and the owner may be at work: what it writes meanwhile is not judged.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::block::{Owner, Seen as Slot, look, records};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::{BLOCK_ALIGN, STATE_OFFSET};
use crate::fs::{File, Mode, read_full_at};
use crate::inspect::{Files, find, settled};
use crate::names;
use crate::quarantine;
use crate::ranges::SeqRange;
use crate::record::Record;
use crate::replay::{Recovered, read_body, replay};
use crate::segment::Segment;
use crate::state::LiveSegment;

mod contents;
mod findings;
mod stream;
mod walk;

use walk::{Stretch, Walk};

/// How many damaged places are told one by one.
const DAMAGES_TOLD: usize = 1000;
/// In how many slots a segment's first State is looked for.
const HEAD_SLOTS: u64 = 16;

/// What a check of a channel found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Check {
    /// The channel's identity.
    pub uuid: [u8; 16],
    /// Live segments, all of which were read.
    pub segments: u64,
    /// Segments that wait to be used.
    pub spares: u64,
    /// Sound blocks of the log.
    pub blocks: u64,
    /// Blocks of generations that ended before them, which count for nothing.
    pub void_blocks: u64,
    /// Blocks at the log's end that were not written whole and never were acknowledged.
    pub torn_blocks: u64,
    /// The records in the sound blocks.
    pub records: u64,
    /// The events in them, acknowledged or not.
    pub events: u64,
    /// The bytes that were looked at.
    pub bytes: u64,
    /// The seq that the next event will get.
    pub next_seq: u64,
    /// The LSN that the next record will get.
    pub next_lsn: u64,
    /// W: the highest LSN that the log shows to be synced. What was written behind it is judged
    /// only as far as it stood there when the check began.
    pub durable_lsn: u64,
    /// What is not as it was written, oldest segment first; the first thousand of it.
    pub damages: Vec<Damage>,
    /// How much of it there is.
    pub damages_total: u64,
    /// Losses that the ledger tells of, whether or not their bytes are still there.
    pub losses: u64,
    /// Events lost by them.
    pub lost_events: u64,
    /// Bytes in quarantine.
    pub quarantine_bytes: u64,
    /// Files that are not sound and on which no event depends, and what is wrong with each.
    pub remarks: Vec<(String, &'static str)>,
}

/// A place that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// What is wrong with it.
    pub kind: DamageKind,
    /// The segment's id.
    pub segment: u64,
    /// The segment's file.
    pub file: String,
    /// Where in it.
    pub offset_bytes: u64,
    /// How many bytes; 0 where it is not a matter of bytes.
    pub len_bytes: u64,
    /// The events that stood there; empty if none did.
    pub seqs: SeqRange,
    /// How many of these some cursor has still to see and will not: the next open, or the take that
    /// comes to them, makes them a loss.
    pub waiting: u64,
    /// Whether the loss ledger tells of it.
    pub known: bool,
}

/// What is wrong with a damaged place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DamageKind {
    /// Bytes of blocks that changed.
    Bytes,
    /// A whole block with a record in it that cannot be read.
    Unreadable,
    /// A whole block that does not go on where the one before it ended.
    Order,
    /// The header of the segment; its blocks prove what it is.
    Header,
    /// The file is shorter than it was made.
    Cut,
    /// The file is not there.
    Missing,
    /// Acknowledged before a sync, as the channel was asked to, and gone.
    Unsynced,
}

/// What was counted on the way.
#[derive(Debug, Default)]
struct Counts {
    blocks: u64,
    void_blocks: u64,
    records: u64,
    events: u64,
    bytes: u64,
}

/// What the State at a segment's head says.
#[derive(Debug, Clone, Copy)]
struct Head {
    generation: u64,
    generation_lsn: u64,
    /// Where the segment before it ends.
    prev_end: (u64, u64, u32),
}

impl Check {
    /// Reads every block of the channel in a directory; nothing is changed. `progress` is told now
    /// and then how many bytes are read, and of how many.
    ///
    /// # Errors
    ///
    /// `NotAChannel` if there is none, `NewerVersion`, or `Io`. Damage is no error.
    ///
    /// ```
    /// use forebay_wal::{Channel, Check, Options};
    /// let dir = tempfile::tempdir()?;
    /// let channel = Channel::open(dir.path(), Options::new().bytes_max(1 << 20))?;
    /// let mut put = channel.put_transaction();
    /// put.put(b"one")?;
    /// put.commit()?;
    /// let check = Check::read(dir.path(), |_, _| {})?;
    /// assert_eq!((check.events, check.damages_total), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(dir: impl AsRef<Path>, progress: impl FnMut(u64, u64)) -> Result<Check> {
        Check::read_in(dir.as_ref(), &Env::os(), progress)
    }

    /// The same as [`Check::read`] in a world of one's own.
    ///
    /// # Errors
    ///
    /// As [`Check::read`].
    pub fn read_in(dir: &Path, env: &Env, mut progress: impl FnMut(u64, u64)) -> Result<Check> {
        let mut seen = look_at(dir, env)?;
        let (counts, mut damages) = read_all(dir, env, &seen, &mut progress)?;
        let remarks = findings::remarks(dir, env, &seen);
        if !damages.is_empty() {
            // Meanwhile the owner may have reclaimed what seems damaged, or noticed it.
            seen = look_at(dir, env)?;
            damages.retain(|damage| seen.still_lacks(damage));
        }
        let Look { files, recovered } = &seen;
        let state = &recovered.state;
        findings::add_losses(&mut damages, &recovered.losses, &files.directory);
        damages.iter_mut().for_each(|damage| damage.weigh(state, &recovered.losses));
        damages.sort_by_key(|damage| (damage.segment, damage.offset_bytes));
        let damages_total = damages.len() as u64;
        damages.truncate(DAMAGES_TOLD);
        let live = |id: &&u64| state.segments.iter().any(|live| live.id == **id);
        let all = &files.directory.segments;
        Ok(Check {
            uuid: state.uuid,
            segments: state.segments.len() as u64,
            spares: (all.len() - all.keys().filter(live).count()) as u64,
            blocks: counts.blocks,
            void_blocks: counts.void_blocks,
            torn_blocks: recovered.report.torn_blocks,
            records: counts.records,
            events: counts.events,
            bytes: counts.bytes,
            next_seq: state.next_seq,
            next_lsn: state.next_lsn,
            durable_lsn: recovered.durable_lsn,
            damages,
            damages_total,
            losses: state.ledger.losses,
            lost_events: state.ledger.lost_events,
            quarantine_bytes: quarantine::used_bytes(env, dir),
            remarks,
        })
    }
}

/// What replay says of a directory.
struct Look {
    files: Files,
    recovered: Recovered,
}

fn read_failed(dir: &Path, segment: &Segment, error: io::Error) -> Error {
    Error::io(format!("read {}", names::path(dir, &segment.name).display()), error)
}

fn look_at(dir: &Path, env: &Env) -> Result<Look> {
    let look = || {
        let files = find(dir, env)?;
        let recovered = replay(env, dir, &files.directory, &files.known, false)?;
        Ok(Look { files, recovered })
    };
    settled(look, |seen| &seen.recovered.losses)
}

impl Look {
    /// The file of a live segment, if it is the very one.
    fn file_of(&self, live: &LiveSegment) -> Option<&Segment> {
        let segment = self.files.directory.segments.get(&live.id);
        segment.filter(|segment| segment.salt == live.salt)
    }

    /// Whether a damage concerns a segment that is still live.
    fn still_lacks(&self, damage: &Damage) -> bool {
        let live = self.recovered.state.segments.iter().find(|live| live.id == damage.segment);
        live.is_some_and(|live| damage.kind != DamageKind::Missing || self.file_of(live).is_none())
    }

    /// How much of a segment there is to read.
    fn used_bytes(&self, live: &LiveSegment) -> Option<u64> {
        let segment = self.file_of(live)?;
        let tail = self.recovered.tail.filter(|tail| tail.0 == live.id);
        Some(tail.map_or(segment.len_bytes, |tail| tail.1))
    }
}

/// Goes along all live segments.
fn read_all(
    dir: &Path,
    env: &Env,
    seen: &Look,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Counts, Vec<Damage>)> {
    let state = &seen.recovered.state;
    let mut heads = BTreeMap::new();
    for live in &state.segments {
        let Some(segment) = seen.file_of(live) else { continue };
        let Some(file) = opened(dir, env, segment)? else { continue };
        let head = head_of(&*file, live).map_err(|error| read_failed(dir, segment, error))?;
        heads.extend(head.map(|head| (live.id, head)));
    }
    let of_bytes = state.segments.iter().filter_map(|live| seen.used_bytes(live)).sum();
    let mut generations = BTreeMap::from([(state.generation, state.generation_lsn)]);
    for head in heads.values() {
        generations.insert(head.generation, head.generation_lsn);
    }
    let (mut counts, mut memory) = (Counts::default(), stream::Memory::new());
    let (mut damages, mut before) = (Vec::new(), 0);
    for (index, live) in state.segments.iter().enumerate() {
        let next = state.segments.get(index + 1);
        let there = seen.file_of(live).map(|segment| (segment, opened(dir, env, segment)));
        let Some((segment, file)) = there else {
            damages
                .push(findings::missing(live, next.map_or(state.next_seq, |next| next.first_seq)));
            continue;
        };
        // It became a spare under our eyes.
        let Some(file) = file? else { continue };
        let mut told = |done: u64| progress(before + done, of_bytes);
        let mut walk = Walk { counts, generations, memory, progress: &mut told };
        let stretch = Stretch {
            live: *live,
            len_bytes: segment.len_bytes,
            file: &*file,
            log_end: seen.recovered.tail.filter(|tail| tail.0 == live.id).map(|tail| tail.1),
            next: next.map(|next| (*next, heads.get(&next.id).copied())),
        };
        let failed = |error| read_failed(dir, segment, error);
        let found = walk.segment(&stretch).map_err(failed)?;
        damages.extend(found.into_iter().map(|found| found.in_segment(segment)));
        Walk { counts, generations, memory, .. } = walk;
        damages.extend(findings::of_file(&*file, segment).map_err(failed)?);
        before += seen.used_bytes(live).unwrap_or(0);
        progress(before, of_bytes);
    }
    Ok((counts, damages))
}

/// A segment's file; none if it was renamed since.
fn opened(dir: &Path, env: &Env, segment: &Segment) -> Result<Option<std::sync::Arc<dyn File>>> {
    let path = names::path(dir, &segment.name);
    match env.fs.open(&path, Mode::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_failed(dir, segment, error)),
    }
}

/// What the first State of a segment that can be read says.
fn head_of(file: &dyn File, live: &LiveSegment) -> io::Result<Option<Head>> {
    let owner = Owner { segment: live.id, salt: live.salt };
    let mut slot = vec![0; BLOCK_ALIGN as usize];
    for index in 0..HEAD_SLOTS {
        let offset = STATE_OFFSET + index * BLOCK_ALIGN;
        let got = read_full_at(file, &mut slot, offset)?;
        let Slot::Header(header, _) = look(&slot[..got], owner, offset) else { continue };
        let body = match read_body(file, &header) {
            Ok(body) => body,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        };
        let Some(records) = records(&header, body) else { continue };
        if let Some(Record::State(state)) = records.last() {
            let (generation, generation_lsn) = (header.generation, header.generation_lsn);
            return Ok(Some(Head { generation, generation_lsn, prev_end: state.prev_end }));
        }
    }
    Ok(None)
}
