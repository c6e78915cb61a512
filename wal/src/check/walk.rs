//! The way along the live segments: block by block, from each one's head to its end.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use crate::block::{Owner, Seen, look};
use crate::format::{BLOCK_ALIGN, BLOCK_HEADER_LEN, BlockHeader, STATE_OFFSET};
use crate::fs::{File, read_medium};
use crate::ranges::SeqRange;
use crate::record::Seal;
use crate::state::LiveSegment;

use super::contents::{Body, Contents, look_at};
use super::stream::{Memory, Stream};
use super::{Counts, DamageKind, Head};

/// How often a place that looks damaged is read again: the owner may be writing there.
const TRIES: usize = 5;

/// A live segment that is there.
pub(super) struct Stretch<'a> {
    pub(super) live: LiveSegment,
    pub(super) len_bytes: u64,
    pub(super) file: &'a dyn File,
    /// If the log ends in it: where, as far as it was written when the check began.
    pub(super) log_end: Option<u64>,
    /// The live segment behind it, and its head, if that can be read.
    pub(super) next: Option<(LiveSegment, Option<Head>)>,
}

impl Stretch<'_> {
    fn owner(&self) -> Owner {
        Owner { segment: self.live.id, salt: self.live.salt }
    }
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: DamageKind,
    pub(super) offset_bytes: u64,
    pub(super) len_bytes: u64,
    pub(super) seqs: SeqRange,
}

/// A place between two blocks, and what must come there.
#[derive(Debug, Clone)]
struct Place {
    offset: u64,
    lsn: u64,
    seq: u64,
    generation: u64,
    /// The checksum of the block before, if that stands right before.
    crc: Option<u32>,
    seal: Option<Seal>,
}

/// A block that is whole, though it may not be readable.
struct Block {
    header: BlockHeader,
    crc: u32,
    contents: Option<Contents>,
}

/// The walk. It goes along one segment at a time.
pub(super) struct Walk<'a> {
    pub(super) counts: Counts,
    /// Generation -> its first LSN, of those that are known so far.
    pub(super) generations: BTreeMap<u64, u64>,
    pub(super) memory: Memory,
    /// Told how many bytes have been passed.
    pub(super) progress: &'a mut dyn FnMut(u64),
}

