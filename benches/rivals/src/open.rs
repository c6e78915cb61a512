//! The first event of a backlog after a kill. A child fills a store and is killed with SIGKILL; a
//! second child opens it and takes one event. It measures its own time, from before it opens to the
//! event, and the most memory it had resident by then.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::event::{Order, Pool};
use crate::flume::{self, Flume};
use crate::place;
use crate::stores::{Kind, Shape};
use crate::table::{Cell, Row, Table};
use crate::work::Bench;

/// What a child says when its store is filled. Then it waits to be killed.
pub const FILLED: &str = "rivals-filled";
/// How long Flume may take for a checkpoint behind the last put.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(120);

/// What the second child says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct First {
    pub ms: f64,
    pub peak_kib: u64,
}

/// Who takes part.
#[derive(Debug, Clone)]
pub enum Opened {
    Native(Kind),
    /// With a checkpoint behind the last put, which is the best that a kill can leave.
    Flume(Flume),
    /// With the checkpoint lost, so that all of the log is replayed.
    FlumeReplay(Flume),
}

impl Opened {
    pub fn all(flume: &Flume) -> Vec<Opened> {
        let mut all: Vec<Opened> = Kind::ALL.iter().copied().map(Opened::Native).collect();
        all.push(Opened::Flume(flume.clone()));
        all.push(Opened::FlumeReplay(flume.clone()));
        all
    }

    pub fn word(&self) -> &'static str {
        match self {
            Opened::Native(kind) => kind.name(),
            Opened::Flume(_) | Opened::FlumeReplay(_) => flume::NAME,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Opened::Native(kind) => kind.name(),
            Opened::Flume(_) => "flume, good checkpoint",
            Opened::FlumeReplay(_) => "flume, no checkpoint",
        }
    }

    fn syncs(&self) -> &'static str {
        match self {
            Opened::Native(kind) => kind.syncs(),
            Opened::Flume(_) | Opened::FlumeReplay(_) => flume::SYNCS,
        }
    }

    fn missing(&self) -> Option<String> {
        match self {
            Opened::Native(_) => None,
            Opened::Flume(flume) | Opened::FlumeReplay(flume) => flume.missing(),
        }
    }

    /// Fills, kills, opens.
    fn measure(&self, dir: &Path, events: u64) -> Result<First> {
        let mut child = flume::filled(&mut self.command("fill", dir, events)?)?;
        if let Opened::Flume(_) = self {
            wait_for_checkpoint(dir)?;
        }
        child.kill()?;
        child.wait()?;
        if let Opened::FlumeReplay(_) = self {
            std::fs::remove_dir_all(dir.join("checkpoint"))?;
        }
        flume::answer(&mut self.command("first", dir, events)?)
    }

    fn command(&self, step: &str, dir: &Path, events: u64) -> Result<Command> {
        let mut command = match self {
            Opened::Native(kind) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["child", step, "--rival", kind.name(), "--dir"]).arg(dir);
                command
            }
            Opened::Flume(flume) | Opened::FlumeReplay(flume) => flume.command(step, dir),
        };
        command.args(["--events", &events.to_string()]).stdin(Stdio::null());
        Ok(command)
    }
}

/// Waits until Flume has written a checkpoint that began behind now, where nothing is put any more.
fn wait_for_checkpoint(dir: &Path) -> Result<()> {
    let filled = SystemTime::now();
    let started = Instant::now();
    let meta = dir.join("checkpoint").join("checkpoint.meta");
    let mut idle_since = None;
    // It skips a checkpoint when nothing changed since the last one: an old file that stays so for
    // some of its intervals is a good one as well.
    while started.elapsed() < CHECKPOINT_WAIT {
        let written = meta.metadata().and_then(|meta| meta.modified()).ok();
        if written.is_some_and(|written| written > filled) {
            return Ok(());
        }
        let since = *idle_since.get_or_insert_with(Instant::now);
        if written.is_some() && since.elapsed() > Duration::from_secs(10) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("no checkpoint in {} s", CHECKPOINT_WAIT.as_secs())
}

/// The first child: fills and waits for its end.
pub fn fill(kind: Kind, dir: &Path, events: u64) -> Result<()> {
    let pool = Pool::new();
    let store = kind.open(dir, Shape::Backlog(events))?;
    Bench { store: store.as_ref(), pool: &pool, put: &mut 0, waiting: 0 }.fill(events)?;
    println!("{FILLED}");
    loop {
        std::thread::park();
    }
}

/// The second child: opens and takes one event.
pub fn first(kind: Kind, dir: &Path, events: u64) -> Result<First> {
    let started = Instant::now();
    let store = kind.open(dir, Shape::Backlog(events))?;
    let mut taken = Vec::new();
    store.taker()?.take(1, &mut taken)?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let peak_kib = place::peak_resident_kib().context("the system does not say VmHWM")?;
    if taken.is_empty() {
        bail!("{}: nothing came out of {events} events", kind.name());
    }
    Order::from_the_first().check(&taken)?;
    Ok(First { ms, peak_kib })
}

/// Measures, and says on stderr how far it is. The second one is whether a rival failed.
pub fn run(
    home: &Path,
    rivals: &[Opened],
    events: u64,
    rounds: usize,
    command: String,
) -> Result<(Table, bool)> {
    let mut firsts: Vec<Vec<First>> = vec![Vec::new(); rivals.len()];
    let mut missing: Vec<Option<String>> = rivals.iter().map(Opened::missing).collect();
    let mut failed = false;
    for round in 1..=rounds {
        for (at, rival) in rivals.iter().enumerate() {
            if missing[at].is_some() {
                continue;
            }
            let dir: PathBuf = home.join(format!("open-{at}"));
            std::fs::create_dir(&dir)?;
            match rival.measure(&dir, events) {
                Ok(first) => {
                    eprintln!("round {round}: {}: {first:?}", rival.name());
                    firsts[at].push(first);
                }
                Err(error) => {
                    eprintln!("round {round}: {}: {error:#}", rival.name());
                    missing[at] = Some(format!("failed in round {round}: {error:#}"));
                    failed = true;
                }
            }
            std::fs::remove_dir_all(&dir)?;
        }
    }
    let row = |((rival, firsts), missing): ((&Opened, Vec<First>), Option<String>)| Row {
        rival: rival.name().to_owned(),
        syncs: rival.syncs().to_owned(),
        cells: vec![
            Cell::new(firsts.iter().map(|first| first.ms).collect(), None),
            Cell::new(firsts.iter().map(|first| first.peak_kib as f64 / 1024.0).collect(), None),
        ],
        missing,
    };
    let rows = rivals.iter().zip(firsts).zip(missing).map(row).collect();
    let table = Table {
        title: format!("First event of {events} after a kill"),
        command,
        unit: "time and peak resident".to_owned(),
        columns: vec!["ms".to_owned(), "MiB".to_owned()],
        rows,
        notes: vec![
            "A process filled the store, 1,000 events a commit, and was killed with SIGKILL."
                .into(),
            "Another one opens it and takes one event; medians of its time and of its VmHWM."
                .into(),
            format!(
                "{rounds} rounds; what was written last is still in the page cache. On {}.",
                place::file_system(home)
            ),
        ],
    };
    Ok((table, failed))
}
