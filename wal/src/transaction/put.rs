//! Put transactions.

use std::time::Duration;

use bytes::Bytes;

use crate::checksum::Sum;
use crate::engine::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::queue::{CommitSlot, PutWork, Receipt};
use crate::record::Put;
use crate::signal::Slot;
use crate::sync::{Arc, lock};
use crate::tables::Tables;

use super::Commit;

/// The longest key of a position and name of a producer, in bytes.
pub const KEY_BYTES_MAX: usize = 4096;

/// Events on their way into the channel, all or none.
///
/// Dropping it rolls it back, without a touch of the disk.
///
/// ```
/// # use forebay_wal::{Channel, Options};
/// # let dir = tempfile::tempdir()?;
/// # let channel = Channel::open(dir.path(), Options::new().bytes_max(1 << 20))?;
/// let mut put = channel.put_transaction();
/// put.put(b"one")?;
/// put.put(b"two")?;
/// let receipt = put.commit()?;
/// assert_eq!((receipt.first_seq, receipt.events), (1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "events that are not committed are forgotten"]
pub struct PutTransaction {
    engine: Shared,
    events: Vec<u8>,
    put: Put,
    wait: Duration,
}

impl PutTransaction {
    pub(crate) fn new(engine: Shared) -> PutTransaction {
        let wait = engine.options.put_timeout;
        let events = engine.put_buffers.empty();
        PutTransaction { engine, events, put: Put::default(), wait }
    }

    /// Adds an event.
    ///
    /// # Errors
    ///
    /// `EventTooLarge` if it would not fit into any transaction, `TransactionTooLarge` if not into
    /// this one. The events before it are still there.
    pub fn put(&mut self, event: &[u8]) -> Result<()> {
        self.put_with(|out| out.extend_from_slice(event))
    }

