//! Records: the logical entries of the log, and their bytes.
//!
//! A record is a header of 12 bytes (length, kind, flags, checksum) and a payload. `FORMAT.md`
//! draws each kind.

use bytes::Bytes;

use crate::checksum::Sum;
use crate::events::SHORT_HEAD;
use crate::format::{NUMBER_MAX, RECORD_HEADER_LEN};
use crate::ranges::SeqRange;
use crate::state::State;
use crate::wire::{Read, Write};

const KIND_PUT: u8 = 1;
const KIND_ACK: u8 = 2;
const KIND_CURSOR: u8 = 3;
const KIND_DROP: u8 = 4;
const KIND_LOSS: u8 = 5;
const KIND_STATE: u8 = 6;
const KIND_SEAL: u8 = 7;

/// A record of an unknown kind with this flag may be passed over.
const FLAG_OPTIONAL: u8 = 1;

const TAG_PRODUCER: u8 = 1;
const TAG_POSITION: u8 = 2;
const TAG_EXPIRES: u8 = 3;

/// What stands for "no state" where a length stands otherwise.
const NO_STATE: u32 = u32::MAX;

/// The bytes of a put record before its extras and events: header, first seq, count, length.
pub(crate) const PUT_FIXED_LEN: usize = RECORD_HEADER_LEN + 8 + 4 + 4;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    Put(Put),
    Ack(Ack),
    Cursor(CursorChange),
    Drop(Dropped),
    Loss(Loss),
    State(Box<State>),
    Seal(Seal),
    /// Of a kind that this version does not know and may pass over.
    Optional(u8),
}

/// A committed put transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Put {
    pub(crate) first_seq: u64,
    pub(crate) count: u32,
    pub(crate) producer: Option<(String, u64)>,
    pub(crate) positions: Vec<(String, Bytes)>,
    pub(crate) expires_us: Option<i64>,
    /// As `events.rs` writes them.
    pub(crate) events: Bytes,
}

/// A committed take transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Ack {
    pub(crate) cursor: u32,
    pub(crate) ranges: Vec<SeqRange>,
    /// The cursor's new state, if the take carried one.
    pub(crate) state: Option<Bytes>,
}

/// A cursor made or removed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CursorChange {
    /// All before `start` counts as acknowledged.
    Made {
        id: u32,
        name: String,
        start: u64,
    },
    Removed {
        id: u32,
    },
}

/// Why events were dropped without a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The owner of the channel discarded them.
    Discarded,
    /// Seqs that were reserved and never used, so that none is used twice after a power cut.
    Unused,
}

/// Events dropped on every cursor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dropped {
    pub(crate) reason: DropReason,
    pub(crate) ranges: Vec<SeqRange>,
}

/// Why something was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// Bytes of the log changed after they had been synced.
    Damaged,
    /// A segment that the log lists is not in the directory.
    SegmentMissing,
    /// Acknowledged before a sync, as the channel was asked to, and gone with a power cut.
    Unsynced,
}

/// One line of the loss ledger: what was lost, where, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// The events that are lost; empty when only acknowledgements were.
    pub seqs: SeqRange,
    /// The LSN of the first record that is lost, and the one behind the last; equal if unknown.
    pub lsns: (u64, u64),
    /// The segment.
    pub segment: u64,
    /// Where in the segment the unreadable range begins.
    pub offset_bytes: u64,
    /// How long that range is.
    pub len_bytes: u64,
    /// When it was noticed, in microseconds since 1970 by the wall clock.
    pub noticed_us: i64,
}

/// The last record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) next_seq: u64,
    /// Where the log goes on.
    pub(crate) next_segment: u64,
    pub(crate) next_salt: u64,
}

impl Record {
    /// Whether it is counted by an LSN. A State and a Seal say nothing new and are not.
    pub(crate) fn has_lsn(&self) -> bool {
        !matches!(self, Record::State(_) | Record::Seal(_))
    }

