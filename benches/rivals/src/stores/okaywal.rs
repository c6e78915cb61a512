//! okaywal, a write-ahead log in Rust. It is a log and no queue: this is the queue that its user
//! has to write around it.
//!
//! A put is one entry with one chunk, which holds all of its events; a take is an entry with the
//! number up to which events are taken. In memory stands where each put lies, so that reading the
//! log at open finds the backlog and holds none of it. When the queue is empty the log is
//! checkpointed, which makes its file one that was written before and is written over next.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes};
use forebay::event::Event;
use okaywal::{
    Configuration, Entry, EntryId, LogManager, LogPosition, ReadChunkResult, SegmentReader,
    WriteAheadLog,
};

use super::{Producer, Shape, Store, Taker};
use crate::event::{Encoded, decode};

/// What a chunk begins with: puts have a first number and a count, takes the next number.
const PUT: u8 = b'p';
const TAKE: u8 = b't';
const PUT_HEAD_BYTES: usize = 1 + 8 + 4;
/// Written before use, with room for the backlog and the takes of it.
const PREALLOCATE_BYTES: u32 = 192 << 20;
/// What must have been written for a checkpoint to be worth it.
const CHECKPOINT_EVENTS: u64 = 50_000;

pub struct Okaywal {
    /// There until it is dropped.
    log: Option<WriteAheadLog>,
    next: AtomicU64,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Where the puts lie, with the number of events, by their first number.
    puts: BTreeMap<u64, (u32, LogPosition)>,
    /// The number of the oldest event that is not taken.
    next: u64,
    /// The number behind the newest event.
    end: u64,
    /// Events from `next` on, of a put that is not in `puts` any more.
    ahead: VecDeque<Bytes>,
    /// Where the log was checkpointed last.
    checkpointed: u64,
}

impl Okaywal {
    pub fn open(dir: &Path, shape: Shape) -> Result<Okaywal> {
        let queue = Arc::new(Mutex::new(Queue::default()));
        let mut config =
            Configuration::default_for(dir).checkpoint_after_bytes(u64::MAX).buffer_bytes(1 << 20);
        if let Shape::Speed = shape {
            // Not for a backlog: at open it would write zeroes up to the next multiple.
            config = config.preallocate_bytes(PREALLOCATE_BYTES);
        }
        let log = config.open(Manager(Arc::clone(&queue)))?;
        let mut found = lock(&queue);
        if let Some((&first, _)) = found.puts.first_key_value() {
            // Where the log begins behind a checkpoint, nothing in it says what was taken before.
            found.next = found.next.max(first);
        }
        found.end = found.end.max(found.next);
        let next = AtomicU64::new(found.end);
        drop(found);
        Ok(Okaywal { log: Some(log), next, queue })
    }

    fn log(&self) -> &WriteAheadLog {
        self.log.as_ref().expect("it is taken away when the store is dropped alone")
    }

    fn read(&self, at: LogPosition) -> Result<Bytes> {
        let mut chunk = self.log().read_at(at)?;
        let mut bytes = Vec::with_capacity(usize::try_from(chunk.chunk_length())?);
        chunk.read_to_end(&mut bytes)?;
        ensure!(chunk.crc_is_valid()?, "a chunk's checksum does not hold");
        Ok(Bytes::from(bytes))
    }
}

impl Drop for Okaywal {
    /// Waits for its thread, which may be renaming a file that the next opening would look for.
    fn drop(&mut self) {
        if let Some(Err(problem)) = self.log.take().map(WriteAheadLog::shutdown) {
            eprintln!("okaywal did not shut down: {problem}");
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the backlog at open.
#[derive(Debug)]
struct Manager(Arc<Mutex<Queue>>);

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? else { return Ok(()) };
        let at = chunk.log_position();
        let mut head = [0; PUT_HEAD_BYTES];
        let head_bytes = head.len().min(usize::try_from(chunk.bytes_remaining()).unwrap_or(0));
        chunk.read_exact(&mut head[..head_bytes])?;
        io::copy(&mut chunk, &mut io::sink())?;
        if !chunk.check_crc()? {
            // The crash cut the last put short.
            return Ok(());
        }
        let mut fields = &head[1..head_bytes];
        let mut queue = lock(&self.0);
        let number = fields.try_get_u64_le()?;
        if head[0] == PUT {
            let events = fields.try_get_u32_le()?;
            queue.puts.insert(number, (events, at));
            queue.end = queue.end.max(number + u64::from(events));
        } else {
            queue.next = queue.next.max(number);
            let next = queue.next;
            queue.puts.retain(|first, (events, _)| first + u64::from(*events) > next);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        _entries: &mut SegmentReader,
        _log: &WriteAheadLog,
    ) -> io::Result<()> {
        // Called from `settle` alone, when all is taken.
        Ok(())
    }
}

impl Store for Okaywal {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(Put { store: self, encoded: Encoded::default(), chunk: Vec::new() }))
    }

