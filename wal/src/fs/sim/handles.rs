//! The simulated disk behind the traits that the log knows.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::content::SECTOR_BYTES;
use super::faults::{Call, Fault, enospc, refuse};
use super::names::NodeId;
use super::node::Node;
use super::state::{State, split};
use super::survive::Dice;
use super::{Shared, SimFs, lock};
use crate::fs::{Entry, File, Fs, Kind, Lock, Mode, Page};

impl Fs for SimFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = lock(&self.shared);
        refuse(state.begin(Call::CreateDir, || format!("create_dir {}", path.display()))?)?;
        for dir in path.ancestors() {
            if state.find(dir).is_ok() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            state.dirs.entry(dir.to_owned()).or_default();
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut state = lock(&self.shared);
        state.look(Call::List)?;
        let files: Vec<(String, NodeId)> =
            state.names(dir)?.seen().map(|(name, id)| (name.to_owned(), id)).collect();
        let mut entries = Vec::new();
        for (name, id) in files {
            let content = state.node(id).cached();
            let (len_bytes, allocated_bytes) = (content.len_bytes(), content.allocated_bytes());
            entries.push(Entry { name, kind: Kind::File, len_bytes, allocated_bytes });
        }
        for below in state.dirs.keys().filter(|below| below.parent() == Some(dir)) {
            // The directory that relative paths begin in stands under the name of nothing.
            if let Ok((_, name)) = split(below) {
                let (name, kind) = (name.to_owned(), Kind::Directory);
                entries.push(Entry { name, kind, len_bytes: 0, allocated_bytes: 0 });
            }
        }
        // No order is promised, so none is kept.
        entries.sort_by_cached_key(|entry| {
            let fold = |hash: u64, byte: u8| hash.rotate_left(8) ^ u64::from(byte);
            Dice::derived(state.seed, entry.name.bytes().fold(0, fold)).next()
        });
        Ok(entries)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let mut state = lock(&self.shared);
        let node = if mode == Mode::CreateNew {
            let fault = state.begin(Call::Create, || format!("create {}", path.display()))?;
            refuse(fault)?;
            if state.dirs.contains_key(path) || state.find(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.create(path)?
        } else {
            state.look(Call::Open)?;
            state.find(path)?
        };
        state.node(node).opens += 1;
        let shared = Arc::clone(&self.shared);
        Ok(Arc::new(SimFile { shared, node, writable: mode != Mode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = lock(&self.shared);
        refuse(
            state.begin(Call::Rename, || format!("rename {} {}", from.display(), to.display()))?,
        )?;
        state.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = lock(&self.shared);
        refuse(state.begin(Call::Remove, || format!("remove {}", path.display()))?)?;
        state.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = lock(&self.shared);
        let fault = state.begin(Call::SyncDir, || format!("sync_dir {}", dir.display()))?;
        let failed = state.failed_sync(fault);
        let names = state.names(dir)?;
        match failed {
            Some(mut picker) => {
                names.fail_sync(&mut picker);
                Err(error_of(fault))
            }
            None => {
                if fault != Some(Fault::SyncLies) {
                    names.sync();
                }
                Ok(())
            }
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = lock(&self.shared);
        state.look(Call::Lock)?;
        let node = find_or_create(&mut state, path)?;
        if !state.locks.insert(node) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { shared: Arc::clone(&self.shared), node }))
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        let mut state = lock(&self.shared);
        state.look(Call::Space)?;
        state.names(dir)?;
        Ok(state.free_bytes())
    }

    fn page(&self, path: &Path, len_bytes: usize) -> io::Result<Box<dyn Page>> {
        let mut state = lock(&self.shared);
        state.look(Call::Page)?;
        let node = find_or_create(&mut state, path)?;
        if state.node(node).cached().len_bytes() > len_bytes as u64 {
            state.node(node).truncate(len_bytes as u64);
        }
        state.allocate(node, len_bytes as u64)?;
        Ok(Box::new(SimPage { shared: Arc::clone(&self.shared), node, len_bytes }))
    }
}

/// The file under a path, made when it is missing: an operation only then.
fn find_or_create(state: &mut State, path: &Path) -> io::Result<NodeId> {
    state.check_alive()?;
    match state.find(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            refuse(state.begin(Call::Create, || format!("create {}", path.display()))?)?;
            state.create(path)
        }
        result => result,
    }
}

/// The error of a sync that failed by this fault.
fn error_of(fault: Option<Fault>) -> io::Error {
    if fault == Some(Fault::Enospc) { enospc() } else { super::faults::eio() }
}

/// An open file of a simulated disk.
#[derive(Debug)]
struct SimFile {
    shared: Shared,
    node: NodeId,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(rustix::io::Errno::BADF.into()) }
    }

    fn sync(&self, call: Call, op: &str, make_durable: impl FnOnce(&mut Node)) -> io::Result<()> {
        let mut state = lock(&self.shared);
        state.check_alive()?;
        let name = state.node(self.node).name.clone();
        let fault = state.begin(call, || format!("{op} {name}"))?;
        match state.failed_sync(fault) {
            Some(mut picker) => {
                state.node(self.node).fail_sync(&mut picker);
                if fault == Some(Fault::SyncReverts) {
                    state.node(self.node).drop_cache();
                }
                Err(error_of(fault))
            }
            None => {
                if fault != Some(Fault::SyncLies) {
                    make_durable(state.node(self.node));
                }
                Ok(())
            }
        }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.node(self.node).opens -= 1;
    }
}

