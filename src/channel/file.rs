//! The file channel: events in a write-ahead log, durable when their commit is acknowledged.
//!
//! This file alone knows the log. It turns events into bytes and the log's errors into the
//! channel's; the guarantees are the log's own.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

pub use wal::{
    Check, Condition, CursorInfo, Damage, DamageKind, Inspection, Loss, LossReason, Role,
    SegmentInfo, Stats as LogStats, SyncClass,
};

use super::{
    BoxFuture, Channel, Commit, Durability, Error, ErrorKind, Limits, PutTransaction, Receipt,
    Stats, TakeTransaction, Taken,
};
use crate::event::Event;

/// The most bytes that one call of `take` hands out, so that a batch of large events stays small.
const TAKE_BYTES_MAX: usize = 16 << 20;

/// How a file channel is opened.
#[derive(Debug, Clone)]
pub struct FileOptions {
    /// The most bytes that its directory may allocate; kept in the channel. Nothing: as it was, or
    /// 16 GiB for a new one.
    pub bytes_max: Option<u64>,
    /// The most events that may wait on a cursor, 0 for no limit; kept in the channel.
    pub events_max: Option<u64>,
    /// How long a commit waits for space.
    pub put_timeout: Duration,
    /// What an acknowledgement waits for.
    pub sync: SyncClass,
    /// Whether the log is written past the system's cache, where the file system allows that.
    pub direct: bool,
    /// How much log there is between two checkpoints at least. Nothing: 8 MiB.
    pub checkpoint_bytes: Option<u64>,
    /// The cursors that are made with the channel; `main` if none is named.
    pub cursors: Vec<String>,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions {
            bytes_max: None,
            events_max: None,
            put_timeout: Duration::from_secs(3),
            sync: SyncClass::Commit,
            direct: false,
            checkpoint_bytes: None,
            cursors: Vec::new(),
        }
    }
}

impl FileOptions {
    fn to_log(&self) -> wal::Options {
        let mut options =
            wal::Options::new().put_timeout(self.put_timeout).sync(self.sync).direct(self.direct);
        if let Some(bytes) = self.bytes_max {
            options = options.bytes_max(bytes);
        }
        if let Some(bytes) = self.checkpoint_bytes {
            options = options.checkpoint_bytes(bytes);
        }
        if let Some(events) = self.events_max {
            options = options.events_max(events);
        }
        self.cursors.iter().fold(options, |options, name| options.cursor(name))
    }
}

/// A durable channel in a directory. Clones are the same channel; the last one closes it.
///
/// ```
/// use std::time::Duration;
/// use forebay::channel::{FileChannel, FileOptions};
/// use forebay::event::Event;
///
/// let dir = tempfile::tempdir()?;
/// let channel = FileChannel::open(dir.path(), FileOptions::default())?;
///
/// let mut put = channel.put_transaction();
/// put.put(&Event::new("hello"))?;
/// put.commit()?; // On the disk from here on.
///
/// let mut take = channel.take_transaction("main")?;
/// for taken in take.take_many(100, Duration::ZERO)? {
///     assert_eq!(&taken.event.body[..], b"hello");
/// }
/// take.commit()?; // Delivered: it does not come again.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileChannel {
    log: wal::Channel,
}

impl FileChannel {
    /// Opens the channel in a directory, or makes one there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] if another process owns it or a newer version wrote it,
    /// [`ErrorKind::Invalid`] for options that cannot be, [`ErrorKind::Io`]. Damage is no error.
    pub fn open(dir: impl AsRef<Path>, options: FileOptions) -> Result<FileChannel, Error> {
        let dir = dir.as_ref();
        let log = wal::Channel::open(dir, options.to_log()).map_err(error)?;
        tell(dir, &log.stats());
        Ok(FileChannel { log })
    }

    /// Looks at a channel from outside, also beside its owner; nothing is changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] if there is no channel or a newer version wrote it,
    /// [`ErrorKind::Io`].
    pub fn inspect(dir: impl AsRef<Path>) -> Result<Inspection, Error> {
        Inspection::read(dir).map_err(error)
    }

    /// Reads every block of a channel from outside, also beside its owner; nothing is changed.
    /// `progress` is told now and then how many bytes are read, and of how many.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] if there is no channel or a newer version wrote it,
    /// [`ErrorKind::Io`]. Damage is no error.
    pub fn check(dir: impl AsRef<Path>, progress: impl FnMut(u64, u64)) -> Result<Check, Error> {
        Check::read(dir, progress).map_err(error)
    }

    /// Whether there is a channel in a directory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] if a newer version wrote it, [`ErrorKind::Io`].
    pub fn exists(dir: impl AsRef<Path>) -> Result<bool, Error> {
        Inspection::is_channel(dir).map_err(error)
    }

    /// Begins a put transaction.
    pub fn put_transaction(&self) -> FilePut {
        FilePut { put: self.log.put_transaction() }
    }

    /// Begins a take transaction on a cursor, which is made at the oldest event if it is new.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]; [`ErrorKind::Invalid`] if the cursor cannot be made.
    pub fn take_transaction(&self, cursor: &str) -> Result<FileTake, Error> {
        Ok(FileTake { take: self.log.take_transaction(cursor).map_err(error)? })
    }

