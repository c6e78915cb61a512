//! Segment files: made, opened, recognised. Which of them are live is the table's matter.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::block::Owner;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{SEGMENT_HEADER_LEN, STATE_OFFSET, SegmentHeader, SegmentHeaderScan, Uuid};
use crate::fs::{File, Mode, read_full_at, write_all_at};
use crate::names;

/// A segment's file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) salt: u64,
    pub(crate) len_bytes: u64,
    /// Up to where the file has been written before: a sync of what is written again has no
    /// metadata to write.
    pub(crate) written_bytes: u64,
    /// Whether a write or a sync of it failed: it is never written again.
    pub(crate) poisoned: bool,
    /// Whether the file is shorter than its header says: its end was there and is not.
    pub(crate) cut_short: bool,
    /// What its header knew of the log: the highest synced LSN, the seq behind it.
    pub(crate) known: (u64, u64),
    /// The file's name: a label, usually made from the id.
    pub(crate) name: String,
    /// Open while it is active or a spare; a reader opens an older one when it comes to it.
    pub(crate) file: Option<Arc<dyn File>>,
}

impl Segment {
    /// Which blocks are its own.
    pub(crate) fn owner(&self) -> Owner {
        Owner { segment: self.id, salt: self.salt }
    }

    /// Whether all of it has been written before.
    pub(crate) fn is_written(&self) -> bool {
        self.written_bytes >= self.len_bytes
    }

    /// What its header says of it.
    fn header(&self, env: &Env, uuid: Uuid) -> SegmentHeader {
        SegmentHeader {
            uuid,
            id: self.id,
            salt: self.salt,
            len_bytes: self.len_bytes,
            lap: u32::from(self.is_written()),
            made_us: env.clock.wall_us(),
            durable_lsn: self.known.0,
            next_seq: self.known.1,
        }
    }

    /// The file, opened if need be.
    pub(crate) fn open(&self, env: &Env, dir: &Path, mode: Mode) -> Result<Arc<dyn File>> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let path = names::path(dir, &self.name);
        env.fs
            .open(&path, mode)
            .map_err(|error| Error::io(format!("open {}", path.display()), error))
    }
}

/// Writes a segment's header; nothing is synced yet.
fn write_header(file: &dyn File, header: &SegmentHeader) -> io::Result<()> {
    let mut sector = [0; STATE_OFFSET as usize];
    sector[..SEGMENT_HEADER_LEN].copy_from_slice(&header.encode());
    write_all_at(file, &mut [IoSlice::new(&sector)], 0)
}

/// Writes the header of a segment anew and syncs it.
pub(crate) fn rewrite_header(env: &Env, dir: &Path, uuid: Uuid, segment: &Segment) -> Result<()> {
    let file = segment.open(env, dir, Mode::ReadWrite)?;
    write_header(&*file, &segment.header(env, uuid))
        .and_then(|()| file.sync_data())
        .map_err(|error| Error::io(format!("write the header of {}", segment.name), error))
}

/// Reads a segment's header.
pub(crate) fn read_header(file: &dyn File) -> io::Result<SegmentHeaderScan> {
    let mut head = [0; SEGMENT_HEADER_LEN];
    let got = read_full_at(file, &mut head, 0)?;
    Ok(SegmentHeader::decode(&head[..got]))
}

/// Makes a new segment: allocated, with a header, under its name, all of it durable.
pub(crate) fn create(
    env: &Env,
    dir: &Path,
    uuid: Uuid,
    id: u64,
    len_bytes: u64,
    known: (u64, u64),
) -> Result<Segment> {
    let made = names::path(dir, &names::temporary(id));
    let named = names::path(dir, &names::segment(id));
    let salt = env.random_u64();
    let segment = Segment {
        id,
        salt,
        len_bytes,
        written_bytes: 0,
        poisoned: false,
        cut_short: false,
        known,
        name: names::segment(id),
        file: None,
    };
    let file = (|| {
        let file = env.fs.open(&made, Mode::CreateNew)?;
        file.allocate(len_bytes)?;
        write_header(&*file, &segment.header(env, uuid))?;
        file.sync_all()?;
        env.fs.rename(&made, &named)?;
        env.fs.sync_dir(dir)?;
        Ok(file)
    })()
    .map_err(|error: io::Error| {
        let text = format!("make segment {}", named.display());
        if is_full(&error) {
            Error::new(ErrorKind::Full, format!("{text}: the disk is full ({error})"))
        } else {
            Error::io(text, error)
        }
    })?;
    Ok(Segment { file: Some(file), ..segment })
}

/// Gives a segment that nothing needs a new id, salt and name. The order is one that every crash in
/// between is harmless in: header, sync, name, directory. After an error `old` has the name that
/// its file has.
pub(crate) fn relabel(
    env: &Env,
    dir: &Path,
    uuid: Uuid,
    id: u64,
    known: (u64, u64),
    old: &mut Segment,
) -> io::Result<Segment> {
    let salt = env.random_u64();
    let mut spare = Segment {
        id,
        salt,
        poisoned: false,
        cut_short: false,
        known,
        name: names::segment(id),
        file: None,
        ..old.clone()
    };
    let path = names::path(dir, &old.name);
    let file = env.fs.open(&path, Mode::ReadWrite)?;
    write_header(&*file, &spare.header(env, uuid))?;
    file.sync_all()?;
    env.fs.rename(&path, &names::path(dir, &spare.name))?;
    old.name.clone_from(&spare.name);
    env.fs.sync_dir(dir)?;
    spare.file = Some(file);
    Ok(spare)
}

/// Whether the system says that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
