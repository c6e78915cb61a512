//! What a round is to do, and when it is to be killed. All of it follows from the seed; what does
//! not is how the system schedules the threads of two processes.

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// The cursors that every channel is made with.
pub(super) const CURSORS: [&str; 2] = ["main", "second"];
/// The cursor that some make later.
pub(super) const LATE_CURSOR: &str = "late";
/// How many threads may put.
pub(super) const PUTTERS: u32 = 8;

/// What a child does in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub round: u32,
    pub seed: u64,
    pub sync: String,
    pub bytes_max: Option<u64>,
    pub events_max: Option<u64>,
    /// The cursors to read from end to end before anything else is done.
    pub read: Vec<String>,
    /// The cursors to take from, and how many threads do it for each.
    pub cursors: Vec<String>,
    pub takers: u32,
    /// A cursor to make.
    pub make: Option<String>,
    /// The threads that put. The number of a thread says in which way it puts.
    pub putters: Vec<u32>,
    /// For each producer, sequences whose outcome is not known, and some that were acknowledged:
    /// these it puts once more before any other.
    pub again: Vec<(u32, Vec<u64>)>,
    /// The size that an event is at most, about; the channel may ask for less.
    pub longest: u32,
    /// How long a thread rests between two operations, on average.
    pub rest_us: u64,
    /// How long a put waits for space, if it does not wait for ever.
    pub put_wait_ms: u64,
    /// Read all, take all, and end.
    pub last: bool,
}

/// In which way a thread puts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// With a producer's name and rising sequences.
    pub named: bool,
    /// Several commits are in flight, each of which waits for space for ever.
    pub pipelined: bool,
}

impl Style {
    pub(super) fn of(putter: u32) -> Style {
        Style { named: putter % 2 == 1, pipelined: putter / 2 % 2 == 1 }
    }
}

/// The name of the producer that a thread puts as.
pub(super) fn producer_of(putter: u32) -> String {
    format!("p{putter}")
}

/// What the kill waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing: it counts from the start of the process.
    Start,
    /// The child says that it opens the channel.
    Open,
    /// The channel is open, and the child begins to read it.
    Read,
    /// The child says that it works.
    Work,
    /// The child says that word for the n-th time, while it works.
    Word(&'static str, u32),
    /// The names in the channel's directory change for the n-th time: a segment is made, or
    /// becomes another one.
    Names(u32),
    /// A checkpoint is written for the n-th time.
    Checkpoint(u32),
}

/// When a child is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aim {
    pub target: Target,
    /// How long after that.
    pub after: Duration,
}

impl Target {
    /// Its name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Target::Start => "start",
            Target::Open => "open",
            Target::Read => "read",
            Target::Work => "work",
            Target::Word(word, _) => word,
            Target::Names(_) => "segment",
            Target::Checkpoint(_) => "checkpoint",
        }
    }
}

impl Aim {
    pub(super) fn new(dice: &mut Rng) -> Aim {
        let words = ["put", "stored", "take", "took", "commit", "committed", "rollback"];
        match dice.u32(0..100) {
            0..=11 => Aim { target: Target::Start, after: within(dice, 50, 20_000) },
            12..=25 => Aim { target: Target::Open, after: within(dice, 10, 30_000) },
            26..=32 => Aim { target: Target::Read, after: within(dice, 10, 10_000) },
            33..=57 => Aim { target: Target::Work, after: within(dice, 50, 1_000_000) },
            58..=77 => {
                let word = words[dice.usize(0..words.len())];
                let target = Target::Word(word, dice.u32(1..100));
                Aim { target, after: soon(dice) }
            }
            78..=89 => Aim { target: Target::Names(dice.u32(1..12)), after: soon(dice) },
            _ => Aim { target: Target::Checkpoint(dice.u32(1..5)), after: soon(dice) },
        }
    }
}

/// Some time, of which each magnitude is as likely as any other.
fn within(dice: &mut Rng, least_us: u64, most_us: u64) -> Duration {
    let span = (most_us as f64 / least_us as f64).ln();
    Duration::from_micros((least_us as f64 * (dice.f64() * span).exp()) as u64)
}

