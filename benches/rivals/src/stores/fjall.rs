//! fjall, a log-structured tree in Rust.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::Shape;
use super::kv::{CURSOR_KEY, Cursor, Kv, event_key, number_in};
use crate::event::Encoded;

/// Holds a backlog that was put and taken.
const MEMTABLE_BYTES: u64 = 256 << 20;

pub struct Fjall {
    database: Database,
    events: Keyspace,
}

impl Fjall {
    pub fn open(dir: &Path, shape: Shape) -> Result<Fjall> {
        // The bodies do not compress: trying costs time and saves nothing.
        let database = Database::builder(dir).journal_compression(CompressionType::None).open()?;
        let events = database.keyspace("events", || {
            let options = KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::disabled());
            match shape {
                // A whole leg in memory: what is flushed in the middle of it is in its way.
                Shape::Speed => options.max_memtable_size(MEMTABLE_BYTES),
                // But at open all of a table in memory is read again from the journal.
                Shape::Backlog(_) => options,
            }
        })?;
        Ok(Fjall { database, events })
    }
}

impl Kv for Fjall {
    fn find(&self) -> Result<(Option<Cursor>, Option<u64>)> {
        let cursor = self.events.get(CURSOR_KEY)?;
        let cursor = cursor.map(|bytes| Cursor::from_bytes(&bytes)).transpose()?;
        let last = match self.events.last_key_value() {
            Some(last) => number_in(&last.key()?),
            None => None,
        };
        Ok((cursor, last))
    }

    fn append(&self, first: u64, events: &Encoded) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (event, number) in events.iter().zip(first..) {
            batch.insert(&self.events, event_key(number), event);
        }
        Ok(batch.commit()?)
    }

    fn read(&self, from: u64, events_max: usize, read: &mut VecDeque<Bytes>) -> Result<()> {
        let events = self.events.range(event_key(from)..).take(events_max);
        for (event, number) in events.zip(from..) {
            let (key, value) = event.into_inner()?;
            if number_in(&key) != Some(number) {
                break;
            }
            read.push_back(Bytes::copy_from_slice(&value));
        }
        Ok(())
    }

    fn taken(&self, cursor: Cursor, remove: Range<u64>) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.events, CURSOR_KEY, cursor.to_bytes());
        for number in remove {
            batch.remove(&self.events, event_key(number));
        }
        Ok(batch.commit()?)
    }
}
