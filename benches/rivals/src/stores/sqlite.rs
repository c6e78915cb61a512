//! SQLite with its write-ahead log.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use bytes::Bytes;
use rusqlite::{Connection, params};

use super::kv::{Cursor, Kv};
use crate::event::Encoded;

pub struct Sqlite {
    /// All that write share one: a lock of ours is cheaper than SQLite's waiting by sleeping.
    write: Mutex<Connection>,
    /// The taker's, so that it reads while a put waits for its sync.
    read: Mutex<Connection>,
}

impl Sqlite {
    pub fn open(dir: &Path) -> Result<Sqlite> {
        std::fs::create_dir_all(dir)?;
        let write = connection(dir)?;
        write.execute_batch(
            "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, event BLOB NOT NULL);
             CREATE TABLE IF NOT EXISTS cursor (id INTEGER PRIMARY KEY, next INTEGER NOT NULL,
                                                removed INTEGER NOT NULL);
             INSERT OR IGNORE INTO cursor VALUES (0, 0, 0);",
        )?;
        let read = connection(dir)?;
        Ok(Sqlite { write: Mutex::new(write), read: Mutex::new(read) })
    }
}

/// A connection with the fastest settings that keep what a commit acknowledged.
fn connection(dir: &Path) -> Result<Connection> {
    let connection = Connection::open(dir.join("queue.sqlite"))?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    ensure!(mode == "wal", "SQLite has no write-ahead log here: {mode}");
    // FULL syncs the log in every commit. A larger log than the default's 1,000 pages checkpoints
    // less often, and is written over from its start again afterwards.
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 10000;
         PRAGMA cache_size = -65536;
         PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kv for Sqlite {
    fn find(&self) -> Result<(Option<Cursor>, Option<u64>)> {
        let read = lock(&self.read);
        let (next, removed): (i64, i64) =
            read.query_row("SELECT next, removed FROM cursor", (), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let last: Option<i64> =
            read.query_row("SELECT max(id) FROM events", (), |row| row.get(0))?;
        let cursor = Cursor { next: u64::try_from(next)?, removed: u64::try_from(removed)? };
        Ok((Some(cursor), last.map(u64::try_from).transpose()?))
    }

    fn append(&self, first: u64, events: &Encoded) -> Result<()> {
        let mut write = lock(&self.write);
        let transaction = write.transaction()?;
        let mut insert =
            transaction.prepare_cached("INSERT INTO events (id, event) VALUES (?1, ?2)")?;
        for (event, number) in events.iter().zip(first..) {
            insert.execute(params![i64::try_from(number)?, event])?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }

    fn read(&self, from: u64, events_max: usize, read: &mut VecDeque<Bytes>) -> Result<()> {
        let connection = lock(&self.read);
        let mut select = connection
            .prepare_cached("SELECT id, event FROM events WHERE id >= ?1 ORDER BY id LIMIT ?2")?;
        let mut rows = select.query(params![i64::try_from(from)?, i64::try_from(events_max)?])?;
        let mut expected = from;
        while let Some(row) = rows.next()? {
            if u64::try_from(row.get::<_, i64>(0)?)? != expected {
                break;
            }
            read.push_back(Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?));
            expected += 1;
        }
        Ok(())
    }

    fn taken(&self, cursor: Cursor, remove: Range<u64>) -> Result<()> {
        let mut write = lock(&self.write);
        let transaction = write.transaction()?;
        transaction
            .prepare_cached("UPDATE cursor SET next = ?1, removed = ?2")?
            .execute([i64::try_from(cursor.next)?, i64::try_from(cursor.removed)?])?;
        if !remove.is_empty() {
            transaction
                .prepare_cached("DELETE FROM events WHERE id >= ?1 AND id < ?2")?
                .execute([i64::try_from(remove.start)?, i64::try_from(remove.end)?])?;
        }
        Ok(transaction.commit()?)
    }
}
