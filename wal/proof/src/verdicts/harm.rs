//! What is done to a disk behind the channel's back: every kind of damage, at every kind of place.

use std::ops::Range;
use std::path::PathBuf;

use forebay_wal::fs::sim::SimFs;

use super::truth::{Known, SEGMENT_HEADER, Truth, Whole};
use crate::lab::{ACK, Block, Lab, PUT, SEAL, SECTOR};
use crate::model::{DIR, Dice};

/// What was done, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Harm {
    pub place: &'static str,
    pub manner: &'static str,
    /// For people: which bytes of which file.
    pub what: String,
}

/// A disk that is about to be harmed.
pub struct Victim<'a> {
    pub truth: &'a Truth,
    pub lab: &'a Lab,
    pub earlier: &'a [SimFs],
}

const MANNERS: [&str; 6] =
    ["flipped bit", "zeroed sector", "zeroed", "noise", "lost write", "misplaced write"];

/// Places in one file, which any two may be hit of at once.
const INSIDE: [&str; 12] = [
    "segment header",
    "first State of a segment",
    "second State of a segment",
    "both States of a segment",
    "a put",
    "an ack",
    "a seal",
    "a watermark",
    "the last block",
    "the last block and its watermark",
    "a few sectors somewhere",
    "the newest segment's head",
];
/// Places that are whole files, or most of one.
const FILES: [&str; 11] = [
    "the newest segment behind its header",
    "the newest segment behind its States",
    "the newest segment",
    "the newest segment's file",
    "an older segment's file",
    "the newest segment's end",
    "an older segment's end",
    "two files exchanged",
    "an extra file",
    "a file from the past",
    "checkpoints",
];

