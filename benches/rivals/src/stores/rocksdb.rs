//! RocksDB, by the system's own library.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use rocksdb::{DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch, WriteOptions};

use super::kv::{CURSOR_KEY, Cursor, Kv, event_key, number_in};
use crate::event::Encoded;

pub struct Rocksdb {
    db: DB,
}

impl Rocksdb {
    pub fn open(dir: &Path) -> Result<Rocksdb> {
        let mut options = Options::default();
        options.create_if_missing(true);
        // The bodies do not compress: trying costs time and saves nothing.
        options.set_compression_type(DBCompressionType::None);
        options.set_enable_pipelined_write(true);
        Ok(Rocksdb { db: DB::open(&options, dir)? })
    }

    fn commit(&self, batch: WriteBatch) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.db.write_opt(batch, &options)?)
    }
}

impl Kv for Rocksdb {
    fn find(&self) -> Result<(Option<Cursor>, Option<u64>)> {
        let cursor = self.db.get(CURSOR_KEY)?;
        let cursor = cursor.map(|bytes| Cursor::from_bytes(&bytes)).transpose()?;
        let last = self.db.iterator(IteratorMode::End).next().transpose()?;
        Ok((cursor, last.and_then(|(key, _)| number_in(&key))))
    }

    fn append(&self, first: u64, events: &Encoded) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (event, number) in events.iter().zip(first..) {
            batch.put(event_key(number), event);
        }
        self.commit(batch)
    }

    fn read(&self, from: u64, events_max: usize, read: &mut VecDeque<Bytes>) -> Result<()> {
        let from_key = event_key(from);
        let events = self.db.iterator(IteratorMode::From(&from_key, Direction::Forward));
        for (event, expected) in events.take(events_max).zip(from..) {
            let (key, value) = event?;
            if number_in(&key) != Some(expected) {
                break;
            }
            read.push_back(Bytes::from(value));
        }
        Ok(())
    }

    fn taken(&self, cursor: Cursor, remove: Range<u64>) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.put(CURSOR_KEY, cursor.to_bytes());
        if !remove.is_empty() {
            batch.delete_range(event_key(remove.start), event_key(remove.end));
        }
        self.commit(batch)
    }
}
