//! The command line. Each subcommand is one file.
//!
//! Exit codes: 0 all is well, 1 a finding such as damage, 2 usage, configuration or I/O. Standard
//! output carries what a command is specified to print and nothing else; the log and all
//! complaints go to standard error.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

mod bench;
mod check;
mod child;
mod log;
mod progress;
mod put;
mod run;
mod stat;
mod take;
mod torture;
mod validate;
mod words;

/// A durable file channel, and the agent around it.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, about, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    log: log::LogArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Validate(validate::Validate),
    Put(put::Put),
    Take(take::Take),
    Stat(stat::Stat),
    Bench(bench::Bench),
    BenchChild(bench::BenchChild),
    Check(check::Check),
    Torture(torture::Torture),
    TortureChild(torture::TortureChild),
}

/// How a command came out, if it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Fine,
    /// It found what it was to look for, such as damage.
    Finding,
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    // Clap itself ends the process with 2 on wrong usage, and with 0 on `--help`.
    let arguments = Arguments::parse();
    if let Err(failure) = arguments.log.start(arguments.command.log_default()) {
        return complain(&failure);
    }
    let outcome = match arguments.command {
        Command::Run(run) => run.execute(),
        Command::Validate(validate) => validate.execute(),
        Command::Put(put) => put.execute(),
        Command::Take(take) => take.execute(),
        Command::Stat(stat) => stat.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::BenchChild(child) => child.execute(),
        Command::Check(check) => check.execute(),
        Command::Torture(torture) => torture.execute(),
        Command::TortureChild(child) => child.execute(),
    };
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Finding) => ExitCode::from(1),
        Err(failure) => complain(&failure),
    }
}

impl Command {
    /// What is logged unless the user says otherwise: a daemon tells its life, a tool only trouble.
    fn log_default(&self) -> &'static str {
        match self {
            Command::Run(_) => "info",
            _ => "warn",
        }
    }
}

fn complain(failure: &Failure) -> ExitCode {
    eprintln!("forebay: {failure}");
    ExitCode::from(2)
}
