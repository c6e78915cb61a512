//! Checkpoints: the derived state written down, so that replay has less to read.
//!
//! Two files, preallocated and overwritten in turn: one is always whole. Nothing relies on them:
//! without both, the State at the newest segment's head and the log behind it say the same. So, while
//! commits wait for the disk, most of them are written and not synced: the end of the process takes
//! nothing of that, and a power cut leaves the other file.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::checkpoint_codec::{self, BODY_BYTES_MAX, Body};
use crate::checksum::crc;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::{NUMBER_MAX, VERSION};
use crate::fs::{File, Mode, read_full_at, write_all_at};
use crate::names;
use crate::state::State;
use crate::wire::{Read, Write};

const MAGIC: [u8; 8] = *b"FORECKP\x01";
/// Magic, version, body length, body checksum, header checksum.
const HEADER_LEN: usize = 8 + 4 + 4 + 4 + 4;

/// A state, and where in the log it was taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) number: u64,
    pub(crate) segment: u64,
    pub(crate) offset_bytes: u64,
    pub(crate) prev_crc: u32,
    pub(crate) state: State,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut state = Vec::new();
        self.state.encode(&mut state);
        let body = checkpoint_codec::encode(&Body {
            number: self.number,
            segment: self.segment,
            offset_bytes: self.offset_bytes,
            prev_crc: self.prev_crc,
            state,
        })?;
        let mut out = Vec::with_capacity(HEADER_LEN + body.len());
        out.extend_from_slice(&MAGIC);
        out.put_u32(VERSION);
        out.put_u32(body.len() as u32);
        out.put_u32(crc(&body));
        out.put_u32(crc(&out));
        out.extend_from_slice(&body);
        Some(out)
    }

    /// Reads a checkpoint; `None` for anything that is not one, whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let head = bytes.get(..HEADER_LEN)?;
        let mut read = Read::new(Bytes::copy_from_slice(head));
        let magic: [u8; 8] = read.array()?;
        let (version, len, body_crc) = (read.u32()?, read.u32()? as usize, read.u32()?);
        let sound = magic == MAGIC && version <= VERSION && len <= BODY_BYTES_MAX;
        if !sound || read.u32()? != crc(&head[..HEADER_LEN - 4]) {
            return None;
        }
        let body = bytes.get(HEADER_LEN..HEADER_LEN.checked_add(len)?)?;
        if crc(body) != body_crc {
            return None;
        }
        let body = checkpoint_codec::decode(body)?;
        let mut state = Read::new(body.state.into());
        let decoded = State::decode(&mut state)?;
        let numbers = [body.number, body.segment, body.offset_bytes];
        let sound = state.is_empty() && numbers.iter().all(|&number| number < NUMBER_MAX);
        sound.then_some(Checkpoint {
            number: body.number,
            segment: body.segment,
            offset_bytes: body.offset_bytes,
            prev_crc: body.prev_crc,
            state: decoded,
        })
    }
}

/// Reads both checkpoints; those that are missing or not whole are left out.
pub(crate) fn read_all(env: &Env, dir: &Path) -> Vec<Checkpoint> {
    names::CHECKPOINTS.iter().filter_map(|name| read(env, dir, name)).collect()
}

fn read(env: &Env, dir: &Path, name: &str) -> Option<Checkpoint> {
    let file = env.fs.open(&names::path(dir, name), Mode::Read).ok()?;
    let len = file.len_bytes().ok()?.min((HEADER_LEN + BODY_BYTES_MAX) as u64);
    let mut head = vec![0; (len as usize).min(64 << 10)];
    let got = read_full_at(&*file, &mut head, 0).ok()?;
    head.truncate(got);
    // A state is short as a rule; its file is as long as the longest one.
    Checkpoint::decode(&head).or_else(|| {
        let mut whole = vec![0; len as usize];
        let got = read_full_at(&*file, &mut whole, 0).ok()?;
        Checkpoint::decode(&whole[..got])
    })
}

/// Whether something stands in a checkpoint's file and is no whole checkpoint: a torn one, or a
/// damaged one.
pub(crate) fn is_bad(env: &Env, dir: &Path, name: &str) -> bool {
    let written = || -> Option<bool> {
        let file = env.fs.open(&names::path(dir, name), Mode::Read).ok()?;
        let mut head = [0; HEADER_LEN];
        let got = read_full_at(&*file, &mut head, 0).ok()?;
        Some(head[..got].iter().any(|&byte| byte != 0))
    };
    written().unwrap_or(false) && read(env, dir, name).is_none()
}

/// Writes checkpoints, one file after the other.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    files: [Arc<dyn File>; 2],
    len_bytes: u64,
    next: u64,
    /// The last one was not synced: the next one goes over it.
    unsynced: bool,
}

