//! All small worlds: every short sequence of steps, every moment of a power cut, every single
//! change that it leaves or takes. Here a part of them; with FOREBAY_WORLDS=all, all of them.

use forebay_proof::worlds::{Slice, explore, sequences};

#[test]
fn p1_p2_p4_p7_small_worlds_hold_whenever_the_power_goes() {
    let all = std::env::var("FOREBAY_WORLDS").is_ok_and(|word| word == "all");
    let seed = std::env::var("FOREBAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let one_of = if all { 1 } else { 60 };
    let tally = explore(Slice { steps_max: 4, one_of, seed }, 2);
    println!("{tally:?}");
    assert!(tally.violations.is_empty(), "{}", tally.violations.join("\n"));
    assert!(tally.families.values().all(|worlds| *worlds > 120), "{:?}", tally.families);
}

#[test]
fn sequences_that_mean_the_same_are_lived_once() {
    let (two, four) = (sequences(2).len(), sequences(4).len());
    println!("{two} of up to 2 steps, {four} of up to 4");
    assert!(two < 1 + 8 + 64 && four > 500, "{two}, {four}");
}
