//! Small worlds, all of them: every short sequence of steps from a few beginnings, every moment
//! at which the power may go, and every single change that it may leave or take.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_wal::fs::sim::Survive;

use crate::common::{DIR, Dice};
use crate::lab::{PUT, blocks, name_of, peek};
use crate::life::Life;
use crate::model::Verdict;
use crate::script::{Class, Op};

/// One step of a small world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Put,
    Take,
    /// Commits what is open, puts and takes.
    Commit,
    /// Rolls back what is open.
    Rollback,
    Checkpoint,
    Reopen,
    Roll,
    Reclaim,
}

const STEPS: [Step; 8] = [
    Step::Put,
    Step::Take,
    Step::Commit,
    Step::Rollback,
    Step::Checkpoint,
    Step::Reopen,
    Step::Roll,
    Step::Reclaim,
];

impl Step {
    fn ops(self) -> Vec<Op> {
        match self {
            Step::Put => vec![Op::Begin { bytes: 600 }],
            Step::Take => vec![Op::Take { cursor: 0, events: 1 }],
            Step::Commit => [[Op::CommitPut { put: 0 }; 4], [Op::Ack { take: 0 }; 4]].concat(),
            Step::Rollback => {
                [[Op::RollbackPut { put: 0 }; 4], [Op::Return { take: 0 }; 4]].concat()
            }
            Step::Checkpoint => vec![Op::Checkpoint, Op::Tend],
            Step::Reopen => vec![Op::Reopen],
            Step::Roll => vec![Op::Roll],
            Step::Reclaim => vec![Op::Reclaim],
        }
    }
}

/// Whether a sequence means what no shorter or earlier one means.
fn is_canonical(steps: &[Step]) -> bool {
    let opens = |step: Step| matches!(step, Step::Put | Step::Take);
    let mut open = 0;
    for (at, &step) in steps.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| steps[at]);
        let fine = match step {
            // A put that is not committed and a take do not see each other.
            Step::Put => before != Some(Step::Take),
            Step::Take | Step::Checkpoint | Step::Roll | Step::Reclaim => true,
            // Without anything open they do nothing.
            Step::Commit => open > 0,
            // What was begun right before has left no trace.
            Step::Rollback => open > 0 && !before.is_some_and(opens),
            Step::Reopen => !before.is_some_and(opens),
        };
        if !fine {
            return false;
        }
        open = match step {
            Step::Put | Step::Take => open + 1,
            Step::Commit | Step::Rollback | Step::Reopen => 0,
            _ => open,
        };
    }
    // Beginning something and rolling back reach no disk: there is no moment to cut at.
    steps.last().is_none_or(|last| !opens(*last) && *last != Step::Rollback)
}

/// All sequences of up to so many steps that mean something of their own.
pub fn sequences(steps_max: usize) -> Vec<Vec<Step>> {
    let mut all = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..steps_max {
        let longer = |steps: &Vec<Step>| STEPS.map(|step| [&steps[..], &[step]].concat());
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().cloned());
    }
    all.retain(|steps| is_canonical(steps));
    all
}

/// Where small worlds begin.
pub struct Family {
    pub name: &'static str,
    life: Life,
    /// A damaged block that has to be found in its segment or in quarantine.
    damaged: Option<Damaged>,
}

struct Damaged {
    segment: u64,
    offset: u64,
    bytes: Vec<u8>,
}

fn put(bytes: u16) -> Op {
    Op::Put { events: 1, bytes, position: Some(0), producer: Some(0) }
}

fn lived(class: Class, ops: &[Op]) -> Life {
    let mut life = Life::new(7, class);
    for op in ops.iter().chain(&[Op::Put { events: 2, bytes: 9, position: None, producer: None }]) {
        life.step(op).unwrap_or_else(|what| panic!("a beginning without a mishap: {what}"));
    }
    life.close();
    life
}

/// A few laps of the segments, with something waiting at the end.
fn laps() -> Vec<Op> {
    let lap = [Op::Roll, Op::Roll, Op::Checkpoint, Op::Idle, Op::Roll, Op::Reclaim];
    [lap, lap, lap].concat()
}

