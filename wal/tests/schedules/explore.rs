//! How schedules are explored: which, how many, and how one that failed is run again.

use std::cell::Cell;
use std::sync::Arc;

use forebay_wal::decide_limits;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, MaxSteps, Runner};

/// How many schedules each situation is tried with, half of them by each scheduler, unless
/// `FOREBAY_SCHEDULES` says otherwise.
const SCHEDULES: usize = 500;
/// How many threads' order the second scheduler turns around on purpose in one schedule.
const DEPTH: usize = 4;
/// No schedule is a tenth as long, unless it never ends.
const STEPS_MAX: usize = 200_000;
const STACK_BYTES: usize = 1 << 18;

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    config
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a situation in many schedules. All threads of one are one thread of the system, so that
/// the seed, or the string that a failure prints, says everything.
pub fn explore(situation: impl Fn() + Send + Sync + 'static) {
    let situation = Arc::new(situation);
    let again = situation.clone();
    if let Ok(schedule) = std::env::var("FOREBAY_SCHEDULE") {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config()).run(move || again());
        return;
    }
    let count = number("FOREBAY_SCHEDULES").map_or(SCHEDULES, |count| count as usize);
    let seed = number("FOREBAY_SEED").unwrap_or(1);
    let at_random = RandomScheduler::new_from_seed(seed, count.div_ceil(2));
    let mut run = Runner::new(at_random, config()).run(move || again());
    let by_priority = PctScheduler::new_from_seed(seed, DEPTH, count / 2);
    run += Runner::new(by_priority, config()).run(move || situation());
    println!("{run} schedules from seed {seed}");
}

/// Runs something once in an order of its own, for what must stand before a situation begins.
pub fn prepare(run: impl Fn() + Send + Sync + 'static) {
    decide_limits(None);
    Runner::new(RandomScheduler::new_from_seed(1, 1), config()).run(run);
}

/// A number below a limit, by the schedule's own dice.
pub fn below(limit: u64) -> u64 {
    thread_rng().gen_range(0..limit)
}

/// Up to so many waits with a limit end by themselves in this schedule; in every other one, none.
pub fn limits_pass(most: u64) {
    let left = Cell::new(if below(2) == 0 { 0 } else { below(most + 1) });
    decide_limits(Some(Box::new(move || {
        let late = left.get() > 0 && below(2) == 0;
        left.set(left.get() - u64::from(late));
        late
    })));
}

/// All waits with a limit end by themselves in this schedule, sooner or later.
pub fn all_limits_pass() {
    decide_limits(Some(Box::new(|| true)));
}
