//! Quarantine: bytes that could not be read as what they should be are copied aside before their
//! segment is used again, and files that belong to no log we know are moved aside whole.

use std::io::{self, IoSlice};
use std::path::Path;

use crate::env::Env;
use crate::fs::{Kind, Mode, read_full_at, write_all_at};
use crate::names;
use crate::segment::Segment;
use crate::state::Damaged;

/// How much is copied at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The bytes that stand in quarantine.
pub(crate) fn used_bytes(env: &Env, dir: &Path) -> u64 {
    let entries = env.fs.list(&dir.join(names::QUARANTINE)).unwrap_or_default();
    let files = entries.iter().filter(|entry| entry.kind == Kind::File);
    files.map(|entry| entry.len_bytes).sum()
}

/// Copies a damaged range; it is durable when this returns.
pub(crate) fn copy(
    env: &Env,
    dir: &Path,
    segment: &Segment,
    range: Damaged,
    bytes_max: u64,
) -> io::Result<()> {
    if used_bytes(env, dir).saturating_add(range.len_bytes) > bytes_max {
        return Err(io::Error::other(format!(
            "it is full ({bytes_max} bytes); {} bytes at {} are not kept",
            range.len_bytes, range.offset_bytes
        )));
    }
    let to_dir = dir.join(names::QUARANTINE);
    env.fs.create_dir(&to_dir)?;
    let to = to_dir.join(names::quarantined(segment.id, range.offset_bytes));
    let target = match env.fs.open(&to, Mode::CreateNew) {
        Ok(target) => target,
        // An earlier try was cut short; the bytes are the same.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            env.fs.open(&to, Mode::ReadWrite)?
        }
        Err(error) => return Err(error),
    };
    let source = env.fs.open(&names::path(dir, &segment.name), Mode::Read)?;
    let mut piece = vec![0; PIECE_BYTES.min(range.len_bytes) as usize];
    let mut done = 0;
    while done < range.len_bytes {
        let want = (range.len_bytes - done).min(PIECE_BYTES) as usize;
        let got = read_full_at(&*source, &mut piece[..want], range.offset_bytes + done)?;
        if got == 0 {
            break;
        }
        write_all_at(&*target, &mut [IoSlice::new(&piece[..got])], done)?;
        done += got as u64;
    }
    target.sync_all()?;
    env.fs.sync_dir(&to_dir)
}

/// Moves a file aside whole.
pub(crate) fn move_aside(env: &Env, dir: &Path, name: &str) -> io::Result<()> {
    let to_dir = dir.join(names::QUARANTINE);
    env.fs.create_dir(&to_dir)?;
    let to = to_dir.join(names::orphan(name, env.random_u64()));
    env.fs.rename(&names::path(dir, name), &to)?;
    env.fs.sync_dir(&to_dir)?;
    env.fs.sync_dir(dir)
}
