//! A segment's bytes, one piece after the other.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::fs::{File, read_full_at};

/// How much is read at once.
const PIECE_BYTES: usize = 1 << 20;
/// How far the system is asked to read ahead.
const AHEAD_BYTES: u64 = 8 << 20;

/// The memory of a stream: as long as a piece, or as the longest block.
pub(super) type Memory = Bytes;

/// A window over a file that moves forward and reads no byte twice.
pub(super) struct Stream<'a> {
    file: &'a dyn File,
    memory: Memory,
    /// Where in the file the window begins, and how many bytes of the memory are its.
    start: u64,
    len: usize,
    /// Where the file ends, as far as this is concerned.
    until: u64,
    /// Up to where the system was asked to read ahead.
    asked: u64,
}

impl<'a> Stream<'a> {
    /// A stream up to an offset, in the memory of the one before.
    pub(super) fn new(file: &'a dyn File, until: u64, memory: Memory) -> Stream<'a> {
        Stream { file, memory, start: 0, len: 0, until, asked: 0 }
    }

    /// Its memory, for the next one.
    pub(super) fn into_memory(self) -> Memory {
        self.memory
    }

    /// `len` bytes at an offset, or as many as there are before the end. They have to be let go
    /// before the next call, or that one copies.
    pub(super) fn at(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = (offset + len as u64).min(self.until);
        if offset < self.start || self.start + (self.len as u64) < end {
            self.move_to(offset, len)?;
        }
        let from = ((offset - self.start) as usize).min(self.len);
        Ok(self.memory.slice(from..(from + len).min(self.len)))
    }

    /// What stands behind is read anew: its writer may have been at work.
    pub(super) fn forget(&mut self) {
        self.len = 0;
    }

    fn move_to(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let memory = std::mem::take(&mut self.memory);
        let mut memory = memory.try_into_mut().unwrap_or_else(|held| BytesMut::from(&held[..]));
        let mut kept = 0;
        if (self.start..self.start + self.len as u64).contains(&offset) {
            let from = (offset - self.start) as usize;
            kept = self.len - from;
            memory.copy_within(from..self.len, 0);
        }
        let left = self.until.saturating_sub(offset);
        let want = (len.max(PIECE_BYTES) as u64).min(left) as usize;
        if memory.len() < want {
            memory.resize(want, 0);
        }
        self.ask(offset + want as u64);
        let from = offset + kept as u64;
        let got = read_full_at(self.file, &mut memory[kept.min(want)..want], from);
        (self.start, self.len) = (offset, kept);
        self.memory = memory.freeze();
        self.len += got?;
        Ok(())
    }

    /// Keeps the disk busy with what comes next.
    fn ask(&mut self, behind: u64) {
        let until = (behind + AHEAD_BYTES).min(self.until);
        if self.asked < until && self.asked < behind + AHEAD_BYTES / 2 {
            let from = self.asked.max(behind);
            self.file.read_ahead(from, until - from);
            self.asked = until;
        }
    }
}
