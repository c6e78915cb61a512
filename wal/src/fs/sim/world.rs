//! The simulated clock and randomness, and a world made of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::survive::Dice;
use super::{SimFs, lock};
use crate::env::{Clock, Env, Random};

/// Where the simulated wall clock begins: the second 1,700,000,000 of the Unix era.
const WALL_START_US: i64 = 1_700_000_000_000_000;

/// A simulated world: its file system, and a clock and randomness that go by the same seed.
pub fn sim_env(seed: u64) -> (Env, SimFs, Arc<SimClock>) {
    let fs = SimFs::new(seed);
    let clock = Arc::new(SimClock::new());
    let env = Env {
        fs: Arc::new(fs.clone()),
        clock: clock.clone(),
        random: Arc::new(SimRandom::new(seed)),
    };
    (env, fs, clock)
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct SimClock {
    time: Mutex<Time>,
}

#[derive(Debug)]
struct Time {
    monotonic: Duration,
    wall_us: i64,
}

impl SimClock {
    /// A clock at its beginning.
    pub fn new() -> SimClock {
        let time = Time { monotonic: Duration::ZERO, wall_us: WALL_START_US };
        SimClock { time: Mutex::new(time) }
    }

    /// Lets time pass, for both clocks.
    pub fn advance(&self, by: Duration) {
        let mut time = lock(&self.time);
        time.monotonic += by;
        time.wall_us += i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    }

    /// Sets the wall clock, as an operator does; no time passes.
    pub fn set_wall_us(&self, wall_us: i64) {
        lock(&self.time).wall_us = wall_us;
    }

    /// Makes the wall clock jump, either way; no time passes.
    pub fn jump_wall_us(&self, by_us: i64) {
        lock(&self.time).wall_us += by_us;
    }
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock::new()
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        lock(&self.time).monotonic
    }

    fn wall_us(&self) -> i64 {
        lock(&self.time).wall_us
    }
}

/// Randomness that is the same for the same seed.
#[derive(Debug)]
pub struct SimRandom {
    dice: Mutex<Dice>,
}

impl SimRandom {
    /// Randomness from a seed.
    pub fn new(seed: u64) -> SimRandom {
        SimRandom { dice: Mutex::new(Dice::derived(seed, 0)) }
    }
}

impl Random for SimRandom {
    fn fill(&self, buf: &mut [u8]) {
        let mut dice = lock(&self.dice);
        for chunk in buf.chunks_mut(size_of::<u64>()) {
            chunk.copy_from_slice(&dice.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
