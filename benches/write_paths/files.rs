//! The files that are written, and one slice of time for each way.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forebay_uring::Ring;
use rustix::fs::OFlags;
use tempfile::TempDir;

use crate::ways::{Ahead, PIECES, Way};

const FILE_BYTES: u64 = 256 << 20;
const BUFFER_BYTES: usize = 1 << 20;
/// What O_DIRECT wants memory and offsets to be multiples of.
const ALIGN_BYTES: usize = 4096;
/// The fewest writes of a slice, so that it has a median at all.
const WRITES_MIN: usize = 8;

/// How long each write of a slice took, in microseconds.
pub struct Slice {
    pub us: Vec<f64>,
}

/// Bytes that O_DIRECT can write.
struct Buffer {
    bytes: Vec<u8>,
    from: usize,
}

/// A file, and the place in it that is written next.
struct Place {
    next: u64,
}

/// Two files, since direct writes throw what the cache has of a file away and so would disturb
/// the others.
pub struct Files {
    _dir: TempDir,
    buffered: File,
    buffered_dsync: File,
    direct: File,
    direct_dsync: File,
    ring: io::Result<Ring>,
    buffer: Buffer,
    buffered_place: Place,
    direct_place: Place,
}

impl Files {
    /// Makes the files and writes all of them once.
    pub fn new(dir: &Path) -> io::Result<Files> {
        let dir = TempDir::with_prefix_in("write-paths.", dir)?;
        let open = |name: &str, flags: OFlags| {
            let flags = i32::try_from(flags.bits()).expect("flags of open are an int");
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).custom_flags(flags);
            options.open(dir.path().join(name))
        };
        let buffer = Buffer::new();
        for name in ["buffered", "direct"] {
            let file = open(name, OFlags::empty())?;
            for at in (0..FILE_BYTES).step_by(BUFFER_BYTES) {
                file.write_all_at(buffer.bytes(BUFFER_BYTES), at)?;
            }
            file.sync_all()?;
        }
        Ok(Files {
            buffered: open("buffered", OFlags::empty())?,
            buffered_dsync: open("buffered", OFlags::DSYNC)?,
            direct: open("direct", OFlags::DIRECT)?,
            direct_dsync: open("direct", OFlags::DIRECT | OFlags::DSYNC)?,
            ring: Ring::new(),
            buffer,
            buffered_place: Place { next: 0 },
            direct_place: Place { next: 0 },
            _dir: dir,
        })
    }

    /// Whether a way can be tried here.
    pub fn can(&self, way: Way) -> bool {
        self.ring.is_ok() || !matches!(way, Way::Uring | Way::UringDirect)
    }

    /// Why io_uring cannot be tried, if it cannot.
    pub fn refused(&self) -> Option<String> {
        self.ring.as_ref().err().map(io::Error::to_string)
    }

    /// Writes one after the other for a while.
    pub fn slice(&mut self, way: Way, size: usize, slice: Duration) -> io::Result<Slice> {
        let mut us = Vec::new();
        let started = Instant::now();
        while us.len() < WRITES_MIN || started.elapsed() < slice {
            let place =
                if way.is_direct() { &mut self.direct_place } else { &mut self.buffered_place };
            let at = place.next(size);
            let began = Instant::now();
            self.write(way, size, at)?;
            us.push(began.elapsed().as_secs_f64() * 1e6);
        }
        Ok(Slice { us })
    }

    fn write(&mut self, way: Way, size: usize, at: u64) -> io::Result<()> {
        let bytes = self.buffer.bytes(size);
        match way {
            Way::Plain => {
                self.buffered.write_all_at(bytes, at)?;
                self.buffered.sync_data()
            }
            Way::Dsync => self.buffered_dsync.write_all_at(bytes, at),
            Way::Direct => {
                self.direct.write_all_at(bytes, at)?;
                self.direct.sync_data()
            }
            Way::DirectDsync => self.direct_dsync.write_all_at(bytes, at),
            Way::Uring | Way::UringDirect => {
                let file = if way == Way::Uring { &self.buffered } else { &self.direct };
                let ring = self.ring.as_mut().map_err(|error| io::Error::other(error.to_string()));
                ring?.write_and_sync(file, bytes, at)
            }
            Way::Pieces => {
                let pieces: Vec<IoSlice<'_>> =
                    bytes.chunks(size.div_ceil(PIECES)).map(IoSlice::new).collect();
                if rustix::io::pwritev(&self.buffered, &pieces, at)? != size {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.buffered.sync_data()
            }
        }
    }

    /// Writes with several in flight for a while, and says how many MB a second became durable.
    pub fn ahead(&self, ahead: Ahead, slice: Duration) -> io::Result<f64> {
        let size = ahead.size_bytes as u64;
        let writes = AtomicU64::new(0);
        let started = Instant::now();
        let write = || -> io::Result<()> {
            while started.elapsed() < slice {
                let at = writes.fetch_add(1, Ordering::Relaxed) * size % FILE_BYTES;
                self.direct_dsync.write_all_at(self.buffer.bytes(ahead.size_bytes), at)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..ahead.in_flight).map(|_| scope.spawn(write)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        let bytes = (writes.into_inner() * size) as f64;
        Ok(bytes / started.elapsed().as_secs_f64() / 1e6)
    }
}

impl Buffer {
    fn new() -> Buffer {
        let bytes = vec![0xa5; BUFFER_BYTES + ALIGN_BYTES];
        let from = bytes.as_ptr().align_offset(ALIGN_BYTES);
        Buffer { bytes, from }
    }

    fn bytes(&self, len: usize) -> &[u8] {
        &self.bytes[self.from..][..len]
    }
}

impl Place {
    fn next(&mut self, size: usize) -> u64 {
        let size = size as u64;
        let at = if self.next + size > FILE_BYTES { 0 } else { self.next };
        self.next = at + size;
        at
    }
}
