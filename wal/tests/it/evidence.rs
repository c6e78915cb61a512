//! The log alone decides: with and without checkpoints, all is the same.

use std::path::Path;

use forebay_wal::fs::sim::Survive;
use forebay_wal::{CursorInfo, CursorStats, Inspection, Loss, Stats};

use forebay_proof::lab::{Lab, ack, for_seeds, peek, put};
use forebay_proof::life::Life;
use forebay_proof::model::{DIR, Dice};
use forebay_proof::script::{Class, Op, PRODUCERS, Recipe, Script};

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

fn compare(life: &Life, survive: Survive, what: &str) {
    let with = life.lab.on(life.lab.fs.image(survive));
    let without = life.lab.on(life.lab.fs.image(survive));
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
    for producer in PRODUCERS {
        assert_eq!(one.producer_sequence(producer), two.producer_sequence(producer), "{what}");
    }
    for CursorStats { name, .. } in one.stats().cursors {
        assert_eq!(peek(&one, &name), peek(&two, &name), "{what}: cursor {name}");
    }
}

fn live(seed: u64, class: Class) {
    let mut life = Life::new(seed, class);
    let mut dice = Dice::new(seed ^ 0x77);
    for round in 0..4 {
        let recipe = Recipe { cursors: true, ..Recipe::calm(80) };
        let script = Script::random(seed << 8 | round, class, recipe);
        for (step, op) in script.ops.iter().enumerate() {
            life.step(op).unwrap_or_else(|what| panic!("life {round}, step {step}: {what}"));
            if dice.below(8) == 0 {
                let survive = match dice.below(4) {
                    0 => Survive::Everything,
                    1 => Survive::Nothing,
                    _ => Survive::Seed(dice.any()),
                };
                compare(&life, survive, &format!("life {round}, step {step}, {survive:?}"));
            }
        }
        life.step(&Op::Crash { survive: Survive::Seed(dice.any()) }).expect("it ends");
    }
    life.finish().expect("all is there");
}

#[test]
fn p11_without_checkpoints_all_is_the_same_at_any_moment() {
    for_seeds(40, |seed| live(seed, Class::Commit));
}

/// Bits of numbers, of acknowledged ranges, of names: most of what they give could be decoded.
#[test]
fn p6_p11_a_checkpoint_with_any_flipped_bit_is_as_none() {
    let lab = Lab::new(5);
    let channel = lab.open();
    for id in 1..30 {
        put(&channel, [id]).expect("room");
    }
    ack(&channel, "main", 9);
    lab.idle(&channel);
    channel.checkpoint();
    lab.idle(&channel);
    put(&channel, [30]).expect("room");
    drop(channel);
    let figures_of = |lab: &Lab| {
        let channel = lab.open();
        (figures(&channel.stats()), peek(&channel, "main"), peek(&channel, "second"))
    };
    let expected = figures_of(&lab.copy());
    let mut there = 0;
    for name in ["checkpoint.a", "checkpoint.b"] {
        let path = Path::new(DIR).join(name);
        let bytes = lab.fs.read_file(&path);
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        there += used;
        for byte in 0..used {
            let damaged = lab.copy();
            damaged.fs.flip_bit(&path, byte, (byte % 8) as u8);
            assert_eq!(figures_of(&damaged), expected, "byte {byte} of {name}");
        }
    }
    assert!(there > 100, "a checkpoint was written");
}
