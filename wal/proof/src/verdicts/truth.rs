//! What is true of a disk, by the bytes alone: which blocks stand where, which of them are hit, and
//! what those that are not hit say.
//!
//! It reads as `FORMAT.md` draws it and shares no code with the engine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use forebay_wal::fs::sim::Survive;

use super::Where;
use crate::lab::{Block, Lab, SECTOR, blocks, u64_at};
use crate::model::DIR;

/// The bytes of a segment's header and of a block's.
pub const SEGMENT_HEADER: usize = 128;
pub const BLOCK_HEADER: usize = 192;
/// Where a segment's header and a block's say what was synced when they were written.
const SEGMENT_DURABLE: u64 = 72;
const BLOCK_DURABLE: u64 = 88;
/// Where a checkpoint says its state's next LSN: behind its own fields and the state's first.
const CHECKPOINT_NEXT_LSN: u64 = 60 + 4 + 16 + 8 + 8;

const STATE: u8 = 6;

/// A segment as it would be had every write survived.
pub struct Whole {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub blocks: Vec<Known>,
}

/// A block of it.
pub struct Known {
    pub block: Block,
    /// Where the bytes that a checksum covers end.
    pub covered_end: u64,
    /// Whether all of it is synced.
    pub synced: bool,
    /// What its place holds if not.
    floor: Vec<u8>,
}

impl Known {
    /// Whether it stands in these bytes as it was written.
    pub fn is_in(&self, whole: &Whole, bytes: &[u8]) -> bool {
        let range = self.block.offset as usize..self.covered_end as usize;
        // A block that the file ends in is not whole, though it be in its padding.
        self.block.end() <= bytes.len() as u64 && bytes[range.clone()] == whole.bytes[range]
    }

    fn header_is_in(&self, whole: &Whole, bytes: &[u8]) -> bool {
        let from = self.block.offset as usize;
        let range = from..from + BLOCK_HEADER;
        bytes.get(range.clone()) == Some(&whole.bytes[range])
    }

    pub fn last_lsn(&self) -> u64 {
        self.block.first_lsn + u64::from(self.block.records) - 1
    }
}

/// All segments, oldest first.
pub struct Truth {
    pub segments: Vec<Whole>,
}

impl Truth {
    /// Of a disk on which the power is about to go, or is gone.
    pub fn of(lab: &Lab) -> Truth {
        let full = lab.on(lab.fs.image(Survive::Everything));
        let floor = lab.on(lab.fs.image(Survive::Nothing));
        let mut segments = Vec::new();
        for path in full.segments() {
            let bytes = full.fs.read_file(&path);
            let mut whole = Whole { blocks: Vec::new(), path, bytes };
            let durable = find(&floor, &whole).unwrap_or_default();
            let mut generation = 0;
            for block in blocks(&whole.bytes) {
                // What a cut left of an earlier generation.
                if block.generation < generation {
                    break;
                }
                generation = block.generation;
                let at = block.offset as usize + 108;
                let len = whole.bytes[at..at + 4].try_into().expect("four bytes");
                let len = u64::from(u32::from_le_bytes(len));
                let covered_end = block.offset + BLOCK_HEADER as u64 + len;
                let range = block.offset as usize..covered_end as usize;
                let floor = durable.get(range.clone()).unwrap_or_default().to_vec();
                let synced = floor == whole.bytes[range];
                let floor = if synced { Vec::new() } else { floor };
                whole.blocks.push(Known { block, covered_end, synced, floor });
            }
            segments.push(whole);
        }
        segments.sort_by_key(|whole| u64_at(&whole.bytes, 32));
        Truth { segments }
    }

    /// The segments with a block in them, oldest first: those behind are spares.
    pub fn used(&self) -> impl DoubleEndedIterator<Item = &Whole> {
        self.segments.iter().filter(|whole| !whole.blocks.is_empty())
    }

    /// The last segment that the log has come to.
    pub fn newest(&self) -> &Whole {
        self.used().next_back().expect("a channel has a segment")
    }

