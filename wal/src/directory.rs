//! What stands in a channel's directory, by the headers inside the files, not by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{BLOCK_ALIGN, BlockHeader, SEGMENT_BYTES, SegmentHeaderScan, Uuid, VERSION};
use crate::fs::{Entry, File, Kind, Mode, read_full_at};
use crate::names::{self, Name};
use crate::segment::{Segment, read_header};

/// How far into a segment without a good header we look for a block that names it.
const IDENTIFY_BYTES: usize = 1 << 20;

/// How many segments' word a checkpoint's is worth.
const CHECKPOINT_VOTES: usize = 1 << 20;

/// The segments of a directory, and what else is there.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// The channel's own segments by their ids.
    pub(crate) segments: BTreeMap<u64, Segment>,
    /// Segment files that belong to no log that we know: their names.
    pub(crate) orphans: Vec<String>,
    /// Segments that were being made.
    pub(crate) temporaries: Vec<String>,
    /// Segments that stand under the head of another one.
    pub(crate) misheaded: Vec<u64>,
    /// The channel, if any segment says which.
    pub(crate) uuid: Option<Uuid>,
    /// Every name that stands there, so that no new file takes the place of another.
    pub(crate) names: BTreeSet<String>,
}

impl Directory {
    /// Reads it. Fails only if it cannot be read, or if a newer version wrote in it.
    /// The checkpoints have a say in whose directory it is.
    pub(crate) fn read(env: &Env, dir: &Path, checkpoints: &[Checkpoint]) -> Result<Directory> {
        let entries = env
            .fs
            .list(dir)
            .map_err(|error| Error::io(format!("list {}", dir.display()), error))?;
        let mut found = Directory::default();
        let mut known: Vec<(Uuid, Segment)> = Vec::new();
        found.names = entries.iter().map(|entry| entry.name.clone()).collect();
        for entry in entries.iter().filter(|entry| entry.kind == Kind::File) {
            match names::parse(&entry.name) {
                Name::Segment(id) => match identify(env, dir, id, entry)? {
                    Some(segment) => known.push(segment),
                    None => found.orphans.push(entry.name.clone()),
                },
                Name::Temporary => found.temporaries.push(entry.name.clone()),
                Name::Own | Name::Foreign => {}
            }
        }
        let refused = found.adopt(known, checkpoints);
        for entry in entries.iter().filter(|entry| refused.contains(&entry.name)) {
            let Name::Segment(id) = names::parse(&entry.name) else { continue };
            // The disk put the head of another segment here: what stands behind it is still this one's.
            let orphan = match by_block(env, dir, id, entry)? {
                Some((uuid, segment)) => found.keep(uuid, segment),
                None => Some(entry.name.clone()),
            };
            found.misheaded.extend(orphan.is_none().then_some(id));
            found.orphans.extend(orphan);
        }
        Ok(found)
    }

    /// Keeps the segments of the channel that the checkpoints, or else most segments, name; the
    /// names of the rest.
    fn adopt(
        &mut self,
        mut known: Vec<(Uuid, Segment)>,
        checkpoints: &[Checkpoint],
    ) -> Vec<String> {
        let mut votes: BTreeMap<Uuid, usize> = BTreeMap::new();
        for checkpoint in checkpoints {
            *votes.entry(checkpoint.state.uuid).or_default() += CHECKPOINT_VOTES;
        }
        for (uuid, _) in &known {
            *votes.entry(*uuid).or_default() += 1;
        }
        self.uuid = votes.into_iter().max_by_key(|(_, count)| *count).map(|(uuid, _)| uuid);
        // Of two files with one id, the one whose name says the same comes first.
        known.sort_by_key(|(_, segment)| names::segment(segment.id) != segment.name);
        let mut refused = Vec::new();
        for (uuid, segment) in known {
            refused.extend(self.keep(uuid, segment));
        }
        refused
    }