/// All beginnings.
pub fn families() -> Vec<Family> {
    let family = |name, class, ops: &[Op]| Family { name, life: lived(class, ops), damaged: None };
    let full = [laps(), vec![put(31_000), put(31_000), put(31_000)], vec![put(90); 2]].concat();
    vec![
        Family { name: "new", life: Life::new(7, Class::Commit), damaged: None },
        family("lapped", Class::Commit, &laps()),
        family("full", Class::Commit, &full),
        family("interval", Class::Interval, &laps()),
        family("os", Class::Os, &full),
        damaged(),
    ]
}

/// A block of the oldest segment is damaged, the loss is noticed, and its bytes are still to go to
/// quarantine.
fn damaged() -> Family {
    let mut life = lived(Class::Commit, &[put(700), put(800), put(900), Op::Roll, Op::Idle]);
    let path = life.lab.segments().remove(0);
    let found = blocks(&life.lab.fs.read_file(&path));
    let hit = found.iter().rfind(|block| block.has(PUT)).expect("puts").clone();
    life.lab.fs.flip_bit(&path, hit.offset + 100, 0);
    let bytes = life.lab.fs.read_file(&path)[hit.offset as usize..hit.end() as usize].to_vec();
    let segment = name_of(&path)[..20].parse().expect("the label of a segment");
    life.lose_on_purpose(hit.seqs.0..hit.seqs.1);
    let channel = life.lab.open();
    peek(&channel, "main");
    life.lab.idle(&channel);
    drop(channel);
    let damaged = Some(Damaged { segment, offset: hit.offset, bytes });
    Family { name: "damaged", life, damaged }
}

impl Family {
    /// Damaged bytes are where they were, or in quarantine (P7).
    fn check_quarantine(&self, life: &Life) -> Verdict<()> {
        let Some(damaged) = &self.damaged else { return Ok(()) };
        let path = format!("{DIR}/{:020}.wal", damaged.segment);
        if life.lab.fs.exists(&path) {
            let range = damaged.offset as usize..damaged.offset as usize + damaged.bytes.len();
            if life.lab.fs.read_file(&path).get(range) == Some(&damaged.bytes[..]) {
                return Ok(());
            }
        }
        let name = format!("{:020}-{:010}.damaged", damaged.segment, damaged.offset);
        match life.lab.quarantine().get(&name) {
            Some(kept) if *kept == damaged.bytes => Ok(()),
            other => Err(format!("quarantine has {:?} of {name} (P7)", other.map(Vec::len))),
        }
    }
}

/// What became of a number of worlds.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub sequences: u64,
    pub moments: u64,
    pub worlds: u64,
    pub double: u64,
    pub violations: Vec<String>,
    /// How many worlds each family has.
    pub families: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.sequences += other.sequences;
        self.moments += other.moments;
        self.worlds += other.worlds;
        self.double += other.double;
        self.violations.extend(other.violations);
        for (name, worlds) in other.families {
            *self.families.entry(name).or_default() += worlds;
        }
    }
}

/// Which of all worlds are gone through: one sequence of so many, beginning with a seed.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    pub steps_max: usize,
    pub one_of: u64,
    pub seed: u64,
}

