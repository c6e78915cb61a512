//! Checksums: CRC-32 (IEEE) of bytes, and of bytes that were summed before, without a second look.
//!
//! A producer sums its events on its own thread; the block they end up in needs their sum within
//! its own. [`Sum::then`] joins sums of neighbours, so that no byte is summed twice.

use crc32fast::Hasher;

/// Below this length it is cheaper to sum the bytes once more than to join two sums.
const JOIN_FROM_BYTES: usize = 64 * 1024;

/// The checksum of a run of bytes, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    crc: u32,
    len_bytes: u64,
}

impl Sum {
    /// The sum of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Sum {
        Sum { crc: crc32fast::hash(bytes), len_bytes: bytes.len() as u64 }
    }

    /// The sum of `bytes`, if it is worth joining to others.
    pub(crate) fn of_long(bytes: &[u8]) -> Option<Sum> {
        (bytes.len() >= JOIN_FROM_BYTES).then(|| Sum::of(bytes))
    }

    /// The sum of these bytes and then `bytes`, whose own sum may be known.
    pub(crate) fn then_known(self, bytes: &[u8], known: Option<Sum>) -> Sum {
        known.map_or_else(|| self.then_bytes(bytes), |known| self.then(bytes, known))
    }

    /// The sum of these bytes and then `bytes`.
    pub(crate) fn then_bytes(self, bytes: &[u8]) -> Sum {
        let mut hasher = Hasher::new_with_initial_len(self.crc, self.len_bytes);
        hasher.update(bytes);
        Sum { crc: hasher.finalize(), len_bytes: self.len_bytes + bytes.len() as u64 }
    }

    /// The sum of these bytes and then `bytes`, whose own sum is known.
    pub(crate) fn then(self, bytes: &[u8], known: Sum) -> Sum {
        if bytes.len() < JOIN_FROM_BYTES {
            return self.then_bytes(bytes);
        }
        let mut hasher = Hasher::new_with_initial_len(self.crc, self.len_bytes);
        hasher.combine(&Hasher::new_with_initial_len(known.crc, known.len_bytes));
        Sum { crc: hasher.finalize(), len_bytes: self.len_bytes + known.len_bytes }
    }

    /// The checksum.
    pub(crate) fn crc(self) -> u32 {
        self.crc
    }
}

/// The checksum of `bytes`.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_sums_are_the_sum_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| ((n * 31) >> 3) as u8).collect();
        for cut in [0, 1, 7, 4096, 50_000, 92_000, 99_999, 100_000] {
            let (head, tail) = bytes.split_at(cut);
            let joined = Sum::of(head).then(tail, Sum::of(tail));
            assert_eq!(joined, Sum::of(&bytes), "cut at {cut}");
            assert_eq!(Sum::of(head).then_bytes(tail).crc(), crc(&bytes));
        }
    }
}
