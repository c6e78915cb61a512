//! Whole files are gone, cut short, exchanged, doubled, or come back from the past.

use std::collections::BTreeMap;

use forebay_proof::filled::{
    CURSORS, Cost, Filled, both_ways, damaged_both_ways, filled, losses, named,
};
use forebay_proof::lab::{Lab, SECTOR, ack, drain, peek, put};
use forebay_proof::model::DIR;

#[test]
fn p6_a_truncated_segment_costs_what_was_cut_off() {
    let filled = filled(13);
    for (segment, (path, found)) in filled.live.iter().enumerate().take(3) {
        let end = found.last().expect("blocks").end();
        for len in [0, 100, SECTOR, 3 * SECTOR + 5, end / 2, end - SECTOR, end] {
            let cost = filled.cost(segment, len - len % SECTOR, u64::MAX);
            let what = format!("segment {segment} cut to {len} bytes");
            both_ways(&filled, &what, |lab| lab.fs.truncate(path, len), &cost);
        }
    }
}

#[test]
fn p6_a_missing_segment_costs_what_was_in_it() {
    let filled = filled(14);
    for segment in 0..3 {
        let path = &filled.live[segment].0;
        let cost = filled.cost(segment, 0, u64::MAX);
        let what = format!("segment {segment} is gone");
        both_ways(&filled, &what, |lab| lab.fs.remove_quietly(path), &cost);
    }
}

/// The end of the log is gone and with it all that says how long it was: there is a line in the
/// ledger, what is delivered is right, and no seq is used twice.
fn verify_end(filled: &Filled, what: &str, lab: &Lab, from: u64) {
    let cost = filled.cost(3, from, u64::MAX);
    let lab = lab.clone();
    let channel = lab.open();
    filled.check_events(what, &channel, &Cost { acks: true, ..cost.clone() });
    let lost = losses(&channel);
    assert!(cost.lost.is_empty() || !lost.is_empty(), "{what}: without a word");
    let known = named(&lost);
    assert!(known.iter().all(|seq| cost.lost.contains(seq)), "{what}: {lost:?}");
    let receipt = put(&channel, [1_000_000]).expect("it takes puts");
    let last = filled.events.keys().next_back().expect("events");
    assert!(receipt.first_seq > *last, "{what}: seq {} is used again", receipt.first_seq);
    lab.idle(&channel);
    drop(channel);
    let channel = lab.open();
    assert_eq!(losses(&channel), lost, "{what}: another loss at the second open");
    for cursor in CURSORS {
        assert_eq!(drain(&channel, cursor).last().map(|last| last.1), Some(1_000_000), "{what}");
    }
}

fn end_both_ways(filled: &Filled, what: &str, from: u64, damage: impl Fn(&Lab)) {
    damaged_both_ways(filled, what, damage, |what, lab| verify_end(filled, what, lab, from));
}

#[test]
fn p6_the_newest_segment_cut_short_is_told_and_no_seq_is_used_twice() {
    let filled = filled(13);
    let (path, found) = &filled.live[3];
    let end = found.last().expect("blocks").end();
    for len in [0, 100, SECTOR, 3 * SECTOR + 5, end / 2, end - SECTOR, end] {
        let what = format!("the newest segment cut to {len} bytes");
        end_both_ways(&filled, &what, len - len % SECTOR, |lab| lab.fs.truncate(path, len));
    }
}

#[test]
fn p6_the_newest_segment_gone_is_told_and_no_seq_is_used_twice() {
    for seed in 30..40 {
        let filled = filled(seed);
        let path = &filled.live[3].0;
        end_both_ways(&filled, "the newest is gone", 0, |lab| lab.fs.remove_quietly(path));
        let zero = |lab: &Lab| lab.fs.zero_sectors(path, 0..u64::MAX);
        end_both_ways(&filled, "the newest is zeroes", 0, zero);
    }
}

#[test]
fn p6_segments_with_exchanged_contents_or_names_cost_nothing() {
    let filled = filled(15);
    for (one, two) in [(0, 1), (1, 2), (0, 3), (2, 3)] {
        let (one, two) = (&filled.live[one].0, &filled.live[two].0);
        let exchange = |lab: &Lab| {
            let (first, second) = (lab.fs.read_file(one), lab.fs.read_file(two));
            lab.fs.write_file(one, &second);
            lab.fs.write_file(two, &first);
        };
        let what = format!("{} and {} exchanged", one.display(), two.display());
        verify_without_labels(&filled, &what, exchange);
    }
}

