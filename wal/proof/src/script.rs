//! Scripts: the life of a channel as a value. It is generated first and run after, so that it can
//! be shrunk, and printed as a test.

use std::fmt;
use std::time::Duration;

use forebay_wal::SyncClass;
use forebay_wal::fs::sim::{Fault, Survive};

use crate::common::Dice;
use crate::life::{Life, Report};

/// The names that scripts number.
pub const CURSORS: [&str; 4] = ["main", "second", "third", "fourth"];
pub const KEYS: [&str; 3] = ["file-0", "file-1", "file-2"];
pub const PRODUCERS: [&str; 3] = ["producer-0", "producer-1", "producer-2"];

/// One thing that happens to a channel. Whatever an op names by number (an open transaction, a
/// cursor) is taken modulo what there is, and an op for which there is nothing does nothing: any
/// sequence of ops is a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Puts events of so many bytes in one transaction, and commits.
    Put {
        events: u8,
        bytes: u16,
        position: Option<u8>,
        producer: Option<u8>,
    },
    /// Puts once more what a producer put last, under the same sequence.
    Repeat {
        producer: u8,
    },
    /// Begins a put transaction with an event.
    Begin {
        bytes: u16,
    },
    /// Puts an event into an open put transaction.
    Add {
        put: u8,
        bytes: u16,
    },
    CommitPut {
        put: u8,
    },
    RollbackPut {
        put: u8,
    },
    /// Begins a take and takes up to so many events.
    Take {
        cursor: u8,
        events: u8,
    },
    /// Commits an open take.
    Ack {
        take: u8,
    },
    /// Rolls an open take back.
    Return {
        take: u8,
    },
    /// Asks for a checkpoint, and tends.
    Checkpoint,
    Tend,
    /// Lets time pass until the log is idle, tending.
    Idle,
    /// Lets time pass.
    Advance {
        ms: u16,
    },
    /// The wall clock jumps.
    Jump {
        seconds: i32,
    },
    /// Puts until the log goes on in another segment.
    Roll,
    /// Takes and acknowledges everything on every cursor, and tends.
    Reclaim,
    /// Closes and opens again.
    Reopen,
    AddCursor {
        cursor: u8,
        oldest: bool,
    },
    RemoveCursor {
        cursor: u8,
    },
    /// The power goes now.
    Crash {
        survive: Survive,
    },
    /// The power goes at an operation of the disk, counted from now.
    CrashAt {
        ops: u16,
        survive: Survive,
    },
    /// The process dies now.
    Kill,
    /// The process dies at an operation of the disk, counted from now.
    KillAt {
        ops: u16,
    },
    /// An operation of the disk fails, counted from now.
    FailAt {
        ops: u16,
        fault: Fault,
    },
    /// All of them fail from one on, counted from now.
    FailFrom {
        ops: u16,
        fault: Fault,
    },
    /// Nothing that was planned fails any more.
    Heal,
}

/// A sync class, as a script names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Commit,
    Interval,
    Os,
}

impl Class {
    pub fn sync(self) -> SyncClass {
        match self {
            Class::Commit => SyncClass::Commit,
            Class::Interval => SyncClass::Interval(Duration::from_millis(100)),
            Class::Os => SyncClass::Os,
        }
    }
}

/// A life of a channel, from an empty disk on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Decides what the disk and the channel do by chance.
    pub seed: u64,
    pub class: Class,
    pub ops: Vec<Op>,
}

/// Where a script found that a promise does not hold.
#[derive(Debug, Clone)]
pub struct Violation {
    pub script: Script,
    /// The op that showed it; one behind the last for the look at the end.
    pub step: usize,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op {} of seed {}: {}\n{}", self.step, self.script.seed, self.what, self.script)
    }
}

/// What kinds of ops a generated script has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    pub ops: usize,
    pub cuts: bool,
    pub kills: bool,
    pub faults: bool,
    /// Whether cursors come and go.
    pub cursors: bool,
}

impl Recipe {
    /// A life without a mishap, of so many ops.
    pub fn calm(ops: usize) -> Recipe {
        Recipe { ops, cuts: false, kills: false, faults: false, cursors: false }
    }

    /// A life with everything in it.
    pub fn wild(ops: usize) -> Recipe {
        Recipe { ops, cuts: true, kills: true, faults: true, cursors: true }
    }
}

