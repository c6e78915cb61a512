//! The way of damaged bytes into quarantine, on a disk that fails.

use std::time::Duration;

use forebay_wal::fs::sim::{Call, Fault, Survive};

use forebay_proof::lab::{Lab, PUT, blocks, drain, peek, put};
use forebay_proof::model::DIR;

/// A channel with a damaged block in a segment that nothing needs any more; the name of the copy
/// that is to come, and its bytes.
fn damaged() -> (Lab, String, Vec<u8>) {
    let lab = Lab::new(7);
    let channel = lab.open();
    let mut id = 1;
    while channel.stats().segments_live < 3 {
        put(&channel, id..id + 4).expect("there is room");
        id += 4;
    }
    lab.idle(&channel);
    drop(channel);
    let path = lab.segments().remove(0);
    let found = blocks(&lab.fs.read_file(&path));
    let hit = found.iter().rfind(|block| block.has(PUT)).expect("puts").clone();
    lab.fs.flip_bit(&path, hit.offset + 100, 0);
    lab.fs.drop_cache();
    let bytes = lab.fs.read_file(&path)[hit.offset as usize..hit.end() as usize].to_vec();
    let channel = lab.open();
    peek(&channel, "main");
    assert_eq!(channel.stats().losses, 1);
    lab.idle(&channel);
    drop(channel);
    let segment = path.file_stem().expect("a label").to_string_lossy().into_owned();
    (lab, format!("{segment}-{:010}.damaged", hit.offset), bytes)
}

/// All is taken, so that the segment goes in the next rounds.
fn drained(lab: &Lab) -> forebay_wal::Channel {
    let channel = lab.open();
    drain(&channel, "main");
    drain(&channel, "second");
    channel
}

fn check(what: &str, lab: &Lab, name: &str, bytes: &[u8]) {
    let kept = lab.quarantine();
    assert_eq!(kept.get(name).map(Vec::len), Some(bytes.len()), "{what}: {:?}", kept.keys());
    assert!(kept[name] == bytes, "{what}: other bytes");
}

#[test]
fn p7_p10_one_failed_call_of_any_kind_does_not_lose_damaged_bytes() {
    let (lab, name, bytes) = damaged();
    let mut copied = 0;
    for call in Call::ALL {
        let calm = lab.copy();
        let channel = drained(&calm);
        let before = calm.fs.calls(call);
        calm.idle(&channel);
        let all = calm.fs.calls(call) - before;
        for fault in call.faults() {
            for n in 0..all {
                let what = format!("{call:?} {n} of {all} with {fault:?}");
                let lab = lab.copy();
                let channel = drained(&lab);
                lab.fs.fail_nth(call, n, *fault);
                for _ in 0..3 {
                    lab.idle(&channel);
                }
                assert_eq!(channel.stats().segments_live, 1, "{what}: not reclaimed");
                check(&what, &lab, &name, &bytes);
                assert_eq!(lab.quarantine().len(), 1, "{what}: {:?}", lab.quarantine().keys());
                let cut = lab.on(lab.fs.image(Survive::Nothing));
                check(&format!("{what}, power cut"), &cut, &name, &bytes);
                copied += 1;
            }
        }
    }
    assert!(copied > 20, "{copied}");
}

#[test]
fn p7_p9_a_quarantine_that_always_fails_holds_no_segment_for_ever() {
    let (lab, ..) = damaged();
    for (call, fault) in [
        (Call::CreateDir, Fault::Eio),
        (Call::Create, Fault::Enospc),
        (Call::SyncDir, Fault::SyncFails),
    ] {
        let lab = lab.copy();
        let channel = drained(&lab);
        lab.fs.fail_nth_and_later(call, 0, fault);
        channel.tend();
        let held = channel.stats().segments_live;
        assert!(held > 1, "{call:?}: given up at once");
        for _ in 0..4 {
            lab.idle(&channel);
        }
        assert_eq!(channel.stats().segments_live, 1, "{call:?}: held for ever");
        lab.fs.heal();
        lab.idle(&channel);
        assert!(channel.stats().trouble.is_some(), "{call:?}: without a word");
        let written = lab.fs.ops();
        for _ in 0..10 {
            lab.idle(&channel);
        }
        assert_eq!(lab.fs.ops(), written, "{call:?}: an idle channel writes");
        put(&channel, [1]).expect("there is room");
    }
}

#[test]
fn p9_puts_that_wait_for_space_do_not_wait_for_a_quarantine_that_fails() {
    let (lab, ..) = damaged();
    let channel = drained(&lab);
    lab.fs.fail_nth_and_later(Call::CreateDir, 0, Fault::Eio);
    while put(&channel, 1..4).is_ok() {}
    let held = channel.stats().segments_live;
    let mut waiting = channel.put_transaction();
    waiting.set_wait(Duration::from_secs(3600));
    waiting.put(&[1; 20_000]).expect("it fits");
    let waiting = waiting.commit_async();
    channel.tend();
    let stats = channel.stats();
    assert!(stats.trouble.as_deref().is_some_and(|text| text.contains("quarantine")), "{stats:?}");
    assert!(stats.segments_live <= held, "{stats:?}");
    assert_eq!(stats.events_put % 3, 1, "it still waits: {stats:?}");
    waiting.wait().expect("it has room");
}

#[test]
fn p7_what_a_crash_left_of_a_copy_goes_with_the_next_one() {
    let (lab, name, bytes) = damaged();
    let foreign = format!("{DIR}/quarantine/{name}-mine.begun");
    lab.fs.write_file(&foreign, b"mine");
    lab.fs.write_file(format!("{DIR}/quarantine/{name}-0123456789abcdef.begun"), b"half");
    let channel = drained(&lab);
    lab.idle(&channel);
    check("a copy was begun", &lab, &name, &bytes);
    assert_eq!(lab.quarantine().len(), 2, "{:?}", lab.quarantine().keys());
    assert_eq!(lab.fs.read_file(&foreign), b"mine");
}