/// As `verify`, where files have other names than their ids.
fn verify_without_labels(filled: &Filled, what: &str, damage: impl Fn(&Lab)) {
    for without in [false, true] {
        let lab = filled.lab.copy();
        if without {
            lab.fs.remove_quietly(format!("{DIR}/checkpoint.a"));
            lab.fs.remove_quietly(format!("{DIR}/checkpoint.b"));
        }
        damage(&lab);
        filled.verify(what, &lab, &Cost::default());
    }
}

#[test]
fn p6_a_copy_of_a_segment_under_another_name_counts_once_and_is_kept() {
    let filled = filled(16);
    for (segment, (path, _)) in filled.live.iter().enumerate() {
        for label in [0, 77, 12_345] {
            let copy = format!("{DIR}/{label:020}.wal");
            let damage = |lab: &Lab| lab.fs.write_file(&copy, &lab.fs.read_file(path));
            let what = format!("segment {segment} is there as {label} too");
            verify_without_labels(&filled, &what, damage);
            let lab = filled.lab.copy();
            damage(&lab);
            drop(lab.open());
            let kept = lab.quarantine();
            assert_eq!(kept.len(), 1, "{what}: {:?} {:?}", lab.fs.paths(), lab.fs.op_log());
            let bytes = lab.fs.read_file(path);
            let kept = kept.values().next().expect("one");
            assert!(segment == 3 || kept[..] == bytes[..], "{what}");
        }
    }
}

#[test]
fn p6_p11_checkpoints_gone_or_damaged_cost_nothing() {
    let filled = filled(17);
    let names = ["a", "b"].map(|name| format!("{DIR}/checkpoint.{name}"));
    type Damage<'a> = Box<dyn Fn(&Lab) + 'a>;
    let damages: Vec<(&str, Damage<'_>)> = vec![
        ("one gone", Box::new(|lab| lab.fs.remove_quietly(&names[0]))),
        ("the other gone", Box::new(|lab| lab.fs.remove_quietly(&names[1]))),
        ("bits", Box::new(|lab| names.iter().for_each(|name| lab.fs.flip_bit(name, 70, 1)))),
        ("empty", Box::new(|lab| names.iter().for_each(|name| lab.fs.truncate(name, 0)))),
        ("short", Box::new(|lab| names.iter().for_each(|name| lab.fs.truncate(name, 99)))),
        (
            "noise",
            Box::new(|lab| names.iter().for_each(|name| lab.fs.write_file(name, &[7; 9999]))),
        ),
        (
            "exchanged",
            Box::new(|lab| {
                let (one, two) = (lab.fs.read_file(&names[0]), lab.fs.read_file(&names[1]));
                lab.fs.write_file(&names[0], &two);
                lab.fs.write_file(&names[1], &one);
            }),
        ),
    ];
    for (what, damage) in damages {
        let lab = filled.lab.copy();
        damage(&lab);
        filled.verify(&format!("checkpoints: {what}"), &lab, &Cost::default());
    }
}

#[test]
fn p6_an_old_segment_that_comes_back_is_not_believed() {
    // A copy of the directory's oldest segment, from before it was used again.
    let lab = Lab::new(5);
    let channel = lab.open();
    let mut id = 1;
    let mut old = BTreeMap::new();
    while channel.stats().written_bytes < 3 << 20 {
        put(&channel, id..id + 5).expect("there is room");
        id += 5;
        if id % 3 == 0 {
            for path in lab.segments() {
                old.entry(path.clone()).or_insert_with(|| lab.fs.read_file(&path));
            }
        }
        ack(&channel, "main", 5);
        ack(&channel, "second", 5);
        lab.idle(&channel);
    }
    put(&channel, id..id + 5).expect("there is room");
    lab.idle(&channel);
    drop(channel);
    let there = lab.segments();
    let gone: Vec<_> = old.iter().filter(|(path, _)| !there.contains(path)).collect();
    assert!(gone.len() > 3, "nothing went");
    for (path, bytes) in gone {
        let lab = lab.copy();
        lab.fs.write_file(path, bytes);
        let channel = lab.open();
        assert_eq!(losses(&channel), []);
        for cursor in CURSORS {
            let seen: Vec<u64> = peek(&channel, cursor).iter().map(|(_, id)| *id).collect();
            assert_eq!(seen, (id..id + 5).collect::<Vec<_>>(), "{}", path.display());
        }
    }
}
