//! Take transactions.

use std::time::Duration;

use bytes::Bytes;

use crate::engine::Shared;
use crate::error::Result;
use crate::queue::{CommitSlot, ControlWork, Receipt};
use crate::ranges::RangeSet;
use crate::record::{Ack, Record};
use crate::signal::{Slot, Woken};
use crate::sync::{Arc, lock};
use crate::tables::Tables;

use super::Commit;

/// An event that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its number in the channel.
    pub seq: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Events on their way out of the channel, by one cursor.
///
/// What it has taken is invisible to other takes of the cursor. Dropping it gives all of it back,
/// without a touch of the disk.
///
/// ```
/// # use forebay_wal::{Channel, Options};
/// # let dir = tempfile::tempdir()?;
/// # let channel = Channel::open(dir.path(), Options::new().bytes_max(1 << 20))?;
/// # let mut put = channel.put_transaction();
/// # put.put(b"one")?;
/// # put.commit()?;
/// let mut take = channel.take_transaction("main")?;
/// let event = take.take()?.expect("one was put");
/// assert_eq!(&event.bytes[..], b"one");
/// take.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "events that are not acknowledged come again"]
pub struct TakeTransaction {
    engine: Shared,
    cursor: u32,
    held: RangeSet,
    state: Option<Bytes>,
}

impl TakeTransaction {
    pub(crate) fn new(engine: Shared, cursor: u32) -> TakeTransaction {
        TakeTransaction { engine, cursor, held: RangeSet::new(), state: None }
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    ///
    /// `Closed`, `NoSuchCursor`, or `Io` if it cannot be read; then it comes again.
    pub fn take(&mut self) -> Result<Option<Taken>> {
        Ok(self.take_many(1, usize::MAX)?.pop())
    }

    /// Up to so many of the next events, and no more bytes than that but for the first event. None
    /// if there is nothing to take, or if the cursor's open takes are at their bound.
    ///
    /// # Errors
    ///
    /// As for [`TakeTransaction::take`].
    pub fn take_many(&mut self, events_max: usize, bytes_max: usize) -> Result<Vec<Taken>> {
        self.engine.check()?;
        let engine = &self.engine;
        engine.take_events(self.cursor, &mut self.held, events_max as u64, bytes_max)
    }

    /// Waits, on this thread, until there may be something to take; whether there may.
    ///
    /// # Errors
    ///
    /// `Closed` or `NoSuchCursor`.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        self.engine.check()?;
        let Some(waiting) = Waiting::new(&self.engine, self.cursor)? else { return Ok(true) };
        let came = !matches!(waiting.slot.wait(Some(timeout)), Woken::TimedOut);
        if came {
            waiting.slot.complete(());
        }
        drop(waiting);
        self.engine.check()?;
        Ok(came)
    }

    /// Waits, as a task, until there may be something to take. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// `Closed` or `NoSuchCursor`.
    pub async fn ready(&mut self) -> Result<()> {
        self.engine.check()?;
        let Some(waiting) = Waiting::new(&self.engine, self.cursor)? else { return Ok(()) };
        std::future::poll_fn(|context| waiting.slot.watch(context)).await;
        drop(waiting);
        self.engine.check()
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.held.len() as usize
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Replaces the cursor's own state in the same commit; empty bytes remove it. It is what a
    /// sink must know to go on exactly where these events end.
    ///
    /// # Errors
    ///
    /// `LimitReached` if the states of all cursors together would be too large.
    pub fn set_state(&mut self, state: &[u8]) -> Result<()> {
        {
            let view = lock(&self.engine.view);
            Tables::new(&view.state, &self.engine.geometry).admit_state(self.cursor, state)?;
        }
        self.state = Some(Bytes::copy_from_slice(state));
        Ok(())
    }

    /// Acknowledges the events: they do not come again. Waits until that is durable.
    ///
    /// # Errors
    ///
    /// `Closed`, `NoSuchCursor`, or `Failed`: nothing was acknowledged, the events come again
    /// after the next open. `InDoubt`: whether they do shows then. `LimitReached` if other commits
    /// have used up the room for its state in the meantime: the events come again, as after a
    /// rollback.
    pub fn commit(mut self) -> Result<Receipt> {
        let slot: Arc<CommitSlot> = Slot::new();
        let Some(work) = self.work(&slot, true)? else {
            return Ok(self.engine.receipt(0, 0, false));
        };
        self.engine.commit_blocking(&slot, |queue| queue.push_control(work))
    }

    /// The same for a task, in line when this returns.
    pub fn commit_async(mut self) -> Commit {
        let engine = self.engine.clone();
        let slot: Arc<CommitSlot> = Slot::new();
        let work = match self.work(&slot, false) {
            Ok(Some(work)) => work,
            Ok(None) => {
                let receipt = engine.receipt(0, 0, false);
                return Commit::settled(engine, Ok(receipt));
            }
            Err(error) => return Commit::settled(engine, Err(error)),
        };
        match engine.commit_later(|queue| queue.push_control(work)) {
            Ok(()) => Commit::waiting(engine, slot),
            Err(error) => Commit::settled(engine, Err(error)),
        }
    }

    /// What stands in line; from here on the events are the log's.
    fn work(&mut self, slot: &Arc<CommitSlot>, blocking: bool) -> Result<Option<ControlWork>> {
        self.engine.check()?;
        lock(&self.engine.view).cursor(self.cursor)?;
        let held = std::mem::take(&mut self.held);
        let state = self.state.take();
        if held.is_empty() && state.is_none() {
            return Ok(None);
        }
        let ack = Ack { cursor: self.cursor, ranges: held.iter().collect(), state };
        Ok(Some(ControlWork::new(Record::Ack(ack), Some(slot.clone()), blocking)))
    }

    /// Gives the events back; they come again before newer ones. Dropping does the same.
    pub fn rollback(self) {}
}

impl Drop for TakeTransaction {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            self.engine.give_back_all(self.cursor, &mut self.held);
        }
    }
}

/// A place in the line of those who wait for events of a cursor.
struct Waiting {
    engine: Shared,
    cursor: u32,
    slot: Arc<Slot<()>>,
}

impl Waiting {
    /// Stands in line, unless there is something to take at once.
    fn new(engine: &Shared, cursor: u32) -> Result<Option<Waiting>> {
        let slot = Slot::new();
        {
            let mut view = lock(&engine.view);
            let (live, state, next_seq) = view.cursor(cursor)?;
            if live.has_visible(&state.acked, next_seq) {
                return Ok(None);
            }
            live.enqueue(slot.clone());
        }
        // Closing wakes those it finds in line; whoever came after that looks for itself.
        if engine.check().is_err() {
            slot.complete(());
        }
        Ok(Some(Waiting { engine: engine.clone(), cursor, slot }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let left = {
            let mut view = lock(&self.engine.view);
            view.cursor(self.cursor).is_ok_and(|(live, _, _)| live.leave(&self.slot))
        };
        if !left {
            // It was woken. If it does not take what it was woken for, somebody else should.
            self.engine.wake_next(self.cursor);
        }
    }
}
