//! The file system of Linux: std, with what std lacks from `fs2`, `rustix` and `memmap2`.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File as OsFile, FileType, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;

use super::{Entry, File, Fs, Kind, Lock, Mode, Page};

/// Only the owner of a channel reads what stands in it.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// `st_blocks` counts these, whatever the file system's own block is.
const STAT_BLOCK_BYTES: u64 = 512;

/// Direct reads begin, end and land on multiples of this. It suits every device whose blocks are
/// not larger; on others the system refuses the read and the cache is dropped instead.
const DIRECT_ALIGN_BYTES: usize = 4096;

/// A direct read of more than this is done in pieces, so that its buffer stays small.
const DIRECT_READ_BYTES_MAX: usize = 1 << 20;

/// A direct write of more than this goes through the cache: its copy would need as much memory.
const DIRECT_WRITE_BYTES_MAX: usize = 2 << 20;

const _: () = assert!(DIRECT_READ_BYTES_MAX.is_multiple_of(DIRECT_ALIGN_BYTES));

/// The file system of the operating system.
#[derive(Debug, Default)]
pub struct OsFs {
    direct: bool,
}

impl OsFs {
    /// The same, but whole sectors are written past the system's cache where it allows that.
    pub fn direct() -> OsFs {
        OsFs { direct: true }
    }
}

