//! Replay: from the newest state that can be read, through the log behind it, to the same state
//! that the channel had when it ended.
//!
//! It reads and decides; it changes nothing. `scan.rs` reports the whole blocks, `table.rs` says
//! what each step means, `walk.rs` goes along.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::block::records;
use crate::checkpoint::Checkpoint;
use crate::directory::Directory;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::{BlockHeader, STATE_OFFSET};
use crate::fs::{File, Mode};
use crate::names;
use crate::record::{Loss, Record};
use crate::segment::Segment;
use crate::state::State;

mod scan;
mod start;
mod table;
mod walk;

pub(crate) use scan::{Found, Window, read_body, scan};
use scan::{Scan, is_on_medium, scan as scan_segment};
use start::Start;
use walk::Walk;

/// Up to how many blocks the first look at the log is kept for the second.
const BLOCKS_KEPT: usize = 1 << 16;
/// How far into a segment behind the log's end we look for a block.
const GLANCE_BYTES: u64 = 64 << 10;

/// What replay found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    /// Where the log goes on: a segment and an offset. Without one, in a new segment.
    pub(crate) tail: Option<(u64, u64)>,
    /// The checksum of the last block's header.
    pub(crate) prev_crc: u32,
    /// W: the highest LSN that is known to have been synced.
    pub(crate) durable_lsn: u64,
    /// The highest generation that any block speaks of.
    pub(crate) generation: u64,
    /// How many events stand in blocks above W.
    pub(crate) events_unproven: u64,
    /// Losses that the ledger does not know yet.
    pub(crate) losses: Vec<Loss>,
    /// How it went.
    pub(crate) report: Report,
}

/// How a replay went, for people and tests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Whether a checkpoint was the start.
    pub(crate) from_checkpoint: bool,
    /// How many blocks were taken in.
    pub(crate) blocks: u64,
    /// How often each row of the table was used.
    pub(crate) rows: BTreeMap<char, u64>,
    /// Headers at the log's end whose body was not whole.
    pub(crate) torn_blocks: u64,
}

/// One segment of the stretch that is replayed.
struct Stretch {
    segment: Segment,
    file: Arc<dyn File>,
    from: u64,
    /// The first look at it, if there was room to keep it.
    scan: Option<Scan>,
    synced: bool,
    /// Where the blocks stand that are in the cache alone.
    cached: BTreeSet<u64>,
}

impl Stretch {
    /// The first look at it, or another one if that was not kept.
    fn take_scan(&mut self, dir: &Path) -> Result<Scan> {
        if let Some(scan) = self.scan.take() {
            return Ok(scan);
        }
        let (owner, until) = (self.segment.owner(), self.segment.len_bytes);
        scan_segment(&*self.file, owner, self.from, until)
            .map_err(|error| read_failed(dir, &self.segment, error))
    }

    /// Finds the blocks that are in the cache alone, for whoever wants to write. One on the medium
    /// vouches for those before it that are not of a later generation: whoever wrote behind a State
    /// had synced it or found it there.
    fn look_at_medium(&mut self, scan: &Scan) -> std::io::Result<()> {
        let mut vouched = None;
        for found in scan.blocks.iter().rev() {
            let generation = Some(found.header.generation);
            if generation <= vouched {
                continue;
            }
            if self.is_on_medium(found)? {
                vouched = generation;
            } else {
                self.cached.insert(found.header.offset);
            }
        }
        Ok(())
    }

    /// Whether a block stands on the medium, after a sync.
    fn is_on_medium(&mut self, found: &Found) -> std::io::Result<bool> {
        if !self.synced {
            self.file.sync_data()?;
            self.synced = true;
        }
        is_on_medium(&*self.file, found)
    }
}

/// The evidence that all blocks of the stretch give together.
#[derive(Debug, Default)]
struct Evidence {
    durable_lsn: u64,
    /// Generation -> its first LSN.
    generations: BTreeMap<u64, u64>,
    next_seq: u64,
    /// Whether any of it was written in a weaker sync class.
    weaker: bool,
    /// The highest generation of any header: no later one may have its number. That of a block
    /// that is torn or in the cache alone voids nothing.
    generation_seen: u64,
}

impl Evidence {
    fn note(&mut self, header: &BlockHeader) {
        self.note_header(header);
        self.next_seq = self.next_seq.max(header.next_seq_after);
        let first = self.generations.entry(header.generation).or_insert(header.generation_lsn);
        *first = (*first).min(header.generation_lsn);
    }

    /// What a header says of others holds, though its block is torn or in the cache alone. Nothing
    /// relied on its generation.
    fn note_header(&mut self, header: &BlockHeader) {
        self.durable_lsn = self.durable_lsn.max(header.durable_lsn);
        self.next_seq = self.next_seq.max(header.next_seq_before);
        self.weaker |= header.sync_class != 0;
        self.generation_seen = self.generation_seen.max(header.generation);
    }

    /// Whether a higher generation begins at or below the block. A State that stands right there
    /// says what that generation began with, and may be the only one to do so, if its own is torn.
    fn voids(&self, header: &BlockHeader) -> bool {
        self.ends_before(header.generation, header.first_lsn + u64::from(header.records > 0))
    }

