//! Blocks: what one group commit writes. Records become a body, a header goes before it.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::checksum::{Sum, crc};
use crate::format::{
    BLOCK_ALIGN, BLOCK_HEADER_LEN, BLOCK_MAGIC, BlockHeader, RECORD_HEADER_LEN, block_bytes,
};
use crate::fs::{File, write_all_at};
use crate::record::Record;
use crate::wire::Read;

/// Events of fewer bytes are copied beside their record's head: a system call takes only so many
/// buffers, and each has its price.
const COPY_BELOW_BYTES: usize = 4096;

static ZEROES: [u8; BLOCK_ALIGN as usize] = [0; BLOCK_ALIGN as usize];

/// Gathers records into the body of a block. Events stay in the buffers that they came in.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// The bytes of all records but for the events of large puts.
    heads: Vec<u8>,
    /// Up to where in `heads` a record goes, and the events that follow it.
    parts: Vec<(usize, Bytes)>,
    len: usize,
    records: u32,
    sum: Sum,
}

impl Body {
    /// Appends a record; `events_sum` is the sum of a put's events, if it is known.
    pub(crate) fn push(&mut self, record: &Record, events_sum: Option<Sum>) {
        let start = self.heads.len();
        record.encode(&mut self.heads, events_sum);
        let head = &self.heads[start..];
        self.sum = self.sum.then_bytes(head);
        self.len += head.len();
        if let Record::Put(put) = record {
            self.sum = self.sum.then_known(&put.events, events_sum);
            self.len += put.events.len();
            if put.events.len() < COPY_BELOW_BYTES {
                self.heads.extend_from_slice(&put.events);
            } else {
                self.parts.push((self.heads.len(), put.events.clone()));
            }
        }
        self.records += u32::from(record.has_lsn());
    }

    /// The bytes that the block will take.
    pub(crate) fn block_bytes(&self) -> u64 {
        block_bytes(self.len)
    }

    /// Completes a header with what the body knows.
    pub(crate) fn complete(&self, header: BlockHeader) -> BlockHeader {
        BlockHeader {
            records: self.records,
            body_len: self.len as u32,
            plain_len: self.len as u32,
            body_crc: self.sum.crc(),
            ..header
        }
    }

    /// Writes header, body and padding as one piece at the header's offset.
    pub(crate) fn write(
        &self,
        header: &[u8; BLOCK_HEADER_LEN],
        file: &dyn File,
        offset_bytes: u64,
    ) -> io::Result<()> {
        let mut bufs = Vec::with_capacity(2 + 2 * self.parts.len() + 1);
        bufs.push(IoSlice::new(header));
        let mut from = 0;
        for (until, events) in &self.parts {
            bufs.push(IoSlice::new(&self.heads[from..*until]));
            bufs.push(IoSlice::new(events));
            from = *until;
        }
        bufs.push(IoSlice::new(&self.heads[from..]));
        let used = BLOCK_HEADER_LEN as u64 + self.len as u64;
        bufs.push(IoSlice::new(&ZEROES[..(self.block_bytes() - used) as usize]));
        write_all_at(file, &mut bufs, offset_bytes)
    }
}

/// Which segment a block must be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) segment: u64,
    pub(crate) salt: u64,
}

/// What stands where a block could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A header of this segment and lap, at its own place, and its checksum. The body is still to
    /// be looked at.
    Header(BlockHeader, u32),
    /// Zeroes, or a block of an earlier lap: nothing was written here in this one.
    Nothing,
    /// Anything else.
    Bad,
}

/// Looks at the first bytes of a slot.
pub(crate) fn look(slot: &[u8], owner: Owner, offset_bytes: u64) -> Seen {
    let head = &slot[..slot.len().min(BLOCK_HEADER_LEN)];
    if !head.starts_with(&BLOCK_MAGIC) {
        let zero = head.iter().all(|&byte| byte == 0);
        return if zero { Seen::Nothing } else { Seen::Bad };
    }
    let Some((header, crc)) = BlockHeader::decode(head) else { return Seen::Bad };
    if (header.segment, header.salt) != (owner.segment, owner.salt) {
        return Seen::Nothing;
    }
    if header.offset != offset_bytes {
        return Seen::Bad;
    }
    Seen::Header(header, crc)
}

