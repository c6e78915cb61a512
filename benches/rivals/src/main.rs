//! The same work side by side through other stores. README.md says who takes part, with which
//! settings and why; `rivals --help` says the commands, one for each table.

mod chart;
mod event;
mod floor;
mod flume;
mod open;
mod place;
mod rival;
mod rounds;
mod stores;
mod syncs;
mod table;
mod work;

#[cfg(test)]
mod smoke;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};

use crate::chart::Scale;
use crate::event::{BATCH_MAX, Pool};
use crate::flume::Flume;
use crate::open::Opened;
use crate::rival::Rival;
use crate::rounds::Plan;
use crate::stores::{Kind, Shape};
use crate::syncs::Traced;
use crate::table::Table;
use crate::work::{Bench, Load, Work};

#[derive(Debug, Parser)]
#[command(about = "The same work side by side through other stores; one command a table")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Durable puts by one producer
    Put(TableArgs),
    /// Durable puts by four producers
    Put4(TableArgs),
    /// Durable takes of a backlog by one consumer
    Take(TableArgs),
    /// Durable puts and takes together, a producer and a consumer
    Both(TableArgs),
    /// The first event of a backlog, after a kill of who filled it
    Open(OpenArgs),
    /// The system's calls for a commit, counted by strace
    Syncs(SyncsArgs),
    /// What the other commands run as a process of its own
    #[command(hide = true, subcommand)]
    Child(Child),
}

#[derive(Debug, Args)]
struct TableArgs {
    #[command(flatten)]
    common: Common,
    /// Events a commit, one column each [default: 1,10,100,1000; of both: 100,1000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=2000))]
    batches: Vec<u64>,
    /// How often each rival measures each cell
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// How long the clock runs in a cell
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How long the same is done before the clock runs (Flume: 3 seconds at the least)
    #[arg(long, default_value_t = 1.0)]
    warm: f64,
    /// The most events that wait in a store
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(20_000..=500_000))]
    backlog: u64,
}

#[derive(Debug, Args)]
struct OpenArgs {
    #[command(flatten)]
    common: Common,
    /// How many events wait
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// How often each rival is filled, killed and opened
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
}

#[derive(Debug, Args)]
struct SyncsArgs {
    #[command(flatten)]
    common: Common,
    /// How many commits are counted
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=2000))]
    commits: u64,
}

#[derive(Debug, Args)]
struct Common {
    /// Where the stores are made, in a directory that goes afterwards [default: the system's
    /// directory for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only these rivals, by their words: floor, forebay, first-lap, okaywal, rocksdb, fjall,
    /// sqlite, redb, yaque, flume. Without the floor there are no ratios
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// All but these
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// A bar chart, as SVG
    #[arg(long)]
    svg: Option<PathBuf>,
    /// The table with the figures of each round, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where `benches/flume` was built
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../flume/target"))]
    flume: PathBuf,
    /// The most heap of Flume's JVM
    #[arg(long, default_value = "4g")]
    heap: String,
}

#[derive(Debug, Subcommand)]
enum Child {
    /// Fills a store and waits for its end
    Fill(Filled),
    /// Opens it and takes one event
    First(Filled),
    /// Does a work between two marks
    Work {
        #[command(flatten)]
        of: Of,
        #[arg(long)]
        work: Work,
        #[arg(long)]
        producers: usize,
        #[arg(long)]
        batch: usize,
        #[arg(long)]
        backlog: u64,
        #[arg(long)]
        marked_commits: u64,
    },
}

#[derive(Debug, Args)]
struct Filled {
    #[command(flatten)]
    of: Of,
    #[arg(long)]
    events: u64,
}

#[derive(Debug, Args)]
struct Of {
    #[arg(long)]
    rival: String,
    #[arg(long)]
    dir: PathBuf,
}

impl Of {
    fn kind(&self) -> Result<Kind> {
        let found = Kind::ALL.iter().find(|kind| kind.name() == self.rival);
        found.copied().with_context(|| format!("no rival is named {}", self.rival))
    }
}

impl Common {
    fn flume(&self) -> Flume {
        Flume { target: self.flume.clone(), heap: self.heap.clone() }
    }

