//! The events that are put, and how many of them at once by how many.

use bytes::Bytes;
use fastrand::Rng;

use crate::channel::{Channel, Error, ErrorKind, FileChannel, FilePut, SyncClass};
use crate::event::Event;
use crate::failure::Failure;

/// The one header of every event.
const HEADER: (&str, &str) = ("host", "node-17");
/// So many different events, unless they are large.
const EVENTS: usize = 64;
const EVENTS_BYTES: usize = 64 << 10;
/// What the channel adds to an encoded event, about.
const EVENT_OVERHEAD: u64 = 4;
/// What a block adds to its events, about; then it ends on a multiple of [`BLOCK`].
const BLOCK_OVERHEAD: u64 = 300;
/// Blocks of the log, and writes of the floor, are multiples of this.
pub(super) const BLOCK: u64 = 4096;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// The bytes of a body.
    pub size: usize,
    pub batch: usize,
    pub producers: usize,
    /// Commits in flight of one task; 1 is a thread that waits for each.
    pub in_flight: usize,
    pub consumers: usize,
    pub sync: SyncClass,
    /// Whether the channel writes past the system's cache.
    pub direct: bool,
    /// Whether the channel writes as few checkpoints as it may.
    pub few_checkpoints: bool,
}

impl Load {
    /// The bytes of an event that are the user's: body, names and values of headers.
    pub(super) fn payload_bytes(&self) -> u64 {
        (self.size + HEADER.0.len() + HEADER.1.len()) as u64
    }

    /// The floor's write of a commit: the payload, up to the next multiple of a block.
    pub(super) fn floor_bytes(&self) -> u64 {
        self.payload_bytes().saturating_mul(self.batch as u64).next_multiple_of(BLOCK)
    }

    /// About how many bytes of log so many events take with so many a commit.
    pub(super) fn log_bytes(&self, events: u64, batch: u64) -> u64 {
        let event = self.payload_bytes() + 11 + EVENT_OVERHEAD;
        let commit = event.saturating_mul(batch).saturating_add(BLOCK_OVERHEAD);
        let commit = commit.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        commit.saturating_mul(events.div_ceil(batch.max(1)))
    }

    /// How many events of about a mebibyte, for filling a channel.
    pub(super) fn fill_batch(&self) -> usize {
        ((1 << 20) / (self.size + 64)).max(1)
    }
}

/// The events that are put, one after the other, again and again.
#[derive(Debug)]
pub(super) struct Events {
    ring: Vec<Event>,
}

impl Events {
    /// Events for a channel, if it takes such.
    pub(super) fn new(load: &Load, channel: &FileChannel) -> Result<Events, Failure> {
        let limits = channel.limits();
        if load.size > limits.event_bytes {
            let most = limits.event_bytes;
            let text = format!("--size {}: the channel takes events of {most} bytes", load.size);
            return Err(Failure::new(format!("{text} at most")));
        }
        let count = (EVENTS_BYTES / load.size.max(1)).clamp(1, EVENTS);
        let mut dice = Rng::with_seed(17);
        let events = Events { ring: (0..count).map(|_| event(load.size, &mut dice)).collect() };
        let put = events.put(&mut channel.put_transaction(), load.batch, &mut 0);
        match put {
            Ok(()) => Ok(events),
            Err(error) if error.kind() == ErrorKind::TransactionTooLarge => {
                let (batch, most) = (load.batch, limits.transaction_bytes);
                let text =
                    format!("--batch {batch} --size {}: a transaction has room for", load.size);
                let text = format!("{text} {most} bytes, with all that belongs to its events");
                Err(Failure::new(format!("{text}; lower one of them, or raise --bytes-max")))
            }
            Err(error) => Err(Failure::new("the events cannot be put").because(error)),
        }
    }

    /// Puts the next so many events; `next` is the place where this producer stands.
    pub(super) fn put(
        &self,
        put: &mut FilePut,
        count: usize,
        next: &mut usize,
    ) -> Result<(), Error> {
        for event in self.ring.iter().cycle().skip(*next).take(count) {
            put.put(event)?;
        }
        *next = (*next + count) % self.ring.len();
        Ok(())
    }
}

fn event(size: usize, dice: &mut Rng) -> Event {
    let mut body = vec![0; size];
    dice.fill(&mut body);
    let mut event = Event::new(Bytes::from(body));
    let inserted = event.headers.insert(HEADER.0, HEADER.1);
    inserted.expect("it is the only one, and short");
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::FileOptions;

    fn load(size: usize, batch: usize) -> Load {
        let sync = SyncClass::Commit;
        Load {
            size,
            batch,
            producers: 1,
            in_flight: 1,
            consumers: 0,
            sync,
            direct: false,
            few_checkpoints: false,
        }
    }

    #[test]
    fn the_floor_writes_whole_blocks_of_payload() {
        assert_eq!(load(512, 1).payload_bytes(), 523);
        assert_eq!(load(512, 1).floor_bytes(), 4096);
        assert_eq!(load(512, 7).floor_bytes(), 4096);
        assert_eq!(load(512, 8).floor_bytes(), 8192);
        assert_eq!(load(512, 100).floor_bytes(), 53_248);
    }

    #[test]
    fn the_log_is_estimated_and_no_number_is_too_large() {
        let load = load(512, 100);
        assert_eq!(load.log_bytes(1, 1), 4096);
        assert_eq!(load.log_bytes(200, 100), 2 * 57_344);
        assert!(load.log_bytes(u64::MAX, 1) > 1 << 62);
        assert!(load.log_bytes(u64::MAX, u64::MAX) > 1 << 62);
    }

    #[test]
    fn a_batch_that_no_transaction_holds_is_refused_with_the_limit() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = FileOptions { bytes_max: Some(1 << 20), ..FileOptions::default() };
        let channel = FileChannel::open(dir.path(), options).expect("it opens");
        assert!(Events::new(&load(512, 10), &channel).is_ok());
        let most = channel.limits().transaction_bytes.to_string();
        let refused = Events::new(&load(512, 100), &channel).expect_err("it is too much");
        assert!(refused.to_string().contains(&most), "{refused}");
        let refused = Events::new(&load(1 << 20, 1), &channel).expect_err("it is too large");
        assert!(refused.to_string().contains("--size 1048576"), "{refused}");
    }
}
