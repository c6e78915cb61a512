//! Doors into the decoders, for tests and fuzz targets alone (feature `sim`): what they are given
//! is decoded, and what came out is encoded again. Not a part of the library.

use std::path::Path;

use bytes::Bytes;

use crate::block::{Body, body_is_whole, records};
use crate::checkpoint::Checkpoint;
use crate::checksum::Sum;
use crate::cursor::LiveCursor;
use crate::format::{BLOCK_HEADER_LEN, BlockHeader, SegmentHeader, SegmentHeaderScan};
use crate::fs::sim::SimFs;
use crate::fs::{Fs, Mode};
use crate::ranges::RangeSet;
use crate::record::{Put, Record};
use crate::state::{CursorState, State};
use crate::wire::Read;

/// What was decoded, encoded again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether those decode to the same as what was given.
    pub same: bool,
}

/// The header at a segment's beginning; `None` if it is not valid.
pub fn segment_header(bytes: &[u8]) -> Option<Again> {
    let decode = |bytes: &[u8]| match SegmentHeader::decode(bytes) {
        SegmentHeaderScan::Valid(header) => Some(header),
        SegmentHeaderScan::Newer(_) | SegmentHeaderScan::Bad => None,
    };
    again(bytes, decode, |header| Some(header.encode().to_vec()))
}

/// The header at a block's beginning; `None` if it is not valid.
pub fn block_header(bytes: &[u8]) -> Option<Again> {
    let decode = |bytes: &[u8]| BlockHeader::decode(bytes).map(|(header, _)| header);
    again(bytes, decode, |header| Some(header.encode().0.to_vec()))
}

/// A whole and readable block at the beginning of the bytes, padding included; it is written again
/// by the writer of blocks.
pub fn block(bytes: &[u8]) -> Option<Again> {
    let decode = |bytes: &[u8]| {
        let (header, _) = BlockHeader::decode(bytes)?;
        let body = bytes.get(BLOCK_HEADER_LEN..)?.get(..header.body_len as usize)?;
        let body = Bytes::copy_from_slice(body);
        let whole = body_is_whole(&header, &body);
        // What follows from the body is left out: it is as the writer would have it.
        let fields = BlockHeader { records: 0, body_len: 0, plain_len: 0, body_crc: 0, ..header };
        records(&header, body).filter(|_| whole).map(|records| (fields, records))
    };
    again(bytes, decode, |(header, records)| {
        let mut body = Body::default();
        records.iter().for_each(|record| body.push(record, sum_of_events(record)));
        let (dir, path) = (Path::new("/d"), Path::new("/d/block"));
        let disk = SimFs::new(0);
        disk.create_dir(dir).ok()?;
        let file = disk.open(path, Mode::CreateNew).ok()?;
        let (header, _) = body.complete(*header).encode();
        body.write(&header, &*file, 0).ok()?;
        Some(disk.read_file(path))
    })
}

/// The record at the beginning of the bytes, and how many of them it takes.
pub fn record(bytes: &[u8]) -> Option<(Again, usize)> {
    let decode = |bytes: &[u8]| Record::decode(&mut Read::new(Bytes::copy_from_slice(bytes)));
    let mut read = Read::new(Bytes::copy_from_slice(bytes));
    Record::decode(&mut read)?;
    let len = bytes.len() - read.rest().len();
    let again = again(&bytes[..len], decode, |record| {
        let mut out = Vec::new();
        record.encode(&mut out, sum_of_events(record));
        if let Record::Put(put) = record {
            out.extend_from_slice(&put.events);
        }
        Some(out)
    })?;
    Some((again, len))
}

/// A State, to the last byte.
pub fn state(bytes: &[u8]) -> Option<Again> {
    let decode = |bytes: &[u8]| {
        let mut read = Read::new(Bytes::copy_from_slice(bytes));
        State::decode(&mut read).filter(|_| read.is_empty())
    };
    again(bytes, decode, |state| {
        let mut out = Vec::new();
        state.encode(&mut out);
        Some(out)
    })
}

/// A checkpoint.
pub fn checkpoint(bytes: &[u8]) -> Option<Again> {
    again(bytes, Checkpoint::decode, Checkpoint::encode)
}

/// The checksum that the log uses.
pub fn checksum(bytes: &[u8]) -> u32 {
    Sum::of(bytes).crc()
}

/// The checksum of two neighbours, whose own are taken first and then joined.
pub fn checksum_joined(one: &[u8], other: &[u8]) -> u32 {
    Sum::of(one).then(other, Sum::of(other)).crc()
}

/// A block with one put of `count` events, which are `events`; as a leader gathers and writes it, but
/// for the system call.
pub fn encode_block(count: u32, events: &Bytes) -> [u8; BLOCK_HEADER_LEN] {
    let put = Put { first_seq: 1, count, events: events.clone(), ..Put::default() };
    let mut body = Body::default();
    body.push(&Record::Put(put), Sum::of_long(events));
    let next_seq_after = 1 + u64::from(count);
    let fields = BlockHeader { next_seq_before: 1, next_seq_after, ..BlockHeader::default() };
    body.complete(fields).encode().0
}

/// How many records a whole block has that stands at the beginning of the bytes; read as a taker
/// reads it.
pub fn decode_block(bytes: &Bytes) -> Option<usize> {
    let (header, _) = BlockHeader::decode(bytes)?;
    let end = BLOCK_HEADER_LEN + header.body_len as usize;
    let body = (end <= bytes.len()).then(|| bytes.slice(BLOCK_HEADER_LEN..end))?;
    let whole = body_is_whole(&header, &body);
    records(&header, body).filter(|_| whole).map(|records| records.len())
}

/// A cursor of a channel that holds so many events, alone.
#[derive(Debug)]
pub struct CursorAlone {
    live: LiveCursor,
    state: CursorState,
    next_seq: u64,
}

impl CursorAlone {
    /// One that has acknowledged nothing.
    pub fn new(events: u64) -> CursorAlone {
        let state = CursorState::default();
        CursorAlone { live: LiveCursor::new(&state), state, next_seq: 1 + events }
    }

    /// Reserves so many events for a take, and acknowledges them, or gives them back. How many it
    /// got.
    pub fn take(&mut self, events: usize, acknowledges: bool) -> u64 {
        let mut mine = RangeSet::new();
        let acked = &self.state.acked;
        let ranges = self.live.reserve(&mut mine, acked, self.next_seq, events as u64, usize::MAX);
        let got = mine.len();
        if acknowledges {
            ranges.iter().for_each(|range| _ = self.state.acked.insert(*range));
            self.live.acknowledged(&ranges);
        } else {
            self.live.rollback(&mut mine, &self.state.acked);
        }
        got
    }
}

fn sum_of_events(record: &Record) -> Option<Sum> {
    match record {
        Record::Put(put) => Sum::of_long(&put.events),
        _ => None,
    }
}

fn again<T: PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Option<T>,
    encode: impl FnOnce(&T) -> Option<Vec<u8>>,
) -> Option<Again> {
    let value = decode(bytes)?;
    // What was decoded and cannot be encoded is not the same.
    let bytes = encode(&value).unwrap_or_default();
    let same = decode(&bytes).is_some_and(|back| back == value);
    Some(Again { bytes, same })
}
