//! Quarantine: bytes that could not be read as what they should be are copied aside before their
//! segment is used again, and files that belong to no log we know are moved aside whole.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::fs::{Entry, Kind, Mode, read_full_at, write_all_at};
use crate::names;
use crate::segment::Segment;
use crate::state::Damaged;

/// How much is copied at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The bytes that stand in quarantine.
pub(crate) fn used_bytes(env: &Env, dir: &Path) -> u64 {
    files(env, dir).iter().map(|entry| entry.len_bytes).sum()
}

fn files(env: &Env, dir: &Path) -> Vec<Entry> {
    let mut entries = env.fs.list(&dir.join(names::QUARANTINE)).unwrap_or_default();
    entries.retain(|entry| entry.kind == Kind::File);
    entries
}

/// Why there is no room for a damaged range, if there is none.
pub(crate) fn is_full(env: &Env, dir: &Path, range: Damaged, bytes_max: u64) -> Option<String> {
    let name = names::quarantined(range.segment, range.offset_bytes);
    // A copy of the same range is replaced.
    let others = files(env, dir).into_iter().filter(|entry| !entry.name.starts_with(&name));
    let used: u64 = others.map(|entry| entry.len_bytes).sum();
    (used.saturating_add(range.len_bytes) > bytes_max).then(|| {
        format!(
            "it is full ({bytes_max} bytes); {} bytes at {} are not kept",
            range.len_bytes, range.offset_bytes
        )
    })
}

/// Copies a damaged range; it is durable when this returns. Each try has a file of its own, which
/// gets the range's name once it is synced: nothing is synced again after it has failed.
pub(crate) fn copy(env: &Env, dir: &Path, segment: &Segment, range: Damaged) -> io::Result<()> {
    let to_dir = dir.join(names::QUARANTINE);
    env.fs.create_dir(&to_dir)?;
    let name = names::quarantined(range.segment, range.offset_bytes);
    let begun = to_dir.join(names::begun(&name, env.random_u64()));
    let target = env.fs.open(&begun, Mode::CreateNew)?;
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
    // One that stands there is from a try that a crash cut off before it counted.
    env.fs.rename(&begun, &to_dir.join(name))?;
    env.fs.sync_dir(&to_dir)
}

/// What tries at a range have begun and not ended, if it can be looked up.
pub(crate) fn begun(env: &Env, dir: &Path, range: Damaged) -> Vec<PathBuf> {
    let to_dir = dir.join(names::QUARANTINE);
    let name = names::quarantined(range.segment, range.offset_bytes);
    let begun = files(env, dir).into_iter().filter(|entry| names::is_begun(&entry.name, &name));
    begun.map(|entry| to_dir.join(entry.name)).collect()
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