impl Victim<'_> {
    /// Damage at one place in a file.
    pub fn inside(&self, dice: &mut Dice) -> Option<Harm> {
        let place = INSIDE[dice.below(INSIDE.len() as u64) as usize];
        let used: Vec<&Whole> = self.truth.used().collect();
        let whole = used[dice.below(used.len() as u64) as usize];
        let newest = self.truth.newest();
        let range = |known: &Known| known.block.offset..known.covered_end;
        let (whole, range) = match place {
            "segment header" => (whole, 0..SEGMENT_HEADER as u64),
            "first State of a segment" => (whole, range(whole.blocks.first()?)),
            "second State of a segment" => (whole, range(whole.blocks.get(1)?)),
            "both States of a segment" => {
                (whole, SECTOR..whole.blocks.get(1).map(|known| known.covered_end)?)
            }
            "a put" => (whole, range(pick(dice, whole, |block| block.has(PUT))?)),
            "an ack" => (whole, range(pick(dice, whole, |block| block.has(ACK))?)),
            "a seal" => (whole, range(pick(dice, whole, |block| block.has(SEAL))?)),
            "a watermark" => (whole, range(pick(dice, whole, Block::is_watermark)?)),
            "the last block" => {
                let (whole, known) = self.truth.with_records().rfind(|(_, known)| known.synced)?;
                (whole, range(known))
            }
            "the last block and its watermark" => {
                let (whole, known) = self.truth.with_records().rfind(|(_, known)| known.synced)?;
                (whole, known.block.offset..whole.blocks.last()?.covered_end)
            }
            "a few sectors somewhere" => {
                let end = whole.blocks.last()?.covered_end;
                let from = dice.below(end) / SECTOR * SECTOR;
                (whole, from..from + (1 + dice.below(6)) * SECTOR)
            }
            _ => (newest, 0..newest.blocks.get(1)?.covered_end),
        };
        Some(self.hurt(place, whole, range, dice))
    }

    /// Does something to a range of a file.
    fn hurt(&self, place: &'static str, whole: &Whole, range: Range<u64>, dice: &mut Dice) -> Harm {
        let manner = MANNERS[dice.below(MANNERS.len() as u64) as usize];
        let fs = &self.lab.fs;
        // On a torn disk the file may have its older name still.
        let there = fs.exists(&whole.path);
        let path = if there { whole.path.clone() } else { self.any_segment(dice) };
        let sector = {
            let count = (range.end - range.start).div_ceil(SECTOR);
            let from = range.start + dice.below(count) * SECTOR;
            from..(from + SECTOR).min(range.end.next_multiple_of(SECTOR))
        };
        let what = match manner {
            "flipped bit" => {
                let byte = range.start + dice.below(range.end - range.start);
                fs.flip_bit(&path, byte, dice.below(8) as u8);
                format!("byte {byte}")
            }
            "zeroed sector" => {
                fs.zero_sectors(&path, sector.clone());
                format!("{sector:?}")
            }
            "zeroed" => {
                fs.zero_sectors(&path, range.start..range.end.next_multiple_of(SECTOR));
                format!("{range:?}")
            }
            "noise" => {
                let noise: Vec<u8> = (0..SECTOR).map(|_| dice.any() as u8).collect();
                fs.overwrite(&path, sector.start, &noise);
                format!("{sector:?}")
            }
            "lost write" => {
                fs.lose_write(&path, range.clone(), self.before(dice));
                format!("{range:?}")
            }
            _ => {
                let to = self.any_segment(dice);
                let at = dice.below(fs.read_file(&to).len() as u64 / SECTOR + 1) * SECTOR;
                let at = if range.start == 0 { 0 } else { at };
                fs.misplace_write(&path, range.clone(), self.before(dice), (&to, at));
                format!("{range:?} to {at} of {}", to.display())
            }
        };
        Harm { place, manner, what: format!("{place}: {manner}, {what} of {}", path.display()) }
    }

    fn before(&self, dice: &mut Dice) -> &SimFs {
        &self.earlier[dice.below(self.earlier.len() as u64) as usize]
    }

    fn any_segment(&self, dice: &mut Dice) -> PathBuf {
        let mut all = self.lab.segments();
        all.swap_remove(dice.below(all.len() as u64) as usize)
    }

    /// Damage of whole files.
    pub fn files(&self, dice: &mut Dice) -> Option<Harm> {
        let place = FILES[dice.below(FILES.len() as u64) as usize];
        let fs = &self.lab.fs;
        let newest = self.truth.newest();
        let older: Vec<&Whole> = self.truth.used().rev().skip(1).collect();
        let older = (!older.is_empty()).then(|| older[dice.below(older.len() as u64) as usize]);
        let path = &newest.path;
        let end = newest.blocks.last()?.block.end();
        if !fs.exists(path) || !older.is_none_or(|older| fs.exists(&older.path)) {
            return None;
        }
        let manner = match place {
            "the newest segment behind its header" => self.wipe(path, SECTOR, dice),
            "the newest segment behind its States" => {
                self.wipe(path, newest.blocks.get(1)?.block.end(), dice)
            }
            "the newest segment" => self.wipe(path, 0, dice),
            "the newest segment's file" => {
                fs.remove_quietly(path);
                "missing"
            }
            "an older segment's file" => {
                fs.remove_quietly(&older?.path);
                "missing"
            }
            "the newest segment's end" => {
                fs.truncate(path, dice.below(end + SECTOR));
                "truncated"
            }
            "an older segment's end" => {
                let older = older?;
                fs.truncate(&older.path, dice.below(older.blocks.last()?.block.end() + SECTOR));
                "truncated"
            }
            "two files exchanged" => {
                fs.exchange(self.any_segment(dice), self.any_segment(dice));
                "exchanged"
            }
            "an extra file" => self.extra(dice),
            "a file from the past" => self.past(dice)?,
            _ => self.checkpoints(dice),
        };
        Some(Harm { place, manner, what: format!("{place}: {manner}") })
    }

    /// All of a file from some place on becomes something else.
    fn wipe(&self, path: &PathBuf, from: u64, dice: &mut Dice) -> &'static str {
        let fs = &self.lab.fs;
        if dice.below(2) == 0 {
            fs.zero_sectors(path, from..u64::MAX);
            return "zeroed";
        }
        fs.lose_write(path, from..u64::MAX, self.before(dice));
        "lost write"
    }

    fn extra(&self, dice: &mut Dice) -> &'static str {
        let fs = &self.lab.fs;
        let label = [0u64, 77, 1 << 40][dice.below(3) as usize];
        let name = format!("{DIR}/{label:020}.wal");
        match dice.below(4) {
            0 => fs.copy_over(self.any_segment(dice), name),
            1 => fs.write_file(name, &[0; 1 << 17]),
            2 => fs.write_file(format!("{DIR}/notes.txt"), b"not ours"),
            _ => fs.write_file(name, &vec![dice.any() as u8; 70_000]),
        }
        "extra"
    }

    /// A segment that has gone since comes back, under the name that it had.
    fn past(&self, dice: &mut Dice) -> Option<&'static str> {
        let before = self.before(dice);
        let there = self.lab.segments();
        let gone = self.lab.on(before.clone()).segments();
        let gone: Vec<_> = gone.into_iter().filter(|path| !there.contains(path)).collect();
        let path = gone.get(dice.below(gone.len().max(1) as u64) as usize)?;
        self.lab.fs.write_file(path, &before.read_file(path));
        Some("extra")
    }

    fn checkpoints(&self, dice: &mut Dice) -> &'static str {
        let fs = &self.lab.fs;
        let names = ["a", "b"].map(|name| format!("{DIR}/checkpoint.{name}"));
        if !names.iter().all(|name| fs.exists(name)) {
            return "missing";
        }
        let one = &names[dice.below(2) as usize];
        match dice.below(5) {
            0 => names.iter().for_each(|name| fs.flip_bit(name, dice.below(400), 3)),
            1 => fs.remove_quietly(one),
            2 => fs.truncate(one, dice.below(400)),
            3 => fs.lose_write(one, 0..u64::MAX, self.before(dice)),
            _ => {
                fs.exchange(&names[0], &names[1]);
                return "exchanged";
            }
        }
        "damaged"
    }
}

/// A synced block of a kind in a segment.
fn pick<'a>(
    dice: &mut Dice,
    whole: &'a Whole,
    wanted: impl Fn(&Block) -> bool,
) -> Option<&'a Known> {
    let all: Vec<&Known> =
        whole.blocks.iter().filter(|known| known.synced && wanted(&known.block)).collect();
    all.get(dice.below(all.len().max(1) as u64) as usize).copied()
}

/// Takes both checkpoints away.
pub fn without_checkpoints(lab: &Lab) {
    for name in ["a", "b"].map(|name| format!("{DIR}/checkpoint.{name}")) {
        if lab.fs.exists(&name) {
            lab.fs.remove_quietly(name);
        }
    }
}