    /// Every block with records, oldest first.
    pub fn with_records(&self) -> impl DoubleEndedIterator<Item = (&Whole, &Known)> {
        let all =
            self.used().flat_map(|whole| whole.blocks.iter().map(move |known| (whole, known)));
        all.filter(|(_, known)| known.block.records > 0)
    }
}

/// The bytes of a segment on another image of its disk: under its own name or in the file that has
/// its header, where more of its blocks are.
pub fn find(lab: &Lab, whole: &Whole) -> Option<Vec<u8>> {
    let header = &whole.bytes[..SEGMENT_HEADER];
    let named = lab.fs.exists(&whole.path).then(|| lab.fs.read_file(&whole.path));
    // Under a higher id it counts as a file of the next lap, whatever else stands in it.
    let named = named.filter(|bytes| !is_hidden(lab, bytes, whole));
    let is_it = |bytes: &Vec<u8>| bytes.starts_with(header);
    if named.as_ref().is_some_and(is_it) {
        return named;
    }
    let mut others = lab.segments().into_iter().map(|path| lab.fs.read_file(path));
    let headed = others.find(is_it);
    let there =
        |bytes: &Vec<u8>| whole.blocks.iter().filter(|known| known.is_in(whole, bytes)).count();
    match (named, headed) {
        (Some(named), Some(headed)) if there(&named) > there(&headed) => Some(named),
        (named, headed) => headed.or(named),
    }
}

/// Whether bytes begin with the header of a segment that comes later, and that has no other file.
fn is_hidden(lab: &Lab, bytes: &[u8], whole: &Whole) -> bool {
    let Some(id) = headed(bytes).filter(|id| *id > u64_at(&whole.bytes, 32)) else { return false };
    let path = PathBuf::from(format!("{DIR}/{id:020}.wal"));
    let is_there = || {
        let bytes = lab.fs.read_file(&path);
        // Its own header, or one of its blocks at the place that it names.
        let mut slots = bytes.chunks_exact(SECTOR as usize).enumerate().skip(1);
        headed(&bytes) == Some(id)
            || slots.any(|(index, slot)| {
                let crc = slot[188..192].try_into().map(u32::from_le_bytes).ok();
                slot.starts_with(b"fbBK")
                    && crc == Some(crc32fast::hash(&slot[..188]))
                    && (u64_at(slot, 24), u64_at(slot, 40)) == (id, index as u64 * SECTOR)
            })
    };
    !(lab.fs.exists(&path) && is_there())
}

/// The id in a segment's header, if that is as it was written.
fn headed(bytes: &[u8]) -> Option<u64> {
    let header = bytes.get(..SEGMENT_HEADER)?;
    let crc = header[124..].try_into().map(u32::from_le_bytes).ok();
    let good = header.starts_with(b"FOREBAY\x01") && crc == Some(crc32fast::hash(&header[..124]));
    good.then(|| u64_at(header, 32))
}

/// What damage did, and what is left to tell of it.
#[derive(Debug, Default)]
pub struct Hits {
    /// Seqs in blocks that were whole and are not any more, with the first LSN of their block.
    pub seqs: Vec<(std::ops::Range<u64>, u64)>,
    /// Where those blocks stand: segment id, offset, end.
    pub ranges: Vec<(u64, u64, u64)>,
    /// The highest LSN that something whole says was synced.
    pub spoken_lsn: u64,
    /// The last acknowledged LSN there is.
    pub last_lsn: u64,
    /// Whether acknowledgements or States are hit: what was acknowledged may come again.
    pub acks: bool,
    /// Blocks with records that were whole and are not any more: their first LSN, and the seq that
    /// the next event got before them.
    pub records: Vec<(u64, u64)>,
    /// The first LSN of the last block that is synced.
    pub last_block_lsn: u64,
    /// No State is left, in the log or in a checkpoint: nobody knows what was acknowledged.
    pub stateless: bool,
    /// The header of a later segment stands over one: all of that one is told of as missing.
    pub hidden: bool,
    /// The last block that is synced is hit, whatever it holds.
    pub end_is_hit: bool,
    /// A write that was under way is there in part.
    pub torn: bool,
}