/// Where the choices of a generated script come from.
trait Choices {
    fn below(&mut self, limit: u64) -> u64;
    fn any(&mut self) -> u64;
}

impl Choices for Dice {
    fn below(&mut self, limit: u64) -> u64 {
        Dice::below(self, limit)
    }

    fn any(&mut self) -> u64 {
        // Short, since a person may have to read it.
        Dice::any(self) >> 44
    }
}

/// The bytes that somebody else chose; zeroes behind their end.
struct Given<'a>(&'a [u8]);

impl Given<'_> {
    fn next(&mut self) -> u64 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        u64::from(*first)
    }
}

impl Choices for Given<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        let first = self.next();
        if limit <= 256 { first % limit } else { (first << 8 | self.next()) % limit }
    }

    fn any(&mut self) -> u64 {
        self.next() << 8 | self.next()
    }
}

fn survive(choices: &mut impl Choices) -> Survive {
    match choices.below(8) {
        0 => Survive::Nothing,
        1 => Survive::Everything,
        2 => Survive::SeedAnyNames(choices.any()),
        3 => Survive::Only(choices.below(8)),
        4 => Survive::AllBut(choices.below(8)),
        _ => Survive::Seed(choices.any()),
    }
}

fn fault(choices: &mut impl Choices) -> Fault {
    match choices.below(5) {
        0 => Fault::Eio,
        1 => Fault::Enospc,
        2 => Fault::ShortWrite,
        3 => Fault::SyncFails,
        _ => Fault::SyncFailsInPart,
    }
}

/// How far ahead of an op its crash or fault may lie: a little more often soon than late.
fn ahead(choices: &mut impl Choices) -> u16 {
    let limit = if choices.below(2) == 0 { 12 } else { 60 };
    choices.below(limit) as u16
}

/// Lengths of events: most are short.
fn length(choices: &mut impl Choices) -> u16 {
    match choices.below(8) {
        0 => 0,
        1 => 3000 + choices.below(9) as u16 * 700,
        _ => 20 + choices.below(200) as u16,
    }
}

fn number(choices: &mut impl Choices, limit: u64) -> u8 {
    choices.below(limit) as u8
}

fn maybe(choices: &mut impl Choices, limit: u64) -> Option<u8> {
    (choices.below(3) == 0).then(|| number(choices, limit))
}

fn mishap(recipe: Recipe, choices: &mut impl Choices) -> Op {
    let weights = [(recipe.cuts, 5), (recipe.kills, 1), (recipe.faults, 2), (recipe.cursors, 1)];
    let weight = |(wanted, weight): (bool, u64)| if wanted { weight } else { 0 };
    let all: u64 = weights.iter().copied().map(weight).sum();
    let mut left = choices.below(all.max(1));
    let kind = weights.iter().position(|kind| {
        let weight = weight(*kind);
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    });
    let soon = choices.below(5);
    match kind {
        Some(0) if soon == 0 => Op::Crash { survive: survive(choices) },
        Some(0) => Op::CrashAt { ops: ahead(choices), survive: survive(choices) },
        Some(1) if soon == 0 => Op::Kill,
        Some(1) => Op::KillAt { ops: ahead(choices) },
        Some(2) if soon == 0 => Op::Heal,
        Some(2) if soon == 1 => Op::FailFrom { ops: ahead(choices), fault: fault(choices) },
        Some(2) => Op::FailAt { ops: ahead(choices), fault: fault(choices) },
        Some(3) if soon < 2 => Op::RemoveCursor { cursor: number(choices, 4) },
        Some(3) => Op::AddCursor { cursor: number(choices, 4), oldest: choices.below(2) == 0 },
        _ => Op::Tend,
    }
}

