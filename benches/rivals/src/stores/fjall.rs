//! fjall, a log-structured tree in Rust.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::kv::{CURSOR_KEY, Kv, cursor_in, event_key, number_in};
use crate::event::Encoded;

pub struct Fjall {
    database: Database,
    events: Keyspace,
}

impl Fjall {
    pub fn open(dir: &Path) -> Result<Fjall> {
        // The bodies do not compress: trying costs time and saves nothing.
        let database = Database::builder(dir).journal_compression(CompressionType::None).open()?;
        let events = database.keyspace("events", || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::disabled())
        })?;
        Ok(Fjall { database, events })
    }
}

impl Kv for Fjall {
    fn waiting(&self) -> Result<Range<u64>> {
        let cursor = cursor_in(self.events.get(CURSOR_KEY)?.as_deref())?;
        let last = match self.events.last_key_value() {
            Some(last) => number_in(&last.key()?),
            None => None,
        };
        Ok(cursor..last.map_or(cursor, |last| last + 1))
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

    fn taken(&self, next: u64, remove: Range<u64>) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.events, CURSOR_KEY, next.to_le_bytes());
        for number in remove {
            batch.remove(&self.events, event_key(number));
        }
        Ok(batch.commit()?)
    }
}
