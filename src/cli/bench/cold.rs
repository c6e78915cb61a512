//! The segments of a channel as files: forgotten by the system's memory, read by a plain reader.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::Advice;

use crate::channel::{FileChannel, Role};
use crate::failure::Failure;

/// How much a plain reader reads at once.
const READ: usize = 256 << 10;
/// What the names of segments end with.
const SEGMENT_SUFFIX: &str = "wal";

/// Lets the system forget what it remembers of a channel's segments. What is not yet on the disk
/// is written first, as it cannot be forgotten otherwise.
pub(super) fn forget(dir: &Path) -> Result<(), Failure> {
    let forgotten = (|| {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == SEGMENT_SUFFIX) {
                let file = match File::open(&path) {
                    // It was made a spare, and has another name now.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    file => file?,
                };
                file.sync_data()?;
                advise(&file, Advice::DontNeed)?;
            }
        }
        Ok(())
    })();
    forgotten.map_err(|error: io::Error| {
        Failure::new(format!("the segments of {} cannot be dropped from memory", dir.display()))
            .because(error)
    })
}

/// Reads the full segments that hold something, from the first to the last; how many bytes that
/// is. The last one is not full, and what was never written is not read from the disk. `passed` is
/// told of each piece.
pub(super) fn read_sealed(
    dir: &Path,
    passed: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result<u64, Failure> {
    let inspection = FileChannel::inspect(dir)
        .map_err(|error| Failure::new("the channel cannot be looked at").because(error))?;
    let sealed = inspection.segments.iter().filter(|segment| segment.role == Role::Sealed);
    let mut ids: Vec<u64> = sealed.map(|segment| segment.id).collect();
    ids.sort_unstable();
    let mut buffer = vec![0; READ];
    let read = ids.into_iter().try_fold(0, |bytes, id| {
        let path = dir.join(format!("{id:020}.{SEGMENT_SUFFIX}"));
        io::Result::Ok(bytes + read(&path, &mut buffer, passed)?)
    });
    read.map_err(|error| Failure::new("the segments cannot be read").because(error))
}

fn read(
    path: &Path,
    buffer: &mut [u8],
    passed: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<u64> {
    let mut file = File::open(path)?;
    advise(&file, Advice::Sequential)?;
    let mut bytes = 0;
    loop {
        match file.read(buffer)? {
            0 => return Ok(bytes),
            read => {
                bytes += read as u64;
                passed(read as u64)?;
            }
        }
    }
}

fn advise(file: &File, advice: Advice) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, advice)?)
}

#[cfg(test)]
mod tests {
    use super::super::bed;
    use super::super::load::{Events, Load};
    use super::*;
    use crate::channel::{Channel, SyncClass};

    #[test]
    fn a_plain_reader_reads_the_full_segments_and_a_fresh_channel_has_none() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = home.path().join("c");
        let sync = SyncClass::Os;
        let load = Load {
            size: 512,
            batch: 10,
            producers: 1,
            in_flight: 1,
            consumers: 1,
            sync,
            direct: false,
            few_checkpoints: false,
        };
        let channel = bed::open(&dir, &load, 1 << 20, 0).expect("it opens");
        assert_eq!(read_sealed(&dir, &mut |_| Ok(())).expect("it can be read"), 0);
        let events = Events::new(&load, &channel).expect("they fit");
        bed::fill(&channel, &events, &load, 600, &false.into()).expect("there is room");
        channel.close();
        forget(&dir).expect("it can be dropped");
        assert_eq!(read_sealed(&dir, &mut |_| Ok(())).expect("it can be read"), 3 * (128 << 10));
        let drained = bed::open(&dir, &load, 1 << 20, 0).expect("it opens");
        assert_eq!(bed::drain(&drained).expect("all is there"), 600);
    }
}
