//! The log alone decides: with and without checkpoints, all is the same.

use std::path::Path;

use forebay_wal::fs::sim::Survive;
use forebay_wal::{CursorInfo, Inspection, Loss, Stats, SyncClass};

use forebay_proof::lab::{Lab, for_seeds, peek};
use forebay_proof::model::{DIR, Dice, World, options};

/// What an inspection says that must not depend on checkpoints.
fn verdicts(seen: &Inspection) -> (u64, [u64; 5], Vec<CursorInfo>, Vec<Loss>, Vec<Loss>) {
    let numbers = [seen.events, seen.next_seq, seen.next_lsn, seen.losses, seen.lost_events];
    let (known, new) = (seen.recent_losses.clone(), seen.new_losses.clone());
    (seen.generation, numbers, seen.cursors.clone(), known, new)
}

fn figures(stats: &Stats) -> ([u64; 6], Vec<Loss>) {
    let numbers = [
        stats.next_seq,
        stats.next_lsn,
        stats.generation,
        stats.events,
        stats.losses,
        stats.lost_events,
    ];
    (numbers, stats.recent_losses.clone())
}

fn compare(world: &World, survive: Survive, what: &str) {
    let lab = |fs| {
        let (env, clock) = (world.env.clone(), world.clock.clone());
        Lab { env, fs: world.fs.clone(), clock, options: options(world.sync) }.on(fs)
    };
    let with = lab(world.fs.image(survive));
    let without = lab(world.fs.image(survive));
    let mut there = 0;
    for name in ["checkpoint.a", "checkpoint.b"] {
        there += usize::from(without.fs.exists(Path::new(DIR).join(name)));
        without.fs.remove_quietly(Path::new(DIR).join(name));
    }
    if there == 0 || with.segments().is_empty() {
        return;
    }
    assert_eq!(verdicts(&with.inspect()), verdicts(&without.inspect()), "{what}: inspection");
    let (one, two) = (with.open(), without.open());
    assert_eq!(figures(&one.stats()), figures(&two.stats()), "{what}: figures");
    assert_eq!(one.positions(), two.positions(), "{what}: positions");
    for producer in (0..3).map(|n| format!("producer-{n}")) {
        assert_eq!(one.producer_sequence(&producer), two.producer_sequence(&producer), "{what}");
    }
    for cursor in ["main", "second"] {
        assert_eq!(peek(&one, cursor), peek(&two, cursor), "{what}: cursor {cursor}");
    }
}

fn live(seed: u64, sync: SyncClass) {
    let mut world = World::new(seed, sync);
    let mut dice = Dice::new(seed ^ 0x77);
    for life in 0..4 {
        assert!(world.open());
        for step in 0..80 {
            assert!(world.step());
            if dice.below(8) == 0 {
                let survive = match dice.below(4) {
                    0 => Survive::Everything,
                    1 => Survive::Nothing,
                    _ => Survive::Seed(dice.any()),
                };
                compare(&world, survive, &format!("life {life}, step {step}, {survive:?}"));
            }
        }
        let survive = Survive::Seed(dice.any());
        world.crash(survive);
    }
}

#[test]
fn p11_without_checkpoints_all_is_the_same_at_any_moment() {
    for_seeds(40, |seed| live(seed, SyncClass::Commit));
}