/// At once, or a moment later.
fn soon(dice: &mut Rng) -> Duration {
    if dice.bool() { Duration::ZERO } else { within(dice, 10, 3_000) }
}

/// What one channel lives through: some rounds, and a last one in which nobody kills.
#[derive(Debug)]
pub(super) struct Life {
    pub rounds: u32,
    bytes_max: u64,
    events_max: u64,
    late_cursor_from: u32,
    longest: u32,
}

impl Life {
    pub(super) fn new(dice: &mut Rng) -> Life {
        let bytes_max = limit(dice);
        let longest = [1_000, 4_000, 30_000, 1_000_000][dice.usize(0..4)];
        // Else a large channel holds so many events that most of the time goes into reading.
        let least = if bytes_max > 4 << 20 { 1_000_000 } else { 30_000 };
        Life {
            rounds: dice.u32(1..25),
            bytes_max,
            events_max: if dice.u32(0..10) == 0 { dice.u64(200..2000) } else { 0 },
            late_cursor_from: dice.u32(0..20),
            longest: if bytes_max > 2 << 20 { longest.max(least) } else { longest },
        }
    }

    /// What to do in a round. The first round of a life is 0.
    pub(super) fn plan(&self, dice: &mut Rng, in_life: u32, late_is_made: bool) -> Plan {
        let mut cursors: Vec<String> = CURSORS.map(str::to_owned).to_vec();
        if late_is_made {
            cursors.push(LATE_CURSOR.to_owned());
        }
        let last = in_life >= self.rounds;
        let read = cursors.iter().filter(|_| last || dice.u32(0..3) > 0).cloned().collect();
        let make = !last && !late_is_made && in_life >= self.late_cursor_from;
        let putters = (0..PUTTERS).filter(|_| dice.u32(0..5) < 2).collect();
        let changed = in_life > 0 && dice.u32(0..12) == 0;
        let limit = if changed { limit(dice) } else { self.bytes_max };
        let syncs = ["commit", "commit", "commit", "commit", "interval:5ms", "os"];
        Plan {
            round: 0,
            seed: dice.u64(..),
            sync: syncs[dice.usize(0..syncs.len())].to_owned(),
            bytes_max: (in_life == 0 || changed).then_some(limit),
            events_max: (in_life == 0).then_some(self.events_max),
            read,
            cursors,
            takers: [0, 1, 1, 2, 2, 3][dice.usize(0..6)],
            make: make.then(|| LATE_CURSOR.to_owned()),
            putters,
            again: Vec::new(),
            longest: self.longest,
            rest_us: [0, 100, 1_000][dice.usize(0..3)],
            put_wait_ms: [0, 5, 100][dice.usize(0..3)],
            last,
        }
    }
}

/// A byte limit: mostly the smallest, in which segments are rolled and reclaimed all the time.
fn limit(dice: &mut Rng) -> u64 {
    match dice.u32(0..16) {
        0..=9 => 1 << 20,
        10..=12 => 2 << 20,
        13..=14 => 4 << 20,
        _ => 16 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plans_and_aims_again_and_aims_at_all_there_is() {
        let plans = |seed| {
            let mut dice = Rng::with_seed(seed);
            let life = Life::new(&mut dice);
            let round =
                |in_life| (life.plan(&mut dice, in_life, in_life % 2 == 0), Aim::new(&mut dice));
            (0..200).map(round).collect::<Vec<_>>()
        };
        assert_eq!(plans(7), plans(7));
        assert_ne!(plans(7), plans(8));
        let aimed: std::collections::BTreeSet<_> =
            plans(7).iter().map(|(_, aim)| aim.target.name()).collect();
        let all = [
            "checkpoint",
            "commit",
            "committed",
            "open",
            "put",
            "read",
            "rollback",
            "segment",
            "start",
            "stored",
            "take",
            "took",
            "work",
        ];
        assert_eq!(aimed.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_plan_goes_through_the_command_line_unchanged() {
        let mut dice = Rng::with_seed(1);
        let plan = Life::new(&mut dice).plan(&mut dice, 3, true);
        let text = serde_json::to_string(&plan).expect("it can be written");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("it can be read"), plan);
    }
}
