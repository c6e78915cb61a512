//! A channel on a simulated disk at the beginning of a schedule, and the books on what went in and
//! what came out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use forebay_proof::lab::drain;
use forebay_proof::model::{DIR, event, id_of};
use forebay_wal::fs::sim::{SimClock, SimFs, SimRandom, Survive};
use forebay_wal::{
    Background, Channel, Clock, Env, ErrorKind, Options, PutTransaction, Receipt, Result, Taken,
};
use shuttle::sync::Condvar;

use super::explore::{below, prepare};

/// The ids of one putter's events begin at this many times its number.
pub const PUTTER: u64 = 1000;

/// A disk with a channel that was made once and is copied for every schedule.
#[derive(Debug, Clone)]
pub struct Disk {
    fs: SimFs,
    options: Options,
    /// The ids of the events that are in it.
    ids: Vec<u64>,
}

impl Disk {
    /// A new channel, with some events in it.
    pub fn new(
        options: Options,
        ids: impl Fn(&Channel) -> Vec<u64> + Send + Sync + 'static,
    ) -> Disk {
        let fs = SimFs::new(1);
        let held = Arc::new(OnceLock::new());
        let (disk, by_hand, filled) = (fs.clone(), manual(&options), held.clone());
        prepare(move || {
            let env = env(disk.clone(), Arc::new(SimClock::new()));
            let channel = Channel::open_in(Path::new(DIR), by_hand.clone(), env);
            let channel = channel.expect("it opens");
            filled.set(ids(&channel)).expect("it is done once");
        });
        let ids = held.get().expect("it was done").clone();
        Disk { fs, options, ids }
    }

    pub fn empty(options: Options) -> Disk {
        Disk::new(options, |_| Vec::new())
    }
}

fn manual(options: &Options) -> Options {
    options.clone().background(Background::Manual)
}

fn env(fs: SimFs, clock: Arc<dyn Clock>) -> Env {
    Env { fs: Arc::new(fs), clock, random: Arc::new(SimRandom::new(1)) }
}

/// What is known of the puts and takes of one schedule.
#[derive(Debug, Default)]
struct Books {
    /// Acknowledged events, by seq.
    put: BTreeMap<u64, u64>,
    /// The ids of transactions of which nobody knows: there whole, or not at all.
    doubtful: Vec<Vec<u64>>,
    /// What was taken and acknowledged, by cursor and seq.
    taken: BTreeMap<String, BTreeMap<u64, u64>>,
    /// What was taken, and may have been acknowledged.
    perhaps_taken: BTreeMap<String, BTreeSet<u64>>,
    /// How the commits went that did not go well.
    errors: Vec<ErrorKind>,
}

/// A channel in a schedule.
#[derive(Clone)]
pub struct World {
    pub channel: Channel,
    pub fs: SimFs,
    options: Options,
    // No thread gives way while it holds them.
    books: Arc<Mutex<Books>>,
    /// How many events every cursor still has to see, and whoever waits for that.
    left: Arc<(shuttle::sync::Mutex<i64>, Condvar)>,
}

impl World {
    /// Opens the channel, in which `events` more will be put, for `cursors` to see.
    pub fn new(disk: &Disk, events: u64, cursors: u64) -> World {
        World::at(disk, events, cursors, Arc::new(SimClock::new()))
    }

