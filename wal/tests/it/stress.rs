//! Many threads on one small channel of a disk whose syncs fail now and then, against the books.
//!
//! `FOREBAY_STRESS_SECONDS` says for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use forebay_proof::lab::drain;
use forebay_proof::model::{DIR, Dice, event, id_of};
use forebay_wal::fs::sim::{Call, Fault, SimFs, SimRandom, Survive};
use forebay_wal::{Background, Channel, Clock, Env, ErrorKind, Options};

const SECONDS: u64 = 3;
const ROUND: Duration = Duration::from_millis(400);
/// No round takes longer, unless somebody is left waiting.
const DEADLINE: Duration = Duration::from_secs(60);
const PUTTERS: u64 = 48;
const TAKERS: u64 = 16;
const EVENTS_MAX: u64 = 60;
const CURSORS: [&str; 2] = ["main", "other"];
/// The ids of the events of one putter in one round begin at this many times a number.
const PUTTER: u64 = 1 << 20;

#[derive(Debug)]
struct Passing(Instant);

impl Clock for Passing {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_us(&self) -> i64 {
        self.0.elapsed().as_micros() as i64
    }
}

/// What went in and what came out, over all rounds.
#[derive(Debug, Default)]
struct Books {
    /// Acknowledged events that some cursor has still to take, by seq.
    put: BTreeMap<u64, u64>,
    /// Transactions of which nobody knows: there whole, or not at all.
    doubtful: Vec<Vec<u64>>,
    taken: [BTreeMap<u64, u64>; 2],
    perhaps_taken: [BTreeSet<u64>; 2],
    refused: u64,
    failed: u64,
}

impl Books {
    fn note_put(&mut self, ids: &[u64], outcome: forebay_wal::Result<forebay_wal::Receipt>) {
        match outcome {
            Ok(receipt) => {
                for (seq, &id) in (receipt.first_seq..).zip(ids) {
                    assert_eq!(self.put.insert(seq, id), None, "seq {seq} is given twice");
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::Full => self.refused += 1,
                ErrorKind::InDoubt => self.doubtful.push(ids.to_vec()),
                ErrorKind::Failed => self.failed += 1,
                _ => panic!("{error}"),
            },
        }
    }

    fn note_take(&mut self, cursor: usize, taken: &[(u64, u64)], outcome: Result<(), ErrorKind>) {
        match outcome {
            Ok(()) => {
                for &(seq, id) in taken {
                    let before = self.taken[cursor].insert(seq, id);
                    assert_eq!(before, None, "seq {seq} comes again on {cursor}");
                }
            }
            Err(ErrorKind::InDoubt) => {
                self.perhaps_taken[cursor].extend(taken.iter().map(|(seq, _)| *seq));
            }
            Err(ErrorKind::Failed) => self.failed += 1,
            Err(kind) => panic!("{kind:?}"),
        }
    }

    /// Each cursor took, or has still to take, what was put, once.
    fn check(&mut self, channel: &Channel) {
        for (index, cursor) in CURSORS.into_iter().enumerate() {
            let rest = drain(channel, cursor);
            assert!(rest.is_sorted(), "{rest:?}");
            let mut seen = std::mem::take(&mut self.taken[index]);
            for (seq, id) in rest {
                assert_eq!(seen.insert(seq, id), None, "seq {seq} comes again on {cursor}");
            }
            for (seq, id) in &self.put {
                let gone = self.perhaps_taken[index].contains(seq);
                let there = seen.remove(seq);
                assert!(there == Some(*id) || (there.is_none() && gone), "{cursor} misses {seq}");
            }
            let more: BTreeSet<u64> = seen.into_values().collect();
            let mut explained = BTreeSet::new();
            for ids in &self.doubtful {
                let there = ids.iter().filter(|id| more.contains(id)).count();
                assert!(there == 0 || there == ids.len(), "{ids:?} is there in part");
                explained.extend(ids);
            }
            assert!(more.is_subset(&explained), "{cursor} sees what was not put: {more:?}");
        }
        let stats = channel.stats();
        assert_eq!(stats.losses, 0, "{stats:?}");
        let counts = (self.refused, self.failed);
        *self = Books { refused: counts.0, failed: counts.1, ..Books::default() };
    }
}

/// One round: the channel, the books, and when it is over.
#[derive(Clone)]
struct Round {
    channel: Channel,
    books: Arc<Mutex<Books>>,
    over: Arc<AtomicBool>,
    puts_over: Arc<AtomicBool>,
}

impl Round {
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().expect("no panic")
    }

    fn has_failed(&self) -> bool {
        self.channel.put_transaction().commit().is_err()
    }

    fn put(&self, number: u64, mut dice: Dice) {
        let mut next = number * PUTTER;
        while !self.over.load(Ordering::Relaxed) && !self.has_failed() {
            let mut put = self.channel.put_transaction();
            let ids: Vec<u64> = (next..=next + dice.below(4)).collect();
            next += ids.len() as u64;
            ids.iter().for_each(|&id| put.put(&event(id)).expect("it fits"));
            if number.is_multiple_of(3) {
                put.set_wait(Duration::from_micros(dice.below(3000)));
            }
            if dice.below(20) == 0 {
                put.rollback();
                continue;
            }
            let outcome = if number % 8 == 1 { put.commit_async().wait() } else { put.commit() };
            self.books().note_put(&ids, outcome);
        }
    }

