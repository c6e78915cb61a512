//! Each rival as a queue: durable puts at one end, durable takes at the other.

mod forebay;
pub use forebay::FIRST_LAP_EVENTS;
mod kv;
mod okaywal;
mod yaque;

mod fjall;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;

use std::path::Path;

use ::forebay::event::Event;
use anyhow::Result;

/// A store that is open, as a queue.
pub trait Store: Send + Sync {
    /// One end. Made in the thread that uses it.
    fn producer(&self) -> Result<Box<dyn Producer + '_>>;

    /// The other end; there is one at a time.
    fn taker(&self) -> Result<Box<dyn Taker + '_>>;

    /// What the store's user has to see to now and then, while nothing is put or taken.
    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

/// What puts into a store.
pub trait Producer {
    /// Puts events in one commit. They are durable when this returns.
    fn put(&mut self, events: &[Event]) -> Result<()>;
}

/// What takes out of a store.
pub trait Taker {
    /// Takes the oldest events, at most so many, and durably records that they are taken: none of
    /// them comes again. None come out if none wait.
    fn take(&mut self, events_max: usize, taken: &mut Vec<Event>) -> Result<()>;
}

/// A rival that runs in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Forebay,
    Okaywal,
    Fjall,
    Redb,
    Sqlite,
    Yaque,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

impl Kind {
    pub const ALL: &[Kind] = &[
        Kind::Forebay,
        Kind::Okaywal,
        #[cfg(feature = "rocksdb")]
        Kind::Rocksdb,
        Kind::Fjall,
        Kind::Sqlite,
        Kind::Redb,
        Kind::Yaque,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Forebay => "forebay",
            Kind::Okaywal => "okaywal",
            Kind::Fjall => "fjall",
            Kind::Redb => "redb",
            Kind::Sqlite => "sqlite",
            Kind::Yaque => "yaque",
            #[cfg(feature = "rocksdb")]
            Kind::Rocksdb => "rocksdb",
        }
    }

    /// What it waits for before it acknowledges; `rivals syncs` counts it.
    pub fn syncs(self) -> &'static str {
        match self {
            Kind::Forebay => "fdatasync of a segment, shared by those who wait",
            Kind::Okaywal => "fdatasync of the log, shared by those who wait",
            Kind::Fjall => "fsync of the journal",
            Kind::Redb => "fdatasync of the file",
            Kind::Sqlite => "fdatasync of the WAL; of the database as well at each checkpoint",
            Kind::Yaque => "nothing: acknowledges before any sync",
            #[cfg(feature = "rocksdb")]
            Kind::Rocksdb => "fdatasync of the WAL, shared by those who wait",
        }
    }

    /// Opens it in a directory that is its own, or makes it there.
    pub fn open(self, dir: &Path, shape: Shape) -> Result<Box<dyn Store>> {
        Ok(match self {
            Kind::Forebay => Box::new(forebay::Forebay::open(dir, shape)?),
            Kind::Okaywal => Box::new(okaywal::Okaywal::open(dir, shape)?),
            Kind::Fjall => Box::new(kv::KvQueue::new(fjall::Fjall::open(dir, shape)?)?),
            Kind::Redb => Box::new(kv::KvQueue::new(redb::Redb::open(dir)?)?),
            Kind::Sqlite => Box::new(kv::KvQueue::new(sqlite::Sqlite::open(dir)?)?),
            Kind::Yaque => Box::new(yaque::Yaque::open(dir)?),
            #[cfg(feature = "rocksdb")]
            Kind::Rocksdb => Box::new(kv::KvQueue::new(rocksdb::Rocksdb::open(dir)?)?),
        })
    }

    /// How many events must have gone through before its files are as they stay: written before,
    /// and used again.
    pub fn lap_events(self, backlog: u64) -> u64 {
        match self {
            Kind::Forebay => forebay::LAP_EVENTS.max(backlog),
            _ => 2 * backlog,
        }
    }
}

/// What a store is opened for, where it has a setting that depends on it.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Puts and takes at speed, with a bounded backlog.
    Speed,
    /// A backlog of so many events, to be opened after a kill.
    Backlog(u64),
}
