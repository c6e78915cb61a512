//! Makes the checksums of changed bytes good again, so that what they say is looked at. The layout
//! is the one that `FORMAT.md` draws; nothing here is shared with the log's own code.

pub(crate) const BLOCK_HEADER: usize = 192;
pub(crate) const SEGMENT_HEADER: usize = 128;
pub(crate) const CHECKPOINT_HEADER: usize = 24;
pub(crate) const RECORD_HEADER: usize = 12;
/// Where in a block's header the count of records stands, and the length of the body.
const RECORDS_AT: usize = 104;
const BODY_LEN_AT: usize = 108;
const STATE: u8 = 6;
const SEAL: u8 = 7;

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn set_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn set_sum(bytes: &mut [u8], at: usize, of: std::ops::Range<usize>) {
    let sum = crc32fast::hash(&bytes[of]);
    set_u32(bytes, at, sum);
}

/// A segment's header: magic, version, alignment, checksum.
pub(crate) fn segment_header(header: &mut [u8]) {
    if header.len() >= SEGMENT_HEADER {
        header[..8].copy_from_slice(b"FOREBAY\x01");
        set_u32(header, 8, 1);
        set_u32(header, 56, 4096);
        set_sum(header, 124, 0..124);
    }
}

/// A block's header alone: magic, version, length, checksum.
pub(crate) fn block_header(header: &mut [u8]) {
    if header.len() >= BLOCK_HEADER {
        header[..8].copy_from_slice(b"fbBK\x01\0\xc0\0");
        set_sum(header, 188, 0..188);
    }
}

/// The records of a body, as (start, end); the last one is what is left.
pub(crate) fn records(body: &[u8]) -> Vec<(usize, usize)> {
    let mut records = Vec::new();
    let mut at = 0;
    while at + RECORD_HEADER <= body.len() {
        let len = u32_at(body, at).unwrap_or(0) as usize;
        let end = (at + RECORD_HEADER).saturating_add(len).min(body.len());
        records.push((at, end));
        at = end;
    }
    records
}

/// Length and checksum of each record of a body; how many have an LSN.
pub(crate) fn body(body: &mut [u8]) -> u32 {
    let mut counted = 0;
    for (start, end) in records(body) {
        let record = &mut body[start..end];
        let len = (record.len() - RECORD_HEADER) as u32;
        set_u32(record, 0, len);
        let sum = crc32fast::hash(&[&record[..8], &record[RECORD_HEADER..]].concat());
        set_u32(record, 8, sum);
        counted += u32::from(record[4] != STATE && record[4] != SEAL);
    }
    counted
}

/// A header with a body right behind it: every length, count and checksum.
pub(crate) fn block(block: &mut [u8]) {
    if block.len() < BLOCK_HEADER {
        return;
    }
    let (header, rest) = block.split_at_mut(BLOCK_HEADER);
    let counted = body(rest);
    set_u32(header, RECORDS_AT, counted);
    set_u32(header, BODY_LEN_AT, rest.len() as u32);
    set_u32(header, 168, crc32fast::hash(rest));
    block_header(header);
}

/// The extent of the body that a block's header speaks of, if it is all there.
pub(crate) fn body_of(block: &[u8]) -> Option<usize> {
    let len = u32_at(block, BODY_LEN_AT)? as usize;
    (BLOCK_HEADER.checked_add(len)? <= block.len()).then_some(len)
}

/// A checkpoint: its body is as long as the header says, or as there are bytes.
pub(crate) fn checkpoint(file: &mut [u8]) {
    if file.len() < CHECKPOINT_HEADER {
        return;
    }
    let len = u32_at(file, 12).unwrap_or(0) as usize;
    let end = CHECKPOINT_HEADER.saturating_add(len).min(file.len());
    file[..8].copy_from_slice(b"FORECKP\x01");
    set_u32(file, 8, 1);
    set_u32(file, 12, (end - CHECKPOINT_HEADER) as u32);
    set_sum(file, 16, CHECKPOINT_HEADER..end);
    set_sum(file, 20, 0..20);
}
