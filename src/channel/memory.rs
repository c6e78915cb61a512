//! A channel in memory: fast, and gone with the process.
//!
//! Its rules stand in `memory/state.rs`, one value behind one lock; this file adds what waits:
//! commits for space, takes for events. A commit enters the state while `commit` runs, so that
//! its order is the order of the calls, whoever polls what and when.

use std::fmt;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::channel::{
    BoxFuture, Channel, Commit, Durability, Error, ErrorKind, Limits, MAIN_CURSOR, PutTransaction,
    Receipt, Stats, TakeTransaction, Taken,
};
use crate::event::Event;

mod state;

use state::{Entered, Put, State, TakenNow};

/// What one transaction holds at the most, whatever the channel's size.
const TRANSACTION_BYTES_MAX: usize = 16 * 1024 * 1024;
const TRANSACTION_EVENTS_MAX: usize = 100_000;
/// A transaction is at most this part of the channel, so that several fit into it.
const TRANSACTION_PART: u64 = 4;

/// How a memory channel is made.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// The most bytes of encoded events that it holds.
    pub bytes_max: u64,
    /// The most events that it holds.
    pub events_max: Option<u64>,
    /// How long a commit waits for space before it is refused as [`ErrorKind::Full`].
    pub put_timeout: Duration,
    /// The cursors to make now; `main` if none is named. Others are made by their first take.
    pub cursors: Vec<String>,
}

impl Default for MemoryOptions {
    fn default() -> MemoryOptions {
        MemoryOptions {
            bytes_max: 64 * 1024 * 1024,
            events_max: None,
            put_timeout: Duration::from_secs(3),
            cursors: Vec::new(),
        }
    }
}

/// A channel in memory. Clones are handles to the same channel.
#[derive(Clone)]
pub struct MemoryChannel {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes every waiting take: events came or came back, or the channel was closed.
    changed: Notify,
    limits: Limits,
    put_timeout: Duration,
}

impl MemoryChannel {
    /// An empty channel.
    pub fn new(options: MemoryOptions) -> MemoryChannel {
        let part = usize::try_from(options.bytes_max / TRANSACTION_PART).unwrap_or(usize::MAX);
        let bytes = part.min(TRANSACTION_BYTES_MAX);
        let events_max = options.events_max.and_then(|events| usize::try_from(events).ok());
        let limits = Limits {
            transaction_events: TRANSACTION_EVENTS_MAX.min(events_max.unwrap_or(usize::MAX)),
            transaction_bytes: bytes,
            event_bytes: bytes,
        };
        let mut state = State::new(options.bytes_max, options.events_max);
        for cursor in &options.cursors {
            state.make_cursor(cursor);
        }
        if options.cursors.is_empty() {
            state.make_cursor(MAIN_CURSOR);
        }
        let shared = Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
            limits,
            put_timeout: options.put_timeout,
        };
        MemoryChannel { shared: Arc::new(shared) }
    }
}

impl Shared {
    /// The state. A panic elsewhere never leaves it half changed: nothing in it can panic between
    /// two changes that belong together, so a poisoned lock is used on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryChannel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryChannel").field("stats", &self.stats()).finish()
    }
}

impl Channel for MemoryChannel {
    fn put_transaction(&self) -> Box<dyn PutTransaction> {
        let wait = self.shared.put_timeout;
        Box::new(MemoryPut { shared: Arc::clone(&self.shared), put: Put::default(), wait })
    }

    fn take_transaction(&self, cursor: &str) -> Result<Box<dyn TakeTransaction>, Error> {
        self.shared.lock().begin_take(cursor)?;
        Ok(Box::new(MemoryTake {
            shared: Arc::clone(&self.shared),
            cursor: cursor.to_owned(),
            seqs: Vec::new(),
            bytes: 0,
            state: None,
        }))
    }

    fn limits(&self) -> Limits {
        self.shared.limits
    }

    fn position(&self, key: &str) -> Option<Bytes> {
        self.shared.lock().position(key)
    }

    fn cursor_state(&self, cursor: &str) -> Option<Bytes> {
        self.shared.lock().cursor_state(cursor)
    }

    fn stats(&self) -> Stats {
        self.shared.lock().stats()
    }

    fn close(&self) {
        self.shared.lock().close();
        self.shared.changed.notify_waiters();
    }
}

struct MemoryPut {
    shared: Arc<Shared>,
    put: Put,
    wait: Duration,
}

impl PutTransaction for MemoryPut {
    fn put(&mut self, event: &Event) -> Result<(), Error> {
        let limits = self.shared.limits;
        let bytes = event.encoded_len();
        if bytes > limits.event_bytes {
            let text = format!(
                "an event of {bytes} bytes is over the limit of {} bytes; raise the channel's bytes_max",
                limits.event_bytes
            );
            return Err(Error::new(ErrorKind::EventTooLarge, text));
        }
        if self.put.len() == limits.transaction_events
            || self.put.len_bytes() + bytes > limits.transaction_bytes
        {
            let text = format!(
                "the transaction holds {} events in {} bytes, and {bytes} bytes more would pass its \
                 limit of {} events in {} bytes",
                self.put.len(),
                self.put.len_bytes(),
                limits.transaction_events,
                limits.transaction_bytes
            );
            return Err(Error::new(ErrorKind::TransactionTooLarge, text));
        }
        // It may be a slice of a large buffer, which the channel must not keep alive.
        self.put.push(event.copied(), bytes);
        Ok(())
    }

