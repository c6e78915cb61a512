//! Blocks whose checksums are good and whose words are not true: nobody writes them, and whoever
//! reads them neither panics nor goes on for ever.

use std::collections::BTreeSet;

use forebay_proof::filled::{CURSORS, Filled, filled, losses, named};
use forebay_proof::lab::{Block, Lab, PUT, blocks, drain, put};
use forebay_proof::model::{DIR, id_of};
use forebay_wal::{Background, Options, SyncClass};

/// Where a block's header says what the next seq is behind it.
const NEXT_SEQ_AFTER: u64 = 80;
const HEADER_CRC: usize = 188;
/// The kind of a State record.
const STATE: u8 = 6;

/// Puts another number into a block's header, and makes its checksum good.
fn forge_header(lab: &Lab, filled: &Filled, segment: usize, block: &Block, at: u64, number: u64) {
    let path = &filled.live[segment].0;
    lab.fs.overwrite(path, block.offset + at, &number.to_le_bytes());
    let bytes = lab.fs.read_file(path);
    let from = block.offset as usize;
    let sum = crc32fast::hash(&bytes[from..from + HEADER_CRC]);
    lab.fs.overwrite(path, block.offset + HEADER_CRC as u64, &sum.to_le_bytes());
}

#[test]
fn p6_p7_a_block_that_says_it_goes_further_than_the_log_ends_no_channel() {
    let filled = filled(18);
    for (segment, seq) in [(0, 56_064), (1, 56_064), (2, 1 << 40)] {
        let (path, found) = &filled.live[segment];
        let puts: Vec<&Block> = found.iter().filter(|block| block.has(PUT)).collect();
        let (hit, forged) = (puts[1], puts[2]);
        let lab = filled.lab.copy();
        // The events of one block are missing, and the next one speaks of seqs that nobody has.
        lab.fs.flip_bit(path, hit.offset + 100, 0);
        forge_header(&lab, &filled, segment, forged, NEXT_SEQ_AFTER, seq);
        let channel = lab.open();
        for cursor in CURSORS {
            drain(&channel, cursor);
        }
        lab.idle(&channel);
        lab.idle(&channel);
        let receipt = put(&channel, [1_000_000]).expect("it takes puts");
        let last = filled.events.keys().next_back().expect("events");
        assert_eq!(receipt.first_seq, last + 1, "what a block says moves the log");
        let lost: BTreeSet<u64> = (hit.seqs.0..hit.seqs.1).collect();
        assert!(named(&losses(&channel)).is_superset(&lost), "{:?}", losses(&channel));
        assert_eq!(drain(&channel, "main").last().map(|last| last.1), Some(1_000_000));
    }
}

/// Makes the checksums of a block with one record good again.
fn mend(block: &mut [u8]) {
    let sum = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
    let body_len = u32::from_le_bytes(block[108..112].try_into().expect("four bytes"));
    let end = 192 + body_len as usize;
    let record = sum(&[&block[192..200], &block[204..end]].concat());
    block[200..204].copy_from_slice(&record);
    let body = sum(&block[192..end]);
    block[168..172].copy_from_slice(&body);
    let head = sum(&block[..HEADER_CRC]);
    block[HEADER_CRC..192].copy_from_slice(&head);
}

#[test]
fn p7_a_hole_of_more_seqs_than_can_be_counted_is_passed_over_at_once() {
    const END: u64 = 1 << 60;
    let lab = Lab::new(4);
    let options = Options::new().bytes_max(1 << 20).background(Background::Manual);
    let lab = lab.with(options.sync(SyncClass::Os));
    put(&lab.open(), 1..4).expect("room");
    // What was reserved and not used is absent from here on, and the State says so.
    drop(lab.open());
    let lab = lab.copy();
    for name in ["checkpoint.a", "checkpoint.b"] {
        lab.fs.remove_quietly(format!("{DIR}/{name}"));
    }
    let segments = lab.segments();
    let bytes = lab.fs.read_file(&segments[0]);
    let found = blocks(&bytes);
    let newest = found.last().expect("blocks").generation;
    let states = found.iter().filter(|block| block.generation == newest && block.has(STATE));
    for block in states {
        let mut state = bytes[block.offset as usize..block.end() as usize].to_vec();
        // In the payload: next_seq; behind id and name of `main` its one acknowledged range, of
        // which nothing is left; then no state, producer or position; then the one absent range.
        let payload = 204;
        assert_eq!(state[payload + 88..payload + 98], b"\x04\0main\x01\0\0\0"[..]);
        let (acked, absent) = (payload + 98, payload + 98 + 16 + 4 + 4 + 4 + 4);
        assert_eq!(state[acked..acked + 16], state[absent..absent + 16]);
        state[payload + 44..payload + 52].copy_from_slice(&END.to_le_bytes());
        state.copy_within(acked..acked + 8, acked + 8);
        state[absent + 8..absent + 16].copy_from_slice(&END.to_le_bytes());
        mend(&mut state);
        lab.fs.overwrite(&segments[0], block.offset, &state);
    }
    let channel = lab.open();
    let mut take = channel.take_transaction("main").expect("a take");
    // One at a time, so that no single step covers the hole.
    for id in 1..4 {
        assert_eq!(take.take().expect("an event").map(|taken| id_of(&taken.bytes)), Some(id));
    }
    assert_eq!(take.take().expect("it ends"), None);
    take.commit().expect("an acknowledgement");
    let receipt = put(&channel, [4]).expect("it takes puts");
    assert!(receipt.first_seq >= END);
    assert_eq!(drain(&channel, "main"), [(receipt.first_seq, 4)]);
}