    pub fn at(disk: &Disk, events: u64, cursors: u64, clock: Arc<dyn Clock>) -> World {
        let fs = disk.fs.image(Survive::Everything);
        let channel =
            Channel::open_in(Path::new(DIR), disk.options.clone(), env(fs.clone(), clock));
        let books =
            Books { put: (1..).zip(disk.ids.iter().copied()).collect(), ..Books::default() };
        let left = ((disk.ids.len() as u64 + events) * cursors) as i64;
        World {
            channel: channel.expect("it opens"),
            fs,
            options: disk.options.clone(),
            books: Arc::new(Mutex::new(books)),
            left: Arc::new((shuttle::sync::Mutex::new(left), Condvar::new())),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no panic")
    }

    /// A transaction with the events of these ids.
    pub fn transaction(&self, ids: &[u64]) -> PutTransaction {
        let mut put = self.channel.put_transaction();
        ids.iter().for_each(|&id| put.put(&event(id)).expect("it fits"));
        put
    }

    /// Writes down how the commit of a put went.
    pub fn note_put(&self, ids: &[u64], outcome: Result<Receipt>) {
        let mut books = self.books();
        match outcome {
            Ok(receipt) => {
                assert_eq!(receipt.events, ids.len() as u64);
                if receipt.duplicate {
                    // Who put it first knows where it stands.
                    return;
                }
                for (seq, &id) in (receipt.first_seq..).zip(ids) {
                    assert_eq!(books.put.insert(seq, id), None, "seq {seq} is given twice");
                }
            }
            Err(error) => {
                if error.kind() == ErrorKind::InDoubt {
                    books.doubtful.push(ids.to_vec());
                }
                books.errors.push(error.kind());
            }
        }
    }

    /// Nobody waits for the outcome of that put.
    pub fn forget_put(&self, ids: &[u64]) {
        self.books().doubtful.push(ids.to_vec());
    }

    /// Writes down how the commit of a take went.
    pub fn note_take(&self, cursor: &str, taken: &[Taken], outcome: Result<Receipt>) {
        let mut books = self.books();
        match outcome {
            Ok(_) => {
                let seen = books.taken.entry(cursor.to_owned()).or_default();
                for taken in taken {
                    let before = seen.insert(taken.seq, id_of(&taken.bytes));
                    assert_eq!(before, None, "seq {} comes again on {cursor}", taken.seq);
                }
            }
            Err(error) => {
                if error.kind() == ErrorKind::InDoubt {
                    let perhaps = books.perhaps_taken.entry(cursor.to_owned()).or_default();
                    perhaps.extend(taken.iter().map(|taken| taken.seq));
                }
                books.errors.push(error.kind());
                return;
            }
        }
        drop(books);
        let (left, changed) = &*self.left;
        *left.lock().expect("no panic") -= taken.len() as i64;
        changed.notify_all();
    }

    /// Waits until every cursor has seen and acknowledged all that is ever put.
    pub fn wait_until_all_is_taken(&self) {
        let (left, changed) = &*self.left;
        let mut left = left.lock().expect("no panic");
        while *left > 0 {
            left = changed.wait(left).expect("no panic");
        }
    }

    /// No commit went otherwise than well or in one of these ways.
    pub fn went(&self, ways: &[ErrorKind]) {
        let books = self.books();
        let other: Vec<_> = books.errors.iter().filter(|kind| !ways.contains(kind)).collect();
        assert!(other.is_empty(), "{other:?}");
    }

    /// Cuts the power after the channel is closed, opens it again and takes all: each cursor saw
    /// and sees every acknowledged event once, in order, and nothing that was refused.
    pub fn check_after_power_cut(&self, cursors: &[&str]) {
        let survive = match below(3) {
            0 => Survive::Nothing,
            1 => Survive::Everything,
            _ => Survive::Seed(below(1 << 32)),
        };
        self.check_after(self.fs.crash(survive), cursors);
    }

    /// The same after the process ended and the machine went on.
    pub fn check_after_kill(&self, cursors: &[&str]) {
        self.check_after(self.fs.kill(), cursors);
    }

    fn check_after(&self, fs: SimFs, cursors: &[&str]) {
        fs.heal();
        let env = env(fs, Arc::new(SimClock::new()));
        let channel = Channel::open_in(Path::new(DIR), manual(&self.options), env);
        let channel = channel.expect("it opens");
        for cursor in cursors {
            let rest = drain(&channel, cursor);
            assert!(rest.is_sorted(), "{rest:?}");
            self.check_cursor(cursor, &rest.into_iter().collect());
        }
        assert_eq!(channel.stats().losses, 0);
    }

    /// What a cursor took, and what it has still to see, is what was put.
    fn check_cursor(&self, cursor: &str, rest: &BTreeMap<u64, u64>) {
        let books = self.books();
        let none = BTreeMap::new();
        let mut seen = books.taken.get(cursor).unwrap_or(&none).clone();
        for (seq, id) in rest {
            assert_eq!(seen.insert(*seq, *id), None, "seq {seq} comes again on {cursor}");
        }
        for (seq, id) in &books.put {
            let gone = books.perhaps_taken.get(cursor).is_some_and(|seqs| seqs.contains(seq));
            let there = seen.remove(seq);
            assert!(there == Some(*id) || (there.is_none() && gone), "{cursor} misses seq {seq}");
        }
        let more: BTreeSet<u64> = seen.into_values().collect();
        let mut explained = BTreeSet::new();
        for ids in &books.doubtful {
            let there = ids.iter().filter(|id| more.contains(id)).count();
            assert!(there == 0 || there == ids.len(), "{ids:?} is there in part: {more:?}");
            explained.extend(ids);
        }
        assert!(more.is_subset(&explained), "{cursor} sees what was not put: {more:?}");
    }

    /// The events of each putter came out in the order in which they were put.
    pub fn check_order(&self) {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for id in self.books().put.values() {
            let before = last.insert(id / PUTTER, *id);
            assert!(before.is_none_or(|before| before < *id), "{id} comes too late");
        }
    }
}
