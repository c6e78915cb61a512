//! Rounds: in each, every rival measures every cell once, one rival after the other, so that what
//! disturbs the machine for a while disturbs all of them. A cell is the median over the rounds.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::event::Pool;
use crate::rival::Rival;
use crate::table::{Cell, FLOOR, Row, Table};
use crate::work::{Load, Work};

/// A table of one work.
pub struct Plan {
    pub work: Work,
    pub producers: usize,
    pub batches: Vec<usize>,
    pub rounds: usize,
    pub seconds: Duration,
    pub warm: Duration,
    pub backlog: u64,
}

/// What one rival did.
struct Line {
    rival: Rival,
    /// Events per second by batch and round.
    figures: Vec<Vec<f64>>,
    missing: Option<String>,
    failed: bool,
}

/// Measures, and says on stderr how far it is. The second one is whether a rival failed.
pub fn run(plan: &Plan, home: &Path, rivals: Vec<Rival>, command: String) -> Result<(Table, bool)> {
    let pool = Pool::new();
    let line = |rival: Rival| Line {
        missing: rival.missing(),
        rival,
        figures: vec![Vec::new(); plan.batches.len()],
        failed: false,
    };
    let mut lines: Vec<Line> = rivals.into_iter().map(line).collect();
    for round in 1..=plan.rounds {
        for (column, &batch) in plan.batches.iter().enumerate() {
            for line in lines.iter_mut().filter(|line| line.missing.is_none()) {
                let load = Load {
                    work: plan.work,
                    producers: plan.producers,
                    batch,
                    seconds: plan.seconds,
                    warm: plan.warm,
                    backlog: plan.backlog,
                    marked_commits: None,
                };
                cell(line, column, home, &pool, &load, &format!("round {round}, batch {batch}"));
            }
        }
    }
    let failed = lines.iter().any(|line| line.failed);
    Ok((table(plan, home, lines, command), failed))
}

fn cell(line: &mut Line, column: usize, home: &Path, pool: &Pool, load: &Load, at: &str) {
    match line.rival.measure(home, pool, load) {
        Ok(figure) => {
            let per_s = figure.events_per_s();
            eprintln!("{at}: {}: {per_s:.0} events/s", line.rival.name());
            line.figures[column].push(per_s);
        }
        Err(error) => {
            eprintln!("{at}: {error:#}");
            line.missing = Some(format!("failed in {at}: {error:#}"));
            line.failed = true;
        }
    }
}

fn table(plan: &Plan, home: &Path, lines: Vec<Line>, command: String) -> Table {
    let floors = lines.iter().find(|line| line.rival.name() == FLOOR);
    let floors = floors.map(|line| line.figures.clone());
    let row = |line: Line| {
        let cells = line.figures.into_iter().enumerate().map(|(column, figures)| {
            Cell::new(figures, floors.as_ref().map(|floors| floors[column].as_slice()))
        });
        Row {
            rival: line.rival.name().to_owned(),
            syncs: line.rival.syncs().to_owned(),
            cells: cells.collect(),
            missing: line.missing,
        }
    };
    Table {
        title: title(plan),
        command,
        unit: "events/s (ratio to the floor)".to_owned(),
        columns: plan.batches.iter().map(|batch| format!("batch {batch}")).collect(),
        rows: lines.into_iter().map(row).collect(),
        notes: notes(plan, home),
    }
}

fn title(plan: &Plan) -> String {
    match (plan.work, plan.producers) {
        (Work::Put, 1) => "Durable puts, one producer".to_owned(),
        (Work::Put, producers) => format!("Durable puts, {producers} producers"),
        (Work::Take, _) => "Durable takes of a backlog, one consumer".to_owned(),
        (Work::Both, _) => "Durable puts and takes together, 1 + 1, bounded backlog".to_owned(),
    }
}

fn notes(plan: &Plan, home: &Path) -> Vec<String> {
    let floor = match plan.work {
        Work::Put => {
            "The floor is one plain positioned write of the encoded events, in whole pages"
        }
        Work::Take => "The floor is one plain positioned write of one page",
        Work::Both => "The floor is that of puts alone: one plain write of the encoded events",
    };
    let first_lap = match plan.work {
        Work::Put => " Forebay in segments that no commit has been in is a row of its own.",
        Work::Take | Work::Both => "",
    };
    vec![
        "Events of 512 bytes with one header. Medians of rounds; a ratio is made within a round."
            .to_owned(),
        format!("{floor}, into a file written before, and one fdatasync."),
        format!("Every store's files have been written and used again before.{first_lap}"),
        format!(
            "{} rounds, {} s a cell, warmed up for {} s, at most {} events wait. On {}.",
            plan.rounds,
            plan.seconds.as_secs_f64(),
            plan.warm.as_secs_f64(),
            plan.backlog,
            crate::place::file_system(home),
        ),
    ]
}
