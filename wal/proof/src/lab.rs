//! A simulated disk with a channel on it, and the few things that most tests do with both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_wal::fs::sim::{SimClock, SimFs, Survive, sim_env};
use forebay_wal::{Channel, Check, Env, Inspection, Options, Receipt, SyncClass};

use crate::model::{DIR, event, id_of, options};

/// The alignment of blocks and the place of the first one.
pub const SECTOR: u64 = 4096;

/// A disk, a clock, and what channels on it are opened with.
#[derive(Debug, Clone)]
pub struct Lab {
    pub env: Env,
    pub fs: SimFs,
    pub clock: Arc<SimClock>,
    pub options: Options,
}

impl Lab {
    pub fn new(seed: u64) -> Lab {
        let (env, fs, clock) = sim_env(seed);
        Lab { env, fs, clock, options: options(SyncClass::Commit) }
    }

    /// The same world with another disk.
    pub fn on(&self, fs: SimFs) -> Lab {
        let env = Env { fs: Arc::new(fs.clone()), ..self.env.clone() };
        Lab { env, fs, ..self.clone() }
    }

    /// The same world with a copy of the disk as it would be after a clean power cut.
    pub fn copy(&self) -> Lab {
        self.on(self.fs.image(Survive::Everything))
    }

    pub fn with(&self, options: Options) -> Lab {
        Lab { options, ..self.clone() }
    }

    pub fn try_open(&self) -> forebay_wal::Result<Channel> {
        Channel::open_in(Path::new(DIR), self.options.clone(), self.env.clone())
    }

    pub fn open(&self) -> Channel {
        self.try_open().expect("it opens")
    }

    pub fn inspect(&self) -> Inspection {
        Inspection::read_in(Path::new(DIR), &self.env).expect("it can be looked at")
    }

    pub fn check(&self) -> Check {
        Check::read_in(Path::new(DIR), &self.env, |_, _| {}).expect("it can be checked")
    }

    /// Lets time pass until the log counts as idle, and does what is due then.
    pub fn idle(&self, channel: &Channel) {
        for _ in 0..3 {
            self.clock.advance(Duration::from_millis(200));
            channel.tend();
        }
    }

    /// The segment files, by name.
    pub fn segments(&self) -> Vec<PathBuf> {
        let is_segment = |path: &PathBuf| {
            path.parent() == Some(Path::new(DIR)) && path.extension().is_some_and(|e| e == "wal")
        };
        self.fs.paths().into_iter().filter(is_segment).collect()
    }

    /// The files in quarantine, by name, and what they hold.
    pub fn quarantine(&self) -> BTreeMap<String, Vec<u8>> {
        let paths = self.fs.paths().into_iter();
        let there = paths.filter(|path| path.starts_with(format!("{DIR}/quarantine")));
        there.map(|path| (name_of(&path), self.fs.read_file(&path))).collect()
    }

    /// The bytes that the channel's files take, quarantine left out.
    pub fn allocated_bytes(&self) -> u64 {
        let entries = self.env.fs.list(Path::new(DIR)).expect("it is there");
        entries.iter().map(|entry| entry.allocated_bytes).sum()
    }
}

pub fn name_of(path: &Path) -> String {
    path.file_name().expect("a file").to_string_lossy().into_owned()
}

/// Puts events in one transaction.
pub fn put(channel: &Channel, ids: impl IntoIterator<Item = u64>) -> forebay_wal::Result<Receipt> {
    let mut put = channel.put_transaction();
    for id in ids {
        put.put(&event(id)).expect("it fits");
    }
    put.commit()
}

/// Everything that a cursor has still to see, as seqs and ids; it is given back.
pub fn peek(channel: &Channel, cursor: &str) -> Vec<(u64, u64)> {
    let mut take = channel.take_transaction(cursor).expect("a take");
    let mut all = Vec::new();
    loop {
        let taken = take.take_many(1000, usize::MAX).expect("events");
        if taken.is_empty() {
            return all;
        }
        all.extend(taken.iter().map(|taken| (taken.seq, id_of(&taken.bytes))));
    }
}

