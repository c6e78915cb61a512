//! A short life of a channel on a disk that fails: what it was told, and what must hold after it.

use std::collections::{BTreeMap, BTreeSet};

use forebay_wal::{Channel, Condition, Error, ErrorKind, SyncClass};

use forebay_proof::lab::{Lab, peek, put, rises};
use forebay_proof::model::{id_of, options};

/// How a channel came to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It is still the same one.
    Nothing,
    /// The process ended, and another one opened it.
    Kill,
    /// The power was cut.
    PowerCut,
}

/// What the life did, as far as it was told.
#[derive(Debug, Default, Clone)]
pub struct Told {
    /// seq -> id of acknowledged puts.
    pub put: BTreeMap<u64, u64>,
    pub acked: BTreeSet<u64>,
    pub doubtful_puts: Vec<Vec<u64>>,
    pub doubtful_acks: Vec<Vec<u64>>,
    pub failed: usize,
    pub in_doubt: usize,
    pub full: usize,
    /// Reads that failed.
    pub unread: usize,
    /// Openings that failed.
    pub unopened: usize,
    /// How often it was opened again.
    pub reopened: usize,
    /// All before that seq is synced, or the ledger says that it is not.
    pub settled_seq: u64,
}

pub struct Story {
    pub lab: Lab,
    pub channel: Option<Channel>,
    pub told: Told,
    sync: SyncClass,
    next_id: u64,
    step: u64,
}

impl Story {
    /// A new channel; nothing was put yet. What stands in memory is little, so that takes read.
    pub fn begin(sync: SyncClass) -> Story {
        Story::on(Lab::new(1), sync)
    }

    /// The same on a disk that is there already.
    pub fn on(lab: Lab, sync: SyncClass) -> Story {
        let lab = lab.with(options(sync).tail_bytes(20_000));
        let channel = lab.open();
        channel.remove_cursor("second").expect("it is there");
        Story {
            lab,
            channel: Some(channel),
            told: Told { settled_seq: 1, ..Told::default() },
            sync,
            next_id: 1,
            step: 0,
        }
    }

    fn is_weak(&self) -> bool {
        self.sync != SyncClass::Commit
    }

    /// Some steps of life: puts, takes, rollbacks, idle times, checkpoints, cursors, reopenings.
    pub fn live(&mut self, steps: u64) {
        for _ in 0..steps {
            let Some(channel) = self.channel.clone() else { return };
            let step = self.step;
            self.step += 1;
            self.put(&channel, 1 + step % 4);
            if step % 3 == 1 {
                self.take(&channel, 3 + step as usize % 7);
            }
            match step % 40 {
                9 | 19 => self.idle(&channel),
                14 => {
                    channel.checkpoint();
                    channel.tend();
                }
                24 => self.control(channel.take_transaction("third").map(|_| ())),
                29 => self.control(channel.remove_cursor("third")),
                39 => {
                    drop(channel);
                    self.reopen();
                }
                _ => {}
            }
        }
    }

    /// As `live`, until the disk crashes; the outcome of what was under way then is open.
    pub fn live_until_the_crash(&mut self) {
        let channel = self.channel.clone().expect("an open channel");
        while !self.lab.fs.is_crashed() {
            let ids: Vec<u64> = (self.next_id..self.next_id + 3).collect();
            self.next_id += 3;
            match put(&channel, ids.iter().copied()) {
                Ok(receipt) => self.told.put.extend((receipt.first_seq..).zip(ids)),
                Err(_) => self.told.doubtful_puts.push(ids),
            }
            let Ok(mut take) = channel.take_transaction("main") else { return };
            let Ok(taken) = take.take_many(2, usize::MAX) else { return };
            let ids: Vec<u64> = taken.iter().map(|taken| id_of(&taken.bytes)).collect();
            match take.commit() {
                Ok(_) => self.told.acked.extend(ids),
                Err(_) => self.told.doubtful_acks.push(ids),
            }
        }
    }

