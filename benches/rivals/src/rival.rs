//! Those who take part: each measures a work its own way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::event::Pool;
use crate::floor;
use crate::flume::{self, Flume};
use crate::stores::{Kind, Shape};
use crate::table::FLOOR;
use crate::work::{Bench, Figure, Load, Work};

/// Forebay in segments that no commit has been in before.
const FIRST_LAP: &str = "forebay, first lap";

/// One who takes part in a table.
pub enum Rival {
    Floor,
    /// The floor with a file for each producer.
    FloorFiles,
    FirstLap,
    /// One that runs in this process, in a directory that stays for all rounds.
    Native {
        kind: Kind,
        dir: PathBuf,
        put: u64,
    },
    Flume(Flume),
}

impl Rival {
    /// All that take part in a work, the floor first.
    pub fn all(work: Work, producers: usize, dir: &Path, flume: &Flume) -> Vec<Rival> {
        let mut rivals = vec![Rival::Floor];
        if producers > 1 {
            rivals.push(Rival::FloorFiles);
        }
        for &kind in Kind::ALL {
            rivals.push(Rival::Native { kind, dir: dir.join(kind.name()), put: 0 });
            if kind == Kind::Forebay && work == Work::Put {
                rivals.push(Rival::FirstLap);
            }
        }
        rivals.push(Rival::Flume(flume.clone()));
        rivals
    }

    pub fn name(&self) -> &'static str {
        match self {
            Rival::Floor => FLOOR,
            Rival::FloorFiles => "the floor, a file for each producer",
            Rival::FirstLap => FIRST_LAP,
            Rival::Native { kind, .. } => kind.name(),
            Rival::Flume(_) => flume::NAME,
        }
    }

    /// The rival's word in `--only` and `--without`.
    pub fn word(&self) -> &'static str {
        match self {
            Rival::Floor | Rival::FloorFiles => "floor",
            Rival::FirstLap => "first-lap",
            Rival::Native { kind, .. } => kind.name(),
            Rival::Flume(_) => flume::NAME,
        }
    }

    pub fn syncs(&self) -> &'static str {
        match self {
            Rival::Floor | Rival::FloorFiles => "fdatasync of a file that was written before",
            Rival::FirstLap => Kind::Forebay.syncs(),
            Rival::Native { kind, .. } => kind.syncs(),
            Rival::Flume(_) => flume::SYNCS,
        }
    }

    /// Why it cannot take part, if it cannot.
    pub fn missing(&self) -> Option<String> {
        match self {
            Rival::Flume(flume) => flume.missing(),
            _ => None,
        }
    }

    /// Measures one cell.
    pub fn measure(&mut self, home: &Path, pool: &Pool, load: &Load) -> Result<Figure> {
        match self {
            Rival::Floor => floor::measure(home, pool, load, 1),
            Rival::FloorFiles => floor::measure(home, pool, load, load.producers),
            Rival::FirstLap => first_lap(home, pool, load),
            Rival::Native { kind, dir, put } => native(*kind, dir, put, pool, load),
            Rival::Flume(flume) => {
                let dir = tempfile::tempdir_in(home)?;
                flume.measure(dir.path(), load)
            }
        }
        .with_context(|| self.name())
    }
}

fn native(kind: Kind, dir: &Path, put: &mut u64, pool: &Pool, load: &Load) -> Result<Figure> {
    let store = kind.open(dir, Shape::Speed)?;
    let is_new = *put == 0;
    let mut bench = Bench { store: store.as_ref(), pool, put, waiting: 0 };
    if is_new {
        bench.lap(kind.lap_events(load.backlog), load.backlog)?;
    }
    bench.run(load)
}

/// Forebay in a fresh channel, as far as its first lap goes.
fn first_lap(home: &Path, pool: &Pool, load: &Load) -> Result<Figure> {
    let dir = tempfile::tempdir_in(home)?;
    let store = Kind::Forebay.open(dir.path(), Shape::Speed)?;
    // Nothing is warmed up: what a warm-up writes is the lap that is measured.
    let load = Load { warm: Duration::ZERO, ..load.clone() };
    let mut bench = Bench { store: store.as_ref(), pool, put: &mut 0, waiting: 0 };
    bench.put_leg(&load, load.seconds, crate::stores::FIRST_LAP_EVENTS)
}