/// Takes and acknowledges everything that a cursor has still to see.
pub fn drain(channel: &Channel, cursor: &str) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    loop {
        let mut take = channel.take_transaction(cursor).expect("a take");
        let taken = take.take_many(50, usize::MAX).expect("events");
        if taken.is_empty() {
            return all;
        }
        all.extend(taken.iter().map(|taken| (taken.seq, id_of(&taken.bytes))));
        take.commit().expect("an acknowledgement");
    }
}

/// Acknowledges the next `count` events of a cursor.
pub fn ack(channel: &Channel, cursor: &str, count: usize) -> Vec<u64> {
    let mut take = channel.take_transaction(cursor).expect("a take");
    let taken = take.take_many(count, usize::MAX).expect("events");
    take.commit().expect("an acknowledgement");
    taken.iter().map(|taken| taken.seq).collect()
}

/// A block as `FORMAT.md` draws it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub offset: u64,
    pub len: u64,
    pub generation: u64,
    pub first_lsn: u64,
    pub records: u32,
    pub seqs: (u64, u64),
    /// The kinds of its records.
    pub kinds: Vec<u8>,
}

pub const PUT: u8 = 1;
pub const ACK: u8 = 2;
pub const SEAL: u8 = 7;

impl Block {
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }

    pub fn has(&self, kind: u8) -> bool {
        self.kinds.contains(&kind)
    }

    pub fn is_watermark(&self) -> bool {
        self.kinds.is_empty()
    }

    pub fn touches(&self, from: u64, until: u64) -> bool {
        self.offset < until && from < self.end()
    }
}

fn u32_at(bytes: &[u8], at: u64) -> u32 {
    let at = at as usize;
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub fn u64_at(bytes: &[u8], at: u64) -> u64 {
    let at = at as usize;
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The blocks of the segment that its header names, one behind the other.
pub fn blocks(bytes: &[u8]) -> Vec<Block> {
    let (id, salt) = (u64_at(bytes, 32), u64_at(bytes, 40));
    let mut blocks = Vec::new();
    let mut offset = SECTOR;
    while offset + SECTOR <= bytes.len() as u64 {
        let head = &bytes[offset as usize..];
        let own = head.starts_with(b"fbBK")
            && (u64_at(head, 24), u64_at(head, 32), u64_at(head, 40)) == (id, salt, offset);
        if !own {
            break;
        }
        let body_len = u64::from(u32_at(head, 108));
        let (mut kinds, mut at) = (Vec::new(), 0);
        while at < body_len {
            kinds.push(head[(192 + at) as usize + 4]);
            at += 12 + u64::from(u32_at(head, 192 + at));
        }
        let len = (192 + body_len).next_multiple_of(SECTOR);
        blocks.push(Block {
            offset,
            len,
            generation: u64_at(head, 48),
            first_lsn: u64_at(head, 64),
            records: u32_at(head, 104),
            seqs: (u64_at(head, 72), u64_at(head, 80)),
            kinds,
        });
        offset += len;
    }
    blocks
}

/// How many seeds to go through: some by default, others if the environment says so.
pub fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let first = number("FOREBAY_SEED").unwrap_or(1);
    first..first + number("FOREBAY_SEEDS").unwrap_or(default)
}

/// Runs a test for many seeds; the message names the one that failed.
pub fn for_seeds(default: u64, test: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds(default) {
        let outcome = std::panic::catch_unwind(|| test(seed));
        assert!(outcome.is_ok(), "seed {seed}: run again with FOREBAY_SEED={seed} FOREBAY_SEEDS=1");
    }
}

/// Whether the first numbers are rising.
pub fn rises(all: &[(u64, u64)]) -> bool {
    all.windows(2).all(|pair| pair[0].0 < pair[1].0)
}

pub fn seqs(all: &[(u64, u64)]) -> BTreeSet<u64> {
    all.iter().map(|(seq, _)| *seq).collect()
}