    /// Adds an event that `encode` appends to the transaction's own buffer, so that it is written
    /// once. `encode` must only append. Errors as for [`PutTransaction::put`].
    pub fn put_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let start = self.events.len();
        self.events.extend_from_slice(&[0; events::SHORT_HEAD]);
        encode(&mut self.events);
        let len = self.events.len() - start - events::SHORT_HEAD;
        let most = self.engine.geometry.transaction_bytes_max;
        if self.len_bytes() - events::SHORT_HEAD + events::head_len(len) > most {
            self.events.truncate(start);
            return Err(self.too_large(len, most));
        }
        events::close(&mut self.events, start);
        self.put.count += 1;
        Ok(())
    }

    fn too_large(&self, len: usize, most: usize) -> Error {
        if len + events::head_len(len) > most {
            let text = format!(
                "an event of {len} bytes is larger than a transaction of this channel may be \
                 ({most} bytes with its length); cut it, or raise the channel's byte \
                 limit (a transaction may have a thirty-second of it, at most 16 MiB)"
            );
            return Error::new(ErrorKind::EventTooLarge, text);
        }
        let text = format!(
            "the transaction holds {} bytes and may hold {most}; commit it and put the event of \
             {len} bytes into the next one",
            self.len_bytes()
        );
        Error::new(ErrorKind::TransactionTooLarge, text)
    }

    /// Remembers where a source stands, under its own key, in the same commit; empty bytes remove
    /// the key. Read back by [`crate::Channel::position`], after any restart.
    ///
    /// # Errors
    ///
    /// `Invalid` for an empty key or one above [`KEY_BYTES_MAX`]; `LimitReached` or
    /// `TransactionTooLarge` if it does not fit.
    pub fn set_position(&mut self, key: &str, value: &[u8]) -> Result<()> {
        check_key("position key", key)?;
        let before = self.put.positions.clone();
        self.put.positions.retain(|(other, _)| other != key);
        self.put.positions.push((key.to_owned(), Bytes::copy_from_slice(value)));
        let most = self.engine.geometry.transaction_bytes_max;
        let outcome = if self.len_bytes() > most {
            Err(self.too_large(0, most))
        } else {
            self.check_tables()
        };
        if outcome.is_err() {
            self.put.positions = before;
        }
        outcome
    }

    /// Whether the tables of the channel have room, as far as is known yet.
    fn check_tables(&self) -> Result<()> {
        let view = lock(&self.engine.view);
        Tables::new(&view.state, &self.engine.geometry).admit_put(&self.put)
    }

    /// Makes the commit idempotent, over restarts as well: if a commit of this producer with this
    /// sequence or a higher one is in the channel, nothing is added and the commit succeeds.
    /// Sequences must rise. When one is refused, those behind it are refused as `OutOfSequence`,
    /// until it is committed or [`crate::Channel::forgive`] is called.
    ///
    /// # Errors
    ///
    /// `Invalid` for an empty name or one above [`KEY_BYTES_MAX`]; `LimitReached` if the channel
    /// knows too many producers.
    pub fn set_producer(&mut self, producer: &str, sequence: u64) -> Result<()> {
        check_key("producer", producer)?;
        let before = self.put.producer.replace((producer.to_owned(), sequence));
        let outcome = self.check_tables();
        if outcome.is_err() {
            self.put.producer = before;
        }
        outcome
    }

    /// Says when its events lose their worth, in microseconds since 1970. The channel keeps the
    /// moment beside the events; nothing is dropped by it yet.
    pub fn set_expiry(&mut self, at_us: i64) {
        self.put.expires_us = Some(at_us);
    }

    /// How long the commit waits for space; the channel's put timeout unless this is called.
    pub fn set_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    /// How many events are in it.
    pub fn len(&self) -> usize {
        self.put.count as usize
    }

    /// Whether no event is in it.
    pub fn is_empty(&self) -> bool {
        self.put.count == 0
    }

    /// How many bytes of the transaction's limit are used.
    pub fn len_bytes(&self) -> usize {
        self.events.len() + self.put.extras_len()
    }

    /// Makes the events durable and visible, all or none, and waits until they are.
    ///
    /// # Errors
    ///
    /// `Full` after the channel's put timeout; `LimitReached` if other commits have used up the
    /// room for its position or producer in the meantime; `OutOfSequence`; `Closed`; `InDoubt`
    /// when the disk failed and so did going on elsewhere; `Failed` when that happened before. In
    /// all cases but `InDoubt` nothing was added.
    pub fn commit(self) -> Result<Receipt> {
        let engine = self.engine.clone();
        if let Some(receipt) = self.committed_before() {
            return Ok(receipt);
        }
        let Some((work, slot)) = self.into_work(true) else {
            engine.check()?;
            return Ok(engine.receipt(0, 0, false));
        };
        engine.commit_blocking(&slot, |queue| queue.push_put(work))
    }

    /// The same for a task. The commit stands in line when this returns, whether the future is
    /// polled or not. Dropping the future while the commit waits for space rolls it back; after
    /// that it goes on by itself.
    pub fn commit_async(self) -> Commit {
        let engine = self.engine.clone();
        if let Some(receipt) = self.committed_before() {
            return Commit::settled(engine, Ok(receipt));
        }
        let Some((work, slot)) = self.into_work(false) else {
            let outcome = engine.check().map(|()| engine.receipt(0, 0, false));
            return Commit::settled(engine, outcome);
        };
        match engine.commit_later(|queue| queue.push_put(work)) {
            Ok(()) => Commit::waiting(engine, slot),
            Err(error) => Commit::settled(engine, Err(error)),
        }
    }

    /// A repeat of what is in the channel needs no space and no place in the line.
    fn committed_before(&self) -> Option<Receipt> {
        let (name, sequence) = self.put.producer.as_ref()?;
        let mut view = lock(&self.engine.view);
        let last = view.state.producers.get(name)?;
        if sequence > last {
            return None;
        }
        view.duplicates += 1;
        drop(view);
        Some(self.engine.receipt(0, u64::from(self.put.count), true))
    }

    /// What stands in line; nothing if there is nothing to commit.
    fn into_work(mut self, blocking: bool) -> Option<(PutWork, Arc<CommitSlot>)> {
        let empty =
            self.put.count == 0 && self.put.positions.is_empty() && self.put.producer.is_none();
        if empty {
            return None;
        }
        let sum = Sum::of_long(&self.events);
        let events = self.engine.put_buffers.lend(std::mem::take(&mut self.events));
        let put = Put { events, ..std::mem::take(&mut self.put) };
        let slot: Arc<CommitSlot> = Slot::new();
        let deadline = self.engine.env.clock.monotonic().saturating_add(self.wait);
        let slots = vec![slot.clone()];
        Some((PutWork { put, sum, slots, blocking, deadline, abandoned: false }, slot))
    }

    /// Forgets the events. Dropping does the same.
    pub fn rollback(self) {}
}

impl Drop for PutTransaction {
    fn drop(&mut self) {
        self.engine.put_buffers.give_back(std::mem::take(&mut self.events));
    }
}

fn check_key(what: &str, key: &str) -> Result<()> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let text = format!("a {what} must have 1 to {KEY_BYTES_MAX} bytes, not {}", key.len());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(())
}