    fn home(&self) -> Result<tempfile::TempDir> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        // An absolute path, which the children and what strace prints of them have in common.
        let parent = parent.canonicalize().unwrap_or(parent);
        let home = tempfile::Builder::new().prefix("forebay-rivals-").tempdir_in(&parent);
        home.with_context(|| format!("--dir {} cannot be written to", parent.display()))
    }

    /// Those of all that were asked for.
    fn chosen<T>(&self, all: Vec<T>, word: impl Fn(&T) -> &'static str) -> Result<Vec<T>> {
        const WORDS: [&str; 10] = [
            "floor",
            "forebay",
            "first-lap",
            "okaywal",
            "rocksdb",
            "fjall",
            "sqlite",
            "redb",
            "yaque",
            "flume",
        ];
        for named in self.only.iter().chain(&self.without) {
            if !WORDS.contains(&named.as_str()) {
                bail!("no rival is named {named}; there are {}", WORDS.join(", "));
            }
        }
        let wanted = |one: &T| {
            let is = |named: &String| named == word(one);
            (self.only.is_empty() || self.only.iter().any(is)) && !self.without.iter().any(is)
        };
        let chosen: Vec<T> = all.into_iter().filter(wanted).collect();
        ensure!(
            !chosen.is_empty(),
            "none of those takes part here; rocksdb needs a build with --features rocksdb"
        );
        Ok(chosen)
    }

    fn write(&self, table: &Table, scale: Scale) -> Result<()> {
        println!("{}", table.markdown());
        if let Some(path) = &self.svg {
            let svg = chart::svg(table, scale);
            std::fs::write(path, svg).with_context(|| format!("--svg {}", path.display()))?;
        }
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(table)? + "\n";
            std::fs::write(path, json).with_context(|| format!("--json {}", path.display()))?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(failed) => ExitCode::from(u8::from(failed)),
        Err(error) => {
            eprintln!("rivals: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether a rival failed.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Put(args) => measure(&args, Work::Put, 1),
        Command::Put4(args) => measure(&args, Work::Put, 4),
        Command::Take(args) => measure(&args, Work::Take, 1),
        Command::Both(args) => measure(&args, Work::Both, 1),
        Command::Open(args) => measure_open(&args),
        Command::Syncs(args) => {
            let home = args.common.home()?;
            let rivals = args.common.chosen(Traced::all(&args.common.flume()), Traced::word)?;
            syncs::run(home.path(), &rivals, args.commits, &as_run())
        }
        Command::Child(child) => be(child).map(|()| false),
    }
}

fn measure(args: &TableArgs, work: Work, producers: usize) -> Result<bool> {
    let default: &[u64] = if work == Work::Both { &[100, 1000] } else { &[1, 10, 100, 1000] };
    let batches = if args.batches.is_empty() { default } else { &args.batches };
    let batches: Result<Vec<usize>, _> = batches.iter().map(|&batch| batch.try_into()).collect();
    let plan = Plan {
        work,
        producers,
        batches: batches?,
        rounds: usize::try_from(args.rounds)?,
        seconds: seconds("--seconds", args.seconds)?,
        warm: seconds("--warm", args.warm)?,
        backlog: args.backlog,
    };
    ensure!(!plan.seconds.is_zero(), "--seconds must be more than 0");
    let home = args.common.home()?;
    let rivals = Rival::all(work, producers, home.path(), &args.common.flume());
    let rivals = args.common.chosen(rivals, Rival::word)?;
    let (table, failed) = rounds::run(&plan, home.path(), rivals, as_run())?;
    args.common.write(&table, Scale::RatioToFloor)?;
    Ok(failed)
}

fn measure_open(args: &OpenArgs) -> Result<bool> {
    let home = args.common.home()?;
    let rivals = args.common.chosen(Opened::all(&args.common.flume()), Opened::word)?;
    let rounds = usize::try_from(args.rounds)?;
    let (table, failed) = open::run(home.path(), &rivals, args.events, rounds, as_run())?;
    args.common.write(&table, Scale::Logarithm)?;
    Ok(failed)
}

fn seconds(option: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{option} {seconds}"))
}

/// The command line, with the program's name alone in the place of its path.
fn as_run() -> String {
    let args = std::env::args().skip(1);
    std::iter::once("rivals".to_owned()).chain(args).collect::<Vec<_>>().join(" ")
}

fn be(child: Child) -> Result<()> {
    match child {
        Child::Fill(Filled { of, events }) => open::fill(of.kind()?, &of.dir, events),
        Child::First(Filled { of, events }) => {
            let first = open::first(of.kind()?, &of.dir, events)?;
            println!("{}", serde_json::to_string(&first)?);
            Ok(())
        }
        Child::Work { of, work, producers, batch, backlog, marked_commits } => {
            ensure!((1..=BATCH_MAX).contains(&batch), "--batch is 1 to {BATCH_MAX}");
            let load = Load {
                work,
                producers,
                batch,
                seconds: Duration::ZERO,
                warm: Duration::ZERO,
                backlog,
                marked_commits: Some(marked_commits),
            };
            let kind = of.kind()?;
            let store = kind.open(&of.dir, Shape::Speed)?;
            let pool = Pool::new();
            let mut bench = Bench { store: store.as_ref(), pool: &pool, put: &mut 0, waiting: 0 };
            bench.lap(kind.lap_events(backlog), backlog)?;
            bench.run(&load)?;
            Ok(())
        }
    }
}
