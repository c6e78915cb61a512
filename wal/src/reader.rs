//! Reads events of a cursor: from the tail cache, or from the segments in large pieces.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::{self, Contents, Owner, Seen, body_is_whole, look};
use crate::buffers::Buffers;
use crate::format::{BLOCK_ALIGN, BLOCK_HEADER_LEN, BlockHeader, STATE_OFFSET};
use crate::fs::{File, read_full_at, read_medium};
use crate::ranges::SeqRange;
use crate::read_ahead::{Piece, ReadAhead};
use crate::record::Record;
use crate::tail::Run;

/// About how much is read at once.
const PIECE_BYTES: u64 = 3 << 19;
/// How much is read first, when it is not known how large blocks are.
const FIRST_PIECE_BYTES: u64 = 256 << 10;
/// How many places are remembered for seeking.
const PLACES_KEPT: usize = 64;

/// Where a cursor reads.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The events that come next, of one put.
    run: Option<Run>,
    /// Those that were read with it.
    ahead: VecDeque<Run>,
    /// Where the next piece of its segment begins.
    place: Option<Place>,
    /// Places that were passed: first seq -> segment, salt, offset.
    passed: BTreeMap<u64, (Owner, u64)>,
    /// The piece that is being read behind the last one.
    next: Option<Arc<Piece>>,
    file: Option<(Owner, Arc<dyn File>)>,
}

/// A place in a segment between two blocks.
#[derive(Debug, Clone, Copy)]
struct Place {
    owner: Owner,
    offset: u64,
    /// The first seq that may stand behind it.
    next_seq: u64,
    generation: u64,
    /// The bytes of the block before it; 0 if it is not known.
    block_bytes: u64,
}

/// A segment to read in.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) owner: Owner,
    pub(crate) len_bytes: u64,
    pub(crate) first_seq: u64,
    /// The seq behind the last one that it can hold.
    pub(crate) end_seq: u64,
    /// Nothing is written to it any more.
    pub(crate) sealed: bool,
    pub(crate) file: Arc<dyn File>,
    pub(crate) buffers: Arc<Buffers>,
}

/// Events that cannot be read, and where they should stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) seqs: SeqRange,
    pub(crate) segment: u64,
    pub(crate) offset_bytes: u64,
    pub(crate) len_bytes: u64,
}

impl Reader {
    /// The next event, if it is among those that were read already.
    pub(crate) fn ready(&mut self, seq: u64) -> Option<Bytes> {
        loop {
            if let Some(run) = &mut self.run
                && run.first_seq <= seq
                && seq < run.end_seq()
            {
                let event = run.skip_to(seq).then(|| run.next()).flatten();
                return event;
            }
            self.run = None;
            self.run = Some(self.ahead.pop_front()?);
        }
    }

    /// Reads on from a run of the tail cache.
    pub(crate) fn use_run(&mut self, run: Run) {
        self.run = Some(run);
        self.ahead.clear();
    }

    /// The open file of a segment, if this reader was there last.
    pub(crate) fn file_of(&self, owner: Owner) -> Option<Arc<dyn File>> {
        self.file.as_ref().filter(|(of, _)| *of == owner).map(|(_, file)| file.clone())
    }

    /// Reads the piece of a segment that holds `seq`, so that `ready` has it, or says what of the
    /// seqs from there on is missing.
    pub(crate) fn fill(
        &mut self,
        source: &Source,
        seq: u64,
        ahead: Option<&ReadAhead>,
    ) -> io::Result<Option<Missing>> {
        assert!(source.first_seq <= seq && seq < source.end_seq);
        self.run = None;
        self.ahead.clear();
        self.file = Some((source.owner, source.file.clone()));
        let mut place = self.place_for(source, seq);
        loop {
            let piece = match self.fetch(source, place.offset, ahead) {
                Some(piece) => piece,
                None => read_piece(source, place.offset, place.piece_bytes())?,
            };
            match self.take_in(source, &mut place, &piece, seq)? {
                Step::Found => {
                    self.place = Some(place);
                    let more = source.sealed && place.next_seq < source.end_seq;
                    self.next = ahead
                        .filter(|_| more)
                        .map(|ahead| ahead.ask(source, place.offset, place.piece_bytes()));
                    return Ok(None);
                }
                Step::Next => {}
                Step::Missing(missing) => {
                    self.place = Some(place);
                    return Ok(Some(missing));
                }
            }
        }
    }

