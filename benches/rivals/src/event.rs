//! The events that every rival puts, and the check that they come out in order.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use forebay::event::Event;

/// The body of an event, in bytes.
pub const BODY_BYTES: usize = 512;
/// The most events of one commit.
pub const BATCH_MAX: usize = 2000;
/// How many different events there are, in a circle.
const POOL: usize = 2000;
/// The bytes at the head of a body that say which event it is.
const INDEX_BYTES: usize = 4;

/// Events that are made before any clock runs: the making is no rival's work.
pub struct Pool {
    /// One turn of the circle, and as much of the next as a commit may need from its end.
    events: Vec<Event>,
}

impl Pool {
    pub fn new() -> Pool {
        // Bytes that no store can compress, so that all of them write the same.
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut events: Vec<Event> = Vec::with_capacity(POOL + BATCH_MAX);
        for index in 0..POOL {
            let mut body = Vec::with_capacity(BODY_BYTES);
            let index = u32::try_from(index).expect("a few thousand");
            body.extend_from_slice(&index.to_le_bytes());
            while body.len() < BODY_BYTES {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                body.extend_from_slice(&random.to_le_bytes());
            }
            body.truncate(BODY_BYTES);
            let mut event = Event::new(body);
            event.headers.insert("host", "node-17").expect("a short header");
            events.push(event);
        }
        for index in 0..BATCH_MAX {
            events.push(events[index % POOL].clone());
        }
        Pool { events }
    }

    /// The next so many events behind those that were put so far.
    pub fn batch(&self, put_so_far: u64, events: usize) -> &[Event] {
        let start = usize::try_from(put_so_far % POOL as u64).expect("smaller than the pool");
        &self.events[start..start + events]
    }
}

/// The encodings of the events of one commit.
#[derive(Default)]
pub struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    /// Encodes some events in the place of those before.
    pub fn set(&mut self, events: &[Event]) {
        self.bytes.clear();
        self.ends.clear();
        for event in events {
            event.encode_into(&mut self.bytes);
            self.ends.push(self.bytes.len());
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Reads an event back as every rival has to.
pub fn decode(bytes: Bytes) -> Result<Event> {
    Event::decode(bytes).context("what came out is not an event that was put")
}

/// Looks at what comes out: each event must be the one behind the last one.
#[derive(Default)]
pub struct Order {
    next: Option<usize>,
}

impl Order {
    /// An order that begins with the first event of all.
    pub fn from_the_first() -> Order {
        Order { next: Some(0) }
    }

    pub fn check(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            let head = event.body.first_chunk::<INDEX_BYTES>();
            let index = u32::from_le_bytes(*head.context("an event without a body came out")?);
            let index = usize::try_from(index)?;
            if event.body.len() != BODY_BYTES || event.headers.len() != 1 {
                bail!("event {index} came out changed");
            }
            if let Some(next) = self.next
                && next != index
            {
                bail!("event {index} came out where {next} was put");
            }
            self.next = Some((index + 1) % POOL);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circle_of_events_goes_on_across_its_end() {
        let pool = Pool::new();
        let mut order = Order::from_the_first();
        let mut put = 0;
        for events in [1, 999, 1000, 10, 1995, 7] {
            order.check(pool.batch(put, events)).expect("in order");
            put += events as u64;
        }
        let error = order.check(pool.batch(put + 1, 1)).expect_err("one is missing");
        assert!(error.to_string().contains("came out where"), "{error}");
    }

    #[test]
    fn an_encoding_gives_each_event_back() {
        let pool = Pool::new();
        let mut encoded = Encoded::default();
        encoded.set(pool.batch(0, 2));
        encoded.set(pool.batch(5, 3));
        assert_eq!(encoded.len(), 3);
        let decoded: Vec<Event> =
            encoded.iter().map(|bytes| decode(bytes.to_vec().into()).expect("an event")).collect();
        assert_eq!(decoded, pool.batch(5, 3));
        assert!(encoded.iter().all(|bytes| bytes.len() == decoded[0].encoded_len()));
    }
}
