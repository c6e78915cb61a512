//! Reading ahead: while a taker delivers what it has, the next piece of its segment is read by a
//! thread of its own.
//!
//! The system's own reading ahead is not enough for a backlog that has left memory: it comes to rest
//! with the reader, which waits for its acknowledgement to be synced.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use crate::engine::Shared;
use crate::reader::{Source, read_piece};
use crate::signal::{Bell, Slot, Woken};
use crate::sync::{Arc, Mutex, Ordering, lock};

/// A piece on its way into memory.
#[derive(Debug)]
pub(crate) struct Piece {
    source: Source,
    pub(crate) offset: u64,
    len: u64,
    read: Arc<Slot<io::Result<Bytes>>>,
}

/// Pieces that are to be read.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    wanted: Mutex<VecDeque<Arc<Piece>>>,
    pub(crate) bell: Bell,
}

impl ReadAhead {
    /// Asks for a piece of a segment to which nothing is written any more.
    pub(crate) fn ask(&self, source: &Source, offset: u64, len: u64) -> Arc<Piece> {
        let piece = Piece { source: source.clone(), offset, len, read: Slot::new() };
        let piece = Arc::new(piece);
        lock(&self.wanted).push_back(piece.clone());
        self.bell.ring();
        piece
    }

    /// The piece, as soon as it is there; nothing if nobody has begun to read it, or if that failed:
    /// then whoever wants it reads it.
    pub(crate) fn fetch(&self, piece: &Arc<Piece>) -> Option<Bytes> {
        if self.take_back(piece) {
            return None;
        }
        match piece.read.wait(None) {
            Woken::Outcome(read) => read.ok(),
            Woken::Lead | Woken::TimedOut => None,
        }
    }

    /// Nobody wants it any more, or whoever does reads it; whether it had not been begun.
    pub(crate) fn take_back(&self, piece: &Arc<Piece>) -> bool {
        let mut wanted = lock(&self.wanted);
        let at = wanted.iter().position(|other| Arc::ptr_eq(other, piece));
        at.and_then(|at| wanted.remove(at)).is_some()
    }

    fn next(&self) -> Option<Arc<Piece>> {
        lock(&self.wanted).pop_front()
    }
}

impl Piece {
    /// Whether it is that one.
    pub(crate) fn is(&self, source: &Source, offset: u64) -> bool {
        self.source.owner == source.owner && self.offset == offset
    }
}

/// The thread that reads ahead. What it does not come to is read by those who want it.
pub(crate) fn read_thread(engine: &Shared) {
    while !engine.news.stop.load(Ordering::Acquire) {
        match engine.read_ahead.next() {
            Some(piece) => {
                piece.read.complete(read_piece(&piece.source, piece.offset, piece.len));
            }
            None => engine.read_ahead.bell.sleep(std::time::Duration::from_secs(3600)),
        }
    }
}