    /// The piece at a place, if it was asked for before.
    fn fetch(&mut self, source: &Source, offset: u64, ahead: Option<&ReadAhead>) -> Option<Bytes> {
        let (next, ahead) = (self.next.take()?, ahead?);
        if next.is(source, offset) {
            return ahead.fetch(&next);
        }
        ahead.take_back(&next);
        None
    }

    /// The nearest known place before `seq`.
    fn place_for(&self, source: &Source, seq: u64) -> Place {
        let owner = source.owner;
        let head = Place::new(owner, STATE_OFFSET, source.first_seq);
        let last = self.place.filter(|place| place.owner == owner && place.next_seq <= seq);
        let passed = self.passed.range(..=seq).next_back();
        let passed = passed
            .filter(|(_, (of, _))| *of == owner)
            .map(|(&next_seq, &(_, offset))| Place::new(owner, offset, next_seq));
        let nearest = last.into_iter().chain(passed).max_by_key(|place| place.offset);
        nearest.unwrap_or(head)
    }

    /// Goes through the blocks of a piece.
    fn take_in(
        &mut self,
        source: &Source,
        place: &mut Place,
        piece: &Bytes,
        seq: u64,
    ) -> io::Result<Step> {
        let start = place.offset;
        self.note(place);
        let mut found = false;
        loop {
            let at = (place.offset - start) as usize;
            let slot = piece.slice(at.min(piece.len())..);
            match Whole::read(source, place, slot, at == 0, seq)? {
                Whole::Block(header, records) => {
                    found |= self.keep_runs(records, seq);
                    place.pass(&header);
                    if !found && header.next_seq_after > seq {
                        return Ok(Step::Missing(self.missing_here(source, &header, seq)));
                    }
                    if place.next_seq >= source.end_seq {
                        return Ok(Step::Found);
                    }
                }
                Whole::Outside | Whole::Bad if found => return Ok(Step::Found),
                Whole::Outside => return Ok(Step::Next),
                Whole::Bad => return resync(source, place, seq),
            }
        }
    }

    /// A sound block goes beyond the seq and does not hold it.
    fn missing_here(&self, source: &Source, header: &BlockHeader, seq: u64) -> Missing {
        let next = self.ahead.front().map_or(header.next_seq_after, |run| run.first_seq);
        Missing {
            seqs: SeqRange::new(seq, next),
            segment: source.owner.segment,
            offset_bytes: header.offset,
            len_bytes: 0,
        }
    }

    /// Remembers a place, thinning out when there are too many.
    fn note(&mut self, place: &Place) {
        self.passed.insert(place.next_seq, (place.owner, place.offset));
        if self.passed.len() > PLACES_KEPT {
            let mut odd = false;
            self.passed.retain(|_, _| {
                odd = !odd;
                odd
            });
        }
    }

    /// Keeps the puts of a block from `seq` on; whether `seq` is among them.
    fn keep_runs(&mut self, records: Vec<Record>, seq: u64) -> bool {
        let mut found = false;
        for record in records {
            let Record::Put(put) = record else { continue };
            let count = u64::from(put.count);
            let run = Run { first_seq: put.first_seq, count, events: put.events };
            // Of a put that does not hold what it says, nothing is believed.
            if run.end_seq() > seq && run.is_sound() {
                found |= run.first_seq <= seq;
                self.ahead.push_back(run);
            }
        }
        found
    }
}

impl Place {
    fn new(owner: Owner, offset: u64, next_seq: u64) -> Place {
        Place { owner, offset, next_seq, generation: 0, block_bytes: 0 }
    }

    /// How much to read from here on: as many blocks as fit, if they are like the last one, and
    /// the head of the next, so that little is read twice.
    fn piece_bytes(&self) -> u64 {
        match PIECE_BYTES.checked_div(self.block_bytes) {
            None => FIRST_PIECE_BYTES,
            Some(blocks) => blocks.max(1) * self.block_bytes + BLOCK_ALIGN,
        }
    }

    fn pass(&mut self, header: &BlockHeader) {
        self.offset = header.offset + header.total_bytes();
        self.block_bytes = header.total_bytes();
        self.next_seq = self.next_seq.max(header.next_seq_after);
        self.generation = header.generation;
    }
}

enum Step {
    Found,
    Next,
    Missing(Missing),
}

/// What stands at a place.
enum Whole {
    /// A sound block, and its records if they were wanted.
    Block(BlockHeader, Vec<Record>),
    /// The piece or the segment ends here.
    Outside,
    Bad,
}