    /// The figures of the log behind it: more than a channel of any kind has.
    pub fn log_stats(&self) -> LogStats {
        self.log.stats()
    }

    /// The last committed sequence of a producer.
    pub fn producer_sequence(&self, producer: &str) -> Option<u64> {
        self.log.producer_sequence(producer)
    }
}

impl Channel for FileChannel {
    fn put_transaction(&self) -> Box<dyn PutTransaction> {
        Box::new(FileChannel::put_transaction(self))
    }

    fn take_transaction(&self, cursor: &str) -> Result<Box<dyn TakeTransaction>, Error> {
        Ok(Box::new(FileChannel::take_transaction(self, cursor)?))
    }

    fn limits(&self) -> Limits {
        let limits = self.log.limits();
        Limits {
            transaction_events: limits.transaction_bytes / 2,
            transaction_bytes: limits.transaction_bytes,
            event_bytes: limits.event_bytes,
        }
    }

    fn position(&self, key: &str) -> Option<Bytes> {
        self.log.position(key)
    }

    fn cursor_state(&self, cursor: &str) -> Option<Bytes> {
        self.log.cursor_state(cursor)
    }

    fn stats(&self) -> Stats {
        let log = self.log.stats();
        let behind = log.cursors.iter().filter(|cursor| cursor.pending > 0);
        let pinned_by = behind.min_by_key(|cursor| cursor.floor).map(|cursor| cursor.name.clone());
        Stats {
            events: log.events,
            bytes: log.bytes,
            bytes_max: log.bytes_max,
            events_in_flight: log.cursors.iter().map(|cursor| cursor.in_flight).sum(),
            events_put: log.events_put,
            events_taken: log.events_taken,
            pinned_by,
        }
    }

    fn close(&self) {
        self.log.close();
    }
}

/// Events on their way into a file channel. Dropping it rolls it back.
#[derive(Debug)]
#[must_use = "events that are not committed are forgotten"]
pub struct FilePut {
    put: wal::PutTransaction,
}

impl FilePut {
    /// Adds an event.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::EventTooLarge`], [`ErrorKind::TransactionTooLarge`]; those before it stay.
    pub fn put(&mut self, event: &Event) -> Result<(), Error> {
        self.put.put_with(|out| event.encode_into(out)).map_err(error)
    }

    /// As [`PutTransaction::set_position`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if it does not fit.
    pub fn set_position(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.put.set_position(key, value).map_err(error)
    }

    /// As [`PutTransaction::set_producer`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if it does not fit.
    pub fn set_producer(&mut self, producer: &str, sequence: u64) -> Result<(), Error> {
        self.put.set_producer(producer, sequence).map_err(error)
    }

    /// As [`PutTransaction::set_wait`].
    pub fn set_wait(&mut self, wait: Duration) {
        self.put.set_wait(wait);
    }

    /// How many events are in it.
    pub fn len(&self) -> usize {
        self.put.len()
    }

    /// Whether no event is in it.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty()
    }

    /// How many bytes of the transaction's limit are used.
    pub fn len_bytes(&self) -> usize {
        self.put.len_bytes()
    }

    /// Makes the events durable and visible, and waits until they are.
    ///
    /// # Errors
    ///
    /// By its kind: [`ErrorKind::Full`], [`ErrorKind::OutOfSequence`], [`ErrorKind::Closed`],
    /// [`ErrorKind::InDoubt`], [`ErrorKind::Io`].
    pub fn commit(self) -> Result<Receipt, Error> {
        self.put.commit().map(receipt).map_err(error)
    }

    /// The same for a task, in line when this returns.
    pub fn commit_async(self) -> Commit {
        commit(self.put.commit_async())
    }

    /// Forgets the events.
    pub fn rollback(self) {}
}

impl PutTransaction for FilePut {
    fn put(&mut self, event: &Event) -> Result<(), Error> {
        FilePut::put(self, event)
    }

    fn set_position(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        FilePut::set_position(self, key, value)
    }

    fn set_producer(&mut self, producer: &str, sequence: u64) -> Result<(), Error> {
        FilePut::set_producer(self, producer, sequence)
    }

    fn set_wait(&mut self, wait: Duration) {
        FilePut::set_wait(self, wait);
    }

    fn len(&self) -> usize {
        FilePut::len(self)
    }

    fn len_bytes(&self) -> usize {
        FilePut::len_bytes(self)
    }

    fn commit(self: Box<Self>) -> Commit {
        self.commit_async()
    }

    fn rollback(self: Box<Self>) {}
}

/// Events on their way out of a file channel. Dropping it gives them back.
#[derive(Debug)]
#[must_use = "events that are not acknowledged come again"]
pub struct FileTake {
    take: wal::TakeTransaction,
}

