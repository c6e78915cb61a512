//! A queue over an ordered store of keys and values, the same for all of them.
//!
//! An event is a value under its number. A take records in one small value how far the queue is
//! taken; now and then the same commit removes what lies before that. Either is the least that
//! such a store can do for a take: a removal of each event in each take costs all of them more. The
//! reading goes ahead of the takes, so that a small take does not pay for a search of its own.
//!
//! It serves measurements: numbers are given before the commit, so that with several producers a
//! crash may leave a gap that nothing here fills.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use forebay::event::Event;

use super::{Producer, Store, Taker};
use crate::event::{Encoded, decode};

/// How many taken events wait before one commit removes them.
const CLEAR_EVENTS: u64 = 8192;
/// How many events are read ahead.
const AHEAD_EVENTS: usize = 1000;

/// What an ordered store does for the queue.
pub trait Kv: Send + Sync {
    /// The cursor, if one was recorded, and the number of the newest event, if one is there.
    fn find(&self) -> Result<(Option<Cursor>, Option<u64>)>;

    /// Stores events under the numbers from `first` on, in one durable commit.
    fn append(&self, first: u64, events: &Encoded) -> Result<()>;

    /// Reads the events from a number on, without a gap, at most so many.
    fn read(&self, from: u64, events_max: usize, read: &mut VecDeque<Bytes>) -> Result<()>;

    /// Records how far the queue is taken, and removes some events, in one durable commit.
    fn taken(&self, cursor: Cursor, remove: Range<u64>) -> Result<()>;
}

/// How far a queue is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cursor {
    /// The number of the oldest event that is not taken.
    pub next: u64,
    /// What is taken and not removed begins here.
    pub removed: u64,
}

impl Cursor {
    /// Its bytes where values are bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.removed) << 64 | u128::from(self.next)).to_le_bytes()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Cursor> {
        let both = u128::from_le_bytes(bytes.try_into().context("a cursor of 16 bytes")?);
        let mask = u128::from(u64::MAX);
        Ok(Cursor { next: (both & mask).try_into()?, removed: (both >> 64).try_into()? })
    }
}

pub struct KvQueue<K> {
    kv: K,
    next: AtomicU64,
    head: Mutex<Head>,
}

struct Head {
    cursor: Cursor,
    /// Events from the cursor on.
    ahead: VecDeque<Bytes>,
}

impl<K: Kv> KvQueue<K> {
    pub fn new(kv: K) -> Result<KvQueue<K>> {
        let (cursor, last) = kv.find()?;
        let cursor = cursor.unwrap_or_default();
        // The newest one that is there may be taken and not removed yet. All are removed in order,
        // so that what is newer than it never was.
        let next = last.map_or(cursor.next, |last| last + 1);
        let head = Head { cursor, ahead: VecDeque::new() };
        Ok(KvQueue { kv, next: AtomicU64::new(next), head: Mutex::new(head) })
    }
}

impl<K: Kv> Store for KvQueue<K> {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(Put { queue: self, encoded: Encoded::default() }))
    }

    fn taker(&self) -> Result<Box<dyn Taker + '_>> {
        Ok(Box::new(Take { queue: self }))
    }
}

struct Put<'a, K> {
    queue: &'a KvQueue<K>,
    encoded: Encoded,
}

impl<K: Kv> Producer for Put<'_, K> {
    fn put(&mut self, events: &[Event]) -> Result<()> {
        self.encoded.set(events);
        let first = self.queue.next.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.queue.kv.append(first, &self.encoded)
    }
}

struct Take<'a, K> {
    queue: &'a KvQueue<K>,
}

impl<K: Kv> Taker for Take<'_, K> {
    fn take(&mut self, events_max: usize, taken: &mut Vec<Event>) -> Result<()> {
        let kv = &self.queue.kv;
        let mut head = self.queue.head.lock().unwrap_or_else(PoisonError::into_inner);
        let head = &mut *head;
        let ahead = head.ahead.len();
        if ahead < events_max {
            let from = head.cursor.next + ahead as u64;
            kv.read(from, AHEAD_EVENTS.max(events_max) - ahead, &mut head.ahead)?;
        }
        let events = events_max.min(head.ahead.len());
        for bytes in head.ahead.drain(..events) {
            taken.push(decode(bytes)?);
        }
        if events == 0 {
            return Ok(());
        }
        let Cursor { next, removed } = head.cursor;
        let next = next + events as u64;
        let upto = if next - removed >= CLEAR_EVENTS { next } else { removed };
        head.cursor = Cursor { next, removed: upto };
        kv.taken(head.cursor, removed..upto)
    }
}

/// The key of an event where keys are bytes: in the order of the numbers, and behind the cursor's.
pub fn event_key(number: u64) -> [u8; 9] {
    let mut key = [b'e'; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in an event's key, if it is one.
pub fn number_in(key: &[u8]) -> Option<u64> {
    let number = key.strip_prefix(b"e")?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// The key of the cursor where keys are bytes.
pub const CURSOR_KEY: &[u8] = b"cursor";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_the_numbers_and_the_cursor_before_them() {
        let numbers = [0, 1, 255, 256, 70_000, u64::MAX];
        let mut keys: Vec<Vec<u8>> = numbers.iter().map(|&n| event_key(n).to_vec()).collect();
        keys.insert(0, CURSOR_KEY.to_vec());
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(number_in(&event_key(70_000)), Some(70_000));
        assert_eq!(number_in(CURSOR_KEY), None);
    }

    #[test]
    fn a_cursor_is_read_back_as_it_was_written() {
        let cursor = Cursor { next: u64::MAX - 1, removed: 8192 };
        assert_eq!(Cursor::from_bytes(&cursor.to_bytes()).expect("a cursor"), cursor);
        Cursor::from_bytes(b"seven").expect_err("five bytes");
    }
}
