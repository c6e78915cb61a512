//! The disk as a file system that the system mounts (FUSE).

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::disk::{Disk, Node, PAGE_BYTES, Refusal};
use crate::faults::Room;

/// The system asks again every time: what it remembered would outlive a cut.
const TTL: Duration = Duration::ZERO;

/// `O_DIRECT` where it has this value (x86-64; elsewhere such opens are simply served).
const O_DIRECT: i32 = 0o40_000;
/// `FALLOC_FL_KEEP_SIZE`.
const KEEP_SIZE: i32 = 1;
/// `F_UNLCK`.
const UNLOCK: i32 = 2;

/// Calls are served by so many threads, so that a slow sync holds nobody else.
const THREADS: usize = 3;

/// A disk that several may look at, and that says when its power goes.
#[derive(Debug)]
pub struct Plug {
    disk: Mutex<Disk>,
    died: Condvar,
}

impl Plug {
    pub fn new(disk: Disk) -> Arc<Plug> {
        Arc::new(Plug { disk: Mutex::new(disk), died: Condvar::new() })
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pulls it: every call from now on fails.
    pub fn pull(&self) {
        self.disk().dead = true;
        self.died.notify_all();
    }

    /// Waits until the power is gone, at most for so long; whether it is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut disk = self.disk();
        while !disk.dead {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            let waited = self.died.wait_timeout(disk, left);
            disk = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Does something with the disk for a caller, and tells if that was when the power went.
    fn with<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> T {
        let mut disk = self.disk();
        let done = act(&mut disk);
        if disk.dead {
            self.died.notify_all();
        }
        done
    }
}

/// Mounts the disk at a directory until the session is dropped.
pub fn mount(plug: &Arc<Plug>, at: &Path) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("powercut".into()), MountOption::RW];
    config.n_threads = Some(THREADS);
    fuser::spawn_mount(Mount(plug.clone()), at, &config)
}

struct Mount(Arc<Plug>);

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Io => Errno::EIO,
        Refusal::Full => Errno::ENOSPC,
        Refusal::Missing => Errno::ENOENT,
        Refusal::Exists => Errno::EEXIST,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
        Refusal::NotADirectory => Errno::ENOTDIR,
        Refusal::IsADirectory => Errno::EISDIR,
    }
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

fn attributes(disk: &Disk, number: u64) -> Result<FileAttr, Errno> {
    let (kind, size, blocks, perm) = match disk.node(number).map_err(errno)? {
        Node::File(file) => {
            let blocks = if disk.traits.no_blocks { 0 } else { file.blocks() };
            (FileType::RegularFile, file.bytes.len() as u64, blocks, 0o600)
        }
        Node::Directory(_) => (FileType::Directory, PAGE_BYTES, 0, 0o700),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: PAGE_BYTES as u32,
        flags: 0,
    })
}

