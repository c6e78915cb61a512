//! Every constant of the bytes on disk, and the two headers. `FORMAT.md` draws them.
//!
//! All numbers are little-endian. Codecs stand in pairs: what one writes, the next reads.

use crate::checksum::{Sum, crc};

/// The version of the format that this code writes.
pub(crate) const VERSION: u32 = 1;
/// Blocks start and end on multiples of this; a sector of it is written once.
pub(crate) const BLOCK_ALIGN: u64 = 4096;

/// Ids, LSNs, seqs and generations stay below this, so that adding to one never overflows.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// A segment begins with these bytes.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"FOREBAY\x01";
/// The length of a segment's header; its sector holds nothing else.
pub(crate) const SEGMENT_HEADER_LEN: usize = 128;
/// Where a segment's first block, the State, stands.
pub(crate) const STATE_OFFSET: u64 = BLOCK_ALIGN;
/// The smallest and the largest segment a reader accepts.
pub(crate) const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (128 << 10)..=(64 << 20);

/// A block begins with these bytes.
pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"fbBK";
/// The length of a block's header.
pub(crate) const BLOCK_HEADER_LEN: usize = 192;
/// A seal's block, or a watermark's: one sector.
pub(crate) const SMALL_BLOCK_BYTES: u64 = BLOCK_ALIGN;

/// The length of a record's header.
pub(crate) const RECORD_HEADER_LEN: usize = 12;

const _: () = assert!(SEGMENT_HEADER_LEN == 8 + 4 + 4 + 16 + 8 * 3 + 4 + 4 + 8 * 3 + 36 + 4);
const _: () =
    assert!(BLOCK_HEADER_LEN == 4 + 2 + 2 + 16 + 8 * 10 + 4 * 3 + 4 + 4 + 4 + 24 + 16 + 4 + 16 + 4);
const _: () = assert!(BLOCK_HEADER_LEN as u64 <= BLOCK_ALIGN);
const _: () = assert!(SEGMENT_HEADER_LEN as u64 <= STATE_OFFSET);

/// A channel's identity.
pub(crate) type Uuid = [u8; 16];

/// What a segment's first sector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) uuid: Uuid,
    pub(crate) id: u64,
    pub(crate) salt: u64,
    pub(crate) len_bytes: u64,
    /// 0 for a new file, 1 for one that was used before.
    pub(crate) lap: u32,
    pub(crate) made_us: i64,
    /// The highest LSN that was synced when the header was written, and the seq behind it: what is
    /// known of the log even if its newest segment is gone.
    pub(crate) durable_lsn: u64,
    pub(crate) next_seq: u64,
}

/// What a reader sees in a segment's first sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentHeaderScan {
    Valid(SegmentHeader),
    /// A good checksum, and a version above ours.
    Newer(u32),
    /// Not a header, or a damaged one.
    Bad,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut out = [0; SEGMENT_HEADER_LEN];
        let mut put = Cursor { out: &mut out, at: 0 };
        put.bytes(&SEGMENT_MAGIC);
        put.bytes(&VERSION.to_le_bytes());
        put.bytes(&(SEGMENT_HEADER_LEN as u32).to_le_bytes());
        put.bytes(&self.uuid);
        put.bytes(&self.id.to_le_bytes());
        put.bytes(&self.salt.to_le_bytes());
        put.bytes(&self.len_bytes.to_le_bytes());
        put.bytes(&(BLOCK_ALIGN as u32).to_le_bytes());
        put.bytes(&self.lap.to_le_bytes());
        put.bytes(&self.made_us.to_le_bytes());
        put.bytes(&self.durable_lsn.to_le_bytes());
        put.bytes(&self.next_seq.to_le_bytes());
        seal(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> SegmentHeaderScan {
        let Some(head) = checked::<SEGMENT_HEADER_LEN>(bytes, &SEGMENT_MAGIC) else {
            return SegmentHeaderScan::Bad;
        };
        let mut get = Fields { bytes: head, at: SEGMENT_MAGIC.len() };
        let version = get.u32();
        if version > VERSION {
            return SegmentHeaderScan::Newer(version);
        }
        let _len = get.u32();
        let header = SegmentHeader {
            uuid: get.array(),
            id: get.u64(),
            salt: get.u64(),
            len_bytes: get.u64(),
            lap: {
                let align = get.u32();
                if u64::from(align) != BLOCK_ALIGN {
                    return SegmentHeaderScan::Bad;
                }
                get.u32()
            },
            made_us: get.u64() as i64,
            durable_lsn: get.u64(),
            next_seq: get.u64(),
        };
        let whole = SEGMENT_BYTES.contains(&header.len_bytes)
            && header.len_bytes.is_multiple_of(BLOCK_ALIGN)
            && header.durable_lsn < NUMBER_MAX
            && header.next_seq < NUMBER_MAX
            && header.id < NUMBER_MAX;
        if whole { SegmentHeaderScan::Valid(header) } else { SegmentHeaderScan::Bad }
    }
}

