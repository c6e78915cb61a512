//! `forebay torture`: kills a process of its own at random, and looks at what it finds.
//!
//! | what | file |
//! | --- | --- |
//! | what a round does, and when it is killed     | `plan.rs` |
//! | the child: opens, reads, puts, takes         | `child.rs`, `put.rs`, `take.rs` |
//! | what it says of it, line by line             | `line.rs`, `event.rs` |
//! | starting it, listening, killing              | `round.rs` |
//! | what the promises forbid, seen from the log  | `check/` |
//! | where all of it is, and what is told         | `home.rs`, `report.rs` |

use std::fs::File;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use fastrand::Rng;

use super::Outcome;
use super::progress::Progress;
use crate::channel::FileChannel;
use crate::failure::Failure;
use crate::shutdown;

mod check;
mod child;
mod event;
mod home;
mod line;
mod plan;
mod put;
mod report;
mod round;
mod take;

pub(super) use child::TortureChild;

use check::Checker;
use home::{Home, Place};
use line::Line;
use plan::{Aim, CURSORS, LATE_CURSOR, Life, PUTTERS, Plan, Style, producer_of};
use report::Report;
use round::End;

/// Kill a process of its own at random, again and again, and check what is left.
///
/// A child puts, takes, acknowledges, rolls back and repeats from many threads, on a channel so small
/// that its segments go round all the time. It says of each operation when it begins and how it
/// ended, and is killed (SIGKILL) at a moment that the seed chooses: while it opens the channel,
/// commits, writes a checkpoint, makes a segment of another. The next one opens the channel and tells
/// what is there. From that alone it is checked that nothing acknowledged is gone (P1), that
/// transactions are there whole or not at all (P2), in order (P3), and that nothing acknowledged
/// comes again (P4).
///
/// The same seed gives the same plans and moments, but not the same schedule of threads: a violation
/// may take several runs to come back. Then all is kept, and the end of the output says where. Exits
/// with 0 if nothing was found, with 1 after a violation, with 2 if it cannot be done. SIGINT and
/// SIGTERM end it early, with what is known by then.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forebay torture\n  \
    forebay torture --rounds 1000 --seed 7\n  \
    forebay torture --dir /dev/shm/torture --rounds 1000\n  \
    forebay torture --dir /mnt/disk/torture --json | jq .violations")]
pub(super) struct Torture {
    /// Where the channels are made: a new or empty directory [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many processes are killed
    #[arg(long, value_name = "N", default_value = "100")]
    rounds: NonZeroU64,
    /// What all plans and moments follow from [default: a random one]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Torture {
    pub(super) fn execute(self) -> Result<Outcome, Failure> {
        // Short, so that it is easily given again.
        let seed = self.seed.unwrap_or_else(|| u64::from(Rng::new().u32(..)));
        let home = Home::claim(self.dir.as_deref())?;
        let stop = shutdown::flag_at_signals();
        let stop =
            stop.map_err(|error| Failure::new("signals cannot be listened to").because(error))?;
        if !self.json {
            report::print(&format!("seed {seed}, in {}", home.path().display()))?;
        }
        let progress = if self.json { Progress::none() } else { Progress::of("rounds") };
        let mut campaign = Campaign {
            options: &self,
            home: &home,
            stop,
            dice: Rng::with_seed(seed),
            report: Report { seed, ..Report::default() },
            started: Instant::now(),
            progress,
        };
        campaign.run()?;
        let mut report = campaign.end();
        let found = report.violations_found > 0;
        if found {
            report.kept = Some(home.keep()?.display().to_string());
        } else {
            home.clear()?;
        }
        report::print(&if self.json { report.json()? } else { report.text() })?;
        Ok(if found { Outcome::Finding } else { Outcome::Fine })
    }
}

/// All rounds.
struct Campaign<'a> {
    options: &'a Torture,
    home: &'a Home,
    stop: Arc<AtomicBool>,
    dice: Rng,
    report: Report,
    started: Instant,
    progress: Progress,
}

impl Campaign<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        while !self.is_over() {
            self.report.channels += 1;
            let number = u32::try_from(self.report.channels).unwrap_or(u32::MAX);
            let place = self.home.place(number)?;
            self.life(&place)?;
            if self.report.violations_found == 0 {
                place.remove()?;
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.report.violations_found > 0
            || self.report.rounds >= self.options.rounds.get()
            || self.stop.load(Ordering::Relaxed)
    }

