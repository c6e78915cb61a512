//! Torn or corrupt: thousands of damaged and torn disks, and the smallest of those that were once
//! judged wrong.

use std::path::PathBuf;
use std::time::Duration;

use forebay_proof::filled::{CURSORS, losses, named};
use forebay_proof::lab::{Lab, SECTOR, ack, blocks, peek, put};
use forebay_proof::model::{DIR, options};
use forebay_proof::verdicts::{Where, campaign};
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{LossReason, SyncClass};

#[test]
fn p4_p6_p11_what_was_acknowledged_is_not_called_torn_nor_a_torn_tail_corrupt() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let images = number("FOREBAY_IMAGES").unwrap_or(2000);
    let counts = campaign(images, number("FOREBAY_SEED").unwrap_or(1));
    println!("{counts}");
    assert_eq!(counts.wrong, 0, "{:#?}", counts.wrongs);
    assert_eq!(counts.silent(Where::Outside), 0);
    assert_eq!(counts.called_corrupt, 0);
    assert!(counts.torn > images / 20, "{} torn", counts.torn);
}

#[test]
fn p6_the_header_of_a_torn_block_says_which_seqs_were_lost_before_it() {
    let lab = Lab::new(1);
    let channel = lab.open();
    put(&channel, [2, 3]).expect("there is room");
    let lost = put(&channel, [4, 5]).expect("there is room");
    lab.fs.crash_at(lab.fs.ops() + 1);
    put(&channel, [8]).expect_err("the power goes before the sync");
    drop(channel);
    let path = lab.segments().swap_remove(0);
    let full = lab.fs.image(Survive::Everything).read_file(&path);
    let found = blocks(&full);
    let [.., hit, torn] = &found[..] else { panic!("{found:?}") };
    let mut tried = 0;
    for seed in 0..200 {
        let lab = lab.on(lab.fs.image(Survive::Seed(seed)));
        let bytes = lab.fs.read_file(&path);
        let range = |len: u64| torn.offset as usize..(torn.offset + len) as usize;
        let head_is_there = bytes[range(192)] == full[range(192)];
        if !head_is_there || bytes[range(torn.len)] == full[range(torn.len)] {
            continue;
        }
        tried += 1;
        lab.fs.flip_bit(&path, hit.offset + 100, 1);
        let channel = lab.open();
        let seqs = (lost.first_seq..lost.first_seq + lost.events).collect();
        assert_eq!(named(&losses(&channel)), seqs);
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn p4_no_seq_is_used_again_when_the_newest_segment_is_gone_that_a_weaker_class_reserved_in() {
    let class = SyncClass::Interval(Duration::from_millis(100));
    let lab = Lab::new(1).with(options(class));
    let mut channel = lab.open();
    let mut id = 1;
    while channel.stats().segments_live < 2 {
        put(&channel, id..id + 4).expect("there is room");
        id += 4;
    }
    let mut last = 0;
    for id in id..id + 5 {
        // Each open passes over what the one before had reserved.
        drop(channel);
        channel = lab.open();
        last = put(&channel, [id]).expect("there is room").first_seq;
    }
    drop(channel);
    let used = |path: &&PathBuf| !blocks(&lab.fs.read_file(path)).is_empty();
    let newest = lab.segments().iter().rfind(used).expect("a segment").clone();
    lab.fs.remove_quietly(newest);
    let channel = lab.open();
    assert_eq!(channel.stats().losses, 1);
    let next = put(&channel, [1_000_000]).expect("there is room").first_seq;
    assert!(next > last, "seq {next} is used again, the last was {last}");
}

/// A channel with segments that have been through several laps, and an image of its first lap.
fn after_laps() -> (Lab, SimFs) {
    let lab = Lab::new(1);
    let channel = lab.open();
    let mut early = None;
    let mut id = 1;
    for segments in [7, 7, 3] {
        while channel.stats().segments_live < segments && put(&channel, id..id + 4).is_ok() {
            id += 4;
        }
        early.get_or_insert_with(|| lab.fs.image(Survive::Everything));
        if segments > 3 {
            for cursor in CURSORS {
                while !ack(&channel, cursor, 100).is_empty() {}
            }
            lab.idle(&channel);
            lab.idle(&channel);
        }
    }
    lab.idle(&channel);
    drop(channel);
    (lab, early.expect("an image"))
}

/// What is there although the disk did that to a header.
fn costs_nothing(lab: &Lab, damaged: &Lab, what: &str) {
    let (one, two) = (lab.copy().open(), damaged.open());
    for cursor in CURSORS {
        assert_eq!(peek(&one, cursor), peek(&two, cursor), "{what}: {cursor}");
    }
    assert_eq!(losses(&two), [], "{what}");
}

#[test]
fn p6_a_segment_header_whose_write_was_lost_or_landed_elsewhere_costs_nothing() {
    let (lab, early) = after_laps();
    let used: Vec<_> = lab
        .segments()
        .into_iter()
        .filter(|path| !blocks(&lab.fs.read_file(path)).is_empty())
        .collect();
    assert!(used.len() >= 3, "{used:?}");
    for path in &used {
        let lost = lab.copy();
        lost.fs.lose_write(path, 0..SECTOR, &early);
        costs_nothing(&lab, &lost, &format!("header of {} lost", path.display()));
        for other in used.iter().filter(|other| *other != path) {
            let misplaced = lab.copy();
            misplaced.fs.misplace_write(path, 0..SECTOR, &early, (other, 0));
            let what = format!("header of {} on {}", path.display(), other.display());
            costs_nothing(&lab, &misplaced, &what);
        }
    }
}

#[test]
fn p6_where_no_state_is_left_the_ledger_tells_what_stood_before_the_first_block() {
    let lab = Lab::new(9);
    let channel = lab.open();
    for id in [2, 3, 4] {
        put(&channel, [id]).expect("there is room");
    }
    drop(channel);
    let path = lab.segments().swap_remove(0);
    let damaged = copy_of(&lab, true);
    damaged.fs.zero_sectors(&path, 0..4 * SECTOR);
    let channel = damaged.open();
    let seen: Vec<u64> = peek(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, [3, 4]);
    let lost = losses(&channel);
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((lost[0].offset_bytes, lost[0].len_bytes), (SECTOR, 3 * SECTOR));
    drop(channel);
    assert_eq!(losses(&damaged.open()), lost, "once");
}

/// A copy of the disk, as it is or without the checkpoints.
fn copy_of(lab: &Lab, without_checkpoints: bool) -> Lab {
    let lab = lab.copy();
    for name in ["a", "b"].iter().filter(|_| without_checkpoints) {
        lab.fs.remove_quietly(format!("{DIR}/checkpoint.{name}"));
    }
    lab
}

/// Damages the end of the log, with the checkpoints and without, and expects that the ledger tells
/// of it and that no seq is used again.
fn told(lab: &Lab, what: &str, last_seq: u64, damage: impl Fn(&Lab)) {
    for without in [false, true] {
        let lab = copy_of(lab, without);
        damage(&lab);
        let channel = lab.open();
        peek(&channel, "main");
        assert!(!losses(&channel).is_empty(), "{what}, {without}: without a word");
        let next = channel.stats().next_seq;
        assert!(next > last_seq, "{what}, {without}: seq {next} is used again");
    }
}

#[test]
fn p4_p6_the_newest_segment_zeroed_behind_a_good_header_is_told() {
    for segments in 1..5 {
        for more in [1, 5] {
            let lab = Lab::new(segments);
            let channel = lab.open();
            let mut id = 1;
            while channel.stats().segments_live < segments as usize {
                put(&channel, id..id + 4).expect("there is room");
                id += 4;
            }
            let mut last = 0;
            for id in id..id + more {
                last = put(&channel, [id]).expect("there is room").first_seq;
            }
            drop(channel);
            let used = |path: &&PathBuf| !blocks(&lab.fs.read_file(path)).is_empty();
            let newest = lab.segments().iter().rfind(used).expect("a segment").clone();
            let what = format!("segment {segments}, {more} blocks in it");
            told(&lab, &what, last, |lab| lab.fs.zero_sectors(&newest, SECTOR..u64::MAX));
            told(&lab, &what, last, |lab| lab.fs.zero_sectors(&newest, 0..u64::MAX));
            told(&lab, &what, last, |lab| lab.fs.remove_quietly(&newest));
        }
    }
}

#[test]
fn p6_any_end_of_a_log_at_rest_that_is_zeroed_is_named_exactly() {
    let lab = Lab::new(3);
    let channel = lab.open();
    for id in 1..12 {
        put(&channel, [id]).expect("there is room");
        if id % 5 == 0 {
            lab.idle(&channel);
        }
    }
    lab.idle(&channel);
    drop(channel);
    let path = lab.segments().swap_remove(0);
    let found = blocks(&lab.fs.read_file(&path));
    for block in found.iter().filter(|block| block.records > 0) {
        for without in [false, true] {
            let what = format!("from {} on, checkpoints gone: {without}", block.offset);
            let damaged = copy_of(&lab, without);
            damaged.fs.zero_sectors(&path, block.offset..u64::MAX);
            let channel = damaged.open();
            assert_eq!(peek(&channel, "main").len() as u64, block.seqs.0 - 1, "{what}");
            assert_eq!(named(&losses(&channel)), (block.seqs.0..12).collect(), "{what}");
        }
    }
}

#[test]
fn p6_no_seq_is_named_twice_when_a_lost_state_had_left_segments_out() {
    let lab = Lab::new(5);
    let channel = lab.open();
    let mut id = 1;
    let mut fill = |enough: fn(usize) -> bool| {
        while !enough(channel.stats().segments_live) {
            put(&channel, id..id + 4).expect("there is room");
            id += 4;
        }
    };
    fill(|live| live == 3);
    channel.checkpoint();
    lab.idle(&channel);
    fill(|live| live == 4);
    for cursor in CURSORS {
        while !ack(&channel, cursor, 100).is_empty() {}
    }
    // The State of the next segment leaves the older ones out, and they are used again.
    fill(|live| live < 3);
    lab.idle(&channel);
    lab.idle(&channel);
    drop(channel);
    for (index, path) in lab.segments().iter().enumerate() {
        let damaged = lab.copy();
        damaged.fs.zero_sectors(path, 0..3 * SECTOR);
        let channel = damaged.open();
        CURSORS.iter().for_each(|cursor| _ = peek(&channel, cursor));
        let lost = losses(&channel);
        let count: u64 = lost.iter().map(|loss| loss.seqs.len()).sum();
        assert_eq!(count, named(&lost).len() as u64, "segment {index}: {lost:?}");
    }
}

/// A channel of that class with so many segments, the checkpoints gone: the disk before it was
/// used and at the end, the segments with blocks in them, and the first id that is free.
fn filled(class: SyncClass, segments: usize) -> (Lab, SimFs, Vec<PathBuf>, u64) {
    let lab = Lab::new(11).with(options(class));
    let channel = lab.open();
    let early = lab.fs.image(Survive::Everything);
    let mut id = 1;
    while channel.stats().segments_live < segments || id < 9 {
        put(&channel, id..id + 4).expect("there is room");
        id += 4;
    }
    drop(channel);
    let used = |path: &PathBuf| !blocks(&lab.fs.read_file(path)).is_empty();
    let used: Vec<PathBuf> = lab.segments().into_iter().filter(used).collect();
    assert_eq!(used.len(), segments);
    (copy_of(&lab, true), early, used, id)
}

#[test]
fn p6_a_segment_under_the_head_of_a_later_one_is_served_though_no_state_is_left() {
    let (lab, early, used, next_id) = filled(SyncClass::Commit, 2);
    let [first, second] = &used[..] else { panic!("{used:?}") };
    let end = blocks(&lab.fs.read_file(second))[1].end();
    lab.fs.misplace_write(second, 0..end, &early, (first, 0));
    let channel = lab.open();
    let seen: Vec<u64> = peek(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, (1..next_id).collect::<Vec<_>>());
}

#[test]
fn p6_the_header_of_a_torn_first_state_says_what_was_synced_before_it() {
    let (lab, _, used, _) = filled(SyncClass::Os, 2);
    let [first, second] = &used[..] else { panic!("{used:?}") };
    // The power went while the first State was written.
    let head = lab.fs.read_file(second)[4096..][..192].to_vec();
    lab.fs.zero_sectors(second, SECTOR..u64::MAX);
    lab.fs.overwrite(second, SECTOR, &head);
    let found = blocks(&lab.fs.read_file(first));
    let hit = found.iter().rfind(|block| block.records > 0).expect("a put");
    lab.fs.zero_sectors(first, hit.offset..hit.end());
    let channel = lab.open();
    let lost = losses(&channel);
    assert_eq!(named(&lost), (hit.seqs.0..hit.seqs.1).collect());
    assert!(lost.iter().all(|loss| loss.reason == LossReason::Damaged), "{lost:?}");
}

#[test]
fn p6_in_a_weaker_class_a_state_that_lets_a_segment_go_vouches_for_all_before_it() {
    let lab = Lab::new(11).with(options(SyncClass::Os));
    let channel = lab.open();
    let mut id = 1;
    while channel.stats().segments_live < 2 {
        put(&channel, id..id + 4).expect("there is room");
        id += 4;
    }
    for cursor in CURSORS {
        while !ack(&channel, cursor, 100).is_empty() {}
    }
    let hit = put(&channel, [id]).expect("there is room").first_seq;
    put(&channel, [id + 1]).expect("there is room");
    lab.clock.advance(Duration::from_millis(250));
    channel.tend();
    assert_eq!(channel.stats().segments_live, 1, "the first segment was let go");
    let lab = copy_of(&lab.on(lab.fs.image(Survive::Nothing)), true);
    let mut tried = false;
    for path in lab.segments() {
        for block in blocks(&lab.fs.read_file(&path)) {
            if block.seqs == (hit, hit + 1) {
                lab.fs.zero_sectors(&path, block.offset..block.end());
                tried = true;
            }
        }
    }
    assert!(tried, "the put is synced with the State");
    let channel = lab.open();
    let lost = losses(&channel);
    assert_eq!(named(&lost), [hit].into(), "{lost:?}");
    let seen: Vec<u64> = peek(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, [id + 1]);
}

#[test]
fn p7_what_stands_in_a_segment_without_a_readable_block_is_kept_though_no_state_is_left() {
    for segments in [1, 2] {
        let (lab, _, used, next_id) = filled(SyncClass::Commit, segments);
        let noise: Vec<u8> = (SECTOR..1 << 17).map(|at| (at % 251) as u8).collect();
        lab.fs.overwrite(&used[0], SECTOR, &noise);
        if let Some(second) = used.get(1) {
            lab.fs.zero_sectors(second, SECTOR..3 * SECTOR);
        }
        let channel = lab.open();
        put(&channel, [next_id]).expect("there is room");
        let lost = losses(&channel);
        assert!(lost.iter().any(|loss| loss.len_bytes == noise.len() as u64), "{lost:?}");
        assert!(!ack(&channel, "main", 1000).is_empty());
        lab.idle(&channel);
        lab.idle(&channel);
        assert_eq!(channel.stats().segments_live, 1);
        let kept = lab.quarantine();
        assert!(kept.values().any(|held| *held == noise), "{segments}: {:?}", kept.keys());
    }
}

#[test]
fn p4_no_seq_is_used_again_when_the_states_that_reserved_it_are_damaged() {
    let class = SyncClass::Interval(Duration::from_millis(100));
    let lab = Lab::new(12).with(options(class));
    put(&lab.open(), [2]).expect("there is room");
    let channel = lab.open();
    put(&channel, [3]).expect("there is room");
    lab.clock.advance(Duration::from_millis(150));
    put(&channel, [4]).expect("there is room");
    let last = put(&channel, [5]).expect("there is room").first_seq;
    let lab = copy_of(&lab.on(lab.fs.image(Survive::Nothing)), true);
    let path = lab.segments().swap_remove(0);
    let found = blocks(&lab.fs.read_file(&path));
    assert!(found.iter().all(|block| block.seqs.1 <= last), "the last put is not synced");
    let states = found.iter().filter(|block| block.generation == 2 && block.records == 0);
    assert_eq!(states.clone().count(), 2);
    states.for_each(|block| lab.fs.zero_sectors(&path, block.offset..block.end()));
    let channel = lab.open();
    peek(&channel, "main");
    let next = put(&channel, [6]).expect("there is room").first_seq;
    assert!(next > last, "seq {next} is used again, the last was {last}");
}

#[test]
fn p6_a_segment_under_the_head_of_a_later_one_stays_though_that_one_goes_first() {
    let (lab, early, used, _) = filled(SyncClass::Commit, 2);
    let [first, second] = &used[..] else { panic!("{used:?}") };
    lab.fs.misplace_write(second, 0..128, &early, (first, 0));
    lab.fs.lose_write(second, 0..128, &early);
    let channel = lab.open();
    let seen = peek(&channel, "main");
    assert_eq!(losses(&channel), []);
    drop(channel);
    lab.fs.remove_quietly(second);
    let channel = lab.open();
    let still = peek(&channel, "main");
    assert!(!still.is_empty() && seen.starts_with(&still), "{still:?}");
}
