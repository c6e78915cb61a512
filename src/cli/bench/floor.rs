//! What the disk gives to a plain program: writes into a file that was written once before, each
//! with a sync, as many as there would be commits.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::pace::{Disk, Latency, Slice};
use crate::channel::SyncClass;
use crate::failure::Failure;

/// How much is written at once while the file is made.
const PIECE: usize = 1 << 20;

/// When a slice ends: after so many commits, or so long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub commits: u64,
    pub time: Duration,
}

/// When the floor syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloorSync {
    Each,
    Every(Duration),
    Never,
}

impl FloorSync {
    /// The one that acknowledges what a channel of that class does.
    pub(super) fn of(class: SyncClass) -> FloorSync {
        match class {
            SyncClass::Commit => FloorSync::Each,
            SyncClass::Interval(every) => FloorSync::Every(every),
            SyncClass::Os => FloorSync::Never,
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            FloorSync::Each => "fdatasync".to_owned(),
            FloorSync::Every(every) => format!("fdatasync every {}ms", every.as_millis()),
            FloorSync::Never => "none".to_owned(),
        }
    }
}

/// A file that was written once before.
#[derive(Debug)]
pub(super) struct FloorFile {
    file: File,
    len: u64,
    offset: u64,
    last_sync: Instant,
}

impl FloorFile {
    /// Makes one: zeroes, synced.
    pub(super) fn make(path: &Path, len: u64) -> Result<FloorFile, Failure> {
        let made = (|| {
            let file = File::options().read(true).write(true).create_new(true).open(path)?;
            let zeroes = vec![0; PIECE];
            let mut offset = 0;
            while offset < len {
                let piece = (PIECE as u64).min(len - offset) as usize;
                file.write_all_at(&zeroes[..piece], offset)?;
                offset += piece as u64;
            }
            file.sync_all()?;
            Ok(FloorFile { file, len, offset: 0, last_sync: Instant::now() })
        })();
        made.map_err(|error: std::io::Error| {
            Failure::new(format!("{} cannot be written", path.display())).because(error)
        })
    }

    /// One write after the other, round and round, until the bound or a signal. Each stands for a
    /// commit of so many events.
    pub(super) fn slice(
        &mut self,
        block: &[u8],
        events: u64,
        sync: FloorSync,
        bound: Bound,
        stop: &AtomicBool,
    ) -> Result<(Slice, Latency, Disk), Failure> {
        let mut latency = Latency::new();
        let mut disk = Disk::default();
        let mut commits = 0;
        let started = Instant::now();
        let mut now = started;
        while commits < bound.commits && now - started < bound.time && !stop.load(Ordering::Relaxed)
        {
            let begun = now;
            let synced = self.commit(block, sync, begun).map_err(|error| {
                Failure::new("the file of the floor cannot be written").because(error)
            })?;
            now = Instant::now();
            latency.record(now - begun);
            commits += 1;
            disk.syncs += u64::from(synced);
            disk.bytes += block.len() as u64;
        }
        // It writes nothing else.
        disk.write_calls = Some(disk.bytes);
        Ok((Slice { commits, events: commits * events, took: now - started }, latency, disk))
    }

    pub(super) fn commit(
        &mut self,
        block: &[u8],
        sync: FloorSync,
        now: Instant,
    ) -> std::io::Result<bool> {
        if self.offset + block.len() as u64 > self.len {
            self.offset = 0;
        }
        self.file.write_all_at(block, self.offset)?;
        self.offset += block.len() as u64;
        let due = match sync {
            FloorSync::Each => true,
            FloorSync::Every(every) => now.saturating_duration_since(self.last_sync) >= every,
            FloorSync::Never => false,
        };
        if due {
            self.file.sync_data()?;
            self.last_sync = now;
        }
        Ok(due)
    }
}

/// Bytes for the floor's writes, which no disk can make less of.
pub(super) fn block(len: u64) -> Vec<u8> {
    let mut block = vec![0; len as usize];
    fastrand::Rng::with_seed(4).fill(&mut block);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn the_floor_goes_round_in_its_file_and_counts_what_it_did() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("floor");
        let mut floor = FloorFile::make(&path, 3 * 4096).expect("it can be written");
        let block = block(8192);
        let bound = Bound { commits: 5, time: LONG };
        let stop = AtomicBool::new(false);
        let ran = floor.slice(&block, 10, FloorSync::Each, bound, &stop).expect("it writes");
        let (slice, _, disk) = ran;
        assert_eq!((slice.commits, slice.events), (5, 50));
        assert_eq!((disk.syncs, disk.bytes), (5, 5 * 8192));
        let ran = floor.slice(&block, 10, FloorSync::Never, bound, &stop).expect("it writes");
        assert_eq!(ran.2.syncs, 0);
        assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 3 * 4096);
        stop.store(true, Ordering::Relaxed);
        let ran = floor.slice(&block, 10, FloorSync::Each, bound, &stop).expect("it ends");
        assert_eq!(ran.0.commits, 0);
    }

    #[test]
    fn a_floor_with_an_interval_syncs_now_and_then() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut floor = FloorFile::make(&dir.path().join("floor"), 4096).expect("it is written");
        let start = floor.last_sync;
        let every = FloorSync::Every(Duration::from_millis(10));
        let at = |ms| start + Duration::from_millis(ms);
        let synced = [3, 9, 12, 21, 22].map(|ms| floor.commit(&[1; 4096], every, at(ms)));
        let synced = synced.map(|synced| synced.expect("it writes"));
        assert_eq!(synced, [false, false, true, false, true]);
    }
}