/// What a block says of itself, before its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BlockHeader {
    pub(crate) uuid: Uuid,
    pub(crate) segment: u64,
    pub(crate) salt: u64,
    pub(crate) offset: u64,
    pub(crate) generation: u64,
    /// The first LSN of that generation: older blocks from there on are void.
    pub(crate) generation_lsn: u64,
    /// The LSN of its first record.
    pub(crate) first_lsn: u64,
    pub(crate) next_seq_before: u64,
    pub(crate) next_seq_after: u64,
    /// The highest LSN known to be synced when this block was written.
    pub(crate) durable_lsn: u64,
    pub(crate) written_us: i64,
    pub(crate) records: u32,
    pub(crate) body_len: u32,
    pub(crate) plain_len: u32,
    pub(crate) sync_class: u8,
    pub(crate) codec: u8,
    pub(crate) cipher: u8,
    pub(crate) lane: u8,
    pub(crate) key_id: u32,
    /// The header checksum of the block before, wherever it stands.
    pub(crate) prev_crc: u32,
    pub(crate) nonce: [u8; 24],
    pub(crate) tag: [u8; 16],
    pub(crate) body_crc: u32,
}

impl BlockHeader {
    /// The LSN behind its last record.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.first_lsn.saturating_add(u64::from(self.records))
    }

    /// The bytes from its start to the next block's.
    pub(crate) fn total_bytes(&self) -> u64 {
        block_bytes(self.body_len as usize)
    }

    /// The header's bytes; the checksum they end with names the block in the chain.
    pub(crate) fn encode(&self) -> ([u8; BLOCK_HEADER_LEN], u32) {
        let mut out = [0; BLOCK_HEADER_LEN];
        let mut put = Cursor { out: &mut out, at: 0 };
        put.bytes(&BLOCK_MAGIC);
        put.bytes(&(VERSION as u16).to_le_bytes());
        put.bytes(&(BLOCK_HEADER_LEN as u16).to_le_bytes());
        put.bytes(&self.uuid);
        let numbers = [
            self.segment,
            self.salt,
            self.offset,
            self.generation,
            self.generation_lsn,
            self.first_lsn,
            self.next_seq_before,
            self.next_seq_after,
            self.durable_lsn,
            self.written_us as u64,
        ];
        for number in numbers {
            put.bytes(&number.to_le_bytes());
        }
        for number in [self.records, self.body_len, self.plain_len] {
            put.bytes(&number.to_le_bytes());
        }
        put.bytes(&[self.sync_class, self.codec, self.cipher, self.lane]);
        put.bytes(&self.key_id.to_le_bytes());
        put.bytes(&self.prev_crc.to_le_bytes());
        put.bytes(&self.nonce);
        put.bytes(&self.tag);
        put.bytes(&self.body_crc.to_le_bytes());
        let crc = seal(&mut out);
        (out, crc)
    }

    /// Reads a header and its checksum; `None` if the checksum, the magic or a length is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(BlockHeader, u32)> {
        let head = checked::<BLOCK_HEADER_LEN>(bytes, &BLOCK_MAGIC)?;
        let mut get = Fields { bytes: head, at: BLOCK_MAGIC.len() };
        let (version, len) = (get.u16(), get.u16());
        if u32::from(version) > VERSION || usize::from(len) != BLOCK_HEADER_LEN {
            return None;
        }
        let header = BlockHeader {
            uuid: get.array(),
            segment: get.u64(),
            salt: get.u64(),
            offset: get.u64(),
            generation: get.u64(),
            generation_lsn: get.u64(),
            first_lsn: get.u64(),
            next_seq_before: get.u64(),
            next_seq_after: get.u64(),
            durable_lsn: get.u64(),
            written_us: get.u64() as i64,
            records: get.u32(),
            body_len: get.u32(),
            plain_len: get.u32(),
            sync_class: get.array::<1>()[0],
            codec: get.array::<1>()[0],
            cipher: get.array::<1>()[0],
            lane: get.array::<1>()[0],
            key_id: get.u32(),
            prev_crc: get.u32(),
            nonce: get.array(),
            tag: get.array(),
            body_crc: get.u32(),
        };
        let numbers = [
            header.segment,
            header.offset,
            header.generation,
            header.generation_lsn,
            header.first_lsn,
        ];
        let sound = u64::from(header.body_len) <= *SEGMENT_BYTES.end()
            && header.next_seq_before <= header.next_seq_after
            && header.next_seq_after < NUMBER_MAX
            && header.durable_lsn < NUMBER_MAX
            && numbers.iter().all(|&number| number < NUMBER_MAX);
        let crc = u32::from_le_bytes(tail_of(head));
        sound.then_some((header, crc))
    }
}