impl Mount {
    fn entry(&self, reply: ReplyEntry, find: impl FnOnce(&mut Disk) -> Result<u64, Refusal>) {
        let found = self.0.with(|disk| {
            let number = find(disk).map_err(errno)?;
            attributes(disk, number)
        });
        match found {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn empty(&self, reply: ReplyEmpty, act: impl FnOnce(&mut Disk) -> Result<(), Refusal>) {
        match self.0.with(act) {
            Ok(()) => reply.ok(),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn flags(disk: &Disk) -> FopenFlags {
        if disk.traits.no_cache { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() }
    }
}

impl Filesystem for Mount {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let disk = self.0.disk();
        if disk.traits.no_lock || disk.traits.own_locks {
            // The system asks us instead of keeping locks itself.
            let _ = config.add_capabilities(InitFlags::FUSE_FLOCK_LOCKS);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, |disk| disk.lookup(parent.0, &text(name)));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.with(|disk| attributes(disk, node.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.0.with(|disk| {
            if let Some(size) = size {
                disk.set_length(node.0, size).map_err(errno)?;
            }
            attributes(disk, node.0)
        });
        match set {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.entry(reply, |disk| disk.make_directory(parent.0, &text(name)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |disk| disk.remove(parent.0, &text(name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |disk| disk.remove(parent.0, &text(name)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = (text(name), text(newname));
        self.empty(reply, |disk| disk.rename((parent.0, &from), (newparent.0, &to)));
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.0.with(|disk| {
            if disk.traits.no_direct && flags.0 & O_DIRECT != 0 {
                return Err(Errno::EINVAL);
            }
            disk.opened(node.0).map_err(errno)?;
            Ok(Mount::flags(disk))
        });
        match opened {
            Ok(flags) => reply.opened(FileHandle(0), flags),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self.0.with(|disk| {
            let number = disk.create(parent.0, &text(name)).map_err(errno)?;
            Ok((attributes(disk, number)?, Mount::flags(disk)))
        });
        match created {
            Ok((attributes, flags)) => {
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.with(|disk| match disk.file(node.0) {
            Ok(file) => {
                let start = file.bytes.len().min(offset as usize);
                let end = file.bytes.len().min(offset as usize + size as usize);
                reply.data(&file.bytes[start..end]);
            }
            Err(refusal) => reply.error(errno(refusal)),
        });
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.with(|disk| disk.write(node.0, offset, data)) {
            Ok(written) => reply.written(written as u32),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        owner: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.with(|disk| {
            if let Some(owner) = owner {
                disk.unlock(node.0, owner.0);
            }
            disk.closed(node.0);
        });
        reply.ok();
    }

    fn setlk(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        owner: LockOwner,
        _start: u64,
        _end: u64,
        kind: i32,
        _pid: u32,
        _sleep: bool,
        reply: ReplyEmpty,
    ) {
        let locked = self.0.with(|disk| {
            if disk.traits.no_lock {
                return Err(Errno::ENOSYS);
            }
            if kind == UNLOCK {
                disk.unlock(node.0, owner.0);
                return Ok(true);
            }
            disk.lock(node.0, owner.0).map_err(errno)
        });
        match locked {
            Ok(true) => reply.ok(),
            Ok(false) => reply.error(Errno::EAGAIN),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        let (until, pause) = self.0.with(|disk| {
            let longest_us = disk.traits.slow_sync.as_micros() as u64;
            let pause_us = if longest_us == 0 { 0 } else { disk.random.below(longest_us) };
            (disk.now(), Duration::from_micros(pause_us))
        });
        if !pause.is_zero() {
            // What is written meanwhile is not covered, and the power may go.
            std::thread::sleep(pause);
        }
        self.empty(reply, |disk| disk.sync(node.0, until, data_only));
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if self.0.disk().traits.no_directory_sync {
            return reply.error(Errno::EINVAL);
        }
        self.empty(reply, |disk| disk.sync_directory(node.0));
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.0.with(|disk| {
            let names = disk.directory(node.0).map_err(errno)?.names.clone();
            let kinds = names
                .into_iter()
                .map(|(name, number)| Ok((number, attributes(disk, number)?.kind, name)));
            kinds.collect::<Result<Vec<_>, Errno>>()
        });
        let own = [".", ".."].map(|name| (node.0, FileType::Directory, name.to_owned()));
        match listed {
            Ok(listed) => {
                let all = own.into_iter().chain(listed).zip(1..).skip(offset as usize);
                for ((number, kind, name), next) in all {
                    if reply.add(INodeNo(number), next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let disk = self.0.disk();
        let blocks = disk.traits.space_bytes.unwrap_or(1 << 40) / PAGE_BYTES;
        let free = blocks.saturating_sub(disk.used_bytes() / PAGE_BYTES);
        match disk.traits.room {
            Room::Unsupported => reply.error(Errno::ENOSYS),
            Room::Zeroes => reply.statfs(0, 0, 0, 0, 0, 512, 255, 0),
            Room::Told => {
                let block = PAGE_BYTES as u32;
                reply.statfs(blocks, free, free, 1 << 20, 1 << 20, block, 255, block);
            }
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & !KEEP_SIZE != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        if self.0.disk().traits.no_allocate {
            // The system makes `EOPNOTSUPP` of it.
            return reply.error(Errno::ENOSYS);
        }
        self.empty(reply, |disk| disk.allocate(node.0, offset, length, mode & KEEP_SIZE == 0));
    }
}
