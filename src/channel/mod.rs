//! The transaction API that sources and sinks know, and the channels behind it.
//!
//! A source puts events into a [`PutTransaction`] and commits it; a sink takes events from a
//! [`TakeTransaction`] and commits it once they are delivered. Nothing else crosses this line:
//! no connector knows which channel it talks to. One suite of tests (`tests/it/contract.rs`)
//! holds every channel to what is written here.
//!
//! - A put is invisible until its commit is acknowledged; then all of its events are there, in
//!   the order they were put, behind those of every earlier commit.
//! - An event in an open take is invisible to other takes of the same cursor.
//! - A rolled back or dropped take gives its events back; they come out again before newer ones.
//! - Dropping a transaction rolls it back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::event::Event;

mod build;
mod file;
mod memory;

pub use build::build;
pub use file::{
    Check, Condition, CursorInfo, Damage, DamageKind, FileChannel, FileOptions, FilePut, FileTake,
    Inspection, LogStats, Loss, LossReason, Role, SegmentInfo, SyncClass,
};
pub use memory::{MemoryChannel, MemoryOptions};

/// The cursor that a sink reads when none is named.
pub const MAIN_CURSOR: &str = "main";

/// A boxed future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A channel: events go in by put transactions and out by take transactions.
pub trait Channel: Send + Sync + fmt::Debug {
    /// Begins a put transaction.
    fn put_transaction(&self) -> Box<dyn PutTransaction>;

    /// Begins a take transaction on a cursor, which is made at the oldest event if it is new.
    fn take_transaction(&self, cursor: &str) -> Result<Box<dyn TakeTransaction>, Error>;

    /// What one transaction may hold.
    fn limits(&self) -> Limits;

    /// The last committed source position under a key, as [`PutTransaction::set_position`] left it.
    fn position(&self, key: &str) -> Option<Bytes>;

    /// The last committed state of a cursor, as [`TakeTransaction::set_state`] left it.
    fn cursor_state(&self, cursor: &str) -> Option<Bytes>;

    /// The channel's figures at this moment.
    fn stats(&self) -> Stats;

    /// Closes the channel: transactions that begin or commit later fail with
    /// [`ErrorKind::Closed`], waiting takes end. What was acknowledged stays.
    fn close(&self);
}

/// Events on their way into a channel. Dropping it rolls it back.
pub trait PutTransaction: Send {
    /// Adds an event. Refused without harm to the others, with [`ErrorKind::EventTooLarge`] or
    /// [`ErrorKind::TransactionTooLarge`], when it would pass a limit.
    fn put(&mut self, event: &Event) -> Result<(), Error>;

    /// Remembers where the source stands, under a key of its own, in the same commit. Empty
    /// bytes remove the key.
    fn set_position(&mut self, key: &str, value: &[u8]) -> Result<(), Error>;

    /// Makes the commit idempotent: a commit with a sequence not above the last one committed
    /// under that producer's name adds nothing and is acknowledged.
    fn set_producer(&mut self, producer: &str, sequence: u64) -> Result<(), Error>;

    /// How long the commit waits for space; the channel's own `put_timeout` unless this is called.
    /// [`Duration::MAX`] waits for ever, and so keeps several commits in flight in their order
    /// where a refusal of the first would let the second go ahead of it.
    fn set_wait(&mut self, wait: Duration);

    /// How many events are in it.
    fn len(&self) -> usize;

    /// Whether nothing is in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of the transaction's limit are used.
    fn len_bytes(&self) -> usize;

    /// Hands the events over, in the order in which `commit` is called. The future ends when they
    /// are durable as far as the channel promises. Dropping the future while the commit waits for
    /// space rolls it back; later the commit goes on by itself.
    fn commit(self: Box<Self>) -> Commit;

    /// Forgets the events.
    fn rollback(self: Box<Self>);
}