impl Walk<'_> {
    /// Goes along one segment; what it found there.
    pub(super) fn segment(&mut self, stretch: &Stretch<'_>) -> io::Result<Vec<Found>> {
        let memory = std::mem::take(&mut self.memory);
        let mut stream = Stream::new(stretch.file, stretch.len_bytes, memory);
        let mut found = Vec::new();
        let mut here = Place::head(&stretch.live);
        // Behind the log's end stands what was written since, or never acknowledged.
        while stretch.log_end.is_none_or(|end| here.offset < end) {
            let mut block = self.block_at(&mut stream, stretch, here.offset)?;
            let mut missing = None;
            if block.is_none() {
                missing = self.missing(&mut stream, stretch, &here)?;
                if missing.is_some() {
                    block = self.look_again(&mut stream, stretch, here.offset)?;
                }
            }
            match (block, missing) {
                (Some(block), _) => found.extend(self.pass(&mut here, &block)),
                (None, Some((missing, Some(next)))) => {
                    found.push(missing);
                    here.go_on_at(&next);
                }
                (None, last) => {
                    found.extend(last.map(|(missing, _)| missing));
                    break;
                }
            }
        }
        self.counts.bytes += here.offset - STATE_OFFSET;
        self.memory = stream.into_memory();
        Ok(found)
    }

    fn block_at(
        &mut self,
        stream: &mut Stream<'_>,
        stretch: &Stretch<'_>,
        offset: u64,
    ) -> io::Result<Option<Block>> {
        (self.progress)(offset);
        let block = read_block(stream, stretch.owner(), offset, stretch.len_bytes)?;
        Ok(block)
    }

    /// What looks damaged is read again: from the cache, in which its writer may just have completed
    /// it, and from the medium.
    fn look_again(
        &mut self,
        stream: &mut Stream<'_>,
        stretch: &Stretch<'_>,
        offset: u64,
    ) -> io::Result<Option<Block>> {
        for _ in 0..TRIES {
            stream.forget();
            if let Some(block) = self.block_at(stream, stretch, offset)? {
                return Ok(Some(block));
            }
        }
        from_medium(stretch.file, stretch.owner(), offset, stretch.len_bytes)
    }

    /// What is missing at a place where no block stands, and the block behind it with which the log
    /// goes on in this segment, if there is one. Nothing, where it ends as it should.
    fn missing(
        &mut self,
        stream: &mut Stream<'_>,
        stretch: &Stretch<'_>,
        here: &Place,
    ) -> io::Result<Option<(Found, Option<BlockHeader>)>> {
        let next = self.next_block(stream, stretch, here)?;
        Ok(match next {
            Some(next) => {
                let missing = here.missing(next.offset - here.offset, next.next_seq_before);
                Some((missing, Some(next)))
            }
            None => self.end(stretch, here).map(|missing| (missing, None)),
        })
    }

    /// Takes in a whole block; what of it is not as it should be.
    fn pass(&mut self, here: &mut Place, block: &Block) -> Option<Found> {
        let header = &block.header;
        let offset = here.offset;
        here.offset += header.total_bytes();
        if self.voids(header) || header.first_lsn < here.lsn {
            self.counts.void_blocks += 1;
            return None;
        }
        self.counts.blocks += 1;
        let first = self.generations.entry(header.generation).or_insert(header.generation_lsn);
        *first = (*first).min(header.generation_lsn);
        let follows = here.is_followed_by(header);
        let (seq, same_place) = (here.seq, Place { offset, ..here.clone() });
        here.lsn = header.next_lsn();
        here.seq = header.next_seq_after;
        here.generation = header.generation;
        here.crc = Some(block.crc);
        here.seal = None;
        let Some(contents) = &block.contents else {
            let kind = DamageKind::Unreadable;
            return Some(Found { kind, ..same_place.missing(header.total_bytes(), here.seq) });
        };
        self.counts.records += contents.records;
        self.counts.events += contents.events;
        here.seal.clone_from(&contents.seal);
        let seqs = SeqRange::new(seq.min(header.next_seq_before), header.next_seq_before);
        let found = Found {
            kind: DamageKind::Order,
            offset_bytes: offset,
            len_bytes: header.total_bytes(),
            seqs,
        };
        (!follows).then_some(found)
    }

    /// Whether a higher generation begins at or below the block.
    fn voids(&self, header: &BlockHeader) -> bool {
        let until = header.first_lsn + u64::from(header.records > 0);
        let later = self.generations.range(header.generation.saturating_add(1)..);
        later.into_iter().any(|(_, &first)| first < until)
    }

    /// The header of the next whole block behind a place that goes on with the log.
    fn next_block(
        &mut self,
        stream: &mut Stream<'_>,
        stretch: &Stretch<'_>,
        here: &Place,
    ) -> io::Result<Option<BlockHeader>> {
        let until = stretch.log_end.unwrap_or(stretch.len_bytes);
        let mut offset = here.offset + BLOCK_ALIGN;
        while offset + BLOCK_ALIGN <= until {
            if let Some(block) = read_block(stream, stretch.owner(), offset, stretch.len_bytes)?
                && here.may_lead_to(&block.header)
                && !self.voids(&block.header)
            {
                return Ok(Some(block.header));
            }
            offset += BLOCK_ALIGN;
        }
        Ok(None)
    }

    /// What is missing between the last block of a segment and what comes behind it.
    fn end(&self, stretch: &Stretch<'_>, here: &Place) -> Option<Found> {
        if let Some(end) = stretch.log_end {
            return (here.offset < end).then(|| here.missing(end - here.offset, here.seq));
        }
        // Where nothing follows, replay has judged.
        let (next, head) = stretch.next.as_ref()?;
        let head = head.as_ref();
        let rest = stretch.len_bytes.saturating_sub(here.offset);
        let leads = |seal: &Seal| (seal.next_segment, seal.next_salt) == (next.id, next.salt);
        // What a writer says of the segment before is what it wrote itself; one that began here
        // says what it was told.
        let own_end = head
            .filter(|head| head.generation == here.generation)
            .map(|head| head.prev_end)
            .filter(|(id, ..)| *id == stretch.live.id);
        if let Some((_, end, _)) = own_end {
            let missing = here.lsn < next.first_lsn || here.offset < end;
            let len = if here.offset < end { end - here.offset } else { rest };
            return missing.then(|| here.missing(len, next.first_seq));
        }
        if let Some(seal) = &here.seal {
            let missing = leads(seal) && here.lsn < next.first_lsn;
            return missing.then(|| here.missing(rest, next.first_seq));
        }
        if here.generation == 0 {
            // It began with a State.
            return Some(here.missing(rest, next.first_seq));
        }
        // It was poisoned, and the log went on elsewhere in a new generation; the first of those
        // segments may have been reclaimed since.
        let left = head.map_or(here.lsn == next.first_lsn, |head| {
            head.generation > here.generation + 1
                || (head.generation > here.generation && head.generation_lsn <= here.lsn)
        });
        (!left).then(|| here.missing(rest, next.first_seq))
    }
}