    /// One channel, from its first round to its last.
    fn life(&mut self, place: &Place) -> Result<(), Failure> {
        let mut dice = self.dice.fork();
        let life = Life::new(&mut dice);
        let mut checker = Checker::new(&CURSORS);
        let failed = |error| Failure::new("the log cannot be written").because(error);
        let mut log = File::create(&place.log).map_err(failed)?;
        for in_life in 0.. {
            // The last round of all is the last of its channel as well.
            let in_life = if self.is_over() { in_life.max(life.rounds) } else { in_life };
            let late_is_made = checker.has_cursor(LATE_CURSOR);
            let mut plan = life.plan(&mut dice, in_life, late_is_made);
            plan.round = in_life + 1;
            plan.again = again(&checker);
            let aim = (!plan.last).then(|| Aim::new(&mut dice));
            writeln!(log, "# {}\n# {aim:?}", serde_json::to_string(&plan).unwrap_or_default())
                .map_err(failed)?;
            place.copy()?;
            let outcome = round::run(&place.data, &place.stderr, &plan, aim, &self.stop)?;
            for line in &outcome.lines {
                writeln!(log, "{line}").map_err(failed)?;
            }
            writeln!(log, "# {:?}", outcome.end).map_err(failed)?;
            let (said, took) = (outcome.lines.len(), outcome.took);
            tracing::debug!(plan.round, ?aim, ?outcome.end, ?took, said, "a child has ended");
            let phases = check_round(&mut checker, &plan, &outcome, &place.data);
            self.count(&outcome.end, aim, &phases);
            let (found, violations) = checker.found();
            self.report.violations_found = violations;
            self.report.violations = found.to_vec();
            if !plan.last {
                self.show(&checker)?;
            }
            if plan.last || violations > 0 || outcome.end == End::Stopped {
                break;
            }
        }
        self.report.figures.add(checker.figures());
        Ok(())
    }

    fn count(&mut self, end: &End, aim: Option<Aim>, phases: &[&'static str]) {
        let Some(aim) = aim else { return };
        self.report.rounds += 1;
        if *end == End::Killed {
            self.report.kills += 1;
            *self.report.kills_by_aim.entry(aim.target.name()).or_default() += 1;
            for phase in phases {
                *self.report.kills_by_phase.entry(phase).or_default() += 1;
            }
        }
    }

    /// A tenth of the way is a line, for whoever reads along.
    fn show(&mut self, checker: &Checker) -> Result<(), Failure> {
        let (rounds, all) = (self.report.rounds, self.options.rounds.get());
        self.progress.at(rounds);
        if !self.options.json && rounds.is_multiple_of(all.div_ceil(10)) {
            report::print(&self.report.progress(all, checker.figures()))?;
        }
        Ok(())
    }

    fn end(mut self) -> Report {
        self.report.interrupted = self.stop.load(Ordering::Relaxed);
        let elapsed = self.started.elapsed().as_millis();
        self.report.elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.report
    }
}

/// What the producers are to put again.
fn again(checker: &Checker) -> Vec<(u32, Vec<u64>)> {
    let named = (0..PUTTERS).filter(|&putter| Style::of(putter).named);
    let again = named.map(|putter| (putter, checker.again(&producer_of(putter))));
    again.filter(|(_, sequences)| !sequences.is_empty()).collect()
}

/// Checks what a child said and how it ended; what was under way at its end.
fn check_round(
    checker: &mut Checker,
    plan: &Plan,
    outcome: &round::Outcome,
    data: &Path,
) -> Vec<&'static str> {
    checker.begin(plan.round);
    for text in &outcome.lines {
        match text.parse::<Line>() {
            Ok(line) => checker.line(&line),
            Err(()) => checker.blame("error", format!("the child said {text:?}")),
        }
    }
    match &outcome.end {
        End::Killed | End::Done | End::Stopped => {}
        End::Died(how) => checker.blame("error", how.clone()),
        End::Stuck => checker.blame("P7", "it did not come to its end in a minute".to_owned()),
    }
    let phases = checker.under_way();
    checker.end();
    look(checker, data);
    phases
}

/// Looks at the channel from outside: there is one, and it knows of no loss.
fn look(checker: &mut Checker, data: &Path) {
    match FileChannel::inspect(data) {
        Ok(inspection) => {
            let losses = inspection.recent_losses.iter().chain(&inspection.new_losses);
            for loss in losses {
                let text = format!("a loss is reported where nothing was damaged: {loss:?}");
                checker.blame("P6", text);
            }
        }
        // Its making was killed.
        Err(_) if !checker.has_stored() => {}
        Err(error) => checker.blame("P7", format!("the channel cannot be looked at: {error}")),
    }
}
