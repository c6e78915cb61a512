//! What an input does to the files of a channel: each step names a file, a place and a change.

use std::path::{Path, PathBuf};

use forebay_wal::fs::sim::SimFs;

use crate::lab::{Lab, SECTOR};
use crate::model::DIR;

use super::Input;
use super::mend::{self, BLOCK_HEADER, RECORD_HEADER, SEGMENT_HEADER};

/// More steps than this say nothing new.
const STEPS_MAX: usize = 32;
/// The lengths of files of noise: none, less than a header, a header, more than a segment.
const NOISE_LENS: [usize; 6] = [0, 1, 127, 128, 5000, 140_000];

/// How far an input went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Whether checksums were mended: bytes may then say what nobody has ever written.
    pub(crate) forged: bool,
}

/// Applies the steps of an input.
pub(crate) fn apply(lab: &Lab, older: &SimFs, input: &mut Input<'_>) -> Damage {
    let mut damage = Damage::default();
    for _ in 0..STEPS_MAX {
        let mut files = lab.segments();
        let others = ["checkpoint.a", "checkpoint.b", "status", "LOCK"].map(path_of);
        files.extend(others.into_iter().filter(|path| lab.fs.exists(path)));
        if input.is_empty() || files.is_empty() {
            break;
        }
        let how = input.u8();
        let file = files[input.one_of(files.len())].clone();
        let other = files[input.one_of(files.len())].clone();
        let here = Here { fs: &lab.fs, file, other };
        match how % 16 {
            0..=7 => here.harm(how % 16, older, input),
            8 => here.swap_blocks(input),
            9 => here.add_noise(input),
            10 => {
                let to = path_of(&format!("{:020}.wal", input.u64() >> 2));
                lab.fs.write_file(to, &here.bytes());
            }
            how => {
                here.forge(how, input);
                damage.forged = true;
            }
        }
    }
    damage
}

fn path_of(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A file, another one, and the disk they stand on.
struct Here<'a> {
    fs: &'a SimFs,
    file: PathBuf,
    other: PathBuf,
}

