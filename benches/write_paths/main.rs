//! Which way of writing and syncing the disk answers fastest: an experiment, reported either way.
//!
//! A file of 256 MiB that was written once before is written again, in order, in writes of one size,
//! each of them durable before the next begins. All ways take turns in short slices, since a disk's
//! pace drifts, and each is compared to the plain way of the same turn.

mod files;
mod report;
mod ways;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::files::Files;
use crate::report::Report;
use crate::ways::{AHEAD_SIZES, Ahead, SIZES, Way};

/// Measures ways of writing durably to a file that was written before.
#[derive(Debug, Parser)]
#[command(name = "write-paths")]
struct Arguments {
    /// The directory on whose disk to measure; two files of 256 MiB stand in it meanwhile.
    #[arg(long, value_name = "D")]
    dir: PathBuf,
    /// How long to measure altogether.
    #[arg(long, value_name = "S", default_value_t = 120)]
    seconds: u32,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// How often each way has its turn. The first turn of all is not counted.
const ROUNDS: u32 = 9;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) if arguments.json => println!("{}", report.json()),
        Ok(report) => print!("{}", report.tables()),
        Err(error) => {
            eprintln!("write-paths: {}: {error}", arguments.dir.display());
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> io::Result<Report> {
    let mut files = Files::new(&arguments.dir)?;
    let ways: Vec<Way> = Way::all().filter(|way| files.can(*way)).collect();
    let ahead = Ahead::all();
    let slices = SIZES.len() * ways.len() + ahead.len();
    let slices = u32::try_from(slices).expect("some dozens");
    let slice = Duration::from_secs(u64::from(arguments.seconds)) / ((ROUNDS + 1) * slices);
    let mut report = Report::new(files.refused());
    for round in 0..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for size in SIZES {
            for way in &ways {
                let slice = files.slice(*way, size, slice)?;
                if round > 0 {
                    report.add(*way, size, slice);
                }
            }
        }
        for size in AHEAD_SIZES {
            for ahead in ahead.iter().filter(|ahead| ahead.size_bytes == size) {
                let mb_per_s = files.ahead(*ahead, slice)?;
                if round > 0 {
                    report.add_ahead(*ahead, mb_per_s);
                }
            }
        }
    }
    Ok(report)
}
