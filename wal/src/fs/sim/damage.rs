//! What a test does to a simulated disk behind the back of the log: damage, and a look inside.
//!
//! All of it is durable at once, is not counted as an operation and meets no fault. A path that
//! is not there is a mistake of the test, and panics.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::names::NodeId;
use super::state::State;
use super::{SimFs, lock};

impl SimFs {
    /// Every file, in order, as a running process sees them.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = lock(&self.shared);
        let mut paths: Vec<PathBuf> = Vec::new();
        for (dir, names) in &state.dirs {
            paths.extend(names.seen().map(|(name, _)| dir.join(name)));
        }
        paths.sort();
        paths
    }

    /// Whether a file is there.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        lock(&self.shared).find(path.as_ref()).is_ok()
    }

    /// All of a file, as a running process sees it.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let mut state = lock(&self.shared);
        let node = find(&mut state, path.as_ref());
        let content = state.node(node).cached();
        let mut bytes = vec![0; content.len_bytes() as usize];
        let got = content.read(&mut bytes, 0);
        assert_eq!(got, bytes.len());
        bytes
    }

    /// Puts a file there, name and all, in the place of what it held. Makes its directory.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = path.as_ref();
        let mut state = lock(&self.shared);
        for dir in path.ancestors().skip(1) {
            state.dirs.entry(dir.to_owned()).or_default();
        }
        let node = match state.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => state.create(path),
            result => result,
        };
        let node = node.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        state.node(node).replace(bytes);
        sync_names(&mut state, path);
    }

    /// Puts the bytes of one file in the place of those of another: an old copy comes back.
    pub fn copy_over(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        self.write_file(to, &self.read_file(from));
    }

    /// Turns over one bit, 0 to 7, of one byte of a file.
    pub fn flip_bit(&self, path: impl AsRef<Path>, byte: u64, bit: u8) {
        self.change(path.as_ref(), byte..byte + 1, |bytes| bytes[0] ^= 1 << bit);
    }

    /// Puts zeroes over a range of a file. The part behind its end is left out.
    pub fn zero_sectors(&self, path: impl AsRef<Path>, range: Range<u64>) {
        self.change(path.as_ref(), range, |bytes| bytes.fill(0));
    }

    /// Puts other bytes over a place of a file. The part behind its end is left out.
    pub fn overwrite(&self, path: impl AsRef<Path>, offset_bytes: u64, bytes: &[u8]) {
        let range = offset_bytes..offset_bytes + bytes.len() as u64;
        self.change(path.as_ref(), range, |held| held.copy_from_slice(&bytes[..held.len()]));
    }

    /// A write that was lost although the disk said that it is durable: a range of a file holds
    /// again what it held in an earlier image of this disk, under whatever name the file had
    /// then. What was not there yet reads as zeroes.
    pub fn lose_write(&self, path: impl AsRef<Path>, range: Range<u64>, before: &SimFs) {
        let (node, len) = {
            let mut state = lock(&self.shared);
            let node = find(&mut state, path.as_ref());
            (node, state.node(node).cached().len_bytes())
        };
        let mut old = vec![0; range.end.min(len).saturating_sub(range.start) as usize];
        if let Some(held) = lock(&before.shared).durable(node) {
            held.read(&mut old, range.start);
        }
        self.overwrite(path, range.start, &old);
    }

    /// A write that landed elsewhere, in the same file or in another: its bytes stand there, and
    /// its own place holds what it held in an earlier image of this disk.
    pub fn misplace_write(
        &self,
        path: impl AsRef<Path>,
        range: Range<u64>,
        before: &SimFs,
        (to, offset_bytes): (impl AsRef<Path>, u64),
    ) {
        let path = path.as_ref();
        let held = self.read_file(path);
        let len = held.len() as u64;
        let bytes = &held[range.start.min(len) as usize..range.end.min(len) as usize];
        self.lose_write(path, range, before);
        self.overwrite(to, offset_bytes, bytes);
    }

    /// Exchanges what two files hold.
    pub fn exchange(&self, one: impl AsRef<Path>, other: impl AsRef<Path>) {
        let (first, second) = (self.read_file(&one), self.read_file(&other));
        self.write_file(one, &second);
        self.write_file(other, &first);
    }

    /// Makes a file exactly this long. What it gains reads as zeroes.
    pub fn truncate(&self, path: impl AsRef<Path>, len_bytes: u64) {
        let mut state = lock(&self.shared);
        let node = find(&mut state, path.as_ref());
        state.node(node).truncate(len_bytes);
    }

    /// Takes a file away.
    pub fn remove_quietly(&self, path: impl AsRef<Path>) {
        let mut state = lock(&self.shared);
        let path = path.as_ref();
        state.remove(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        sync_names(&mut state, path);
    }

    /// Makes every read that touches a range of a file fail with EIO from now on, in the images
    /// after a crash as well.
    pub fn fail_reads(&self, path: impl AsRef<Path>, range: Range<u64>) {
        let mut state = lock(&self.shared);
        let node = find(&mut state, path.as_ref());
        state.node(node).fail_reads(range);
    }

    /// Makes the cache forget what is clean, in every file: what a failed sync lost cannot be
    /// read any more.
    pub fn drop_cache(&self) {
        let mut state = lock(&self.shared);
        let nodes: Vec<NodeId> =
            state.dirs.values().flat_map(|names| names.seen().map(|(_, node)| node)).collect();
        for node in nodes {
            state.node(node).drop_cache();
        }
    }

    /// Syncs every directory and every file that has a name, as a clean shutdown of the machine
    /// does.
    pub fn sync_everything(&self) {
        let mut state = lock(&self.shared);
        let mut nodes = Vec::new();
        for names in state.dirs.values_mut() {
            names.sync();
            nodes.extend(names.seen().map(|(_, node)| node));
        }
        for node in nodes {
            state.node(node).sync_all();
        }
    }

    /// The bytes that may still be allocated.
    pub fn free_bytes(&self) -> u64 {
        lock(&self.shared).free_bytes()
    }

    fn change(&self, path: &Path, range: Range<u64>, change: impl Fn(&mut [u8])) {
        let mut state = lock(&self.shared);
        let node = find(&mut state, path);
        state.node(node).damage(|content| {
            let end = range.end.min(content.len_bytes());
            let mut bytes = vec![0; end.saturating_sub(range.start) as usize];
            if !bytes.is_empty() {
                content.read(&mut bytes, range.start);
                change(&mut bytes);
                content.write(&bytes, range.start);
            }
        });
    }
}

fn find(state: &mut State, path: &Path) -> NodeId {
    state.find(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sync_names(state: &mut State, path: &Path) {
    if let Some(names) = path.parent().and_then(|dir| state.dirs.get_mut(dir)) {
        names.sync();
    }
}