impl File for SimFile {
    fn len_bytes(&self) -> io::Result<u64> {
        let mut state = lock(&self.shared);
        state.look(Call::Len)?;
        Ok(state.node(self.node).cached().len_bytes())
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        let mut state = lock(&self.shared);
        state.look(Call::Len)?;
        Ok(state.node(self.node).cached().allocated_bytes())
    }

    fn read_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        let mut state = lock(&self.shared);
        state.look(Call::Read)?;
        state.node(self.node).read(buf, offset_bytes)
    }

    fn read_medium_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        let mut state = lock(&self.shared);
        state.look(Call::ReadMedium)?;
        state.node(self.node).read_medium(buf, offset_bytes)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset_bytes: u64) -> io::Result<usize> {
        self.check_writable()?;
        let mut bytes = Vec::with_capacity(bufs.iter().map(|buf| buf.len()).sum());
        bufs.iter().for_each(|buf| bytes.extend_from_slice(buf));
        let mut state = lock(&self.shared);
        state.check_alive()?;
        let name = state.node(self.node).name.clone();
        let fault =
            state.begin(Call::Write, || format!("write {name} {offset_bytes}+{}", bytes.len()))?;
        refuse(fault)?;
        let free_bytes = state.free_bytes();
        let content = state.node(self.node).cached();
        let mut len = content.fitting_bytes(offset_bytes, bytes.len(), free_bytes);
        if len == 0 && !bytes.is_empty() {
            return Err(enospc());
        }
        if fault == Some(Fault::ShortWrite) && len > 1 {
            len = 1 + state.op_dice().below(len as u64 - 1) as usize;
        }
        bytes.truncate(len);
        state.node(self.node).write(bytes, offset_bytes);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(Call::SyncData, "sync_data", Node::sync_data)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(Call::SyncAll, "sync_all", Node::sync_all)
    }

    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = lock(&self.shared);
        state.check_alive()?;
        let name = state.node(self.node).name.clone();
        refuse(state.begin(Call::Allocate, || format!("allocate {name} {len_bytes}"))?)?;
        state.allocate(self.node, len_bytes)
    }
}

/// A held lock of a simulated disk. It means nothing on the disk that a crash leaves.
#[derive(Debug)]
struct SimLock {
    shared: Shared,
    node: NodeId,
}

impl Lock for SimLock {
    fn describe(&self) -> io::Result<()> {
        const TEXT: &str = "a simulated process\n";
        let mut state = lock(&self.shared);
        state.check_alive()?;
        let name = state.node(self.node).name.clone();
        refuse(state.begin(Call::Describe, || format!("describe {name}"))?)?;
        let room = state.free_bytes() + state.node(self.node).cached().allocated_bytes();
        if room < SECTOR_BYTES as u64 {
            return Err(enospc());
        }
        // Nobody relies on it after a crash, so that it may as well be durable at once.
        state.node(self.node).replace(TEXT.as_bytes());
        Ok(())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        lock(&self.shared).locks.remove(&self.node);
    }
}

#[derive(Debug)]
struct SimPage {
    shared: Shared,
    node: NodeId,
    len_bytes: usize,
}

impl Page for SimPage {
    fn store(&mut self, bytes: &[u8]) {
        let mut state = lock(&self.shared);
        // A store into memory cannot fail; when the process is dead, nobody does it.
        if !state.dead {
            let len = bytes.len().min(self.len_bytes);
            state.node(self.node).store(&bytes[..len]);
        }
    }
}