impl Fs for OsFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut there = path;
        while !is_directory(there)? {
            missing.push(there);
            there = parent(there);
        }
        // A process that died between making this directory and syncing its name left it to us.
        sync_name(there)?;
        for directory in missing.into_iter().rev() {
            match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result?,
            }
            sync_name(directory)?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                // It went away since its name was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result?,
            };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                kind: kind(metadata.file_type()),
                len_bytes: metadata.len(),
                allocated_bytes: metadata.blocks() * STAT_BLOCK_BYTES,
            });
        }
        Ok(entries)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let mut options = open_options();
        match mode {
            Mode::Read => &mut options,
            Mode::ReadWrite => options.write(true),
            Mode::CreateNew => options.write(true).create_new(true),
        };
        let file = options.open(path)?;
        let direct = self.direct && mode != Mode::Read;
        let direct = direct.then(|| Direct::open(&file)).flatten();
        Ok(Arc::new(Handle { file, direct }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_directory(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = open_options().write(true).create(true).truncate(false).open(path)?;
        // By its path: std's own method of a like name is not the same call on every system.
        fs2::FileExt::try_lock_exclusive(&file).map_err(|error| {
            lacking(error, "has no locks, so that two processes could write at once")
        })?;
        Ok(Box::new(HeldLock { file }))
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        fs2::available_space(dir)
    }

    fn page(&self, path: &Path, len_bytes: usize) -> io::Result<Box<dyn Page>> {
        let file = open_options().write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() > len_bytes as u64 {
            file.set_len(len_bytes as u64)?;
        }
        // What is written once has its place: later figures need none, on a full disk either.
        file.write_all_at(&first_bytes(&file, len_bytes)?, 0)?;
        Ok(Box::new(WrittenPage { file, len: len_bytes }))
    }
}

/// An open file of the operating system.
#[derive(Debug)]
struct Handle {
    file: OsFile,
    direct: Option<Direct>,
}

impl File for Handle {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks() * STAT_BLOCK_BYTES)
    }

    fn read_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset_bytes)
    }

    fn read_medium_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        match read_direct(&self.file, buf, offset_bytes) {
            // The file system, or the device, does not read like that.
            Err(error) if is_refusal(&error) => read_uncached(&self.file, buf, offset_bytes),
            result => result,
        }
    }

    fn read_ahead(&self, offset_bytes: u64, len_bytes: u64) {
        // Advice that is not taken changes nothing of what is read.
        let len = NonZeroU64::new(len_bytes);
        let _ = rustix::fs::fadvise(&self.file, offset_bytes, len, Advice::WillNeed);
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset_bytes: u64) -> io::Result<usize> {
        if let Some(direct) = &self.direct
            && let Some(result) = direct.write_at(bufs, offset_bytes)
        {
            return result;
        }
        match bufs {
            [buf] => self.file.write_at(buf, offset_bytes),
            _ => Ok(rustix::io::pwritev(&self.file, bufs, offset_bytes)?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        reserve(&self.file, len_bytes)
    }
}

/// A second descriptor of a file, for writes past the cache. They are seen by whoever reads through
/// the cache: the system drops what it holds of the range.
#[derive(Debug)]
struct Direct {
    file: OsFile,
    /// Where a write is gathered: in pages, as the device wants it.
    buffer: Mutex<Option<AlignedBuffer>>,
    /// The file system has refused such a write: it is asked no more.
    refused: AtomicBool,
}

impl Direct {
    /// Nothing where the system does not write like that.
    fn open(file: &OsFile) -> Option<Direct> {
        let file = open_direct(file, OpenOptions::new().write(true)).ok()?;
        Some(Direct { file, buffer: Mutex::new(None), refused: AtomicBool::new(false) })
    }

    /// Nothing if it is not to be written like that.
    fn write_at(&self, bufs: &[IoSlice<'_>], offset_bytes: u64) -> Option<io::Result<usize>> {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        let whole = offset_bytes.is_multiple_of(DIRECT_ALIGN_BYTES as u64)
            && len.is_multiple_of(DIRECT_ALIGN_BYTES)
            && (1..=DIRECT_WRITE_BYTES_MAX).contains(&len);
        if !whole || self.refused.load(Ordering::Relaxed) {
            return None;
        }
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.as_ref().is_none_or(|buffer| buffer.pages.len() < len) {
            *buffer = AlignedBuffer::of(len.next_power_of_two()).ok();
        }
        let pages = buffer.as_mut()?.first(len);
        let mut at = 0;
        for buf in bufs {
            pages[at..at + buf.len()].copy_from_slice(buf);
            at += buf.len();
        }
        match self.file.write_at(pages, offset_bytes) {
            Err(error) if is_refusal(&error) => {
                self.refused.store(true, Ordering::Relaxed);
                None
            }
            result => Some(result),
        }
    }
}

/// A lock of the whole file, held by its open descriptor.
#[derive(Debug)]
struct HeldLock {
    file: OsFile,
}

impl Lock for HeldLock {
    fn describe(&self) -> io::Result<()> {
        let text = format!("process {}\n", std::process::id());
        self.file.set_len(0)?;
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

/// Written and not mapped: where the disk fails, a store into a map ends the process with SIGBUS,
/// and a write only fails.
#[derive(Debug)]
struct WrittenPage {
    file: OsFile,
    len: usize,
}

impl Page for WrittenPage {
    fn store(&mut self, bytes: &[u8]) {
        // Nothing relies on it.
        let _ = self.file.write_all_at(&bytes[..bytes.len().min(self.len)], 0);
    }
}

/// The common part of every open: a link is not followed out of the channel's directory, and a
/// named pipe that stands where a file should does not make us wait for its other end.
fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(FILE_MODE);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

fn kind(file_type: FileType) -> Kind {
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else {
        Kind::Other
    }
}

/// The directory that holds a name. The root holds itself.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str() == OsStr::new("") => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Whether a directory is there; an error if something else is.
fn is_directory(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let synced = OsFile::open(path)?.sync_all();
    synced.map_err(|error| {
        lacking(error, "cannot sync a directory, so that no file's name would be durable")
    })
}

/// The error, with a word about what the file system lacks, if that is what it says.
fn lacking(error: io::Error, what: &str) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the file system {what} ({error}); a channel needs another one"),
        ),
        _ => error,
    }
}

/// Makes the name of a directory durable in the one above.
fn sync_name(path: &Path) -> io::Result<()> {
    match sync_directory(parent(path)) {
        // Names can be made in a directory that cannot be read: then all of the file system goes.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(rustix::fs::syncfs(OsFile::open(path)?)?)
        }
        result => result,
    }
}