/// What a body holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Contents {
    /// These records.
    Records(Vec<Record>),
    /// It is the one that the header was written for, and its records are not sound.
    Unsound,
    /// It is another one.
    Broken,
}

/// Whether a body is the one that the header was written for, and its records. Each byte is summed
/// once: the sum of the whole is joined from those of the records.
pub(crate) fn open(header: &BlockHeader, body: &Bytes) -> Contents {
    if body.len() != header.body_len as usize {
        return Contents::Broken;
    }
    let plain = header.codec == 0 && header.cipher == 0;
    let (mut read, mut sum) = (Read::new(body.clone()), Sum::default());
    let mut sound = Vec::new();
    while plain && !read.is_empty() {
        match Record::decode_with_sum(&mut read, sum) {
            Some((record, after)) => {
                sound.push(record);
                sum = after;
            }
            None => break,
        }
    }
    let counted = sound.iter().filter(|record| record.has_lsn()).count();
    if plain && read.is_empty() && sum.crc() == header.body_crc {
        let all = counted == header.records as usize;
        return if all { Contents::Records(sound) } else { Contents::Unsound };
    }
    if body_is_whole(header, body) { Contents::Unsound } else { Contents::Broken }
}

/// Whether a body is the one that the header was written for.
pub(crate) fn body_is_whole(header: &BlockHeader, body: &[u8]) -> bool {
    body.len() == header.body_len as usize && crc(body) == header.body_crc
}

/// The records of a body; `None` if they are not as many and as sound as the header says.
pub(crate) fn records(header: &BlockHeader, body: Bytes) -> Option<Vec<Record>> {
    // Codecs and ciphers have their places in the header; this version writes neither.
    if header.codec != 0 || header.cipher != 0 {
        return None;
    }
    // The count is not believed for memory: no record is shorter than its header.
    let most = body.len() / RECORD_HEADER_LEN;
    let mut read = Read::new(body);
    let mut records = Vec::with_capacity((header.records as usize).min(most));
    while !read.is_empty() {
        records.push(Record::decode(&mut read)?);
    }
    let counted = records.iter().filter(|record| record.has_lsn()).count();
    (counted == header.records as usize).then_some(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::SeqRange;
    use crate::record::{Ack, Put};

    #[test]
    fn a_body_is_read_as_it_was_gathered() {
        for len in [3, 2 * COPY_BELOW_BYTES, 65_000] {
            check(len);
        }
    }

    /// A put of two events, one of them empty, behind an acknowledgement.
    fn check(len: usize) {
        let mut events = (len as u16).to_le_bytes().to_vec();
        events.resize(2 + len + 2, b'a');
        events[2 + len..].fill(0);
        let events = Bytes::from(events);
        let put = Record::Put(Put {
            first_seq: 7,
            count: 2,
            producer: Some(("p".into(), 3)),
            positions: vec![("file".into(), Bytes::from_static(b"12"))],
            expires_us: Some(5),
            events: events.clone(),
        });
        let ack = Record::Ack(Ack {
            cursor: 1,
            ranges: vec![SeqRange::new(1, 4)],
            state: Some(Bytes::from_static(b"s")),
        });
        let mut body = Body::default();
        body.push(&ack, None);
        body.push(&put, Sum::of_long(&events));
        let header = body.complete(BlockHeader::default());
        let mut whole = Vec::new();
        let mut from = 0;
        for (until, events) in &body.parts {
            whole.extend_from_slice(&body.heads[from..*until]);
            whole.extend_from_slice(events);
            from = *until;
        }
        whole.extend_from_slice(&body.heads[from..]);
        assert!(body_is_whole(&header, &whole));
        let opened = open(&header, &whole.clone().into());
        assert_eq!(opened, Contents::Records(vec![ack.clone(), put.clone()]));
        assert_eq!(records(&header, whole.clone().into()), Some(vec![ack, put]));
        for bit in (0..whole.len() * 8).step_by(1 + len / 64) {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!body_is_whole(&header, &bad), "bit {bit}");
            assert_eq!(open(&header, &bad.clone().into()), Contents::Broken, "bit {bit}");
            let header = BlockHeader { body_crc: crc(&bad), ..header };
            assert_eq!(open(&header, &bad.clone().into()), Contents::Unsound, "bit {bit}");
            // The records' own checksums notice it as well.
            assert_eq!(records(&header, bad.into()), None, "bit {bit}");
        }
    }
}
