//! A plain queue beside the channel, and a world in which the power can go at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_wal::fs::sim::{SimClock, SimFs, Survive, sim_env};
use forebay_wal::{
    Background, Channel, Env, ErrorKind, Options, PutTransaction, SyncClass, TakeTransaction,
};

pub const DIR: &str = "/channel";

/// A small random number generator, so that a seed says everything.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.any() >> 16) % limit
    }
}

/// An event's bytes follow from its number; its length varies.
pub fn event(id: u64) -> Vec<u8> {
    let len = match id % 7 {
        0 => 0,
        1 => 3000 + (id % 11) as usize * 500,
        _ => 20 + (id % 200) as usize,
    };
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|at| (id as usize * 31 + at) as u8));
    bytes
}

pub fn id_of(bytes: &[u8]) -> u64 {
    let id = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    assert_eq!(bytes, event(id), "the bytes of event {id} are not what was put");
    id
}

/// What the channel should hold, and what may or may not have happened at the crash.
#[derive(Debug, Default, Clone)]
pub struct Model {
    /// The ids of all events that are known to be in the channel, in order.
    pub put: Vec<u64>,
    /// Which of them each cursor has acknowledged.
    pub acked: BTreeMap<String, BTreeSet<u64>>,
    /// Puts and acks whose outcome is not known: each whole or not at all.
    pub doubtful_puts: Vec<Vec<u64>>,
    pub doubtful_acks: Vec<(String, Vec<u64>)>,
    pub positions: BTreeMap<String, u64>,
    pub producers: BTreeMap<String, u64>,
    pub next_id: u64,
}

/// The channel on a simulated disk, and the model beside it.
pub struct World {
    pub env: Env,
    pub fs: SimFs,
    pub clock: Arc<SimClock>,
    pub channel: Option<Channel>,
    pub model: Model,
    pub takes: Vec<(String, TakeTransaction, Vec<u64>)>,
    pub dice: Dice,
    pub sync: SyncClass,
    /// Whether the model is left alone when the channel is opened again.
    pub unchecked: bool,
}

pub fn options(sync: SyncClass) -> Options {
    Options::new()
        .bytes_max(1 << 20)
        .sync(sync)
        .background(Background::Manual)
        .put_timeout(Duration::ZERO)
        .checkpoint_bytes(64 << 10)
        .cursor("main")
        .cursor("second")
}

impl World {
    pub fn new(seed: u64, sync: SyncClass) -> World {
        let (env, fs, clock) = sim_env(seed);
        let mut model = Model { next_id: 1, ..Model::default() };
        for cursor in ["main", "second"] {
            model.acked.insert(cursor.to_owned(), BTreeSet::new());
        }
        let dice = Dice::new(seed ^ 0xabcd);
        World {
            env,
            fs,
            clock,
            channel: None,
            model,
            takes: Vec::new(),
            dice,
            sync,
            unchecked: false,
        }
    }

    /// Opens the channel; `false` if the disk is gone.
    pub fn open(&mut self) -> bool {
        match Channel::open_in(Path::new(DIR), options(self.sync), self.env.clone()) {
            Ok(channel) => {
                self.channel = Some(channel);
                true
            }
            Err(error) => {
                assert!(self.fs.is_crashed(), "open failed on a sound disk: {error}");
                false
            }
        }
    }

    /// One random step; `false` once the disk is gone.
    pub fn step(&mut self) -> bool {
        let Some(channel) = self.channel.clone() else { return false };
        let alive = match self.dice.below(100) {
            0..=44 => self.put(&channel),
            45..=64 => self.take(&channel),
            65..=84 => self.finish_take(),
            85..=91 => {
                self.clock.advance(Duration::from_millis(self.dice.below(150)));
                channel.tend();
                true
            }
            92..=95 => {
                channel.checkpoint();
                channel.tend();
                true
            }
            96 => {
                self.clock.jump_wall_us(self.dice.below(1 << 40) as i64 - (1 << 39));
                true
            }
            _ => {
                drop(channel);
                return self.reopen();
            }
        };
        alive && !self.fs.is_crashed()
    }

    /// As `step`, for a life that is about something else than the model.
    pub fn step_without_check(&mut self) -> bool {
        self.unchecked = true;
        self.step()
    }

    /// Closes and opens again, without a crash.
    fn reopen(&mut self) -> bool {
        self.takes.clear();
        self.channel = None;
        if self.fs.is_crashed() || !self.open() || self.fs.is_crashed() {
            return false;
        }
        if !self.unchecked {
            self.check();
        }
        true
    }

    fn put(&mut self, channel: &Channel) -> bool {
        let mut put: PutTransaction = channel.put_transaction();
        let mut ids = Vec::new();
        for _ in 0..=self.dice.below(6) {
            let id = self.model.next_id;
            self.model.next_id += 1;
            put.put(&event(id)).expect("it fits");
            ids.push(id);
        }
        let last = *ids.last().expect("at least one");
        let key = format!("file-{}", self.dice.below(3));
        let with_position = self.dice.below(2) == 0;
        if with_position {
            put.set_position(&key, &last.to_le_bytes()).expect("it fits");
        }
        let producer = format!("producer-{}", self.dice.below(3));
        let with_producer = self.dice.below(2) == 0;
        if with_producer {
            put.set_producer(&producer, last).expect("it fits");
            // What was refused for want of space is given up here.
            channel.forgive(&producer);
        }
        match put.commit() {
            Ok(receipt) => {
                assert!(!receipt.duplicate);
                assert_eq!(receipt.events, ids.len() as u64);
                self.model.put.extend(&ids);
                if with_position {
                    self.model.positions.insert(key, last);
                }
                if with_producer {
                    self.model.producers.insert(producer, last);
                }
                true
            }
            Err(error) if error.kind() == ErrorKind::Full => true,
            Err(error) => {
                assert!(self.fs.is_crashed(), "{error}");
                self.model.doubtful_puts.push(ids);
                false
            }
        }
    }

