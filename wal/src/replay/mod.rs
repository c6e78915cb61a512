//! Replay: from the newest state that can be read, through the log behind it, to the same state
//! that the channel had when it ended.
//!
//! It reads and decides; it changes nothing. `scan.rs` reports the whole blocks, `table.rs` says
//! what each step means, this file walks.

use std::collections::BTreeMap;
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
use crate::ranges::SeqRange;
use crate::record::{Loss, LossReason, Record};
use crate::segment::Segment;
use crate::state::{LiveSegment, State};

mod scan;
mod start;
mod table;

use scan::{Found, Scan, is_on_medium, read_body, scan as scan_segment};
pub(crate) use scan::{Window, read_medium};
use start::Start;
use table::{Decision, Facts, decide};

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
}

/// The evidence that all blocks of the stretch give together.
#[derive(Debug, Default)]
struct Evidence {
    durable_lsn: u64,
    /// Generation -> its first LSN.
    generations: BTreeMap<u64, u64>,
    next_seq: u64,
}

impl Evidence {
    fn note(&mut self, header: &BlockHeader) {
        self.next_seq = self.next_seq.max(header.next_seq_after);
        self.note_broken(header);
    }

    fn note_broken(&mut self, header: &BlockHeader) {
        self.durable_lsn = self.durable_lsn.max(header.durable_lsn);
        let first = self.generations.entry(header.generation).or_insert(header.generation_lsn);
        *first = (*first).min(header.generation_lsn);
    }

    /// Whether a higher generation begins at or below the block.
    fn voids(&self, header: &BlockHeader) -> bool {
        let later = self.generations.range(header.generation.saturating_add(1)..);
        later.into_iter().any(|(_, &first)| first <= header.first_lsn)
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
    let start = start::choose(env, dir, directory, checkpoints)?;
    let mode = if writable { Mode::ReadWrite } else { Mode::Read };
    let known = directory.segments.values().map(|segment| segment.known);
    let (known_lsn, known_seq) = known.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    let mut evidence = Evidence {
        durable_lsn: start.durable_lsn.max(known_lsn),
        next_seq: start.state.next_seq.max(known_seq),
        generations: BTreeMap::from([(start.state.generation, start.state.generation_lsn)]),
    };
    let mut stretches = open_stretches(env, dir, directory, &start, mode)?;
    look_at_all(&mut stretches, &mut evidence, dir)?;
    let mut walk = Walk::new(start, evidence, env.clock.wall_us(), writable);
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
        stretches.push(Stretch { segment: segment.clone(), file, from, scan: None, synced: false });
    }
    Ok(stretches)
}

