//! The weaker sync classes: the end of the process takes nothing, a power cut takes what was not
//! synced, and nobody is lied to about either.

use std::time::Duration;

use forebay_wal::SyncClass;

use forebay_proof::lab::{Lab, for_seeds, peek, put};
use forebay_proof::script::{Class, Recipe, Script};

/// Random lives that end with the process, at any moment.
fn killed(seed: u64, class: Class) {
    let recipe = Recipe { kills: true, cursors: true, ..Recipe::calm(300) };
    Script::random(seed, class, recipe).check();
}

#[test]
fn p1_p2_p12_a_killed_process_loses_nothing_in_any_class() {
    for_seeds(60, |seed| {
        killed(seed, Class::Commit);
        killed(seed, Class::Interval);
        killed(seed, Class::Os);
    });
}

/// Random lives that end with the power. The model knows what was surely synced, and wants to find
/// that and, of what came behind, a beginning; no seq is given out twice, and the ledger names
/// nothing that is there.
fn cut(seed: u64, class: Class) {
    let recipe = Recipe { cuts: true, kills: true, cursors: true, ..Recipe::calm(250) };
    Script::random(seed, class, recipe).check();
}

#[test]
fn p2_p3_p4_a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    for_seeds(150, |seed| {
        cut(seed, Class::Interval);
        cut(seed, Class::Os);
    });
}

#[test]
fn p7_a_weaker_class_opens_after_thousands_of_openings_with_an_event_each() {
    let lab = Lab::new(1).with(
        forebay_wal::Options::new()
            .bytes_max(1 << 20)
            .sync(SyncClass::Os)
            .background(forebay_wal::Background::Manual)
            .put_timeout(Duration::ZERO),
    );
    let mut put_ids = Vec::new();
    for id in 1..3000 {
        let channel = lab.open();
        if put(&channel, [id * 7 + 2]).is_ok() {
            put_ids.push(id * 7 + 2);
        }
        assert!(lab.allocated_bytes() <= 1 << 20, "opening {id}");
    }
    let seen: Vec<u64> = peek(&lab.open(), "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, put_ids);
}