impl Hits {
    /// What the step from one disk to the other did.
    pub fn between(truth: &Truth, before: &Lab, after: &Lab) -> Hits {
        let mut hits = Hits { stateless: true, ..Hits::default() };
        for whole in &truth.segments {
            let old = find(before, whole).unwrap_or_default();
            let new = find(after, whole).unwrap_or_default();
            let at_name = after.fs.exists(&whole.path).then(|| after.fs.read_file(&whole.path));
            hits.hidden |= at_name.is_some_and(|bytes| is_hidden(after, &bytes, whole));
            if new.starts_with(&whole.bytes[..SEGMENT_HEADER]) {
                hits.spoken_lsn = hits.spoken_lsn.max(u64_at(&new, SEGMENT_DURABLE));
            }
            for known in &whole.blocks {
                hits.look(whole, known, &old, &new);
            }
        }
        hits.look_at_checkpoints(before, after);
        hits
    }

    fn look(&mut self, whole: &Whole, known: &Known, old: &[u8], new: &[u8]) {
        if known.header_is_in(whole, new) {
            let durable_lsn = u64_at(&whole.bytes, known.block.offset + BLOCK_DURABLE);
            self.spoken_lsn = self.spoken_lsn.max(durable_lsn);
        }
        let was_whole = known.is_in(whole, old);
        self.stateless &= !(known.block.has(STATE) && known.is_in(whole, new));
        if known.synced && known.block.records > 0 && known.last_lsn() > self.last_lsn {
            (self.last_lsn, self.last_block_lsn) = (known.last_lsn(), known.block.first_lsn);
        }
        if known.synced {
            self.end_is_hit = !known.is_in(whole, new);
        }
        if !known.synced && !was_whole {
            let range = known.block.offset as usize..known.covered_end as usize;
            self.torn |= old.get(range) != Some(&known.floor);
        }
        if !was_whole || known.is_in(whole, new) {
            return;
        }
        let (from, until) = known.block.seqs;
        if from < until {
            self.seqs.push((from..until, known.block.first_lsn));
        }
        self.ranges.push((u64_at(&whole.bytes, 32), known.block.offset, known.covered_end));
        self.acks |= !known.block.has(crate::lab::PUT) || known.block.kinds.len() > 1;
        if known.block.records > 0 {
            self.records.push((known.block.first_lsn, from));
        }
    }

    /// What is known of a block that is hit.
    pub fn place(&self, first_lsn: u64) -> Where {
        if first_lsn <= self.spoken_lsn {
            Where::Outside
        } else if first_lsn == self.last_block_lsn {
            Where::Window
        } else {
            Where::End
        }
    }

    /// A checkpoint that is there as it was says that all before it was synced.
    fn look_at_checkpoints(&mut self, before: &Lab, after: &Lab) {
        for name in ["a", "b"].map(|name| format!("{DIR}/checkpoint.{name}")) {
            if !before.fs.exists(&name) || !after.fs.exists(&name) {
                continue;
            }
            let (old, new) = (before.fs.read_file(&name), after.fs.read_file(&name));
            self.stateless &= !is_checkpoint(&new);
            if old == new && is_checkpoint(&new) {
                let next_lsn = u64_at(&new, CHECKPOINT_NEXT_LSN);
                self.spoken_lsn = self.spoken_lsn.max(next_lsn.saturating_sub(1));
            }
        }
    }

    /// The seqs of all blocks that are hit.
    pub fn all_seqs(&self) -> BTreeSet<u64> {
        self.seqs.iter().flat_map(|(range, _)| range.clone()).collect()
    }
}

/// Whether a file begins as a checkpoint whose body is what its checksum says.
fn is_checkpoint(bytes: &[u8]) -> bool {
    let word =
        |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    if !bytes.starts_with(b"FORECKP\x01") {
        return false;
    }
    let Some(len) = word(12) else { return false };
    let body = bytes.get(24..24 + len as usize);
    body.is_some_and(|body| word(16) == Some(crc32fast::hash(body)))
}