/// Allocates the first `len_bytes` of a file; it grows to that length and never shrinks.
///
/// Not by way of the C library: where the file system cannot allocate, `posix_fallocate` writes a
/// byte a block, which is slow, or nothing, where the size of a block is not to be had.
fn reserve(file: &OsFile, len_bytes: u64) -> io::Result<()> {
    if len_bytes == 0 {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len_bytes) {
            Err(Errno::INTR) => {}
            // What is written is allocated, on any file system.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return fill(file, len_bytes),
            result => return Ok(result?),
        }
    }
}

/// The beginning of a file, with zeroes where it is shorter.
fn first_bytes(file: &OsFile, len: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut got) = (vec![0; len], 0);
    while got < len {
        match file.read_at(&mut bytes[got..], got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Writes zeroes behind a file's end until it has that length.
fn fill(file: &OsFile, len_bytes: u64) -> io::Result<()> {
    const PIECE_BYTES: u64 = 1 << 20;
    let zeroes = vec![0; PIECE_BYTES.min(len_bytes) as usize];
    let mut end = file.metadata()?.len();
    while end < len_bytes {
        let want = (len_bytes - end).min(PIECE_BYTES) as usize;
        match file.write_at(&zeroes[..want], end) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => end += n as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_refusal(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    // ENOENT and EACCES: there is no /proc here, or none for us.
    matches!(
        errno,
        Some(
            Errno::INVAL
                | Errno::OPNOTSUPP
                | Errno::NOENT
                | Errno::NOTDIR
                | Errno::ACCESS
                | Errno::PERM
        )
    )
}

/// The same file once more, past the page cache.
fn open_direct(file: &OsFile, options: &mut OpenOptions) -> io::Result<OsFile> {
    let options = options.custom_flags(OFlags::DIRECT.bits().cast_signed());
    options.open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Reads past the page cache, through a second descriptor: the flag belongs to the descriptor,
/// and the first one must go on writing through the cache.
fn read_direct(file: &OsFile, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
    let direct = open_direct(file, OpenOptions::new().read(true))?;
    let mut aligned = AlignedBuffer::new(buf.len())?;
    let mut got = 0;
    while got < buf.len() {
        let offset_bytes = offset_bytes + got as u64;
        let skip = (offset_bytes % DIRECT_ALIGN_BYTES as u64) as usize;
        let want = (skip + buf.len() - got).next_multiple_of(DIRECT_ALIGN_BYTES);
        let piece = aligned.first(want);
        let n = match direct.read_at(piece, offset_bytes - skip as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        let new = n.saturating_sub(skip).min(buf.len() - got);
        buf[got..got + new].copy_from_slice(&piece[skip..skip + new]);
        got += new;
        if new == 0 {
            break;
        }
    }
    Ok(got)
}

/// Reads after the clean pages of the range were dropped from the cache, as far as the system
/// follows that advice.
fn read_uncached(file: &OsFile, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
    // Only whole pages are dropped.
    let begin = offset_bytes - offset_bytes % DIRECT_ALIGN_BYTES as u64;
    let end = (offset_bytes + buf.len() as u64).next_multiple_of(DIRECT_ALIGN_BYTES as u64);
    // Advice that is not taken changes nothing of what is read.
    let _ = rustix::fs::fadvise(file, begin, NonZeroU64::new(end - begin), Advice::DontNeed);
    file.read_at(buf, offset_bytes)
}

/// Memory of whole pages, which begins on a multiple of [`DIRECT_ALIGN_BYTES`]: mapped, and of no
/// file, so that nothing can be cut off from under it.
#[derive(Debug)]
struct AlignedBuffer {
    pages: MmapMut,
}

impl AlignedBuffer {
    /// Room for a direct read of `len` bytes at any offset, or for a piece of it.
    fn new(len: usize) -> io::Result<AlignedBuffer> {
        let len = len.next_multiple_of(DIRECT_ALIGN_BYTES) + DIRECT_ALIGN_BYTES;
        AlignedBuffer::of(len.min(DIRECT_READ_BYTES_MAX))
    }

    fn of(len: usize) -> io::Result<AlignedBuffer> {
        Ok(AlignedBuffer { pages: MmapMut::map_anon(len)? })
    }

    /// Its first `len` bytes, or all of it.
    fn first(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(self.pages.len());
        &mut self.pages[..len]
    }
}