    fn take(&mut self, channel: &Channel) -> bool {
        let cursor = if self.dice.below(3) == 0 { "second" } else { "main" };
        let Ok(mut take) = channel.take_transaction(cursor) else { return false };
        match take.take_many(1 + self.dice.below(12) as usize, 20_000) {
            Ok(taken) if taken.is_empty() => true,
            Ok(taken) => {
                let ids: Vec<u64> = taken.iter().map(|event| id_of(&event.bytes)).collect();
                let acked = &self.model.acked[cursor];
                for id in &ids {
                    let again = !self.unchecked && acked.contains(id);
                    assert!(!again, "{cursor} saw {id} again after its ack");
                    let held = self.takes.iter().filter(|(other, ..)| other == cursor);
                    assert!(held.flat_map(|(.., ids)| ids).all(|other| other != id));
                }
                self.takes.push((cursor.to_owned(), take, ids));
                true
            }
            Err(error) => {
                assert!(self.fs.is_crashed(), "{error}");
                false
            }
        }
    }

    fn finish_take(&mut self) -> bool {
        if self.takes.is_empty() {
            return true;
        }
        let at = self.dice.below(self.takes.len() as u64) as usize;
        let (cursor, take, ids) = self.takes.swap_remove(at);
        if self.dice.below(4) == 0 {
            take.rollback();
            return true;
        }
        match take.commit() {
            Ok(_) => {
                self.model.acked.get_mut(&cursor).expect("known").extend(ids);
                true
            }
            Err(error) => {
                assert!(self.fs.is_crashed(), "{error}");
                self.model.doubtful_acks.push((cursor, ids));
                false
            }
        }
    }

    /// The power goes; the disk comes back as it may.
    pub fn crash(&mut self, survive: Survive) {
        self.takes.clear();
        self.channel = None;
        self.fs = self.fs.crash(survive);
        self.env = Env { fs: Arc::new(self.fs.clone()), ..self.env.clone() };
    }

    /// What the channel holds is what the model says, and doubts are settled.
    pub fn check(&mut self) {
        let channel = self.channel.clone().expect("an open channel");
        assert_eq!(channel.stats().losses, 0, "{:?}", channel.stats().recent_losses);
        self.settle_puts(&channel);
        for cursor in ["main", "second"] {
            let mut take = channel.take_transaction(cursor).expect("a take");
            let taken = take.take_many(usize::MAX, usize::MAX).expect("all events");
            let seen: Vec<u64> = taken.iter().map(|event| id_of(&event.bytes)).collect();
            assert!(taken.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            let (mut in_doubt, sure): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.model.doubtful_acks)
                    .into_iter()
                    .partition(|(name, _)| name == cursor);
            self.model.doubtful_acks = sure;
            let acked = self.model.acked.get_mut(cursor).expect("known");
            for (_, ids) in in_doubt.drain(..) {
                let here = ids.iter().filter(|id| seen.contains(id)).count();
                assert!(here == 0 || here == ids.len(), "half an acknowledgement: {ids:?}");
                if here == 0 {
                    acked.extend(ids);
                }
            }
            let expected: Vec<u64> =
                self.model.put.iter().copied().filter(|id| !acked.contains(id)).collect();
            assert_eq!(seen, expected, "cursor {cursor}");
            take.rollback();
        }
        for (key, value) in &self.model.positions {
            let found = channel.position(key).expect("a position");
            assert_eq!(&found[..], &value.to_le_bytes(), "position {key}");
        }
        for (name, sequence) in &self.model.producers {
            assert_eq!(channel.producer_sequence(name), Some(*sequence), "{name}");
        }
    }

    /// A put that was under way at the crash is there whole or not at all.
    fn settle_puts(&mut self, channel: &Channel) {
        // The position and the producer of such a put came with it, if it came.
        let mut take = channel.take_transaction("second").expect("a take");
        let taken = take.take_many(usize::MAX, usize::MAX).expect("all events");
        let seen: BTreeSet<u64> = taken.iter().map(|event| id_of(&event.bytes)).collect();
        take.rollback();
        for ids in std::mem::take(&mut self.model.doubtful_puts) {
            let here = ids.iter().filter(|id| seen.contains(id)).count();
            assert!(here == 0 || here == ids.len(), "half a put: {ids:?}");
            let last = *ids.last().expect("not empty");
            if here > 0 {
                self.model.put.extend(&ids);
                for key in (0..3).map(|n| format!("file-{n}")) {
                    if channel.position(&key).as_deref() == Some(&last.to_le_bytes()[..]) {
                        self.model.positions.insert(key, last);
                    }
                }
                for name in (0..3).map(|n| format!("producer-{n}")) {
                    if channel.producer_sequence(&name) == Some(last) {
                        self.model.producers.insert(name, last);
                    }
                }
            }
        }
    }
}