impl Place {
    fn head(live: &LiveSegment) -> Place {
        Place {
            offset: STATE_OFFSET,
            lsn: live.first_lsn,
            seq: live.first_seq,
            generation: 0,
            crc: None,
            seal: None,
        }
    }

    /// Passes over what is missing.
    fn go_on_at(&mut self, next: &BlockHeader) {
        self.offset = next.offset;
        self.lsn = next.first_lsn;
        self.seq = next.next_seq_before;
        self.crc = None;
        self.seal = None;
    }

    fn missing(&self, len_bytes: u64, until_seq: u64) -> Found {
        let seqs = SeqRange::new(self.seq, until_seq.max(self.seq));
        Found { kind: DamageKind::Bytes, offset_bytes: self.offset, len_bytes, seqs }
    }

    /// Whether a block that stands here is the next one.
    fn is_followed_by(&self, header: &BlockHeader) -> bool {
        let same = header.generation == self.generation;
        let chained = self.crc.is_none_or(|crc| crc == header.prev_crc);
        let seqs = if same && self.crc.is_some() {
            header.next_seq_before == self.seq
        } else {
            header.next_seq_before >= self.seq
        };
        header.first_lsn == self.lsn
            && seqs
            && header.generation >= self.generation
            && (chained || !same)
    }

    /// Whether a block that stands further on may be one of the log behind this place, and not
    /// what a cut has left there.
    fn may_lead_to(&self, header: &BlockHeader) -> bool {
        header.generation >= self.generation
            && header.first_lsn >= self.lsn
            && header.next_seq_before >= self.seq
    }
}

/// The whole block at an offset, if there is one.
fn read_block(
    stream: &mut Stream<'_>,
    owner: Owner,
    offset: u64,
    until: u64,
) -> io::Result<Option<Block>> {
    if offset + BLOCK_ALIGN > until {
        return Ok(None);
    }
    let slot = stream.at(offset, BLOCK_ALIGN as usize)?;
    let Seen::Header(header, crc) = look(&slot, owner, offset) else { return Ok(None) };
    drop(slot);
    if offset + header.total_bytes() > until {
        return Ok(None);
    }
    let block = stream.at(offset, BLOCK_HEADER_LEN + header.body_len as usize)?;
    Ok(judged(header, crc, &block))
}

fn judged(header: BlockHeader, crc: u32, block: &Bytes) -> Option<Block> {
    match look_at(&header, block) {
        Body::Sound(contents) => Some(Block { header, crc, contents: Some(contents) }),
        Body::Unreadable => Some(Block { header, crc, contents: None }),
        Body::Torn => None,
    }
}

fn from_medium(
    file: &dyn File,
    owner: Owner,
    offset: u64,
    until: u64,
) -> io::Result<Option<Block>> {
    let mut slot = vec![0; BLOCK_ALIGN as usize];
    if !read_medium(file, &mut slot, offset)? {
        return Ok(None);
    }
    let Seen::Header(header, crc) = look(&slot, owner, offset) else { return Ok(None) };
    if offset + header.total_bytes() > until {
        return Ok(None);
    }
    let mut block = vec![0; header.total_bytes() as usize];
    if !read_medium(file, &mut block, offset)? {
        return Ok(None);
    }
    Ok(judged(header, crc, &block.into()))
}
