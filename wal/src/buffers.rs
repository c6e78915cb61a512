//! Buffers that go round: what a transaction or a read needs stays with the channel and is not
//! asked of the system again, which would have to clear it page by page.

use bytes::Bytes;

use crate::sync::{Arc, Mutex, lock};

/// Buffers of fewer bytes are the allocator's matter.
const KEPT_FROM_BYTES: usize = 4 << 10;

/// Buffers that nobody uses at the moment.
#[derive(Debug)]
pub(crate) struct Buffers {
    idle: Mutex<Vec<Vec<u8>>>,
    /// How many are kept at most.
    kept_max: usize,
    /// How large one is at most.
    bytes_max: usize,
}

impl Buffers {
    pub(crate) fn new(kept_max: usize, bytes_max: usize) -> Arc<Buffers> {
        Arc::new(Buffers { idle: Mutex::new(Vec::new()), kept_max, bytes_max })
    }

    /// One of them, with whatever stands in it, or an empty one.
    fn take(&self) -> Vec<u8> {
        lock(&self.idle).pop().unwrap_or_default()
    }

    /// An empty one.
    pub(crate) fn empty(&self) -> Vec<u8> {
        let mut buffer = self.take();
        buffer.clear();
        buffer.reserve(KEPT_FROM_BYTES);
        buffer
    }

    /// One of that length, with anything in it.
    pub(crate) fn filled(&self, len: usize) -> Vec<u8> {
        let mut buffer = self.take();
        if buffer.capacity() < len {
            // To grow it would copy what is not wanted.
            return vec![0; len];
        }
        buffer.resize(len, 0);
        buffer
    }

    /// It is not needed any more.
    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        if (KEPT_FROM_BYTES..=self.bytes_max).contains(&buffer.capacity()) {
            let mut idle = lock(&self.idle);
            if idle.len() < self.kept_max {
                idle.push(buffer);
            }
        }
    }

    /// Hands out what stands in a buffer; it comes back when the last one lets go of it. What would
    /// keep much more memory than it is long is copied instead.
    pub(crate) fn lend(self: &Arc<Buffers>, buffer: Vec<u8>) -> Bytes {
        let (len, capacity) = (buffer.len(), buffer.capacity());
        if capacity < KEPT_FROM_BYTES || capacity > self.bytes_max {
            return buffer.into();
        }
        if len < capacity / 2 {
            let copy = Bytes::copy_from_slice(&buffer);
            self.give_back(buffer);
            return copy;
        }
        Bytes::from_owner(Lent { buffer, home: self.clone() })
    }
}

/// A buffer that somebody reads.
struct Lent {
    buffer: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_comes_back_when_the_last_one_lets_go() {
        let buffers = Buffers::new(1, 1 << 20);
        let mut buffer = buffers.empty();
        buffer.resize(KEPT_FROM_BYTES, 7);
        let at = buffer.as_ptr();
        let lent = buffers.lend(buffer);
        let part = lent.slice(5..9);
        drop(lent);
        assert_eq!(buffers.take().capacity(), 0, "a part of it is still being read");
        assert_eq!(&part[..], [7; 4]);
        drop(part);
        let again = buffers.filled(100);
        assert_eq!((again.as_ptr(), again.len()), (at, 100));
    }

    #[test]
    fn little_in_a_large_buffer_does_not_keep_it() {
        let buffers = Buffers::new(1, 1 << 20);
        let mut buffer = Vec::with_capacity(1 << 20);
        buffer.push(1);
        let lent = buffers.lend(buffer);
        assert_eq!(&lent[..], [1]);
        assert_eq!(buffers.empty().capacity(), 1 << 20);
    }

    #[test]
    fn no_more_and_no_larger_ones_are_kept_than_was_said() {
        let buffers = Buffers::new(2, 1 << 20);
        for bytes in [100, 1 << 20, 2 << 20, 1 << 19, 1 << 18] {
            buffers.give_back(Vec::with_capacity(bytes));
        }
        assert_eq!([1, 2, 3].map(|_| buffers.take().capacity()), [1 << 19, 1 << 20, 0]);
    }
}
