//! Reads a segment and reports the whole blocks in it. It decides nothing.

use std::io;

use bytes::Bytes;

use crate::block::{Owner, Seen, body_is_whole, look};
use crate::format::{BLOCK_ALIGN, BLOCK_HEADER_LEN, BlockHeader};
use crate::fs::{File, read_full_at, read_medium};

/// How much is read at once at most.
const WINDOW_BYTES: usize = 1 << 20;
/// How much is read first: of many segments only the head is looked at.
const WINDOW_BYTES_FIRST: usize = 32 << 10;

/// A whole block: header and body are as they were written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) header: BlockHeader,
    /// The checksum of its header, which the next block names.
    pub(crate) crc: u32,
}

impl Found {
    /// Where the next block begins.
    pub(crate) fn end(&self) -> u64 {
        self.header.offset + self.header.total_bytes()
    }
}

/// What a look at a stretch of a segment gave.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The whole blocks, by offset.
    pub(crate) blocks: Vec<Found>,
    /// Headers of this lap whose body was not whole: torn or damaged.
    pub(crate) broken: Vec<BlockHeader>,
    /// Whether anything at the first slot looked as if it had been written.
    pub(crate) first_is_bad: bool,
}

/// A window over a file that moves forward.
pub(crate) struct Window<'a> {
    file: &'a dyn File,
    bytes: Vec<u8>,
    start: u64,
    /// How much is read next.
    next_bytes: usize,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn File) -> Window<'a> {
        Window { file, bytes: Vec::new(), start: 0, next_bytes: WINDOW_BYTES_FIRST }
    }

    /// `len` bytes at `offset`, or as many as the file has.
    pub(crate) fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let inside =
            offset >= self.start && offset + len as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            let want = len.max(self.next_bytes);
            self.next_bytes = (8 * self.next_bytes).min(WINDOW_BYTES);
            self.bytes.resize(want, 0);
            let got = read_full_at(self.file, &mut self.bytes, offset)?;
            self.bytes.truncate(got);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        let until = (from + len).min(self.bytes.len());
        Ok(&self.bytes[from.min(until)..until])
    }

    /// The body of a block.
    pub(crate) fn body(&mut self, header: &BlockHeader) -> io::Result<&[u8]> {
        self.at(header.offset + BLOCK_HEADER_LEN as u64, header.body_len as usize)
    }
}

/// Finds the whole blocks of a segment between two offsets. A slot that holds none is passed over,
/// so that damage hides nothing behind it.
pub(crate) fn scan(file: &dyn File, owner: Owner, from: u64, until: u64) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut window = Window::new(file);
    let mut offset = from;
    // Where a block should stand.
    let mut expected = from;
    while offset + BLOCK_ALIGN <= until {
        let slot = window.at(offset, BLOCK_ALIGN as usize)?;
        if slot.is_empty() {
            break;
        }
        match look(slot, owner, offset) {
            Seen::Header(header, crc) => {
                let fits = offset + header.total_bytes() <= until;
                if fits && body_is_whole(&header, window.body(&header)?) {
                    scan.blocks.push(Found { header, crc });
                    offset += header.total_bytes();
                    expected = offset;
                    continue;
                }
                if fits && let Some(found) = look_again(file, owner, offset)? {
                    offset = found.end();
                    expected = offset;
                    scan.blocks.push(found);
                    continue;
                }
                scan.broken.push(header);
            }
            Seen::Nothing => {}
            Seen::Bad => {
                if offset == expected
                    && let Some(found) = look_again(file, owner, offset)?
                    && found.end() <= until
                {
                    offset = found.end();
                    expected = offset;
                    scan.blocks.push(found);
                    continue;
                }
                scan.first_is_bad |= offset == from;
            }
        }
        offset += BLOCK_ALIGN;
    }
    Ok(scan)
}

/// The body of a block that was found whole.
pub(crate) fn read_body(file: &dyn File, header: &BlockHeader) -> io::Result<Bytes> {
    let mut body = vec![0; header.body_len as usize];
    let at = header.offset + BLOCK_HEADER_LEN as u64;
    crate::fs::read_exact_at(file, &mut body, at)?;
    if !body_is_whole(header, &body) {
        read_medium(file, &mut body, at)?;
    }
    Ok(body.into())
}

/// What cannot be right is read once more, from the medium, before anybody calls it damaged.
fn look_again(file: &dyn File, owner: Owner, offset: u64) -> io::Result<Option<Found>> {
    let mut slot = vec![0; BLOCK_ALIGN as usize];
    if !read_medium(file, &mut slot, offset)? {
        return Ok(None);
    }
    let Seen::Header(header, crc) = look(&slot, owner, offset) else { return Ok(None) };
    let found = Found { header, crc };
    Ok(is_on_medium(file, &found)?.then_some(found))
}

/// Whether a block stands on the medium as it stands in the cache: what was written and never
/// synced is readable until the power goes.
pub(crate) fn is_on_medium(file: &dyn File, found: &Found) -> io::Result<bool> {
    let total = BLOCK_HEADER_LEN + found.header.body_len as usize;
    let mut bytes = vec![0; total];
    if !read_medium(file, &mut bytes, found.header.offset)? {
        return Ok(false);
    }
    let header = BlockHeader::decode(&bytes);
    Ok(header == Some((found.header, found.crc))
        && body_is_whole(&found.header, &bytes[BLOCK_HEADER_LEN..]))
}
