//! Power cuts at every moment of random lives of a channel, against a plain model.

use forebay_wal::SyncClass;
use forebay_wal::fs::sim::Survive;

use forebay_proof::model::{Dice, World};

/// Lives through a seed: random steps, a power cut somewhere, again and again.
fn live(seed: u64, sync: SyncClass, lives: u64, steps: u64) {
    let mut world = World::new(seed, sync);
    let mut dice = Dice::new(seed);
    for _ in 0..lives {
        let cut = dice.below(steps * 2) + 1;
        world.fs.crash_at(world.fs.ops() + cut);
        // The cut may fall into the last things that opening does, which may fail.
        let mut alive = world.open() && !world.fs.is_crashed();
        if alive {
            world.check();
        }
        let mut left = steps;
        while alive && left > 0 {
            alive = world.step();
            left -= 1;
        }
        let survive = match dice.below(5) {
            0 => Survive::Nothing,
            1 => Survive::Everything,
            2 => Survive::SeedAnyNames(dice.any()),
            _ => Survive::Seed(dice.any()),
        };
        world.crash(survive);
    }
    assert!(world.open());
    world.check();
}

#[test]
fn p1_p2_p4_what_was_acknowledged_is_there_after_any_power_cut() {
    let first = seed_from_environment().unwrap_or(1);
    let count = count_from_environment().unwrap_or(300);
    for seed in first..first + count {
        let outcome = std::panic::catch_unwind(|| live(seed, SyncClass::Commit, 6, 60));
        assert!(outcome.is_ok(), "seed {seed}: run again with FOREBAY_SEED={seed} FOREBAY_SEEDS=1");
    }
}

fn seed_from_environment() -> Option<u64> {
    std::env::var("FOREBAY_SEED").ok()?.parse().ok()
}

fn count_from_environment() -> Option<u64> {
    std::env::var("FOREBAY_SEEDS").ok()?.parse().ok()
}
