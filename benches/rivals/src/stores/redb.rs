//! redb, a copy-on-write B-tree in Rust.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::kv::{Cursor, Kv};
use crate::event::Encoded;

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const CURSOR: TableDefinition<'_, (), (u64, u64)> = TableDefinition::new("cursor");

pub struct Redb {
    database: Database,
}

impl Redb {
    pub fn open(dir: &Path) -> Result<Redb> {
        std::fs::create_dir_all(dir)?;
        let database = Database::create(dir.join("queue.redb"))?;
        let write = database.begin_write()?;
        write.open_table(EVENTS)?;
        write.open_table(CURSOR)?;
        write.commit()?;
        Ok(Redb { database })
    }
}

impl Kv for Redb {
    fn find(&self) -> Result<(Option<Cursor>, Option<u64>)> {
        let read = self.database.begin_read()?;
        let cursor = read.open_table(CURSOR)?.get(())?.map(|cursor| {
            let (next, removed) = cursor.value();
            Cursor { next, removed }
        });
        let last = read.open_table(EVENTS)?.last()?.map(|(number, _)| number.value());
        Ok((cursor, last))
    }

    fn append(&self, first: u64, events: &Encoded) -> Result<()> {
        let write = self.database.begin_write()?;
        let mut table = write.open_table(EVENTS)?;
        for (event, number) in events.iter().zip(first..) {
            table.insert(number, event)?;
        }
        drop(table);
        Ok(write.commit()?)
    }

    fn read(&self, from: u64, events_max: usize, read: &mut VecDeque<Bytes>) -> Result<()> {
        let table = self.database.begin_read()?.open_table(EVENTS)?;
        for (event, expected) in table.range(from..)?.take(events_max).zip(from..) {
            let (number, value) = event?;
            if number.value() != expected {
                break;
            }
            read.push_back(Bytes::copy_from_slice(value.value()));
        }
        Ok(())
    }

    fn taken(&self, cursor: Cursor, remove: Range<u64>) -> Result<()> {
        let write = self.database.begin_write()?;
        write.open_table(CURSOR)?.insert((), (cursor.next, cursor.removed))?;
        if !remove.is_empty() {
            write.open_table(EVENTS)?.retain_in(remove, |_, _| false)?;
        }
        Ok(write.commit()?)
    }
}
