//! The weaker sync classes: the end of the process takes nothing, a power cut takes what was not
//! synced, and nobody is lied to about either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use forebay_wal::fs::sim::Survive;
use forebay_wal::{Env, ErrorKind, SyncClass};

use forebay_proof::lab::{Lab, for_seeds, peek, put, rises};
use forebay_proof::model::{Dice, World, options};

const EVERY: Duration = Duration::from_millis(100);

/// Random lives that end with the process, at any moment.
fn killed(seed: u64, sync: SyncClass) {
    let mut world = World::new(seed, sync);
    let mut dice = Dice::new(seed);
    for _ in 0..6 {
        world.fs.crash_at(world.fs.ops() + dice.below(120) + 1);
        let mut alive = world.open() && !world.fs.is_crashed();
        if alive {
            world.check();
        }
        let mut left = 60;
        while alive && left > 0 {
            alive = world.step();
            left -= 1;
        }
        world.takes.clear();
        world.channel = None;
        world.fs = world.fs.kill();
        world.env = Env { fs: Arc::new(world.fs.clone()), ..world.env.clone() };
    }
    assert!(world.open());
    world.check();
}

#[test]
fn p1_p2_p12_a_killed_process_loses_nothing_in_any_class() {
    for_seeds(60, |seed| {
        killed(seed, SyncClass::Commit);
        killed(seed, SyncClass::Interval(EVERY));
        killed(seed, SyncClass::Os);
    });
}

/// What is known of the events of a weaker class over many power cuts.
#[derive(Debug, Default)]
struct Book {
    /// Every seq that was ever given out, and its event.
    given: BTreeMap<u64, u64>,
    /// Ids whose put was acknowledged and that `main` has not acknowledged, or not for sure.
    waiting: BTreeSet<u64>,
    /// Of those, ids that are synced.
    synced: BTreeSet<u64>,
    /// Ids whose acknowledgement is there, but not synced.
    acked_unsynced: BTreeSet<u64>,
    /// Ids that must not be seen again.
    over: BTreeSet<u64>,
    doubtful: BTreeSet<u64>,
    next_id: u64,
}

impl Book {
    fn give(&mut self, seq: u64, id: u64) {
        let before = *self.given.entry(seq).or_insert(id);
        assert_eq!(before, id, "seq {seq} is used for {before} and for {id}");
    }

    fn everything_is_synced(&mut self) {
        self.synced = self.waiting.clone();
        self.over.append(&mut self.acked_unsynced);
    }

    /// After a power cut: what is there is right, what is not is gone for good.
    fn check(&mut self, lab: &Lab) {
        let channel = lab.open();
        let seen = peek(&channel, "main");
        assert!(rises(&seen));
        let next_seq = channel.stats().next_seq;
        for (seq, id) in &seen {
            assert!(*seq < next_seq);
            self.give(*seq, *id);
            assert!(!self.over.contains(id), "{id} comes again");
            let known = self.waiting.contains(id) || self.acked_unsynced.contains(id);
            assert!(known || self.doubtful.contains(id), "{id} was never put");
        }
        let there: BTreeSet<u64> = seen.iter().map(|(_, id)| *id).collect();
        assert_eq!(there.len(), seen.len(), "an event is there twice");
        let lost: Vec<_> = self.synced.difference(&there).collect();
        assert_eq!(lost, Vec::<&u64>::new(), "synced and gone");
        let known: BTreeSet<u64> =
            channel.stats().recent_losses.iter().flat_map(|l| l.seqs.start..l.seqs.end).collect();
        for (seq, id) in self.given.iter().filter(|(_, id)| there.contains(id)) {
            assert!(!known.contains(seq), "{id} is there and in the ledger");
        }
        for (seq, id) in &self.given {
            assert!(there.contains(id) || *seq < next_seq, "{seq} may be given out again");
        }
        let gone: Vec<u64> = self.waiting.difference(&there).copied().collect();
        self.over.extend(gone);
        self.over.extend(self.acked_unsynced.difference(&there));
        self.over.extend(self.doubtful.difference(&there));
        self.waiting = there.clone();
        self.synced = there;
        self.acked_unsynced.clear();
        self.doubtful.clear();
    }
}

