//! A random life of a channel, and all that is known of it when the power goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{Channel, ErrorKind, SyncClass};

use crate::filled::CURSORS;
use crate::lab::{Lab, put};
use crate::model::{Dice, options};

/// How many earlier images of the disk are kept, for writes that are lost.
const IMAGES_KEPT: usize = 4;

/// What is known of a channel at the end of its life.
pub struct Life {
    pub lab: Lab,
    pub sync: SyncClass,
    pub dice: Dice,
    /// seq -> id, of every put that was acknowledged.
    pub events: BTreeMap<u64, u64>,
    /// What each cursor has acknowledged for sure.
    pub acked: BTreeMap<&'static str, BTreeSet<u64>>,
    /// The put that was under way when the power went.
    pub doubtful_put: Vec<u64>,
    /// The acknowledgement that was, and of which cursor.
    pub doubtful_ack: Option<(&'static str, BTreeSet<u64>)>,
    /// The disk at earlier times.
    pub earlier: Vec<SimFs>,
    next_id: u64,
}

/// What a life is like: how often each of these is done in a hundred steps.
#[derive(Debug, Clone, Copy)]
struct Habits {
    puts: u64,
    acks: u64,
    drains: u64,
    idles: u64,
}

impl Life {
    /// Lives until the end that the seed has for it: at rest, idle or at once after a commit, or
    /// in the middle of a write.
    pub fn lived(seed: u64, sync: SyncClass) -> Life {
        let mut dice = Dice::new(seed ^ 0x7e4d);
        let lab = Lab::new(seed);
        let lab = Lab { options: options(sync), ..lab };
        let mut life = Life {
            lab,
            sync,
            events: BTreeMap::new(),
            acked: CURSORS.map(|cursor| (cursor, BTreeSet::new())).into(),
            doubtful_put: Vec::new(),
            doubtful_ack: None,
            earlier: Vec::new(),
            next_id: 1 + dice.below(7),
            dice,
        };
        let habits = [
            Habits { puts: 90, acks: 4, drains: 0, idles: 2 },
            Habits { puts: 60, acks: 25, drains: 1, idles: 6 },
            Habits { puts: 62, acks: 15, drains: 8, idles: 4 },
        ][life.dice.below(3) as usize];
        let steps = [12, 60, 150, 300][life.dice.below(4) as usize];
        let mut channel = life.lab.open();
        for step in 0..steps {
            if step * IMAGES_KEPT as u64 % steps < IMAGES_KEPT as u64 {
                life.earlier.push(life.lab.fs.image(Survive::Nothing));
            }
            channel = life.step(channel, habits).expect("the power is on");
        }
        life.end(channel, habits);
        life
    }

    /// Whether all that is acknowledged is synced.
    pub fn is_commit(&self) -> bool {
        matches!(self.sync, SyncClass::Commit)
    }

    fn end(&mut self, mut channel: Channel, habits: Habits) {
        match self.dice.below(4) {
            0 => {}
            1 => self.lab.idle(&channel),
            _ => {
                self.lab.fs.crash_at(self.lab.fs.ops() + self.dice.below(8));
                while !self.lab.fs.is_crashed() {
                    match self.step(channel, habits) {
                        Some(on) => channel = on,
                        None => return,
                    }
                }
            }
        }
    }

    /// One random step. Without a channel the power is gone.
    fn step(&mut self, channel: Channel, habits: Habits) -> Option<Channel> {
        let roll = self.dice.below(100);
        let (puts, acks) = (habits.puts, habits.puts + habits.acks);
        let drains = acks + habits.drains;
        let idles = drains + habits.idles;
        if roll < puts {
            self.put(&channel);
        } else if roll < acks {
            let count = 1 + self.dice.below(9) as usize;
            self.ack(&channel, count);
        } else if roll < drains {
            self.ack(&channel, usize::MAX);
            self.ack(&channel, usize::MAX);
        } else if roll < idles {
            self.lab.clock.advance(Duration::from_millis(self.dice.below(250)));
            channel.tend();
        } else if roll.is_multiple_of(3) {
            drop(channel);
            return self.lab.try_open().ok();
        } else {
            channel.checkpoint();
            channel.tend();
        }
        (!self.lab.fs.is_crashed()).then_some(channel)
    }

    fn put(&mut self, channel: &Channel) {
        let ids: Vec<u64> = (self.next_id..self.next_id + 1 + self.dice.below(8)).collect();
        self.next_id += ids.len() as u64;
        match put(channel, ids.iter().copied()) {
            Ok(receipt) => self.events.extend((receipt.first_seq..).zip(ids)),
            Err(error) if error.kind() == ErrorKind::Full => {
                for _ in 0..4 {
                    self.ack(channel, 60);
                }
                self.lab.idle(channel);
            }
            Err(error) => {
                assert!(self.lab.fs.is_crashed(), "{error}");
                self.doubtful_put = ids;
            }
        }
    }

    /// Acknowledges so many events of a cursor; now and then those behind some that are kept.
    fn ack(&mut self, channel: &Channel, count: usize) {
        let cursor = CURSORS[self.dice.below(2) as usize];
        let Ok(mut held) = channel.take_transaction(cursor) else { return };
        if self.dice.below(4) == 0 {
            // What is held comes back later.
            let _ = held.take_many(1 + self.dice.below(5) as usize, usize::MAX);
        }
        let Ok(mut take) = channel.take_transaction(cursor) else { return };
        let Ok(taken) = take.take_many(count, usize::MAX) else { return };
        let seqs: BTreeSet<u64> = taken.iter().map(|event| event.seq).collect();
        match take.commit() {
            Ok(_) => self.acked.get_mut(cursor).expect("known").extend(seqs),
            Err(error) => {
                assert!(self.lab.fs.is_crashed(), "{error}");
                self.doubtful_ack = Some((cursor, seqs));
            }
        }
    }
}