impl Whole {
    fn read(
        source: &Source,
        place: &Place,
        slot: Bytes,
        is_first: bool,
        seq: u64,
    ) -> io::Result<Whole> {
        if slot.len() < BLOCK_HEADER_LEN {
            return Ok(if is_first { Whole::Bad } else { Whole::Outside });
        }
        let Seen::Header(header, _) = look(&slot, source.owner, place.offset) else {
            return Ok(Whole::Bad);
        };
        if place.offset + header.total_bytes() > source.len_bytes
            || header.generation < place.generation
        {
            return Ok(Whole::Bad);
        }
        if header.next_seq_after <= seq {
            return Ok(Whole::Block(header, Vec::new()));
        }
        let end = BLOCK_HEADER_LEN + header.body_len as usize;
        if slot.len() >= end {
            return whole_body(source, &header, slot);
        }
        if !is_first {
            // The next piece begins with it.
            return Ok(Whole::Outside);
        }
        let slot = read_piece(source, place.offset, header.total_bytes())?;
        whole_body(source, &header, slot)
    }
}

/// The body, if it is what was written; a bad one is read once more, from the medium.
fn whole_body(source: &Source, header: &BlockHeader, slot: Bytes) -> io::Result<Whole> {
    let body_at = BLOCK_HEADER_LEN..BLOCK_HEADER_LEN + header.body_len as usize;
    let seen = |contents: Contents| match contents {
        Contents::Records(records) => Some(Whole::Block(*header, records)),
        // Whoever looks for a seq in it finds it missing.
        Contents::Unsound => Some(Whole::Block(*header, Vec::new())),
        Contents::Broken => None,
    };
    if slot.len() >= body_at.end
        && let Some(whole) = seen(block::open(header, &slot.slice(body_at.clone())))
    {
        return Ok(whole);
    }
    let mut again = vec![0; body_at.len()];
    if !read_medium(&*source.file, &mut again, header.offset + body_at.start as u64)? {
        return Ok(Whole::Bad);
    }
    Ok(seen(block::open(header, &again.into())).unwrap_or(Whole::Bad))
}

pub(crate) fn read_piece(source: &Source, offset: u64, len: u64) -> io::Result<Bytes> {
    let len = len.min(source.len_bytes.saturating_sub(offset));
    let mut piece = source.buffers.filled(len as usize);
    let got = read_full_at(&*source.file, &mut piece, offset)?;
    piece.truncate(got);
    Ok(source.buffers.lend(piece))
}

/// Finds the next sound block behind damage. What lies between is missing; if that is not what is
/// wanted, reading goes on there.
fn resync(source: &Source, place: &mut Place, seq: u64) -> io::Result<Step> {
    let from = *place;
    let mut offset = from.offset;
    'pieces: while offset + BLOCK_ALIGN <= source.len_bytes {
        let piece = read_piece(source, offset, PIECE_BYTES)?;
        if piece.len() < BLOCK_HEADER_LEN {
            break;
        }
        for slot in piece.chunks(BLOCK_ALIGN as usize) {
            let here = Place { offset, ..from };
            offset += BLOCK_ALIGN;
            let Seen::Header(header, _) = look(slot, source.owner, here.offset) else { continue };
            let later = header.generation >= from.generation
                && header.next_seq_before >= from.next_seq
                && header.next_seq_before <= source.end_seq;
            if !later || !is_sound(source, &header)? {
                continue;
            }
            place.offset = here.offset;
            place.next_seq = header.next_seq_before;
            if header.next_seq_before > seq {
                break 'pieces;
            }
            return Ok(Step::Next);
        }
    }
    let until = if place.offset > from.offset { place.next_seq } else { source.end_seq };
    let end = if place.offset > from.offset { place.offset } else { source.len_bytes };
    Ok(Step::Missing(Missing {
        seqs: SeqRange::new(from.next_seq.max(source.first_seq), until),
        segment: source.owner.segment,
        offset_bytes: from.offset,
        len_bytes: end.saturating_sub(from.offset),
    }))
}

fn is_sound(source: &Source, header: &BlockHeader) -> io::Result<bool> {
    if header.offset + header.total_bytes() > source.len_bytes {
        return Ok(false);
    }
    let block = read_piece(source, header.offset, header.total_bytes())?;
    let end = BLOCK_HEADER_LEN + header.body_len as usize;
    Ok(block.len() >= end && body_is_whole(header, &block[BLOCK_HEADER_LEN..end]))
}
