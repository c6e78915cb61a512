//! One simulated file: what its readers see, what the medium holds, and what lies between.

use std::io;
use std::ops::Range;

use super::content::Content;
use super::survive::Picker;

/// A write that was cut by the power is cut at these borders.
const PIECE_BYTES: u64 = 512;

/// A file, whatever its name.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// The name it was last known by, for the trace.
    pub(super) name: String,
    /// Whether a directory has a name for it.
    pub(super) linked: bool,
    /// How many handles are open.
    pub(super) opens: u32,
    /// What readers see: the system's cache.
    cached: Content,
    /// What is on the medium and stays there.
    durable: Content,
    /// What leads from `durable` to `cached`, in the order in which it was done; without that
    /// which a failed sync lost.
    unsynced: Vec<Change>,
    /// Ranges that cannot be read.
    bad: Vec<Range<u64>>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { bytes: Vec<u8>, offset_bytes: u64 },
    Grow { len_bytes: u64 },
    Reserve { len_bytes: u64 },
}

impl Node {
    pub(super) fn new(name: &str) -> Node {
        Node { name: name.to_owned(), linked: true, ..Node::default() }
    }

    pub(super) fn cached(&self) -> &Content {
        &self.cached
    }

    pub(super) fn read(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        self.check_readable(buf.len(), offset_bytes)?;
        Ok(self.cached.read(buf, offset_bytes))
    }

    pub(super) fn read_medium(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        self.check_readable(buf.len(), offset_bytes)?;
        Ok(self.durable.read(buf, offset_bytes))
    }

    pub(super) fn write(&mut self, bytes: Vec<u8>, offset_bytes: u64) {
        let end = offset_bytes + bytes.len() as u64;
        self.cached.write(&bytes, offset_bytes);
        self.unsynced.push(Change::Write { bytes, offset_bytes });
        self.grow(end);
    }

    pub(super) fn allocate(&mut self, len_bytes: u64) {
        if len_bytes > self.cached.reserved_bytes() {
            self.cached.reserve(len_bytes);
            self.unsynced.push(Change::Reserve { len_bytes });
        }
        self.grow(len_bytes);
    }

    /// Stores into a mapped page: only the last store is still on its way to the disk.
    pub(super) fn store(&mut self, bytes: &[u8]) {
        self.cached.write(bytes, 0);
        self.unsynced.retain(|change| !matches!(change, Change::Write { .. }));
        self.unsynced.push(Change::Write { bytes: bytes.to_vec(), offset_bytes: 0 });
    }