    /// Whether a generation ended before that LSN.
    fn ends_before(&self, generation: u64, lsn: u64) -> bool {
        let later = self.generations.range(generation.saturating_add(1)..);
        later.into_iter().any(|(_, &first)| first < lsn)
    }
}

/// Replays a directory. With `writable`, what may stand in the cache alone is synced and read
/// again from the medium before it is believed; without, nothing is written.
pub(crate) fn replay(
    env: &Env,
    dir: &Path,
    directory: &Directory,
    checkpoints: &[Checkpoint],
    writable: bool,
) -> Result<Recovered> {
    let start = start::choose(env, dir, directory, checkpoints, writable)?;
    let mode = if writable { Mode::ReadWrite } else { Mode::Read };
    let known = directory.segments.values().map(|segment| segment.known);
    let (known_lsn, known_seq) = known.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    let mut evidence = Evidence {
        durable_lsn: start.durable_lsn.max(known_lsn),
        next_seq: start.state.next_seq.max(known_seq),
        weaker: start.state.seq_reserved > 0,
        generation_seen: 0,
        generations: BTreeMap::from([(start.state.generation, start.state.generation_lsn)]),
    };
    let mut stretches = open_stretches(env, dir, directory, &start, mode)?;
    look_at_all(&mut stretches, &mut evidence, dir, writable)?;
    let stateless = start.stateless;
    let mut walk = Walk::new(start, evidence, env.clock.wall_us(), writable);
    if stateless {
        walk.unreadable = start::unreadable(env, dir, directory)?;
    }
    for index in 0..stretches.len() {
        if !walk.segment(&mut stretches[index], dir)? {
            walk.cut(&mut stretches[index..], dir)?;
            break;
        }
    }
    Ok(walk.finish(directory))
}

/// Opens the segments from the start on.
fn open_stretches(
    env: &Env,
    dir: &Path,
    directory: &Directory,
    start: &Start,
    mode: Mode,
) -> Result<Vec<Stretch>> {
    let mut stretches = Vec::new();
    for (&id, segment) in directory.segments.range(start.segment..) {
        let file = segment.open(env, dir, mode)?;
        let from = if id == start.segment { start.offset } else { STATE_OFFSET };
        stretches.push(Stretch {
            segment: segment.clone(),
            file,
            from,
            scan: None,
            synced: false,
            cached: BTreeSet::new(),
        });
    }
    Ok(stretches)
}

/// Gathers the evidence. The segments behind the log's end are spares: a glance is enough, unless
/// the last one was sealed, for then there must have been a next one.
fn look_at_all(
    stretches: &mut Vec<Stretch>,
    evidence: &mut Evidence,
    dir: &Path,
    writable: bool,
) -> Result<()> {
    let mut kept = 0;
    let mut expect_more = true;
    let mut last_used = 0;
    for (index, stretch) in stretches.iter_mut().enumerate() {
        let look = |until: u64| {
            scan_segment(&*stretch.file, stretch.segment.owner(), stretch.from, until)
                .map_err(|error| read_failed(dir, &stretch.segment, error))
        };
        let whole = stretch.segment.len_bytes;
        if !expect_more {
            let glance = look(whole.min(stretch.from + GLANCE_BYTES))?;
            if glance.blocks.is_empty() && glance.broken.is_empty() && !glance.first_is_bad {
                continue;
            }
        }
        let scan = look(whole)?;
        // A torn block acknowledges nothing, but its header is whole: what it says of others holds,
        // even where it is the first of a segment and no other stands there.
        scan.broken.iter().for_each(|header| evidence.note_header(header));
        if scan.blocks.is_empty() && index > 0 {
            continue;
        }
        last_used = index + 1;
        if writable {
            let segment = stretch.segment.clone();
            let failed = |error| read_failed(dir, &segment, error);
            stretch.look_at_medium(&scan).map_err(failed)?;
        }
        for found in &scan.blocks {
            if stretch.cached.contains(&found.header.offset) {
                evidence.note_header(&found.header);
            } else {
                evidence.note(&found.header);
            }
        }
        expect_more = ends_in_seal(stretch, &scan, dir)?;
        kept += scan.blocks.len();
        if kept <= BLOCKS_KEPT {
            stretch.scan = Some(scan);
        }
    }
    stretches.truncate(last_used);
    Ok(())
}

/// Whether the last block of a segment is its seal.
fn ends_in_seal(stretch: &Stretch, scan: &Scan, dir: &Path) -> Result<bool> {
    let Some(last) = scan.blocks.last().filter(|last| last.header.records == 0) else {
        return Ok(false);
    };
    let body = read_body(&*stretch.file, &last.header)
        .map_err(|error| read_failed(dir, &stretch.segment, error))?;
    let records = records(&last.header, body).unwrap_or_default();
    Ok(records.iter().any(|record| matches!(record, Record::Seal(_))))
}

fn read_failed(dir: &Path, segment: &Segment, error: std::io::Error) -> Error {
    Error::io(format!("read {}", names::path(dir, &segment.name).display()), error)
}