    fn put(&mut self, channel: &Channel, count: u64) {
        let ids: Vec<u64> = (self.next_id..self.next_id + count).collect();
        self.next_id += count;
        match put(channel, ids.iter().copied()) {
            Ok(receipt) => {
                for (n, id) in ids.iter().enumerate() {
                    let before = self.told.put.insert(receipt.first_seq + n as u64, *id);
                    assert_eq!(before, None, "a seq is given out twice");
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::InDoubt => {
                    self.told.in_doubt += 1;
                    self.told.doubtful_puts.push(ids);
                }
                ErrorKind::Failed => self.told.failed += 1,
                ErrorKind::Full => self.told.full += 1,
                other => panic!("{other:?}: {error}"),
            },
        }
    }

    fn take(&mut self, channel: &Channel, count: usize) {
        let Ok(mut take) = channel.take_transaction("main") else { return };
        let taken = match take.take_many(count, usize::MAX) {
            Ok(taken) => taken,
            Err(error) => {
                // What cannot be read comes again.
                let known = matches!(error.kind(), ErrorKind::Io | ErrorKind::Failed);
                assert!(known, "{error}");
                self.told.unread += 1;
                return;
            }
        };
        let ids: Vec<u64> = taken.iter().map(|taken| id_of(&taken.bytes)).collect();
        for (taken, id) in taken.iter().zip(&ids) {
            let again = self.told.acked.contains(id);
            assert!(!again || self.may_come_again(), "{id} comes again");
            assert_eq!(self.told.put.get(&taken.seq), Some(id), "it was not acknowledged");
        }
        if self.step.is_multiple_of(5) {
            take.rollback();
            return;
        }
        match take.commit() {
            Ok(_) => self.told.acked.extend(ids),
            Err(error) => match error.kind() {
                ErrorKind::InDoubt => {
                    self.told.in_doubt += 1;
                    self.told.doubtful_acks.push(ids);
                }
                ErrorKind::Failed => self.told.failed += 1,
                other => panic!("{other:?}: {error}"),
            },
        }
    }

    /// A weaker class may forget an acknowledgement with the process or the disk.
    fn may_come_again(&self) -> bool {
        self.is_weak() && self.told.reopened > 0
    }

    fn control(&mut self, outcome: Result<(), Error>) {
        match outcome.map_err(|error| error.kind()) {
            Ok(()) | Err(ErrorKind::NoSuchCursor) => {}
            Err(ErrorKind::InDoubt) => self.told.in_doubt += 1,
            Err(ErrorKind::Failed) => self.told.failed += 1,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn idle(&mut self, channel: &Channel) {
        self.lab.idle(channel);
        let stats = channel.stats();
        // Class os never syncs for the sake of time.
        let by_time = matches!(stats.sync, SyncClass::Interval(_) | SyncClass::Commit);
        if by_time && stats.condition != Condition::Failed {
            self.told.settled_seq = stats.next_seq;
        }
    }

    /// Closes it and opens it again, up to three times if that fails.
    fn reopen(&mut self) {
        self.channel = None;
        for _ in 0..3 {
            self.told.reopened += 1;
            match self.lab.try_open() {
                Ok(channel) => {
                    // Its State is synced, and everything before it.
                    self.told.settled_seq = channel.stats().next_seq;
                    self.channel = Some(channel);
                    return;
                }
                Err(error) => {
                    let kind = error.kind();
                    assert!(matches!(kind, ErrorKind::Io | ErrorKind::Full), "{error}");
                    self.told.unopened += 1;
                }
            }
        }
    }

    /// Everything that must hold in a channel after that life.
    pub fn check(&self, what: &str, channel: &Channel, after: After) {
        let told = &self.told;
        let seen = peek(channel, "main");
        assert!(rises(&seen), "{what}");
        let there: BTreeSet<u64> = seen.iter().map(|(_, id)| *id).collect();
        assert_eq!(there.len(), seen.len(), "{what}: something is there twice");
        for ids in told.doubtful_puts.iter().chain(&told.doubtful_acks) {
            let here = ids.iter().filter(|id| there.contains(id)).count();
            assert!(here == 0 || here == ids.len(), "{what}: half a transaction: {ids:?}");
        }
        let doubtful_acks: BTreeSet<u64> = told.doubtful_acks.iter().flatten().copied().collect();
        let doubtful_puts: BTreeSet<u64> = told.doubtful_puts.iter().flatten().copied().collect();
        let stats = channel.stats();
        let lost = |seq: u64| {
            stats.recent_losses.iter().any(|loss| loss.seqs.start <= seq && seq < loss.seqs.end)
        };
        for (seq, id) in &told.put {
            if told.acked.contains(id) {
                let again = there.contains(id);
                let may = self.may_come_again() || (self.is_weak() && after != After::Nothing);
                assert!(!again || may, "{what}: {id} comes again");
            } else if !doubtful_acks.contains(id) && !seen.contains(&(*seq, *id)) {
                let unsynced = after == After::PowerCut && *seq >= told.settled_seq;
                let told_so = lost(*seq) || unsynced;
                assert!(self.is_weak() && told_so, "{what}: {id} is lost, seq {seq}");
            }
        }
        for (seq, id) in &seen {
            let known = told.put.get(seq) == Some(id) || doubtful_puts.contains(id);
            assert!(known, "{what}: {id} was not acknowledged and is there as {seq}");
        }
        let lost = stats.losses;
        assert!(lost == 0 || self.is_weak(), "{what}: {:?}", stats.recent_losses);
        let newest = told.put.keys().next_back().copied().unwrap_or(0);
        assert!(stats.next_seq > newest, "{what}: seq {} was given out", stats.next_seq);
    }
}