impl Here<'_> {
    fn bytes(&self) -> Vec<u8> {
        self.fs.read_file(&self.file)
    }

    /// What a disk or a person does to a file without a thought of checksums.
    fn harm(&self, how: u8, older: &SimFs, input: &mut Input<'_>) {
        let (fs, file) = (self.fs, &self.file);
        let len = self.bytes().len() as u64;
        let place = (input.u64() >> 8) % len.max(1);
        match how {
            0 => fs.flip_bit(file, place, input.u8() % 8),
            1 => {
                let count = usize::from(input.u8());
                fs.overwrite(file, place, input.bytes(count));
            }
            2 => fs.truncate(file, place),
            3 => fs.truncate(file, len + u64::from(input.u16())),
            4 => fs.zero_sectors(file, place..place + u64::from(input.u16())),
            5 => fs.remove_quietly(file),
            6 => {
                let (one, two) = (self.bytes(), fs.read_file(&self.other));
                fs.write_file(file, &two);
                fs.write_file(&self.other, &one);
            }
            // A stale lap comes back.
            _ if older.exists(file) => fs.write_file(file, &older.read_file(file)),
            _ => {}
        }
    }

    /// What stands at one place stands at another, and the other way round.
    fn swap_blocks(&self, input: &mut Input<'_>) {
        let (Some(one), Some(two)) = (self.block(input), block_in(self.fs, &self.other, input))
        else {
            return;
        };
        self.fs.overwrite(&self.file, one.0, &two.1);
        self.fs.overwrite(&self.other, two.0, &one.1);
    }

    fn add_noise(&self, input: &mut Input<'_>) {
        let label = input.u8() % 32;
        let suffix = ["wal", "new"][input.one_of(2)];
        let len = NOISE_LENS[input.one_of(NOISE_LENS.len())];
        let grain = input.u64();
        let grain = input.bytes(usize::from(grain as u8));
        let bytes: Vec<u8> = grain.iter().copied().cycle().take(len).collect();
        self.fs.write_file(path_of(&format!("{label:020}.{suffix}")), &bytes);
    }

    /// Changes something and makes its checksums good again.
    fn forge(&self, how: u8, input: &mut Input<'_>) {
        let is_checkpoint = self.file.extension().is_none_or(|suffix| suffix != "wal");
        match how {
            _ if is_checkpoint => {
                let mut bytes = self.bytes();
                change(&mut bytes, mend::CHECKPOINT_HEADER, input);
                mend::checkpoint(&mut bytes);
                self.fs.write_file(&self.file, &bytes);
            }
            11 => {
                let mut bytes = self.bytes();
                bytes.truncate(SEGMENT_HEADER);
                change(&mut bytes, 0, input);
                mend::segment_header(&mut bytes);
                self.fs.overwrite(&self.file, 0, &bytes);
            }
            12 => self.forge_block(input, |block, input| {
                change(&mut block[..BLOCK_HEADER], 8, input);
                mend::block_header(block);
            }),
            13 | 14 => self.forge_block(input, |block, input| {
                let all = mend::records(&block[BLOCK_HEADER..]);
                if let Some(&(start, end)) = all.get(input.one_of(all.len())) {
                    let record = &mut block[BLOCK_HEADER + start..BLOCK_HEADER + end];
                    let from = if input.u8() % 8 == 0 { 4 } else { RECORD_HEADER };
                    change(record, from, input);
                    mend::block(block);
                }
            }),
            _ => self.adopt(input),
        }
    }

    fn forge_block(&self, input: &mut Input<'_>, change: impl Fn(&mut [u8], &mut Input<'_>)) {
        if let Some((at, mut block)) = self.block(input) {
            change(&mut block, input);
            self.fs.overwrite(&self.file, at, &block);
        }
    }

    /// A block of another segment is told that it belongs here.
    fn adopt(&self, input: &mut Input<'_>) {
        let header = self.bytes();
        let (Some((_, mut block)), Some(owner)) =
            (block_in(self.fs, &self.other, input), header.get(32..48))
        else {
            return;
        };
        let sectors = (header.len() as u64 / SECTOR).max(1);
        let at = u64::from(input.u16()) % sectors * SECTOR;
        block[24..40].copy_from_slice(owner);
        block[40..48].copy_from_slice(&at.to_le_bytes());
        mend::block_header(&mut block);
        self.fs.overwrite(&self.file, at, &block);
    }

    fn block(&self, input: &mut Input<'_>) -> Option<(u64, Vec<u8>)> {
        block_in(self.fs, &self.file, input)
    }
}

/// One of the blocks of a file, header and body, and where it stands.
fn block_in(fs: &SimFs, file: &Path, input: &mut Input<'_>) -> Option<(u64, Vec<u8>)> {
    let bytes = fs.read_file(file);
    let slots = (0..bytes.len()).step_by(SECTOR as usize);
    let found: Vec<usize> = slots.filter(|&at| bytes[at..].starts_with(b"fbBK")).collect();
    let &at = found.get(input.one_of(found.len()))?;
    let len = mend::body_of(&bytes[at..])?;
    Some((at as u64, bytes[at..at + BLOCK_HEADER + len].to_vec()))
}

/// Puts a number or a few bytes somewhere behind `from`.
fn change(bytes: &mut [u8], from: usize, input: &mut Input<'_>) {
    let room = bytes.len().saturating_sub(from);
    if room == 0 {
        return;
    }
    let at = from + usize::from(input.u16()) % room;
    let how = input.u8();
    let number = match how % 8 {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => (1 << 62) - 1 - u64::from(input.u8() % 4),
        4 => u64::from(u32::MAX) - u64::from(input.u8() % 4),
        5 => u64::from(input.u16()),
        _ => input.u64(),
    };
    let len = [8, 4, 1, 2][usize::from(how >> 3) % 4];
    let until = (at + len).min(bytes.len());
    bytes[at..until].copy_from_slice(&number.to_le_bytes()[..until - at]);
}