/// The bytes that a block with a body of `body_len` takes.
pub(crate) fn block_bytes(body_len: usize) -> u64 {
    (BLOCK_HEADER_LEN as u64 + body_len as u64).next_multiple_of(BLOCK_ALIGN)
}

/// Writes the checksum of all but the last four bytes into those.
fn seal(out: &mut [u8]) -> u32 {
    let at = out.len() - 4;
    let sum = crc(&out[..at]);
    out[at..].copy_from_slice(&sum.to_le_bytes());
    sum
}

fn tail_of<const N: usize>(head: &[u8; N]) -> [u8; 4] {
    [head[N - 4], head[N - 3], head[N - 2], head[N - 1]]
}

/// The first `N` bytes, if they begin with the magic and end with their checksum.
fn checked<'a, const N: usize>(bytes: &'a [u8], magic: &[u8]) -> Option<&'a [u8; N]> {
    let head: &[u8; N] = bytes.get(..N)?.try_into().ok()?;
    let good = head.starts_with(magic)
        && Sum::of(&head[..N - 4]).crc() == u32::from_le_bytes(tail_of(head));
    good.then_some(head)
}

/// Writes fields one after the other.
struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Reads fields one after the other, from a header whose length is known.
struct Fields<'a, const N: usize> {
    bytes: &'a [u8; N],
    at: usize,
}

impl<const N: usize> Fields<'_, N> {
    fn array<const M: usize>(&mut self) -> [u8; M] {
        let mut out = [0; M];
        out.copy_from_slice(&self.bytes[self.at..self.at + M]);
        self.at += M;
        out
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BlockHeader {
        BlockHeader {
            uuid: [7; 16],
            segment: 3,
            salt: 0x1122_3344_5566_7788,
            offset: 8192,
            generation: 2,
            generation_lsn: 40,
            first_lsn: 50,
            next_seq_before: 1000,
            next_seq_after: 1010,
            durable_lsn: 49,
            written_us: -5,
            records: 2,
            body_len: 777,
            plain_len: 777,
            sync_class: 1,
            body_crc: 0xdead_beef,
            prev_crc: 9,
            ..BlockHeader::default()
        }
    }

    #[test]
    fn a_block_header_is_read_as_it_was_written() {
        let (bytes, crc) = header().encode();
        assert_eq!(BlockHeader::decode(&bytes), Some((header(), crc)));
        assert_eq!(header().total_bytes(), 4096);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (bytes, _) = header().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHeader::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn a_segment_header_of_a_newer_version_is_known_as_such() {
        let header = SegmentHeader {
            uuid: [1; 16],
            id: 9,
            salt: 10,
            len_bytes: 128 << 10,
            lap: 3,
            made_us: 11,
            durable_lsn: 12,
            next_seq: 13,
        };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), SegmentHeaderScan::Valid(header));
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), SegmentHeaderScan::Bad);
        seal(&mut bytes);
        assert_eq!(SegmentHeader::decode(&bytes), SegmentHeaderScan::Newer(2));
        assert_eq!(SegmentHeader::decode(&bytes[..100]), SegmentHeaderScan::Bad);
    }
}
