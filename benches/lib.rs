//! What the measurements share: the work that is measured, and the floor beside it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The body that all measurements use, in bytes.
pub const BODY_BYTES: usize = 512;

/// An encoded event: 512 bytes of body and one header, as the agent would write it.
pub fn event() -> Vec<u8> {
    let mut event = forebay::event::Event::new(vec![b'x'; BODY_BYTES]);
    event.headers.insert("host", "node-17").expect("a short header");
    let mut bytes = Vec::new();
    event.encode_into(&mut bytes);
    bytes
}

/// The least that a durable commit can cost: the same bytes by one plain write to a file that was
/// written before, and one fdatasync.
#[derive(Debug)]
pub struct Floor {
    file: File,
    len_bytes: u64,
    offset: u64,
}

impl Floor {
    /// Makes the file and writes all of it once.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn new(dir: &Path, len_bytes: u64) -> io::Result<Floor> {
        let path = dir.join("floor");
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
        let zeroes = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < len_bytes {
            file.write_all_at(&zeroes, offset)?;
            offset += zeroes.len() as u64;
        }
        file.sync_all()?;
        Ok(Floor { file, len_bytes: offset, offset: 0 })
    }

    /// Writes and syncs.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn commit(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.offset + bytes.len() as u64 > self.len_bytes {
            self.offset = 0;
        }
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        rustix::fs::fdatasync(&self.file)?;
        Ok(())
    }
}