impl Checkpoints {
    /// Opens the files, making them when they are missing.
    pub(crate) fn open(
        env: &Env,
        dir: &Path,
        len_bytes: u64,
        known: &[Checkpoint],
    ) -> Result<Checkpoints> {
        let mut files = Vec::with_capacity(2);
        let mut made = false;
        for name in names::CHECKPOINTS {
            let path = names::path(dir, name);
            let file = open_one(env, &path, len_bytes, &mut made)
                .map_err(|error| Error::io(format!("open {}", path.display()), error))?;
            files.push(file);
        }
        if made {
            env.fs
                .sync_dir(dir)
                .map_err(|error| Error::io(format!("sync {}", dir.display()), error))?;
        }
        let next = known.iter().map(|checkpoint| checkpoint.number + 1).max().unwrap_or(0);
        let files = [files[0].clone(), files[1].clone()];
        Ok(Checkpoints { files, len_bytes, next, unsynced: false })
    }

    /// Which number the next one has.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Writes a checkpoint over the older of the two. It is not synced.
    pub(crate) fn write(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let bytes = checkpoint
            .encode()
            .filter(|bytes| bytes.len() as u64 <= self.len_bytes)
            .ok_or_else(|| io::Error::other("the state is larger than a checkpoint may be"))?;
        let file = &self.files[(checkpoint.number % 2) as usize];
        // If this fails, what stands there is no checkpoint, and the other one stays.
        self.unsynced = false;
        write_all_at(&**file, &mut [IoSlice::new(&bytes)], 0)?;
        // The same file again, until it is synced.
        self.next = checkpoint.number + 2;
        self.unsynced = true;
        Ok(())
    }

    /// Syncs the last one, if it was not; whether there was one to sync.
    pub(crate) fn sync(&mut self) -> io::Result<bool> {
        if !self.unsynced {
            return Ok(false);
        }
        self.unsynced = false;
        self.files[(self.next % 2) as usize].sync_data()?;
        self.next += 1;
        Ok(true)
    }
}

/// The checkpoints that are longer than they may be, since the channel's limit was lowered: their
/// old length counts against the new one, and they are to be made anew.
pub(crate) fn too_long(env: &Env, dir: &Path, len_bytes: u64) -> Vec<PathBuf> {
    let is_too_long = |path: &PathBuf| -> io::Result<bool> {
        let file = env.fs.open(path, Mode::Read)?;
        Ok(file.len_bytes()? > len_bytes && is_checkpoint(&*file)?)
    };
    let paths = names::CHECKPOINTS.iter().map(|name| names::path(dir, name));
    paths.filter(|path| is_too_long(path).unwrap_or(false)).collect()
}

/// Whether a file begins as a checkpoint does: another one of that name is not removed.
fn is_checkpoint(file: &dyn File) -> io::Result<bool> {
    let mut head = [0; MAGIC.len()];
    let got = read_full_at(file, &mut head, 0)?;
    Ok(got == head.len() && (head == MAGIC || head == [0; MAGIC.len()]))
}

fn open_one(env: &Env, path: &Path, len_bytes: u64, made: &mut bool) -> io::Result<Arc<dyn File>> {
    let file = match env.fs.open(path, Mode::ReadWrite) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            *made = true;
            env.fs.open(path, Mode::CreateNew)?
        }
        Err(error) => return Err(error),
    };
    if file.len_bytes()? < len_bytes {
        // Without space it grows when it is written; a failed checkpoint costs only time.
        match file.allocate(len_bytes) {
            Ok(()) => file.sync_all()?,
            Err(error) if crate::segment::is_full(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(file)
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::format::Uuid;
    use crate::fs::sim::{Fault, Survive, sim_env};

    #[test]
    fn p11_after_a_failed_write_the_other_checkpoint_is_the_whole_one_and_stays() {
        for seed in 0..20 {
            let (env, fs, _) = sim_env(seed);
            let dir = Path::new("/channel");
            env.fs.create_dir(dir).expect("a directory");
            let mut both = Checkpoints::open(&env, dir, 64 << 10, &[]).expect("files");
            let write = |both: &mut Checkpoints| {
                let number = both.next_number();
                let mut state = State::new(Uuid::default(), 1 << 20);
                // Of several sectors, so that it can be torn.
                state.positions.insert("key".to_owned(), vec![number as u8; 30_000].into());
                both.write(&Checkpoint {
                    number,
                    segment: 1,
                    offset_bytes: 4096,
                    prev_crc: 0,
                    state,
                })
            };
            write(&mut both).expect("the first one");
            assert!(both.sync().expect("it is synced"));
            write(&mut both).expect("one that is not synced");
            fs.fail_at(fs.ops(), Fault::ShortWrite);
            fs.fail_at(fs.ops() + 1, Fault::Eio);
            write(&mut both).expect_err("it is cut off");
            let _ = both.sync();
            write(&mut both).expect("one that is not synced");
            let fs = fs.crash(Survive::Seed(seed));
            let env = Env { fs: Arc::new(fs), ..env };
            assert!(!read_all(&env, dir).is_empty(), "seed {seed}: both are torn");
        }
    }
}