    /// Makes the data durable, and of the size as much as is needed to read them. A size that
    /// only an allocation gave, and the allocation itself, stay as they were on the medium.
    pub(super) fn sync_data(&mut self) {
        let mut rest = Vec::new();
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { bytes, offset_bytes } => {
                    self.durable.write(&bytes, offset_bytes);
                    self.durable.grow(offset_bytes + bytes.len() as u64);
                }
                Change::Grow { .. } | Change::Reserve { .. } => rest.push(change),
            }
        }
        self.unsynced = rest;
    }

    /// Makes data, size and allocation durable.
    pub(super) fn sync_all(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { bytes, offset_bytes } => self.durable.write(&bytes, offset_bytes),
                Change::Grow { len_bytes } => self.durable.grow(len_bytes),
                Change::Reserve { len_bytes } => self.durable.reserve(len_bytes),
            }
        }
    }

    /// Fails to sync: what the picker keeps reaches the medium. The rest can still be read from
    /// the cache, where it counts as clean, so that no later sync writes it.
    pub(super) fn fail_sync(&mut self, picker: &mut Picker) {
        self.durable = self.survivor(picker);
        self.unsynced.clear();
    }

    /// The file as a power cut leaves it.
    pub(super) fn after_power_cut(&self, picker: &mut Picker) -> Node {
        let durable = self.survivor(picker);
        Node {
            name: self.name.clone(),
            cached: durable.clone(),
            durable,
            bad: self.bad.clone(),
            ..Node::default()
        }
    }

    /// One line for each change that is not synced, in the order in which a picker meets them.
    pub(super) fn unsynced(&self) -> impl Iterator<Item = String> {
        self.unsynced.iter().map(|change| match change {
            Change::Write { bytes, offset_bytes } => {
                format!("write {} {offset_bytes}+{}", self.name, bytes.len())
            }
            Change::Grow { len_bytes } => format!("grow {} {len_bytes}", self.name),
            Change::Reserve { len_bytes } => format!("reserve {} {len_bytes}", self.name),
        })
    }

    fn survivor(&self, picker: &mut Picker) -> Content {
        let mut content = self.durable.clone();
        for change in &self.unsynced {
            match change {
                Change::Write { bytes, offset_bytes } => {
                    write_in_part(&mut content, bytes, *offset_bytes, picker);
                }
                Change::Grow { len_bytes } if picker.keeps() => content.grow(*len_bytes),
                Change::Reserve { len_bytes } if picker.keeps() => content.reserve(*len_bytes),
                Change::Grow { .. } | Change::Reserve { .. } => {}
            }
        }
        content.clear_behind_end();
        content
    }

    /// Changes cache and medium alike, past all of the above.
    pub(super) fn damage(&mut self, change: impl Fn(&mut Content)) {
        change(&mut self.cached);
        change(&mut self.durable);
    }

    /// Puts other bytes in the place of all that the file held, durably.
    pub(super) fn replace(&mut self, bytes: &[u8]) {
        let mut content = Content::default();
        content.write(bytes, 0);
        content.grow(bytes.len() as u64);
        self.unsynced.clear();
        self.cached = content.clone();
        self.durable = content;
    }

    /// Cuts the file, or makes it longer, durably.
    pub(super) fn truncate(&mut self, len_bytes: u64) {
        self.sync_all();
        self.damage(|content| content.truncate(len_bytes));
    }

    /// Makes the cache forget what is clean: what a failed sync lost is gone from now on.
    pub(super) fn drop_cache(&mut self) {
        let mut content = self.durable.clone();
        for change in &self.unsynced {
            match change {
                Change::Write { bytes, offset_bytes } => content.write(bytes, *offset_bytes),
                Change::Grow { len_bytes } => content.grow(*len_bytes),
                Change::Reserve { len_bytes } => content.reserve(*len_bytes),
            }
        }
        // The size is not in the cache of pages: it stays as it was seen.
        content.grow(self.cached.len_bytes());
        self.cached = content;
    }

    pub(super) fn fail_reads(&mut self, range: Range<u64>) {
        self.bad.push(range);
    }

    fn check_readable(&self, len: usize, offset_bytes: u64) -> io::Result<()> {
        let end = offset_bytes + len as u64;
        match self.bad.iter().any(|bad| bad.start < end && offset_bytes < bad.end) {
            true => Err(super::faults::eio()),
            false => Ok(()),
        }
    }

    fn grow(&mut self, len_bytes: u64) {
        if len_bytes > self.cached.len_bytes() {
            self.cached.grow(len_bytes);
            self.unsynced.push(Change::Grow { len_bytes });
        }
    }
}

fn write_in_part(content: &mut Content, bytes: &[u8], offset_bytes: u64, picker: &mut Picker) {
    let end = offset_bytes + bytes.len() as u64;
    let first = offset_bytes / PIECE_BYTES;
    // One without bytes is a change all the same, as `Node::unsynced` counts.
    let kept = picker.pieces((end.div_ceil(PIECE_BYTES) - first).max(1) as usize);
    if bytes.is_empty() {
        return;
    }
    for (piece, kept) in (first..).zip(kept) {
        if kept {
            let begin = (piece * PIECE_BYTES).max(offset_bytes);
            let end = ((piece + 1) * PIECE_BYTES).min(end);
            let range = (begin - offset_bytes) as usize..(end - offset_bytes) as usize;
            content.write(&bytes[range], begin);
        }
    }
}