    fn taker(&self) -> Result<Box<dyn Taker + '_>> {
        Ok(Box::new(Take { store: self }))
    }

    fn settle(&self) -> Result<()> {
        let mut queue = lock(&self.queue);
        let is_empty = queue.puts.is_empty() && queue.ahead.is_empty();
        if is_empty && queue.end - queue.checkpointed >= CHECKPOINT_EVENTS {
            queue.checkpointed = queue.end;
            drop(queue);
            self.log().checkpoint_active()?;
        }
        Ok(())
    }
}

struct Put<'a> {
    store: &'a Okaywal,
    encoded: Encoded,
    chunk: Vec<u8>,
}

impl Producer for Put<'_> {
    fn put(&mut self, events: &[Event]) -> Result<()> {
        self.encoded.set(events);
        let count = u32::try_from(self.encoded.len())?;
        self.chunk.clear();
        self.chunk.put_u8(PUT);
        self.chunk.put_u64_le(0);
        self.chunk.put_u32_le(count);
        for event in self.encoded.iter() {
            self.chunk.put_u32_le(u32::try_from(event.len())?);
            self.chunk.put_slice(event);
        }
        // Only one entry is written at a time, so that numbers are in the order of the log.
        let mut entry = self.store.log().begin_entry()?;
        let first = self.store.next.fetch_add(u64::from(count), Ordering::Relaxed);
        (&mut self.chunk[1..9]).put_u64_le(first);
        let at = entry.write_chunk(&self.chunk)?.position;
        entry.commit()?;
        let mut queue = lock(&self.store.queue);
        queue.puts.insert(first, (count, at));
        queue.end = queue.end.max(first + u64::from(count));
        Ok(())
    }
}

struct Take<'a> {
    store: &'a Okaywal,
}

impl Take<'_> {
    /// Reads the put that comes next, if it is there.
    fn fill(&self, queue: &mut MutexGuard<'_, Queue>) -> Result<bool> {
        let next = queue.next + queue.ahead.len() as u64;
        let Some(first) = queue.puts.first_entry().filter(|put| *put.key() <= next) else {
            return Ok(false);
        };
        let (first, (_, at)) = first.remove_entry();
        let mut chunk = self.store.read(at)?;
        ensure!(chunk.len() > PUT_HEAD_BYTES && chunk[0] == PUT, "a chunk that is no put");
        chunk.advance(PUT_HEAD_BYTES);
        let mut number = first;
        while chunk.has_remaining() {
            let len = usize::try_from(chunk.try_get_u32_le()?)?;
            if len > chunk.len() {
                bail!("a chunk ends inside an event");
            }
            let event = chunk.split_to(len);
            // Those before it were taken by the process before this one.
            if number >= next {
                queue.ahead.push_back(event);
            }
            number += 1;
        }
        Ok(true)
    }
}

impl Taker for Take<'_> {
    fn take(&mut self, events_max: usize, taken: &mut Vec<Event>) -> Result<()> {
        let mut queue = lock(&self.store.queue);
        while queue.ahead.len() < events_max && self.fill(&mut queue)? {}
        let events = events_max.min(queue.ahead.len());
        for bytes in queue.ahead.drain(..events) {
            taken.push(decode(bytes)?);
        }
        queue.next += events as u64;
        let next = queue.next;
        drop(queue);
        if events > 0 {
            let mut chunk = [TAKE; 9];
            (&mut chunk[1..]).put_u64_le(next);
            let mut entry = self.store.log().begin_entry()?;
            entry.write_chunk(&chunk)?;
            entry.commit().context("the record of a take")?;
        }
        Ok(())
    }
}