impl FileTake {
    /// Takes up to `events_max` events and waits up to `wait` for the first one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`], [`ErrorKind::Io`]; what was not handed out comes again.
    pub fn take_many(&mut self, events_max: usize, wait: Duration) -> Result<Vec<Taken>, Error> {
        let started = std::time::Instant::now();
        loop {
            let taken = self.take_now(events_max)?;
            let left = wait.saturating_sub(started.elapsed());
            if !taken.is_empty() || left.is_zero() || events_max == 0 {
                return Ok(taken);
            }
            self.take.wait(left).map_err(error)?;
        }
    }

    fn take_now(&mut self, events_max: usize) -> Result<Vec<Taken>, Error> {
        let taken = self.take.take_many(events_max, TAKE_BYTES_MAX).map_err(error)?;
        taken.into_iter().map(decode).collect()
    }

    /// How many events are in it.
    pub fn len(&self) -> usize {
        self.take.len()
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.take.is_empty()
    }

    /// As [`TakeTransaction::set_state`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if it does not fit.
    pub fn set_state(&mut self, state: &[u8]) -> Result<(), Error> {
        self.take.set_state(state).map_err(error)
    }

    /// Acknowledges the events, and waits until that is durable.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`], [`ErrorKind::Io`]: they come again; [`ErrorKind::InDoubt`]: whether
    /// they do shows when the channel is opened again.
    pub fn commit(self) -> Result<Receipt, Error> {
        self.take.commit().map(receipt).map_err(error)
    }

    /// The same for a task, in line when this returns.
    pub fn commit_async(self) -> Commit {
        commit(self.take.commit_async())
    }

    /// Gives the events back.
    pub fn rollback(self) {}
}

impl TakeTransaction for FileTake {
    fn take(
        &mut self,
        events_max: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Taken>, Error>> {
        Box::pin(async move {
            // A wait that no clock can hold is a wait for ever.
            let until = tokio::time::Instant::now().checked_add(wait);
            loop {
                let taken = self.take_now(events_max)?;
                if !taken.is_empty() || wait.is_zero() || events_max == 0 {
                    return Ok(taken);
                }
                let ready = self.take.ready();
                match until {
                    None => ready.await.map_err(error)?,
                    Some(until) => match tokio::time::timeout_at(until, ready).await {
                        Ok(ready) => ready.map_err(error)?,
                        Err(_) => return self.take_now(events_max),
                    },
                }
            }
        })
    }

    fn len(&self) -> usize {
        FileTake::len(self)
    }

    fn set_state(&mut self, state: &[u8]) -> Result<(), Error> {
        FileTake::set_state(self, state)
    }

    fn commit(self: Box<Self>) -> Commit {
        self.commit_async()
    }

    fn rollback(self: Box<Self>) {}
}

/// Says in the program's log what an operator should know of a channel that was just opened.
fn tell(dir: &Path, stats: &wal::Stats) {
    let dir = dir.display();
    for loss in &stats.recent_losses {
        tracing::warn!(
            "{dir}: lost seqs {} to {} in segment {}: {}",
            loss.seqs.start,
            loss.seqs.end.saturating_sub(1),
            loss.segment,
            loss.reason.words(),
        );
    }
    if let Some(trouble) = &stats.trouble {
        tracing::warn!("{dir}: {trouble}");
    }
    tracing::debug!("{dir}: open, {} events wait, generation {}", stats.events, stats.generation);
}

fn decode(taken: wal::Taken) -> Result<Taken, Error> {
    let seq = taken.seq;
    let event = Event::decode(taken.bytes).map_err(|cause| {
        let text = format!("event {seq} is not one that this program wrote: {cause}");
        Error::new(ErrorKind::Invalid, text).because(cause)
    })?;
    Ok(Taken { seq, event })
}

fn commit(commit: wal::Commit) -> Commit {
    Commit::new(async move { commit.await.map(receipt).map_err(error) })
}

fn receipt(receipt: wal::Receipt) -> Receipt {
    let durability = match receipt.sync {
        SyncClass::Commit => Durability::Disk,
        SyncClass::Interval(_) | SyncClass::Os => Durability::Os,
    };
    Receipt::new(receipt.first_seq, receipt.events, receipt.duplicate, durability)
}

/// The log's error in the channel's words.
pub(super) fn error(error: wal::Error) -> Error {
    let kind = match error.kind() {
        wal::ErrorKind::Full => ErrorKind::Full,
        wal::ErrorKind::EventTooLarge => ErrorKind::EventTooLarge,
        wal::ErrorKind::TransactionTooLarge => ErrorKind::TransactionTooLarge,
        wal::ErrorKind::Closed => ErrorKind::Closed,
        wal::ErrorKind::InDoubt => ErrorKind::InDoubt,
        wal::ErrorKind::OutOfSequence => ErrorKind::OutOfSequence,
        wal::ErrorKind::InUse
        | wal::ErrorKind::NewerVersion
        | wal::ErrorKind::NotAChannel
        | wal::ErrorKind::Corrupt => ErrorKind::Refused,
        wal::ErrorKind::Invalid | wal::ErrorKind::LimitReached | wal::ErrorKind::NoSuchCursor => {
            ErrorKind::Invalid
        }
        _ => ErrorKind::Io,
    };
    // Its text names the system's own error already.
    Error::new(kind, error.to_string())
}