fn choose(recipe: Recipe, choices: &mut impl Choices) -> Op {
    match number(choices, 100) {
        0..=29 => Op::Put {
            events: 1 + number(choices, 6),
            bytes: length(choices),
            position: maybe(choices, 3),
            producer: maybe(choices, 3),
        },
        30..=31 => Op::Repeat { producer: number(choices, 3) },
        32..=35 => Op::Begin { bytes: length(choices) },
        36..=39 => Op::Add { put: number(choices, 4), bytes: length(choices) },
        40..=42 => Op::CommitPut { put: number(choices, 4) },
        43 => Op::RollbackPut { put: number(choices, 4) },
        44..=56 => Op::Take { cursor: number(choices, 4), events: 1 + number(choices, 12) },
        57..=68 => Op::Ack { take: number(choices, 8) },
        69..=71 => Op::Return { take: number(choices, 8) },
        72..=73 => Op::Checkpoint,
        74..=76 => Op::Tend,
        77..=79 => Op::Idle,
        80 => Op::Advance { ms: choices.below(150) as u16 },
        81 => Op::Jump { seconds: choices.below(1 << 16) as i32 * 32 - (1 << 20) },
        82..=83 => Op::Roll,
        84 => Op::Reclaim,
        85..=86 => Op::Reopen,
        _ => mishap(recipe, choices),
    }
}

impl Script {
    /// A random life. The seed says everything.
    pub fn random(seed: u64, class: Class, recipe: Recipe) -> Script {
        let mut dice = Dice::new(seed ^ 0x5c21_97);
        let ops = (0..recipe.ops).map(|_| choose(recipe, &mut dice)).collect();
        Script { seed, class, ops }
    }

    /// A life of the campaign: mostly of class commit, and now and then one with faults.
    pub fn campaign(seed: u64) -> Script {
        let class = match seed % 8 {
            6 => Class::Interval,
            7 => Class::Os,
            _ => Class::Commit,
        };
        let recipe = Recipe { faults: seed.is_multiple_of(3), ..Recipe::wild(60) };
        Script::random(seed, class, recipe)
    }

    /// Any bytes are a script, and a short one: at most 64 ops.
    pub fn from_bytes(bytes: &[u8]) -> Script {
        let mut given = Given(bytes);
        let class = match given.below(8) {
            6 => Class::Interval,
            7 => Class::Os,
            _ => Class::Commit,
        };
        let seed = given.below(256);
        let mut ops = Vec::new();
        while !given.0.is_empty() && ops.len() < 64 {
            ops.push(choose(Recipe::wild(64), &mut given));
        }
        Script { seed, class, ops }
    }

    /// Lives it, and looks at all of it once more at the end.
    ///
    /// # Errors
    ///
    /// Where a promise was found not to hold; a panic of the engine is that as well.
    pub fn run(&self) -> Result<Report, Box<Violation>> {
        let mut life = Life::new(self.seed, self.class);
        self.run_in(&mut life)
    }

    /// Goes on with a life that has begun.
    ///
    /// # Errors
    ///
    /// As [`Script::run`].
    pub fn run_in(&self, life: &mut Life) -> Result<Report, Box<Violation>> {
        for step in 0..=self.ops.len() {
            let op = self.ops.get(step);
            let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match op {
                Some(op) => life.step(op),
                None => life.finish(),
            }));
            let verdict = lived.unwrap_or_else(|panic| Err(panic_text(&*panic)));
            if let Err(what) = verdict {
                return Err(Box::new(Violation { script: self.clone(), step, what }));
            }
        }
        Ok(life.report)
    }

    /// Runs it as a test; what fails is shrunk and printed as one.
    pub fn check(&self) {
        if let Err(violation) = self.run() {
            panic!("{violation}\n\nand shrunk: {}", crate::shrink::shrink(&violation));
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a word"))
}

/// Prints itself as a test.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |test: fn(&Op) -> bool| self.ops.iter().any(test);
        writeln!(f, "#[test]")?;
        writeln!(f, "fn found_by_seed_{}() {{", self.seed)?;
        let ops = if self.ops.is_empty() { "" } else { "Op::*, " };
        writeln!(f, "    use forebay_proof::script::{{Class, {ops}Script}};")?;
        if has(|op| matches!(op, Op::FailAt { .. } | Op::FailFrom { .. })) {
            writeln!(f, "    use forebay_wal::fs::sim::Fault::*;")?;
        }
        if has(|op| matches!(op, Op::Crash { .. } | Op::CrashAt { .. })) {
            writeln!(f, "    use forebay_wal::fs::sim::Survive::*;")?;
        }
        writeln!(f, "    let ops = vec![")?;
        for op in &self.ops {
            writeln!(f, "        {op:?},")?;
        }
        writeln!(f, "    ];")?;
        writeln!(
            f,
            "    Script {{ seed: {}, class: Class::{:?}, ops }}.check();",
            self.seed, self.class
        )?;
        write!(f, "}}")
    }
}