/// Gathers the evidence. The segments behind the log's end are spares: a glance is enough, unless
/// the last one was sealed, for then there must have been a next one.
fn look_at_all(stretches: &mut Vec<Stretch>, evidence: &mut Evidence, dir: &Path) -> Result<()> {
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
        if scan.blocks.is_empty() && index > 0 {
            continue;
        }
        last_used = index + 1;
        scan.blocks.iter().for_each(|found| evidence.note(&found.header));
        // A torn block acknowledges nothing, but its header is whole: what it says of others holds.
        scan.broken.iter().for_each(|header| evidence.note_broken(header));
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

/// The walk along the log.
struct Walk {
    state: State,
    evidence: Evidence,
    /// The segment and offset behind the last block that was taken in, or the start.
    at: (u64, u64),
    prev_crc: u32,
    events_unproven: u64,
    /// The seq behind the last one that stands in the cache and not on the medium, acknowledged
    /// before a sync.
    unbelieved_seq: u64,
    /// What the last seal says of where the log goes on, until it does.
    sealed: Option<(u64, u64)>,
    losses: Vec<Loss>,
    report: Report,
    now_us: i64,
    writable: bool,
}

impl Walk {
    fn new(start: Start, evidence: Evidence, now_us: i64, writable: bool) -> Walk {
        let report = Report { from_checkpoint: start.from_checkpoint, ..Report::default() };
        Walk {
            state: start.state,
            evidence,
            at: (start.segment, start.offset),
            prev_crc: start.prev_crc,
            events_unproven: 0,
            unbelieved_seq: 0,
            sealed: None,
            losses: Vec::new(),
            report,
            now_us,
            writable,
        }
    }

    /// Takes in one segment; whether the log goes on behind it.
    fn segment(&mut self, stretch: &mut Stretch, dir: &Path) -> Result<bool> {
        let segment = stretch.segment.clone();
        let failed = |error| read_failed(dir, &segment, error);
        let scan = match stretch.scan.take() {
            Some(scan) => scan,
            None => {
                let owner = stretch.segment.owner();
                scan_segment(&*stretch.file, owner, stretch.from, stretch.segment.len_bytes)
                    .map_err(failed)?
            }
        };
        for (index, found) in scan.blocks.iter().enumerate() {
            let believed = self.is_believed(stretch, found).map_err(failed)?;
            if !believed {
                if found.header.sync_class != 0 {
                    self.unbelieved_seq = self.unbelieved_seq.max(found.header.next_seq_after);
                }
                continue;
            }
            let decision = self.decide(Some(found));
            match decision {
                Decision::Apply => self.apply(stretch, found).map_err(failed)?,
                Decision::Skip => {}
                Decision::Lose => {
                    self.lose_before(stretch, found);
                    self.apply(stretch, found).map_err(failed)?;
                }
                Decision::CutAtHole => {
                    let rest = Scan { blocks: scan.blocks[index..].to_vec(), ..Scan::default() };
                    stretch.scan = Some(rest);
                    return Ok(false);
                }
                Decision::LoseTail | Decision::End | Decision::Impossible => {
                    unreachable!("{decision:?} for a block")
                }
            }
        }
        let end = self.at.1;
        self.report.torn_blocks += scan
            .broken
            .iter()
            .filter(|torn| torn.offset >= end && !self.evidence.voids(torn))
            .count() as u64;
        Ok(true)
    }

    /// What is above W may stand in the cache alone: synced first, it must come from the medium.
    fn is_believed(&self, stretch: &mut Stretch, found: &Found) -> std::io::Result<bool> {
        let last_lsn = found.header.next_lsn().saturating_sub(1);
        if !self.writable || found.header.records == 0 || last_lsn <= self.evidence.durable_lsn {
            return Ok(true);
        }
        if !stretch.synced {
            stretch.file.sync_data()?;
            stretch.synced = true;
        }
        is_on_medium(&*stretch.file, found)
    }

    fn decide(&mut self, found: Option<&Found>) -> Decision {
        let expected = self.state.next_lsn;
        let facts = Facts {
            end: found.is_none(),
            void: found.is_some_and(|found| self.evidence.voids(&found.header)),
            behind: found.is_some_and(|found| found.header.first_lsn < expected),
            ahead: found.is_some_and(|found| found.header.first_lsn > expected),
            synced: expected <= self.evidence.durable_lsn,
        };
        let (letter, decision) = decide(facts);
        *self.report.rows.entry(letter).or_default() += 1;
        decision
    }

    fn apply(&mut self, stretch: &Stretch, found: &Found) -> std::io::Result<()> {
        let header = &found.header;
        self.enter(stretch, found);
        let body = read_body(&*stretch.file, header)?;
        self.sealed = None;
        match records(header, body) {
            Some(records) => {
                if let Some(Record::Seal(seal)) = records.last() {
                    self.sealed = Some((seal.next_segment, seal.next_salt));
                }
                records.iter().for_each(|record| self.state.apply(record));
            }
            // A sound block with a record that this version cannot read.
            None => {
                let seqs = SeqRange::new(header.next_seq_before, header.next_seq_after);
                let place = ((stretch.segment.id, header.offset), header.total_bytes());
                let loss = self.loss(LossReason::Damaged, seqs, header.next_lsn(), place);
                self.losses.push(loss);
            }
        }
        if header.next_lsn() > self.evidence.durable_lsn + 1 {
            self.events_unproven += header.next_seq_after - header.next_seq_before;
        }
        self.state.next_lsn = header.next_lsn();
        self.state.next_seq = self.state.next_seq.max(header.next_seq_after);
        self.state.generation = header.generation;
        self.state.generation_lsn = header.generation_lsn;
        self.at = (stretch.segment.id, found.end());
        self.prev_crc = found.crc;
        self.report.blocks += 1;
        Ok(())
    }

    /// A segment whose States are both unreadable is live all the same.
    fn enter(&mut self, stretch: &Stretch, found: &Found) {
        let id = stretch.segment.id;
        if self.state.segments.last().is_none_or(|last| last.id < id) {
            let last_seq = self.state.segments.last().map_or(0, |last| last.first_seq);
            self.state.segments.push(LiveSegment {
                id,
                salt: stretch.segment.salt,
                first_seq: found.header.next_seq_before.max(last_seq),
                first_lsn: found.header.first_lsn,
            });
        }
    }

    fn lose_before(&mut self, stretch: &Stretch, found: &Found) {
        let header = &found.header;
        let (segment, from, until) = if self.at.0 == stretch.segment.id {
            (self.at.0, self.at.1, header.offset)
        } else {
            (stretch.segment.id, STATE_OFFSET, header.offset)
        };
        let seqs = SeqRange::new(self.state.next_seq, header.next_seq_before);
        let place = ((segment, from), until.saturating_sub(from));
        let loss = self.loss(LossReason::Damaged, seqs, header.first_lsn, place);
        self.losses.push(loss);
        self.state.next_lsn = header.first_lsn;
        self.state.next_seq = self.state.next_seq.max(header.next_seq_before);
    }

    /// The log ends at a hole: what a weaker sync class had acknowledged behind it is a loss.
    fn cut(&mut self, stretches: &mut [Stretch], dir: &Path) -> Result<()> {
        let mut until = (self.state.next_lsn, self.state.next_seq);
        for stretch in stretches {
            let scan = match stretch.scan.take() {
                Some(scan) => scan,
                None => {
                    let segment = &stretch.segment;
                    scan_segment(&*stretch.file, segment.owner(), stretch.from, segment.len_bytes)
                        .map_err(|error| read_failed(dir, segment, error))?
                }
            };
            for found in &scan.blocks {
                if found.header.sync_class != 0 && !self.evidence.voids(&found.header) {
                    until.0 = until.0.max(found.header.next_lsn());
                    until.1 = until.1.max(found.header.next_seq_after);
                }
            }
        }
        if until.0 > self.state.next_lsn {
            let seqs = SeqRange::new(self.state.next_seq, until.1);
            let loss = self.loss(LossReason::Unsynced, seqs, until.0, (self.at, 0));
            self.losses.push(loss);
            self.state.next_seq = until.1;
        }
        Ok(())
    }

    fn finish(mut self, directory: &Directory) -> Recovered {
        let mut tail = directory.segments.contains_key(&self.at.0).then_some(self.at);
        if self.decide(None) == Decision::LoseTail {
            self.lose_tail(directory);
            // What is damaged stays where it is.
            tail = None;
        }
        if self.unbelieved_seq > self.state.next_seq {
            let seqs = SeqRange::new(self.state.next_seq, self.unbelieved_seq);
            let loss = self.loss(LossReason::Unsynced, seqs, self.state.next_lsn, (self.at, 0));
            self.losses.push(loss);
            self.state.next_seq = self.unbelieved_seq;
        }
        self.lose_missing_segments(directory);
        let state = &self.state;
        self.losses.retain(|loss| !is_known(state, loss));
        let generations = self.evidence.generations.keys().copied();
        Recovered {
            tail,
            prev_crc: self.prev_crc,
            events_unproven: self.events_unproven,
            durable_lsn: self.evidence.durable_lsn,
            generation: generations.max().unwrap_or(0).max(self.state.generation),
            losses: self.losses,
            report: self.report,
            state: self.state,
        }
    }

    /// More had been synced than can be read: the end of the last segment, or a whole one that its
    /// predecessor's seal names.
    fn lose_tail(&mut self, directory: &Directory) {
        let next_lsn = self.evidence.durable_lsn + 1;
        let next_seq = self.evidence.next_seq.max(self.state.next_seq);
        let next = self.sealed.and_then(|(id, salt)| {
            directory.segments.get(&id).filter(|segment| segment.salt == salt)
        });
        let here = directory.segments.get(&self.at.0);
        let (at, len_bytes) = match (next, here) {
            (Some(next), _) => ((next.id, STATE_OFFSET), next.len_bytes - STATE_OFFSET),
            (None, Some(here)) => (self.at, here.len_bytes.saturating_sub(self.at.1)),
            (None, None) => (self.at, 0),
        };
        let seqs = SeqRange::new(self.state.next_seq, next_seq);
        let loss = self.loss(LossReason::Damaged, seqs, next_lsn, (at, len_bytes));
        self.losses.push(loss);
        if let Some(next) = next {
            // It stays listed until its bytes are in quarantine.
            self.state.segments.push(LiveSegment {
                id: next.id,
                salt: next.salt,
                first_seq: self.state.next_seq,
                first_lsn: self.state.next_lsn,
            });
        }
        self.state.next_lsn = next_lsn;
        self.state.next_seq = next_seq;
        // What was acknowledged after the last thing that is known may have been seen: no seq that
        // a segment has room for is used twice.
        let room = next.or(here).map_or(0, |segment| segment.len_bytes / 4);
        self.state.seq_reserved = self.state.seq_reserved.max(next_seq + room);
    }

    fn loss(
        &self,
        reason: LossReason,
        seqs: SeqRange,
        until_lsn: u64,
        ((segment, offset_bytes), len_bytes): ((u64, u64), u64),
    ) -> Loss {
        Loss {
            reason,
            seqs,
            lsns: (self.state.next_lsn, until_lsn),
            segment,
            offset_bytes,
            len_bytes,
            noticed_us: self.now_us,
        }
    }

    /// A live segment that is not there is a loss of what it held and some cursor still needs.
    fn lose_missing_segments(&mut self, directory: &Directory) {
        let ends = self.state.segments.iter().skip(1).map(|next| next.first_seq);
        let ends: Vec<u64> = ends.chain([self.state.next_seq]).collect();
        let mut losses = Vec::new();
        for (segment, end) in self.state.segments.iter().zip(ends) {
            let there = directory.segments.get(&segment.id);
            let seqs = SeqRange::new(segment.first_seq, end);
            if there.is_some_and(|found| found.salt == segment.salt) || !self.state.needs(seqs) {
                continue;
            }
            let mut loss = self.loss(LossReason::SegmentMissing, seqs, 0, ((segment.id, 0), 0));
            loss.lsns = (segment.first_lsn, segment.first_lsn);
            losses.push(loss);
        }
        self.losses.extend(losses);
    }
}

/// Whether the ledger has that loss already: it was noticed at an earlier open, and its record
/// stands further on in the log.
fn is_known(state: &State, loss: &Loss) -> bool {
    if !loss.seqs.is_empty() {
        return !state.needs(loss.seqs);
    }
    state.ledger.recent.iter().any(|known| known.lsns == loss.lsns)
}