/// Events on their way out of a channel. Dropping it rolls it back.
pub trait TakeTransaction: Send {
    /// Takes up to `events_max` events, the oldest first. Waits up to `wait` for the first one;
    /// never for more. An empty answer means that none came in time, or that the transaction is
    /// at its limit. Dropping the future loses nothing: the events stay in the transaction or in
    /// the channel.
    fn take(
        &mut self,
        events_max: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Taken>, Error>>;

    /// How many events are in it.
    fn len(&self) -> usize;

    /// Whether nothing is in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces the cursor's state in the same commit: what the sink must know after a crash to
    /// go on exactly where these events end. A take of no events may carry a state as well.
    fn set_state(&mut self, state: &[u8]) -> Result<(), Error>;

    /// Acknowledges the events. A failure says by its kind whether they come again.
    fn commit(self: Box<Self>) -> Commit;

    /// Gives the events back, to come out again before newer ones.
    fn rollback(self: Box<Self>);
}

/// An event that was taken, and its number in the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The event's number in its channel, from 1, never reused.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// The outcome of a commit, as a future.
#[must_use = "a commit is acknowledged only when its outcome is Ok"]
pub struct Commit(BoxFuture<'static, Result<Receipt, Error>>);

impl Commit {
    /// Wraps a channel's own future.
    pub fn new(future: impl Future<Output = Result<Receipt, Error>> + Send + 'static) -> Commit {
        Commit(Box::pin(future))
    }
}

impl Future for Commit {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Commit")
    }
}

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The number of the first event that was put; 0 for a take, and for a put of none.
    pub first_seq: u64,
    /// How many events were put or taken.
    pub events: u64,
    /// Whether the put had been committed before under the same producer and sequence.
    pub duplicate: bool,
    /// What the acknowledgement is worth.
    pub durability: Durability,
}

impl Receipt {
    /// A receipt, as a channel gives it.
    pub fn new(first_seq: u64, events: u64, duplicate: bool, durability: Durability) -> Receipt {
        Receipt { first_seq, events, duplicate, durability }
    }
}

/// What an acknowledgement of a channel is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut.
    Disk,
    /// It survives the end of the process; a power cut may take the last moments.
    Os,
    /// It survives nothing.
    Memory,
}

/// What one transaction of a channel may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most events of one transaction.
    pub transaction_events: usize,
    /// The most bytes of one transaction, all encoded events together.
    pub transaction_bytes: usize,
    /// The most bytes of one encoded event.
    pub event_bytes: usize,
}

/// A channel's figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that some cursor has not acknowledged yet.
    pub events: u64,
    /// Bytes that the channel holds, on disk or in memory.
    pub bytes: u64,
    /// The limit of `bytes`.
    pub bytes_max: u64,
    /// Events in open takes.
    pub events_in_flight: u64,
    /// Events put and acknowledged since the channel was opened.
    pub events_put: u64,
    /// Events taken and acknowledged since the channel was opened, over all cursors.
    pub events_taken: u64,
    /// The cursor that is farthest behind, if one is behind.
    pub pinned_by: Option<String>,
}

/// What to do about an error of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The channel has no room, and none came in time. Put again later; take and commit.
    Full,
    /// The event alone passes the limit. Cut or drop it, or raise the channel's limit.
    EventTooLarge,
    /// The event does not fit into this transaction any more. Commit, and put it into the next.
    TransactionTooLarge,
    /// The channel is closed. Open it again.
    Closed,
    /// It is not known whether the commit is durable: after opening the channel again, it is there
    /// whole or not at all. Put again under the same producer and sequence.
    InDoubt,
    /// An earlier sequence of this producer was refused. Commit that one first.
    OutOfSequence,
    /// The channel cannot be opened as it is: another process owns it, a newer version wrote it,
    /// there is none. The text says which, and the way out.
    Refused,
    /// The call breaks a rule that its documentation names. Mend the call.
    Invalid,
    /// The disk or the system failed; the text says at what. Nothing was acknowledged.
    Io,
}

/// An error of a channel: its kind says what to do, its text where and why.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    text: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with the words for the operator.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into(), source: None }
    }

    /// The same error, with what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
