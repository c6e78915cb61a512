//! The bodies of the log's fuzz targets: each takes any bytes, and panics if a promise is broken.
//! `fuzz/` feeds them from a fuzzer, `wal/tests/it/corpora.rs` from the corpora in the tree.

mod codecs;
mod damage;
mod directory;
mod mend;

use crate::script::Script;

pub use codecs::{block, checkpoint, state};
pub use directory::directory;

/// Any bytes are a script of what happens to a channel; all that was promised holds.
pub fn script(input: &[u8]) {
    if let Err(violation) = Script::from_bytes(input).run() {
        panic!("{violation}");
    }
}

/// Reads the bytes of an input one after the other; behind their end there are zeroes.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// At most `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        bytes
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let bytes = self.bytes(N);
        out[..bytes.len()].copy_from_slice(bytes);
        out
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// One of `count` things.
    pub(crate) fn one_of(&mut self, count: usize) -> usize {
        usize::from(self.u16()) % count.max(1)
    }
}