    /// Keeps a segment, or gives the file's name back: it is another channel's, or the id is taken.
    fn keep(&mut self, uuid: Uuid, segment: Segment) -> Option<String> {
        if Some(uuid) != self.uuid || self.segments.contains_key(&segment.id) {
            return Some(segment.name);
        }
        self.segments.insert(segment.id, segment);
        None
    }

    /// The highest id that any header speaks of.
    pub(crate) fn highest_id(&self) -> u64 {
        self.segments.keys().next_back().copied().unwrap_or(0)
    }
}

/// Which segment a file is, by its header or, if that is damaged, by a block that names it.
fn identify(env: &Env, dir: &Path, id: u64, entry: &Entry) -> Result<Option<(Uuid, Segment)>> {
    let path = names::path(dir, &entry.name);
    let Some(file) = open_file(env, &path)? else { return Ok(None) };
    match read_header(&*file).map_err(|error| read_failed(&path, error))? {
        SegmentHeaderScan::Valid(header) => {
            // Ids rise: the disk lost the write of this header, or put another file's here.
            if header.id < id
                && let Some(found) = by_block(env, dir, id, entry)?
            {
                return Ok(Some(found));
            }
            let whole_bytes = entry.len_bytes - entry.len_bytes % BLOCK_ALIGN;
            let len_bytes = header.len_bytes.min(whole_bytes);
            let segment = Segment {
                salt: header.salt,
                written_bytes: if header.lap > 0 { header.len_bytes } else { 0 },
                cut_short: len_bytes < header.len_bytes,
                known: (header.durable_lsn, header.next_seq),
                ..bare(header.id, entry, len_bytes)
            };
            Ok(Some((header.uuid, segment)))
        }
        SegmentHeaderScan::Newer(version) => Err(Error::new(
            ErrorKind::NewerVersion,
            format!(
                "{} has format version {version}, this program knows up to {VERSION}; open it \
                 with the version that wrote it",
                path.display()
            ),
        )),
        SegmentHeaderScan::Bad => by_block(env, dir, id, entry),
    }
}

/// The segment that a file's label says, if a block in it says so too.
fn by_block(env: &Env, dir: &Path, id: u64, entry: &Entry) -> Result<Option<(Uuid, Segment)>> {
    let path = names::path(dir, &entry.name);
    let Some(file) = open_file(env, &path)? else { return Ok(None) };
    let block = named_by_block(&*file, id).map_err(|error| read_failed(&path, error))?;
    let whole_bytes = entry.len_bytes - entry.len_bytes % BLOCK_ALIGN;
    let len_bytes = whole_bytes.min(*SEGMENT_BYTES.end());
    Ok(block.map(|block| {
        let segment = Segment { salt: block.salt, ..bare(id, entry, len_bytes) };
        (block.uuid, segment)
    }))
}

/// A segment of which nothing but its place is known.
fn bare(id: u64, entry: &Entry, len_bytes: u64) -> Segment {
    Segment {
        id,
        salt: 0,
        len_bytes,
        written_bytes: 0,
        poisoned: false,
        cut_short: false,
        known: (0, 0),
        name: entry.name.clone(),
        file: None,
    }
}

/// Opens a file, unless it was renamed under a reader beside a live owner.
fn open_file(env: &Env, path: &Path) -> Result<Option<Arc<dyn File>>> {
    match env.fs.open(path, Mode::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_failed(path, error)),
    }
}

fn read_failed(path: &Path, error: io::Error) -> Error {
    Error::io(format!("read {}", path.display()), error)
}

/// A valid block proves its segment.
fn named_by_block(file: &dyn File, id: u64) -> io::Result<Option<BlockHeader>> {
    let mut bytes = vec![0; IDENTIFY_BYTES];
    let got = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(got);
    let slots = bytes.chunks(BLOCK_ALIGN as usize).enumerate();
    let mut blocks = slots.filter_map(|(index, slot)| {
        let (header, _) = BlockHeader::decode(slot)?;
        let here = header.offset == index as u64 * BLOCK_ALIGN && header.segment == id;
        here.then_some(header)
    });
    Ok(blocks.next())
}
