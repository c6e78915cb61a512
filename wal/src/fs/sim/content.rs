//! The bytes of one simulated file, in sectors that copies share until one of them changes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The unit in which a simulated disk allocates.
pub(super) const SECTOR_BYTES: usize = 4096;
const SECTOR: u64 = SECTOR_BYTES as u64;

/// What a file holds. A sector that is not in the map reads as zeroes.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    len_bytes: u64,
    /// The beginning of the file that is allocated whatever stands there; whole sectors.
    reserved_bytes: u64,
    sectors: BTreeMap<u64, Arc<[u8; SECTOR_BYTES]>>,
    /// How many sectors of the map stand behind the reservation.
    unreserved_sectors: u64,
}

impl Content {
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    pub(super) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.reserved_bytes + self.unreserved_sectors * SECTOR
    }

    /// What a reservation of `len_bytes` would allocate on top of what is allocated.
    pub(super) fn missing_bytes(&self, len_bytes: u64) -> u64 {
        let sectors = len_bytes.div_ceil(SECTOR);
        let there = self.reserved_bytes / SECTOR;
        if sectors <= there {
            return 0;
        }
        (sectors - there - self.sectors.range(there..sectors).count() as u64) * SECTOR
    }

    /// How many of `len` bytes at a place can be written before `free_bytes` are used up.
    pub(super) fn fitting_bytes(&self, offset_bytes: u64, len: usize, free_bytes: u64) -> usize {
        let mut free_sectors = free_bytes / SECTOR;
        let mut fitting = 0;
        while fitting < len {
            let at = offset_bytes + fitting as u64;
            let sector = at / SECTOR;
            if at >= self.reserved_bytes && !self.sectors.contains_key(&sector) {
                if free_sectors == 0 {
                    break;
                }
                free_sectors -= 1;
            }
            fitting += (SECTOR - at % SECTOR) as usize;
        }
        fitting.min(len)
    }

    /// Makes the file at least this long.
    pub(super) fn grow(&mut self, len_bytes: u64) {
        self.len_bytes = self.len_bytes.max(len_bytes);
    }

    /// Allocates the beginning of the file, whatever its length.
    pub(super) fn reserve(&mut self, len_bytes: u64) {
        let reserved_bytes = len_bytes.next_multiple_of(SECTOR);
        if reserved_bytes > self.reserved_bytes {
            self.set_reserved(reserved_bytes);
        }
    }

    /// Reads up to the end of the file; how many bytes came.
    pub(super) fn read(&self, buf: &mut [u8], offset_bytes: u64) -> usize {
        let len = (buf.len() as u64).min(self.len_bytes.saturating_sub(offset_bytes)) as usize;
        for (sector, within, range) in split(offset_bytes, len) {
            match self.sectors.get(&sector) {
                Some(bytes) => {
                    buf[range.clone()].copy_from_slice(&bytes[within..within + range.len()])
                }
                None => buf[range].fill(0),
            }
        }
        len
    }

    /// Writes, and leaves the length of the file as it is: see [`Content::grow`].
    pub(super) fn write(&mut self, bytes: &[u8], offset_bytes: u64) {
        for (sector, within, range) in split(offset_bytes, bytes.len()) {
            let reserved = sector * SECTOR < self.reserved_bytes;
            let unreserved_sectors = &mut self.unreserved_sectors;
            let held = self.sectors.entry(sector).or_insert_with(|| {
                *unreserved_sectors += u64::from(!reserved);
                Arc::new([0; SECTOR_BYTES])
            });
            Arc::make_mut(held)[within..within + range.len()].copy_from_slice(&bytes[range]);
        }
    }

    /// Forgets what stands behind the end, which a longer file would show as zeroes.
    pub(super) fn clear_behind_end(&mut self) {
        drop(self.sectors.split_off(&self.len_bytes.div_ceil(SECTOR)));
        let within = (self.len_bytes % SECTOR) as usize;
        if within > 0
            && let Some(held) = self.sectors.get_mut(&(self.len_bytes / SECTOR))
        {
            Arc::make_mut(held)[within..].fill(0);
        }
        self.set_reserved(self.reserved_bytes);
    }

    /// Makes the file exactly this long, and gives back what was allocated behind.
    pub(super) fn truncate(&mut self, len_bytes: u64) {
        self.len_bytes = len_bytes;
        self.reserved_bytes = self.reserved_bytes.min(len_bytes.next_multiple_of(SECTOR));
        self.clear_behind_end();
    }

    fn set_reserved(&mut self, reserved_bytes: u64) {
        self.reserved_bytes = reserved_bytes;
        self.unreserved_sectors = self.sectors.range(reserved_bytes / SECTOR..).count() as u64;
    }
}

/// Cuts a range of a file at sector borders: the sector, the place within it, the part of the
/// range.
fn split(
    offset_bytes: u64,
    len: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset_bytes + done as u64;
        let within = (at % SECTOR) as usize;
        let begin = done;
        done += (SECTOR_BYTES - within).min(len - begin);
        Some((at / SECTOR, within, begin..done))
    })
}
