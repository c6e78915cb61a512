//! What stands in a block, with every sum looked at and no long run of bytes summed twice.

use bytes::Bytes;

use crate::checksum::Sum;
use crate::format::{BLOCK_HEADER_LEN, BlockHeader};
use crate::record::{Record, Seal};
use crate::tail::Run;
use crate::wire::Read;

/// What the records of a whole and readable block say that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) records: u64,
    pub(super) events: u64,
    /// The block is a seal, which names where the log goes on.
    pub(super) seal: Option<Seal>,
}

/// What a body turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// What was written, and sound.
    Sound(Contents),
    /// What was written, but not what a reader can make anything of.
    Unreadable,
    /// Not what was written.
    Torn,
}

/// Looks at a block, of which the header is sound; `block` begins with it.
pub(super) fn look_at(header: &BlockHeader, block: &Bytes) -> Body {
    let end = BLOCK_HEADER_LEN + header.body_len as usize;
    if block.len() < end {
        return Body::Torn;
    }
    let body = block.slice(BLOCK_HEADER_LEN..end);
    let mut tally = Tally { at_seq: header.next_seq_before, ..Tally::default() };
    let mut read = Read::new(body.clone());
    // A body that is not what was written has no records that make sense: then it is summed whole.
    while !read.is_empty() {
        match tally.record(&mut read) {
            Some(()) => {}
            None if Sum::of(&body).crc() == header.body_crc => return Body::Unreadable,
            None => return Body::Torn,
        }
    }
    if tally.sum.crc() != header.body_crc {
        return Body::Torn;
    }
    // Codecs and ciphers have their places in the header; this version reads neither.
    let plain = header.codec == 0 && header.cipher == 0;
    if plain && tally.counted == header.records && tally.seqs_are_those_of(header) {
        Body::Sound(tally.contents)
    } else {
        Body::Unreadable
    }
}

#[derive(Default)]
struct Tally {
    sum: Sum,
    contents: Contents,
    /// Records with an LSN.
    counted: u32,
    /// The seq that the next event has.
    at_seq: u64,
    /// Seqs may be passed over: something was lost, dropped, or is of a kind not known here.
    passes_over: bool,
    in_disorder: bool,
}

impl Tally {
    /// Takes in the next record; `None` if it is not sound.
    fn record(&mut self, read: &mut Read) -> Option<()> {
        let (record, sum) = Record::decode_with_sum(read, self.sum)?;
        self.sum = sum;
        self.take_in(&record).then_some(())
    }

    fn take_in(&mut self, record: &Record) -> bool {
        self.contents.records += 1;
        self.counted += u32::from(record.has_lsn());
        match record {
            Record::Put(put) => {
                let count = u64::from(put.count);
                let events = put.events.clone();
                let run = Run { first_seq: put.first_seq, count, events };
                self.in_disorder |= run.first_seq < self.at_seq
                    || (run.first_seq > self.at_seq && !self.passes_over);
                self.at_seq = self.at_seq.max(run.end_seq());
                self.contents.events += count;
                return run.is_sound();
            }
            Record::Seal(seal) => self.contents.seal = Some(seal.clone()),
            Record::Drop(_) | Record::Loss(_) | Record::Optional(_) => self.passes_over = true,
            Record::Ack(_) | Record::Cursor(_) | Record::State(_) => {}
        }
        true
    }

    fn seqs_are_those_of(&self, header: &BlockHeader) -> bool {
        let to_the_end = self.at_seq == header.next_seq_after
            || (self.passes_over && self.at_seq < header.next_seq_after);
        to_the_end && !self.in_disorder
    }
}