    /// Appends the record's bytes, all but the events of a put; `events_sum` is theirs, if it is
    /// known.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, events_sum: Option<Sum>) {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEADER_LEN]);
        let events = self.encode_payload(out);
        let len = out.len() - start - RECORD_HEADER_LEN + events.len();
        let record = &mut out[start..];
        record[0..4].copy_from_slice(&(len as u32).to_le_bytes());
        record[4] = self.kind();
        record[5] = if matches!(self, Record::Optional(_)) { FLAG_OPTIONAL } else { 0 };
        let sum = Sum::of(&record[..8]).then_bytes(&record[RECORD_HEADER_LEN..]);
        let crc = sum.then_known(events, events_sum).crc();
        record[8..12].copy_from_slice(&crc.to_le_bytes());
    }

    fn kind(&self) -> u8 {
        match self {
            Record::Put(_) => KIND_PUT,
            Record::Ack(_) => KIND_ACK,
            Record::Cursor(_) => KIND_CURSOR,
            Record::Drop(_) => KIND_DROP,
            Record::Loss(_) => KIND_LOSS,
            Record::State(_) => KIND_STATE,
            Record::Seal(_) => KIND_SEAL,
            Record::Optional(kind) => *kind,
        }
    }

    fn encode_payload<'a>(&'a self, out: &mut Vec<u8>) -> &'a [u8] {
        match self {
            Record::Put(put) => {
                put.encode(out);
                return &put.events;
            }
            Record::Ack(ack) => ack.encode(out),
            Record::Cursor(change) => change.encode(out),
            Record::Drop(dropped) => {
                out.put_u8(dropped.reason as u8);
                encode_ranges(&dropped.ranges, out);
            }
            Record::Loss(loss) => loss.encode(out),
            Record::State(state) => state.encode(out),
            Record::Seal(seal) => {
                for number in [seal.next_seq, seal.next_segment, seal.next_salt] {
                    out.put_u64(number);
                }
            }
            Record::Optional(_) => {}
        }
        &[]
    }

    /// Reads one record off the front; `None` if what stands there is not whole and sound.
    pub(crate) fn decode(read: &mut Read) -> Option<Record> {
        Some(Record::decode_with_sum(read, Sum::default())?.0)
    }

    /// The same, with the sum of all up to its end, if `before` is the sum of what stands before.
    pub(crate) fn decode_with_sum(read: &mut Read, before: Sum) -> Option<(Record, Sum)> {
        let header = read.take(RECORD_HEADER_LEN)?;
        let mut fields = Read::new(header.clone());
        let len = fields.u32()? as usize;
        let (kind, flags, _) = (fields.u8()?, fields.u8()?, fields.u16()?);
        let crc = fields.u32()?;
        let payload = read.take(len)?;
        let known = Sum::of_long(&payload);
        if Sum::of(&header[..8]).then_known(&payload, known).crc() != crc {
            return None;
        }
        let sum = before.then_bytes(&header).then_known(&payload, known);
        Some((Record::decode_payload(kind, flags, payload)?, sum))
    }

    fn decode_payload(kind: u8, flags: u8, payload: Bytes) -> Option<Record> {
        let mut read = Read::new(payload);
        let record = match kind {
            KIND_PUT => return Put::decode(read).map(Record::Put),
            KIND_ACK => Record::Ack(Ack::decode(&mut read)?),
            KIND_CURSOR => Record::Cursor(CursorChange::decode(&mut read)?),
            KIND_DROP => Record::Drop(Dropped {
                reason: match read.u8()? {
                    0 => DropReason::Discarded,
                    1 => DropReason::Unused,
                    _ => return None,
                },
                ranges: decode_ranges(&mut read)?,
            }),
            KIND_LOSS => Record::Loss(Loss::decode(&mut read)?),
            KIND_STATE => Record::State(Box::new(State::decode(&mut read)?)),
            KIND_SEAL => Record::Seal(Seal {
                next_seq: read.u64()?,
                next_segment: read.u64()?,
                next_salt: read.u64()?,
            }),
            other if flags & FLAG_OPTIONAL != 0 => return Some(Record::Optional(other)),
            _ => return None,
        };
        read.is_empty().then_some(record)
    }
}

