//! The seam to the world's disks: what the log asks of a file system, and nothing more.
//!
//! The engine reaches files only through [`Fs`] and [`File`]. `os.rs` puts the operating system
//! behind them, `sim.rs` (feature `sim`) a simulated disk that forgets what was not synced.
//!
//! # What the log relies on
//!
//! - After [`File::sync_data`] or [`File::sync_all`] returned Ok, every earlier `write_at` of that
//!   file survives a power cut. `sync_all` covers its size and allocation as well.
//! - After [`Fs::sync_dir`] returned Ok, every earlier creation, rename and removal in that
//!   directory survives a power cut.
//! - Bytes outside a `write_at`, in other sectors of 4096 bytes, are not changed by it.
//! - A write that was not synced may survive whole, in part, in any order with others, or not at all.
//! - After a failed sync nothing is known of the writes it should have covered, and a later sync
//!   of the same file says nothing of them either (Linux marks the pages clean).

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

mod os;
#[cfg(feature = "sim")]
pub mod sim;

pub use os::OsFs;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; it must not exist yet. Made with mode 0600.
    CreateNew,
}

/// What stands under a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a link, a socket, a device.
    Other,
}

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file's name, without its directory. Names that are not UTF-8 are given lossily; they
    /// are never the log's own.
    pub name: String,
    /// What stands there.
    pub kind: Kind,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// The bytes that the file system has allocated for it.
    pub allocated_bytes: u64,
}

/// A file system, as the log needs it. Paths are whole paths.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Makes a directory (mode 0700) and those above it that are missing. Fine if it is there.
    /// Every new name on the way is durable when this returns.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no order. `NotFound` if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>>;
    /// Renames a file; an existing target is replaced atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Locks a file for one owner, making it when it is missing. `WouldBlock` when another has it.
    /// The lock ends when the value is dropped or its process dies.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// The bytes that this user may still allocate in the file system of `dir`.
    fn available_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Opens a file of `len_bytes`, made when it is missing, as a page that others may read while
    /// it changes. Nothing in it is durable or ever believed.
    fn page(&self, path: &Path, len_bytes: usize) -> io::Result<Box<dyn Page>>;
}

/// An open file.
pub trait File: Send + Sync + fmt::Debug {
    /// The file's length in bytes.
    fn len_bytes(&self) -> io::Result<u64>;
    /// The bytes that the file system has allocated for it.
    fn allocated_bytes(&self) -> io::Result<u64>;
    /// Reads at a place; how many bytes came. Fewer than asked for, or none, at the end.
    fn read_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize>;
    /// Reads at a place from the medium, past any cache of the system as far as that can be had.
    /// What was written and not synced may not be seen.
    fn read_medium_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize>;
    /// Says that this will be read soon. The system may begin to, or not; nothing is waited for.
    fn read_ahead(&self, offset_bytes: u64, len_bytes: u64) {
        let _ = (offset_bytes, len_bytes);
    }
    /// Writes at a place, one buffer after the other; how many bytes went out. It may be fewer.
    fn write_at(&self, bufs: &[IoSlice<'_>], offset_bytes: u64) -> io::Result<usize>;
    /// Makes what was written durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes what was written durable, with size and allocation (fsync).
    fn sync_all(&self) -> io::Result<()>;
    /// Reserves blocks for the first `len_bytes` and makes the file at least that long. What was
    /// not written reads as zeroes.
    fn allocate(&self, len_bytes: u64) -> io::Result<()>;
}

/// A held lock; dropping it lets go.
pub trait Lock: Send + Sync + fmt::Debug {
    /// Leaves a word about the owner, who this process is, in the file, for those who find it
    /// locked.
    fn describe(&self) -> io::Result<()>;
}

/// A small page that other processes may read.
pub trait Page: Send + Sync + fmt::Debug {
    /// Puts `bytes` at the page's beginning; longer than the page is cut.
    fn store(&mut self, bytes: &[u8]);
}

/// Reads exactly `buf.len()` bytes, or `UnexpectedEof`.
pub fn read_exact_at(file: &dyn File, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
    let got = read_full_at(file, buf, offset_bytes)?;
    if got < buf.len() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("wanted {} bytes at {offset_bytes}, the file gave {got}", buf.len()),
        ));
    }
    Ok(())
}

/// Reads until `buf` is full or the file ends; how many bytes came.
pub fn read_full_at(file: &dyn File, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        match file.read_at(&mut buf[got..], offset_bytes + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Fills `buf` from the medium; whether as much was there.
pub fn read_medium(file: &dyn File, buf: &mut [u8], offset_bytes: u64) -> io::Result<bool> {
    let mut got = 0;
    while got < buf.len() {
        match file.read_medium_at(&mut buf[got..], offset_bytes + got as u64) {
            Ok(0) => return Ok(false),
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Writes every byte of `bufs`, however often the system writes less than asked.
pub fn write_all_at(
    file: &dyn File,
    bufs: &mut [IoSlice<'_>],
    offset_bytes: u64,
) -> io::Result<()> {
    /// The most buffers that one system call takes (`IOV_MAX` of Linux).
    const BUFS_MAX: usize = 1024;
    let mut rest: &mut [IoSlice<'_>] = bufs;
    let mut offset_bytes = offset_bytes;
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let now = rest.len().min(BUFS_MAX);
        match file.write_at(&rest[..now], offset_bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                offset_bytes += n as u64;
                IoSlice::advance_slices(&mut rest, n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
