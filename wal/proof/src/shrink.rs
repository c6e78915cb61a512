//! Shrinking: from a script that shows a violation to a short one that shows one too. Nothing here
//! is left to chance: the same script shrinks to the same.

use forebay_wal::fs::sim::Survive;

use crate::script::{Op, Script, Violation};

/// More runs than a person would wait for.
const RUNS_MAX: usize = 4000;

/// The shortest script that was found to fail, on the way from one that does.
pub fn shrink(violation: &Violation) -> Violation {
    shrink_with(violation, |script| script.run().err().map(|violation| *violation))
}

/// The same with another way to run a script.
pub fn shrink_with(violation: &Violation, run: impl Fn(&Script) -> Option<Violation>) -> Violation {
    let mut shrinker = Shrinker { best: violation.clone(), run, runs_left: RUNS_MAX };
    // What comes behind the step that showed it does not matter.
    let mut ops = violation.script.ops.clone();
    ops.truncate(violation.step + 1);
    shrinker.attempt(ops);
    while shrinker.leave_out() | shrinker.simplify() {}
    shrinker.best
}

struct Shrinker<R> {
    best: Violation,
    run: R,
    runs_left: usize,
}

impl<R: Fn(&Script) -> Option<Violation>> Shrinker<R> {
    /// Whether these ops fail too; then they are the best so far.
    fn attempt(&mut self, ops: Vec<Op>) -> bool {
        if self.runs_left == 0 || ops == self.best.script.ops {
            return false;
        }
        self.runs_left -= 1;
        let script = Script { ops, ..self.best.script };
        let Some(violation) = (self.run)(&script) else { return false };
        self.best = violation;
        true
    }

    /// Leaves out stretches of ops, long ones first; whether that helped.
    fn leave_out(&mut self) -> bool {
        let mut helped = false;
        let mut len = self.best.script.ops.len().next_power_of_two();
        while len > 0 {
            let mut at = 0;
            while at < self.best.script.ops.len() {
                let mut ops = self.best.script.ops.clone();
                ops.drain(at..(at + len).min(ops.len()));
                if self.attempt(ops) {
                    helped = true;
                } else {
                    at += len;
                }
            }
            len /= 2;
        }
        helped
    }

    /// Puts a simpler op in the place of each; whether that helped.
    fn simplify(&mut self) -> bool {
        let mut helped = false;
        for at in 0..self.best.script.ops.len() {
            loop {
                let found = simpler(self.best.script.ops[at]).into_iter().any(|op| {
                    let mut ops = self.best.script.ops.clone();
                    ops[at] = op;
                    self.attempt(ops)
                });
                if !found {
                    break;
                }
                helped = true;
            }
        }
        helped
    }
}

/// Lower numbers than this one, the lowest first.
fn lower(number: u16) -> Vec<u16> {
    let mut all = vec![0, number / 2, number.saturating_sub(1)];
    all.retain(|other| *other < number);
    all.dedup();
    all
}

fn lower_u8(number: u8) -> impl Iterator<Item = u8> {
    lower(number.into()).into_iter().map(|number| number as u8)
}

fn simpler_survive(survive: Survive) -> Vec<Survive> {
    let few = (0..4).flat_map(|n| [Survive::Only(n), Survive::AllBut(n)]);
    let whole = [Survive::Nothing, Survive::Everything];
    match survive {
        Survive::Nothing => Vec::new(),
        Survive::Everything => vec![Survive::Nothing],
        Survive::Only(n) | Survive::AllBut(n) => {
            let few = (0..n.min(8)).flat_map(|n| [Survive::Only(n), Survive::AllBut(n)]);
            whole.into_iter().chain(few).collect()
        }
        Survive::Seed(seed) | Survive::SeedAnyNames(seed) => {
            let seeds = (0..seed.min(8)).map(Survive::Seed);
            whole.into_iter().chain(few).chain(seeds).collect()
        }
    }
}

/// Ops that do less than this one. Each chain of them ends.
fn simpler(op: Op) -> Vec<Op> {
    match op {
        Op::Put { events, bytes, position, producer } => {
            let put =
                |events, bytes, position, producer| Op::Put { events, bytes, position, producer };
            let mut all = Vec::new();
            if position.is_some() {
                all.push(put(events, bytes, None, producer));
            }
            if producer.is_some() {
                all.push(put(events, bytes, position, None));
            }
            let fewer = lower_u8(events).filter(|events| *events > 0);
            all.extend(fewer.map(|events| put(events, bytes, position, producer)));
            all.extend(lower(bytes).into_iter().map(|b| put(events, b, position, producer)));
            all
        }
        Op::Begin { bytes } => lower(bytes).into_iter().map(|bytes| Op::Begin { bytes }).collect(),
        Op::Add { put, bytes } => {
            let bytes = lower(bytes).into_iter().map(|bytes| Op::Add { put, bytes });
            bytes.chain(lower_u8(put).map(|put| Op::Add { put, bytes: 0 })).collect()
        }
        Op::Repeat { producer } => lower_u8(producer).map(|n| Op::Repeat { producer: n }).collect(),
        Op::CommitPut { put } => lower_u8(put).map(|put| Op::CommitPut { put }).collect(),
        Op::RollbackPut { put } => lower_u8(put).map(|put| Op::RollbackPut { put }).collect(),
        Op::Ack { take } => lower_u8(take).map(|take| Op::Ack { take }).collect(),
        Op::Return { take } => lower_u8(take).map(|take| Op::Return { take }).collect(),
        Op::Take { cursor, events } => {
            let events =
                lower_u8(events).filter(|n| *n > 0).map(|n| Op::Take { cursor, events: n });
            lower_u8(cursor).map(|cursor| Op::Take { cursor, events: 1 }).chain(events).collect()
        }
        Op::Advance { ms } => lower(ms).into_iter().map(|ms| Op::Advance { ms }).collect(),
        Op::Jump { seconds } if seconds != 0 => vec![Op::Jump { seconds: seconds / 2 }],
        Op::CrashAt { ops, survive } => {
            let now = simpler_survive(survive).into_iter().map(|s| Op::CrashAt { ops, survive: s });
            let soon = lower(ops).into_iter().map(|ops| Op::CrashAt { ops, survive });
            std::iter::once(Op::Crash { survive }).chain(now).chain(soon).collect()
        }
        Op::Crash { survive } => {
            let all = simpler_survive(survive).into_iter();
            std::iter::once(Op::Kill).chain(all.map(|survive| Op::Crash { survive })).collect()
        }
        Op::KillAt { ops } => {
            let soon = lower(ops).into_iter().map(|ops| Op::KillAt { ops });
            std::iter::once(Op::Kill).chain(soon).collect()
        }
        Op::Kill => vec![Op::Reopen],
        Op::FailFrom { ops, fault } => {
            let soon = lower(ops).into_iter().map(|ops| Op::FailFrom { ops, fault });
            std::iter::once(Op::FailAt { ops, fault }).chain(soon).collect()
        }
        Op::FailAt { ops, fault } => {
            lower(ops).into_iter().map(|ops| Op::FailAt { ops, fault }).collect()
        }
        Op::Reclaim => vec![Op::Idle],
        Op::Idle => vec![Op::Tend],
        Op::AddCursor { cursor, oldest: true } => vec![Op::AddCursor { cursor, oldest: false }],
        _ => Vec::new(),
    }
}