    fn set_position(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.put.positions.push((key.to_owned(), Bytes::copy_from_slice(value)));
        Ok(())
    }

    fn set_producer(&mut self, producer: &str, sequence: u64) -> Result<(), Error> {
        self.put.producer = Some((producer.to_owned(), sequence));
        Ok(())
    }

    fn set_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    fn len(&self) -> usize {
        self.put.len()
    }

    fn len_bytes(&self) -> usize {
        self.put.len_bytes()
    }

    fn commit(self: Box<Self>) -> Commit {
        let MemoryPut { shared, put, wait } = *self;
        let entered = shared.lock().enter(put);
        match entered {
            Entered::Done(outcome) => {
                shared.changed.notify_waiters();
                Commit::new(ready(outcome))
            }
            Entered::Waits { ticket, answer } => {
                let place = Place { shared, ticket };
                let deadline = Instant::now().checked_add(wait);
                Commit::new(wait_for_space(place, answer, wait, deadline))
            }
        }
    }

    fn rollback(self: Box<Self>) {}
}

/// A commit's place among those that wait for space. Dropping it rolls the commit back, unless
/// space was given to it before.
struct Place {
    shared: Arc<Shared>,
    ticket: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.shared.lock().leave(self.ticket).is_some() {
            self.shared.changed.notify_waiters();
        }
    }
}

async fn wait_for_space(
    place: Place,
    mut answer: oneshot::Receiver<Result<Receipt, Error>>,
    wait: Duration,
    deadline: Option<Instant>,
) -> Result<Receipt, Error> {
    tokio::select! {
        biased;
        outcome = &mut answer => return outcome.unwrap_or_else(|_| Err(state::closed())),
        () = sleep_until_some(deadline) => {}
    }
    let refused = place.shared.lock().refuse(place.ticket, wait);
    place.shared.changed.notify_waiters();
    match refused {
        Some(error) => Err(error),
        // Space came at the last moment: the answer is there already.
        None => answer.await.unwrap_or_else(|_| Err(state::closed())),
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

struct MemoryTake {
    shared: Arc<Shared>,
    cursor: String,
    seqs: Vec<u64>,
    bytes: usize,
    state: Option<Bytes>,
}

impl MemoryTake {
    fn take_now(&mut self, events_max: usize) -> Result<TakenNow, Error> {
        let limits = self.shared.limits;
        let events_max = events_max.min(limits.transaction_events - self.seqs.len());
        let bytes_max = limits.transaction_bytes.saturating_sub(self.bytes);
        let now = self.shared.lock().take(&self.cursor, events_max, bytes_max)?;
        self.seqs.extend(now.events.iter().map(|taken| taken.seq));
        self.bytes += now.bytes;
        Ok(now)
    }
}

impl TakeTransaction for MemoryTake {
    fn take(
        &mut self,
        events_max: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Taken>, Error>> {
        Box::pin(async move {
            let deadline = Instant::now().checked_add(wait);
            let shared = Arc::clone(&self.shared);
            loop {
                // Made before the look at the state: what comes between the two wakes it.
                let changed = shared.changed.notified();
                let now = self.take_now(events_max)?;
                if !now.events.is_empty() || now.at_limit || wait.is_zero() {
                    return Ok(now.events);
                }
                tokio::select! {
                    () = changed => {}
                    () = sleep_until_some(deadline) => return Ok(Vec::new()),
                }
            }
        })
    }

    fn len(&self) -> usize {
        self.seqs.len()
    }

    fn set_state(&mut self, state: &[u8]) -> Result<(), Error> {
        self.state = Some(Bytes::copy_from_slice(state));
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Commit {
        let seqs = std::mem::take(&mut self.seqs);
        let state = self.state.take();
        let acknowledged = self.shared.lock().acknowledge(&self.cursor, &seqs, state);
        let outcome = match acknowledged {
            // The space may have let waiting puts in.
            Ok(()) => {
                self.shared.changed.notify_waiters();
                Ok(Receipt::new(0, seqs.len() as u64, false, Durability::Memory))
            }
            Err(error) => {
                // They are still this take's, and its drop gives them back.
                self.seqs = seqs;
                Err(error)
            }
        };
        Commit::new(ready(outcome))
    }

    fn rollback(self: Box<Self>) {}
}

impl Drop for MemoryTake {
    fn drop(&mut self) {
        if !self.seqs.is_empty() {
            self.shared.lock().give_back(&self.cursor, &self.seqs);
            self.shared.changed.notify_waiters();
        }
    }
}