impl Put {
    /// The bytes of everything that is neither header nor event.
    pub(crate) fn extras_len(&self) -> usize {
        let producer = self.producer.as_ref().map_or(0, |(name, _)| 5 + 8 + name.len());
        let positions: usize =
            self.positions.iter().map(|(key, value)| 5 + 2 + key.len() + value.len()).sum();
        producer + positions + self.expires_us.map_or(0, |_| 5 + 8)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.first_seq);
        out.put_u32(self.count);
        out.put_u32(self.extras_len() as u32);
        if let Some((name, sequence)) = &self.producer {
            out.put_u8(TAG_PRODUCER);
            out.put_u32(8 + name.len() as u32);
            out.put_u64(*sequence);
            out.extend_from_slice(name.as_bytes());
        }
        for (key, value) in &self.positions {
            out.put_u8(TAG_POSITION);
            out.put_u32((2 + key.len() + value.len()) as u32);
            out.put_name(key);
            out.extend_from_slice(value);
        }
        if let Some(at) = self.expires_us {
            out.put_u8(TAG_EXPIRES);
            out.put_u32(8);
            out.put_u64(at as u64);
        }
    }

    fn decode(mut read: Read) -> Option<Put> {
        let mut put = Put { first_seq: read.u64()?, count: read.u32()?, ..Put::default() };
        let mut extras = Read::new(read.long()?);
        while !extras.is_empty() {
            let tag = extras.u8()?;
            let mut value = Read::new(extras.long()?);
            match tag {
                TAG_PRODUCER => {
                    let sequence = value.u64()?;
                    let name = String::from_utf8(value.rest().to_vec()).ok()?;
                    put.producer = Some((name, sequence));
                }
                TAG_POSITION => put.positions.push((value.name()?, value.rest())),
                TAG_EXPIRES => put.expires_us = Some(value.u64()? as i64),
                // A tag of a later version, which says nothing about the events themselves.
                _ => {}
            }
        }
        put.events = read.rest();
        // Every event has at least its length.
        let sound =
            put.count as usize <= put.events.len() / SHORT_HEAD && put.first_seq < NUMBER_MAX;
        sound.then_some(put)
    }
}

impl Ack {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.cursor);
        match &self.state {
            Some(state) => out.put_long(state),
            None => out.put_u32(NO_STATE),
        }
        encode_ranges(&self.ranges, out);
    }

    /// The bytes of the whole record.
    pub(crate) fn encoded_len(&self) -> usize {
        let state = self.state.as_ref().map_or(0, Bytes::len);
        RECORD_HEADER_LEN + 4 + 4 + state + 4 + 16 * self.ranges.len()
    }

    fn decode(read: &mut Read) -> Option<Ack> {
        let cursor = read.u32()?;
        let state = match read.u32()? {
            NO_STATE => None,
            len => Some(read.take(len as usize)?),
        };
        Some(Ack { cursor, ranges: decode_ranges(read)?, state })
    }
}

impl CursorChange {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            CursorChange::Made { id, name, start } => {
                out.put_u8(1);
                out.put_u32(*id);
                out.put_u64(*start);
                out.put_name(name);
            }
            CursorChange::Removed { id } => {
                out.put_u8(2);
                out.put_u32(*id);
            }
        }
    }

    fn decode(read: &mut Read) -> Option<CursorChange> {
        let (op, id) = (read.u8()?, read.u32()?);
        match op {
            1 => {
                let start = read.u64()?;
                Some(CursorChange::Made { id, name: read.name()?, start })
            }
            2 => Some(CursorChange::Removed { id }),
            _ => None,
        }
    }
}

impl Loss {
    /// The bytes of a line of the ledger.
    pub(crate) const LEN: usize = 1 + 8 * 8;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.reason as u8);
        let numbers = [
            self.seqs.start,
            self.seqs.end,
            self.lsns.0,
            self.lsns.1,
            self.segment,
            self.offset_bytes,
            self.len_bytes,
            self.noticed_us as u64,
        ];
        for number in numbers {
            out.put_u64(number);
        }
    }

    pub(crate) fn decode(read: &mut Read) -> Option<Loss> {
        let reason = match read.u8()? {
            0 => LossReason::Damaged,
            1 => LossReason::SegmentMissing,
            2 => LossReason::Unsynced,
            _ => return None,
        };
        let seqs = decode_range(read)?;
        Some(Loss {
            reason,
            seqs,
            lsns: (read.u64()?, read.u64()?),
            segment: read.u64()?,
            offset_bytes: read.u64()?,
            len_bytes: read.u64()?,
            noticed_us: read.u64()? as i64,
        })
    }
}

fn decode_range(read: &mut Read) -> Option<SeqRange> {
    let (start, end) = (read.u64()?, read.u64()?);
    (start <= end && end < NUMBER_MAX).then_some(SeqRange { start, end })
}

/// A count of 32 bits, then start and end of each range.
pub(crate) fn encode_ranges(ranges: &[SeqRange], out: &mut Vec<u8>) {
    out.put_u32(ranges.len() as u32);
    for range in ranges {
        out.put_u64(range.start);
        out.put_u64(range.end);
    }
}

/// The ranges that [`encode_ranges`] wrote.
pub(crate) fn decode_ranges(read: &mut Read) -> Option<Vec<SeqRange>> {
    let count = read.count(16)?;
    (0..count).map(|_| decode_range(read)).collect()
}