    fn take(&self, number: u64, mut dice: Dice) {
        let cursor = (number % 2) as usize;
        let ended = |error: forebay_wal::Error| assert_eq!(error.kind(), ErrorKind::Failed);
        while !self.puts_over.load(Ordering::Relaxed) {
            let mut take = match self.channel.take_transaction(CURSORS[cursor]) {
                Ok(take) => take,
                Err(error) => return ended(error),
            };
            if dice.below(2) == 0
                && let Err(error) = take.wait(Duration::from_millis(dice.below(20)))
            {
                return ended(error);
            }
            let taken = match take.take_many(1 + dice.below(20) as usize, usize::MAX) {
                Ok(taken) => taken,
                Err(error) => return ended(error),
            };
            let taken: Vec<_> =
                taken.iter().map(|event| (event.seq, id_of(&event.bytes))).collect();
            assert!(taken.is_sorted(), "{taken:?}");
            let stats = self.channel.stats();
            assert!(stats.events <= EVENTS_MAX, "{stats:?}");
            assert!(stats.bytes <= stats.bytes_max, "{stats:?}");
            if dice.below(5) == 0 {
                take.rollback();
            } else {
                let outcome = take.commit().map(drop).map_err(|error| error.kind());
                self.books().note_take(cursor, &taken, outcome);
            }
        }
    }
}

fn env(fs: &SimFs, seed: u64) -> Env {
    let clock = Arc::new(Passing(Instant::now()));
    Env { fs: Arc::new(fs.clone()), clock, random: Arc::new(SimRandom::new(seed)) }
}

fn options() -> Options {
    Options::new()
        .bytes_max(1 << 20)
        .events_max(EVENTS_MAX)
        .put_timeout(Duration::from_secs(1_000_000))
        .watermark_after(Duration::from_millis(3))
        .cursor(CURSORS[0])
        .cursor(CURSORS[1])
}

/// All at once, until it is over; a sync fails now and then, now and then for good.
fn round(fs: &SimFs, books: &Arc<Mutex<Books>>, seed: u64) {
    let channel = Channel::open_in(Path::new(DIR), options(), env(fs, seed)).expect("it opens");
    let round = Round {
        channel: channel.clone(),
        books: books.clone(),
        over: Arc::default(),
        puts_over: Arc::default(),
    };
    let (done, wait) = mpsc::channel();
    let runner = thread::spawn(move || {
        thread::scope(|scope| {
            let takers: Vec<_> = (0..TAKERS)
                .map(|number| {
                    let dice = Dice::new(seed << 8 | 128 | number);
                    let round = round.clone();
                    scope.spawn(move || round.take(number, dice))
                })
                .collect();
            let putters: Vec<_> = (0..PUTTERS)
                .map(|number| {
                    let dice = Dice::new(seed << 8 | number);
                    let (round, number) = (round.clone(), seed * PUTTERS + number);
                    scope.spawn(move || round.put(number, dice))
                })
                .collect();
            thread::sleep(ROUND);
            round.over.store(true, Ordering::Relaxed);
            putters.into_iter().for_each(|putter| putter.join().expect("no panic"));
            round.puts_over.store(true, Ordering::Relaxed);
            takers.into_iter().for_each(|taker| taker.join().expect("no panic"));
        });
        // Nobody listens any more if it was too late.
        let _ = done.send(());
    });
    let mut dice = Dice::new(seed);
    let started = Instant::now();
    while wait.recv_timeout(Duration::from_millis(20)) == Err(mpsc::RecvTimeoutError::Timeout) {
        assert!(started.elapsed() < DEADLINE, "somebody waits for ever in round {seed}");
        let fault = if dice.below(2) == 0 { Fault::SyncFails } else { Fault::SyncFailsInPart };
        match dice.below(60) {
            0 => fs.fail_nth_and_later(Call::SyncData, dice.below(50), fault),
            1..=20 => fs.fail_nth(Call::SyncData, dice.below(50), fault),
            21..=25 => fs.fail_nth(Call::Write, dice.below(50), Fault::ShortWrite),
            26..=30 => fs.fail_nth(Call::Write, dice.below(50), Fault::Eio),
            _ => {}
        }
    }
    if let Err(panic) = runner.join() {
        std::panic::resume_unwind(panic);
    }
    channel.close();
}

#[test]
fn p1_p3_p4_p9_p10_sixty_four_threads_on_a_failing_disk_keep_the_books_straight() {
    let seconds = std::env::var("FOREBAY_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS));
    let mut fs = SimFs::new(1);
    let books = Arc::new(Mutex::new(Books::default()));
    let (mut seed, mut events) = (0, 0);
    while Instant::now() < until {
        seed += 1;
        round(&fs, &books, seed);
        fs = match seed % 3 {
            0 => fs.kill(),
            1 => fs.crash(Survive::Nothing),
            _ => fs.crash(Survive::Seed(seed)),
        };
        fs.heal();
        let by_hand = options().background(Background::Manual);
        let channel = Channel::open_in(Path::new(DIR), by_hand, env(&fs, seed)).expect("it opens");
        let mut books = books.lock().expect("no panic");
        events += books.put.len();
        books.check(&channel);
    }
    let books = books.lock().expect("no panic");
    println!("{seed} rounds, {events} events, {} refused, {} failed", books.refused, books.failed);
    assert!(events > 0, "nothing was put");
}
