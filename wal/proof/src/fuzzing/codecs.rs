//! Any bytes into the decoders. Nothing panics; what is read and written again is the same, is no
//! longer than what was read, and where nothing may be passed over, it is the same to the byte.

use forebay_wal::doors::{self, Again};

use super::mend::{self, BLOCK_HEADER, SEGMENT_HEADER};

/// The first byte says how the rest is to be understood, and whether its checksums are mended.
pub fn block(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    match how % 5 {
        0 => {}
        1 => mend::block(&mut bytes),
        2 => {
            // A body alone, under a header of zeroes.
            bytes.splice(0..0, [0; BLOCK_HEADER]);
            mend::block(&mut bytes);
        }
        3 => mend::block_header(&mut bytes),
        _ => mend::segment_header(&mut bytes),
    }
    check_segment_header(&bytes);
    check_block_header(&bytes);
    if let Some(len) = mend::body_of(&bytes) {
        check_records(&bytes[BLOCK_HEADER..BLOCK_HEADER + len]);
    }
    if let Some(again) = doors::block(&bytes) {
        let len = mend::body_of(&bytes).expect("a block with a body that is not there");
        let read = (BLOCK_HEADER + len).next_multiple_of(4096);
        check("a block", &again, read, doors::block);
    }
}

fn check_segment_header(bytes: &[u8]) {
    let Some(again) = doors::segment_header(bytes) else { return };
    check("a segment's header", &again, SEGMENT_HEADER, doors::segment_header);
    // Version and length of the header, what is reserved, and the checksum over all that.
    check_equal(&again, bytes, &[0..8, 16..88]);
}

fn check_block_header(bytes: &[u8]) {
    let Some(again) = doors::block_header(bytes) else { return };
    check("a block's header", &again, BLOCK_HEADER, doors::block_header);
    check_equal(&again, bytes, &[0..4, 6..172]);
}

fn check_records(body: &[u8]) {
    let mut at = 0;
    while let Some((again, len)) = doors::record(&body[at..]) {
        let read = &body[at..at + len];
        check("a record", &again, len, |bytes| doors::record(bytes).map(|(again, _)| again));
        // Put and State have what is passed over; other records, and a put without extras, have
        // one form.
        let exact = match read[4] {
            1 => mend::u32_at(read, 24) == Some(0),
            2..=5 | 7 => true,
            _ => false,
        };
        if exact {
            check_equal(&again, read, &[0..5, 12..len]);
        }
        at += len;
    }
}

/// The bytes of a State.
pub fn state(input: &[u8]) {
    if let Some(again) = doors::state(input) {
        check("a State", &again, input.len(), doors::state);
    }
}

/// The first byte says how the rest is to be understood, and whether its checksums are mended.
pub fn checkpoint(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    let file = match how % 4 {
        0 => bytes.to_vec(),
        1 => {
            let mut file = bytes.to_vec();
            mend::checkpoint(&mut file);
            file
        }
        2 => framed(bytes),
        // Number, segment, offset and chain, then a State.
        _ => {
            let (place, state) = bytes.split_at(bytes.len().min(28));
            let len = (state.len() as u64).to_le_bytes();
            framed(&[place, &len[..], state].concat())
        }
    };
    if let Some(again) = doors::checkpoint(&file) {
        check("a checkpoint", &again, file.len(), doors::checkpoint);
    }
}

/// A body with the header of a checkpoint before it.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut file = vec![0; mend::CHECKPOINT_HEADER];
    file[12..16].copy_from_slice(&(body.len() as u32).to_le_bytes());
    file.extend_from_slice(body);
    mend::checkpoint(&mut file);
    file
}

fn check(what: &str, again: &Again, len_read: usize, door: impl Fn(&[u8]) -> Option<Again>) {
    assert!(again.same, "{what} is read in another way than it was written");
    let len = again.bytes.len();
    assert!(len <= len_read, "{what} grew from {len_read} to {len} bytes");
    let twice = door(&again.bytes).map(|twice| twice.bytes);
    assert_eq!(twice.as_ref(), Some(&again.bytes), "{what} has no settled form");
}

fn check_equal(again: &Again, read: &[u8], ranges: &[std::ops::Range<usize>]) {
    for range in ranges {
        assert_eq!(again.bytes.get(range.clone()), read.get(range.clone()), "bytes {range:?}");
    }
}