fn cut(seed: u64, sync: SyncClass) {
    let mut lab = Lab::new(seed).with(options(sync));
    lab.options = forebay_wal::Options::new()
        .bytes_max(1 << 20)
        .sync(sync)
        .background(forebay_wal::Background::Manual)
        .put_timeout(Duration::ZERO)
        .checkpoint_bytes(64 << 10);
    let mut dice = Dice::new(seed);
    let mut book = Book { next_id: 1, ..Book::default() };
    for _ in 0..6 {
        book.check(&lab);
        lab.fs.crash_at(lab.fs.ops() + dice.below(150) + 10);
        let Ok(channel) = lab.try_open() else {
            assert!(lab.fs.is_crashed());
            lab = lab.on(lab.fs.crash(Survive::Seed(dice.any())));
            continue;
        };
        for _ in 0..70 {
            if lab.fs.is_crashed() {
                break;
            }
            step(&lab, &channel, &mut dice, &mut book, sync);
        }
        drop(channel);
        let survive = match dice.below(5) {
            0 => Survive::Nothing,
            1 => Survive::Everything,
            2 => Survive::SeedAnyNames(dice.any()),
            _ => Survive::Seed(dice.any()),
        };
        lab = lab.on(lab.fs.crash(survive));
    }
    book.check(&lab);
}

fn step(
    lab: &Lab,
    channel: &forebay_wal::Channel,
    dice: &mut Dice,
    book: &mut Book,
    sync: SyncClass,
) {
    match dice.below(10) {
        0..=5 => {
            let ids = book.next_id..book.next_id + 1 + dice.below(4);
            book.next_id = ids.end;
            match put(channel, ids.clone()) {
                Ok(receipt) => {
                    for (n, id) in ids.enumerate() {
                        book.give(receipt.first_seq + n as u64, id);
                        book.waiting.insert(id);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Full => book.over.extend(ids),
                Err(_) => {
                    assert!(lab.fs.is_crashed());
                    book.doubtful.extend(ids);
                }
            }
        }
        6..=8 => {
            let Ok(mut take) = channel.take_transaction("main") else { return };
            let Ok(taken) = take.take_many(1 + dice.below(6) as usize, usize::MAX) else { return };
            let ids: Vec<u64> =
                taken.iter().map(|e| forebay_proof::model::id_of(&e.bytes)).collect();
            let done = take.commit();
            assert!(done.is_ok() || lab.fs.is_crashed());
            for id in ids {
                assert!(book.waiting.remove(&id), "{id} was not there to be taken");
                book.synced.remove(&id);
                book.acked_unsynced.insert(id);
            }
        }
        _ => {
            lab.clock.advance(EVERY);
            channel.tend();
            if sync != SyncClass::Os && !lab.fs.is_crashed() {
                book.everything_is_synced();
            }
        }
    }
}

#[test]
fn p2_p3_p4_a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    for_seeds(150, |seed| {
        cut(seed, SyncClass::Interval(EVERY));
        cut(seed, SyncClass::Os);
    });
}

#[test]
fn p7_a_weaker_class_opens_after_thousands_of_openings_with_an_event_each() {
    let lab = Lab::new(1).with(
        forebay_wal::Options::new()
            .bytes_max(1 << 20)
            .sync(SyncClass::Os)
            .background(forebay_wal::Background::Manual)
            .put_timeout(Duration::ZERO),
    );
    let mut put_ids = Vec::new();
    for id in 1..3000 {
        let channel = lab.open();
        if put(&channel, [id * 7 + 2]).is_ok() {
            put_ids.push(id * 7 + 2);
        }
        assert!(lab.allocated_bytes() <= 1 << 20, "opening {id}");
    }
    let seen: Vec<u64> = peek(&lab.open(), "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, put_ids);
}