/// Goes through worlds on several threads.
pub fn explore(slice: Slice, threads: usize) -> Tally {
    let families = families();
    let sequences = sequences(slice.steps_max);
    let mut dice = Dice::new(slice.seed);
    let all = families.iter().flat_map(|family| sequences.iter().map(move |steps| (family, steps)));
    // The short ones are few, and all that opening does is in them.
    let chosen: Vec<_> =
        all.filter(|(_, steps)| steps.len() < 2 || dice.below(slice.one_of.max(1)) == 0).collect();
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let work = || {
        let mut mine = Tally::default();
        while let Some((family, steps)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            mine.add(explore_one(family, steps));
            if mine.violations.len() > 10 {
                break;
            }
        }
        total.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(mine);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Every moment of the last step of a sequence, or of the first open if there is none.
fn explore_one(family: &Family, steps: &[Step]) -> Tally {
    let mut tally = Tally { sequences: 1, ..Tally::default() };
    let seed = 1 + steps.iter().fold(0, |hash, step| hash * 9 + 1 + *step as u64);
    let what = |moment: u64| format!("family {}, {steps:?}, cut at {moment}", family.name);
    let (from, until) = match live(family, steps, seed, None) {
        Ok((_, moments)) => moments,
        Err(violation) => {
            tally.violations.push(format!("{}: {violation}", what(0)));
            return tally;
        }
    };
    for moment in from..=until {
        tally.moments += 1;
        let outcome = live(family, steps, seed, Some(moment))
            .and_then(|(life, _)| explore_moment(family, &life, seed << 16 | moment, &mut tally));
        if let Err(violation) = outcome {
            tally.violations.push(format!("{}: {violation}", what(moment)));
        }
    }
    tally.families.insert(family.name, tally.worlds);
    tally
}

/// Lives through the steps, up to a power cut if there is one; between which operations of the
/// disk the last step lies.
fn live(
    family: &Family,
    steps: &[Step],
    seed: u64,
    cut: Option<u64>,
) -> Verdict<(Life, (u64, u64))> {
    let mut life = family.life.fork(seed);
    life.hold_at(cut.unwrap_or(u64::MAX));
    let mut from = 0;
    life.ensure_open()?;
    for step in steps {
        from = life.lab.fs.ops();
        for op in step.ops() {
            life.step(&op)?;
        }
    }
    let until = life.lab.fs.ops();
    if cut.is_some() {
        life.close();
    }
    Ok((life, (from, until)))
}

/// All that the power cut may have left.
fn outcomes(life: &Life, seed: u64) -> Vec<Survive> {
    let unsynced = life.lab.fs.unsynced();
    // The status page and the lock's text are never believed.
    let matters = |line: &String| !line.contains("status") && !line.contains("LOCK");
    let places = (0..).zip(&unsynced).filter(|(_, line)| matters(line)).map(|(place, _)| place);
    let places: Vec<u64> = places.collect();
    let mut all = vec![Survive::Nothing];
    if places.is_empty() {
        return all;
    }
    all.push(Survive::Everything);
    if places.len() > 1 {
        all.extend(places.iter().flat_map(|&n| [Survive::Only(n), Survive::AllBut(n)]));
    }
    all.extend([Survive::Seed(seed), Survive::Seed(seed + 1), Survive::SeedAnyNames(seed + 2)]);
    all
}

fn explore_moment(family: &Family, life: &Life, seed: u64, tally: &mut Tally) -> Verdict<()> {
    for (n, survive) in (0..).zip(outcomes(life, seed)) {
        tally.worlds += 1;
        let explain = |what: String| format!("{survive:?}: {what}");
        let mut after = life.after_cut(survive, seed << 8 | n);
        after.ensure_open().map_err(explain)?;
        let ops = after.lab.fs.ops();
        go_on(family, &mut after).map_err(explain)?;
        // Some meet another power cut while they recover from the first.
        if (seed + n).is_multiple_of(5) && ops > 0 {
            tally.double += 1;
            let mut dice = Dice::new(seed ^ n);
            let at = dice.below(ops);
            let mut again = life.after_cut(survive, seed << 8 | n);
            again.hold_at(at);
            again.ensure_open().map_err(explain)?;
            again.close();
            let second =
                if dice.below(4) == 0 { Survive::Nothing } else { Survive::Seed(dice.any()) };
            let explain = |what: String| format!("{survive:?}, then at {at} {second:?}: {what}");
            let mut after = again.after_cut(second, seed << 8 | n);
            after.ensure_open().map_err(explain)?;
            go_on(family, &mut after).map_err(explain)?;
        }
    }
    Ok(())
}

/// Nothing of what was cut off comes back behind what is written from now on.
fn go_on(family: &Family, life: &mut Life) -> Verdict<()> {
    family.check_quarantine(life)?;
    for op in [Op::Reopen, put(20), Op::Take { cursor: 0, events: 1 }, Op::Ack { take: 0 }] {
        life.step(&op)?;
    }
    life.step(&Op::Reopen)?;
    life.step(&Op::Reclaim)?;
    life.finish()?;
    family.check_quarantine(life)
}
