//! Torn or corrupt, counted: disks of which everything is known are damaged, torn, or both, and
//! what the channel makes of each is held against the truth.
//!
//! A life (`life.rs`) leaves a disk; `truth.rs` reads from its bytes which blocks stand where and
//! what was synced; `harm.rs` damages a copy; `judge.rs` opens it and says what became of every
//! event. An event in a block that was hit is *served* all the same, *named* in the ledger, *told*
//! of (a line of the ledger covers its place and could not know its seq), or *silent*: gone without
//! a word. A torn tail is cut, or *called corrupt* when the ledger tells of it.
//!
//! Where a silent one is allowed, by `FORMAT.md` section 9, is said by the bytes that are left: if
//! anything whole says that the block was synced, the block stands *outside* of the window. If
//! nothing does, it stands in the *window* when it is the last one, and in the *end* when more than
//! that one is gone together with all that spoke of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use forebay_wal::SyncClass;
use forebay_wal::fs::sim::Survive;

use crate::lab::Lab;

mod harm;
mod judge;
mod life;
mod truth;

use harm::{Victim, without_checkpoints};
use judge::Case;
use life::Life;
use truth::Truth;

/// What became of the acknowledged events in blocks that were hit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// Blocks with records that were hit.
    pub blocks: u64,
    pub served: u64,
    pub named: u64,
    pub told: u64,
    pub silent: u64,
}

/// What is known about an event that was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    /// Something whole says that its block was synced.
    Outside,
    /// Nothing does, and its block is the last one.
    Window,
    /// Nothing does, as later blocks are hit too.
    End,
}

/// What a campaign counted.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub images: u64,
    /// By kind of damage: how many images, and what became of the events.
    pub rows: BTreeMap<String, (u64, BTreeMap<Where, Fate>)>,
    /// Power cuts that left a write in part; of them, on a disk that is damaged as well.
    pub torn: u64,
    pub torn_and_damaged: u64,
    /// Of those: told as a loss.
    pub called_corrupt: u64,
    /// What must not be, the first of them in words.
    pub wrong: u64,
    pub wrongs: Vec<String>,
}

impl Counts {
    /// The events that were gone without a word, of those in a place.
    pub fn silent(&self, place: Where) -> u64 {
        let fates = self.rows.values().filter_map(|(_, fates)| fates.get(&place));
        fates.map(|fate| fate.silent).sum()
    }

    fn blame(&mut self, text: String) {
        self.wrong += 1;
        if self.wrongs.len() < 2000 {
            self.wrongs.push(text);
        }
    }

    fn row(&mut self, name: String) -> &mut (u64, BTreeMap<Where, Fate>) {
        self.rows.entry(name).or_default()
    }
}

impl fmt::Display for Counts {
    /// A table, as it stands in `RELIABILITY.md`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| damage | images | where | blocks hit | served | named | told | silent |")?;
        writeln!(f, "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |")?;
        for (name, (images, fates)) in &self.rows {
            if fates.is_empty() {
                writeln!(f, "| {name} | {images} | | 0 | 0 | 0 | 0 | 0 |")?;
            }
            for (place, fate) in fates {
                let Fate { blocks, served, named, told, silent } = fate;
                let place = format!("{place:?}").to_lowercase();
                write!(f, "| {name} | {images} | {place} | {blocks} ")?;
                writeln!(f, "| {served} | {named} | {told} | {silent} |")?;
            }
        }
        writeln!(
            f,
            "\n{} images; silent outside the window: {}; torn writes: {} ({} of them on a damaged \
             disk), called corrupt: {}; wrong in any other way: {}",
            self.images,
            self.silent(Where::Outside),
            self.torn,
            self.torn_and_damaged,
            self.called_corrupt,
            self.wrong,
        )
    }
}

/// Opens at least so many images, from a seed on.
pub fn campaign(images: u64, seed: u64) -> Counts {
    let mut counts = Counts::default();
    let mut seed = seed;
    while counts.images < images {
        let sync = match seed % 8 {
            0 => SyncClass::Interval(Duration::from_millis(100)),
            1 => SyncClass::Os,
            _ => SyncClass::Commit,
        };
        images_of(seed, sync, &mut counts);
        seed += 1;
    }
    counts
}

/// All images of one life.
fn images_of(seed: u64, sync: SyncClass, counts: &mut Counts) {
    let mut life = Life::lived(seed, sync);
    let truth = Truth::of(&life.lab);
    if truth.used().next().is_none() {
        // The power went before the channel was made.
        return;
    }
    let mut dice = life.dice.clone();
    life.earlier.push(life.lab.fs.image(Survive::Nothing));
    let rest = life.lab.copy_as(Survive::Nothing);
    for round in 0..24 {
        let cut = life.lab.copy_as(Survive::Seed(dice.any()));
        // Half of the damage is done to a disk at rest.
        let torn = round % 4 < 2;
        let disk = if torn { &cut } else { &rest };
        let damaged = disk.copy();
        let victim = Victim { truth: &truth, lab: &damaged, earlier: &life.earlier };
        let mut harms = Vec::new();
        match round % 6 {
            0 => {}
            1 => harms.extend(victim.files(&mut dice)),
            2 => {
                harms.extend(victim.inside(&mut dice));
                harms.extend(victim.inside(&mut dice));
            }
            _ => harms.extend(victim.inside(&mut dice)),
        }
        for without in [false, true] {
            let (disk, damaged) = (disk.copy(), damaged.copy());
            if without {
                without_checkpoints(&disk);
                without_checkpoints(&damaged);
            }
            let case = Case {
                life: &life,
                truth: &truth,
                before: &disk,
                after: &damaged,
                harms: &harms,
                name: format!("seed {seed}, round {round}, checkpoints gone: {without}"),
            };
            case.judge(counts);
        }
    }
}

impl Lab {
    /// The same world with the disk that a power cut leaves.
    fn copy_as(&self, survive: Survive) -> Lab {
        self.on(self.fs.image(survive))
    }
}
