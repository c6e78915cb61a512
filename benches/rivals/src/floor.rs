//! The floor: what the same bytes cost by plain means. A commit of puts is one positioned write of
//! the encoded events, rounded up to whole pages, into a file that was written before, and one
//! fdatasync. A commit of takes is the same with one page. Nothing that is durable can do with less.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::event::Pool;
use crate::work::{Figure, Load, Work, in_threads};

const FILE_BYTES: u64 = 128 << 20;
const PAGE_BYTES: usize = 4096;

/// A file that was written before, and where the next write goes.
pub struct Floor {
    file: File,
    offset: u64,
    bytes: Vec<u8>,
}

impl Floor {
    /// Makes the file, writes all of it once, and remembers the bytes of a commit.
    fn new(path: &Path, bytes: Vec<u8>) -> io::Result<Floor> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
        let zeroes = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < FILE_BYTES {
            file.write_all_at(&zeroes, offset)?;
            offset += zeroes.len() as u64;
        }
        file.sync_all()?;
        Ok(Floor { file, offset: 0, bytes })
    }

    fn commit(&mut self) -> io::Result<()> {
        let len_bytes = self.bytes.len() as u64;
        if self.offset + len_bytes > FILE_BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(&self.bytes, self.offset)?;
        self.offset += len_bytes;
        self.file.sync_data()
    }
}

/// The bytes of one commit, in whole pages.
fn commit_bytes(pool: &Pool, load: &Load) -> Vec<u8> {
    let mut bytes = Vec::new();
    if load.work != Work::Take {
        for event in pool.batch(0, load.batch) {
            event.encode_into(&mut bytes);
        }
    }
    bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES).max(PAGE_BYTES), 0);
    bytes
}

/// Measures the floor of a work, with as many writers as asked, each in a file of its own.
pub fn measure(dir: &Path, pool: &Pool, load: &Load, writers: usize) -> Result<Figure> {
    let bytes = commit_bytes(pool, load);
    let floors: io::Result<Vec<Floor>> = (0..writers)
        .map(|writer| Floor::new(&dir.join(format!("floor-{writer}")), bytes.clone()))
        .collect();
    let floors = std::sync::Mutex::new(floors?);
    let barrier = std::sync::Barrier::new(writers);
    let run = || -> Result<(u64, Duration)> {
        let floor = floors.lock().ok().and_then(|mut floors| floors.pop());
        let mut floor = floor.expect("there are as many floors as threads");
        barrier.wait();
        commits_in(&mut floor, load.warm)?;
        barrier.wait();
        Ok(commits_in(&mut floor, load.seconds)?)
    };
    let done = in_threads(writers, run)?;
    let commits: u64 = done.iter().map(|(commits, _)| commits).sum();
    let longest = done.iter().map(|(_, spent)| *spent).max().unwrap_or_default();
    for writer in 0..writers {
        std::fs::remove_file(dir.join(format!("floor-{writer}")))?;
    }
    let events = commits * load.batch as u64;
    Ok(Figure { events, commits, seconds: longest.as_secs_f64() })
}

fn commits_in(floor: &mut Floor, limit: Duration) -> io::Result<(u64, Duration)> {
    let started = Instant::now();
    let mut commits = 0;
    while started.elapsed() < limit {
        floor.commit()?;
        commits += 1;
    }
    Ok((commits, started.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_writes_whole_pages_and_nothing_but_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let pool = Pool::new();
        let mut load = Load {
            work: Work::Put,
            producers: 1,
            batch: 10,
            seconds: Duration::from_millis(50),
            warm: Duration::ZERO,
            backlog: 100,
            marked_commits: None,
        };
        assert_eq!(commit_bytes(&pool, &load).len(), 8192, "ten events of 539 bytes");
        let figure = measure(dir.path(), &pool, &load, 2).expect("measured");
        assert!(figure.commits > 0 && figure.events == 10 * figure.commits, "{figure:?}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
        load.work = Work::Take;
        assert_eq!(commit_bytes(&pool, &load).len(), PAGE_BYTES);
    }
}
