//! Forebay's file channel.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use forebay::channel::{FileChannel, FileOptions, MAIN_CURSOR};
use forebay::event::Event;

use super::{Producer, Shape, Store, Taker};

/// The byte limit for measurements at speed: eight segments of the largest size are 512 MiB, and
/// this is twice that, so that the backlog and what is prepared ahead have room.
const BYTES_MAX: u64 = 1 << 30;
/// An event and its share of a block, at most, at any batch of some size.
const EVENT_BYTES: u64 = 560;
/// More events than the limit's bytes hold: each segment has been written by then, and used again.
pub const LAP_EVENTS: u64 = BYTES_MAX / 500;
/// The most events that its first lap holds, with room to spare.
pub const FIRST_LAP_EVENTS: u64 = BYTES_MAX / 2 / EVENT_BYTES;

pub struct Forebay {
    channel: FileChannel,
}

impl Forebay {
    pub fn open(dir: &Path, shape: Shape) -> Result<Forebay> {
        let bytes_max = match shape {
            Shape::Speed => BYTES_MAX,
            // Two of eight segments are kept back for acks and states.
            Shape::Backlog(events) => BYTES_MAX.max(events * EVENT_BYTES / 6 * 8),
        };
        let options = FileOptions {
            bytes_max: Some(bytes_max),
            put_timeout: Duration::from_secs(60),
            ..FileOptions::default()
        };
        Ok(Forebay { channel: FileChannel::open(dir, options)? })
    }
}

impl Store for Forebay {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(Put(&self.channel)))
    }

    fn taker(&self) -> Result<Box<dyn Taker + '_>> {
        Ok(Box::new(Take(&self.channel)))
    }
}

struct Put<'a>(&'a FileChannel);

impl Producer for Put<'_> {
    fn put(&mut self, events: &[Event]) -> Result<()> {
        let mut put = self.0.put_transaction();
        for event in events {
            put.put(event)?;
        }
        put.commit()?;
        Ok(())
    }
}

struct Take<'a>(&'a FileChannel);

impl Taker for Take<'_> {
    fn take(&mut self, events_max: usize, taken: &mut Vec<Event>) -> Result<()> {
        let mut take = self.0.take_transaction(MAIN_CURSOR)?;
        while take.len() < events_max {
            let more = take.take_many(events_max - take.len(), Duration::ZERO)?;
            if more.is_empty() {
                break;
            }
            taken.extend(more.into_iter().map(|one| one.event));
        }
        take.commit()?;
        Ok(())
    }
}
