//! The channel: what a program holds.

use std::path::Path;

use bytes::Bytes;

use crate::care::{care_thread, log_thread};
use crate::engine::{Engine, Shared};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::events::longest_within;
use crate::open;
use crate::options::{Background, Options, SyncClass};
use crate::queue::Ended;
use crate::ranges::SeqRange;
use crate::read_ahead::read_thread;
use crate::record::{CursorChange, DropReason, Dropped, Record};
use crate::stats::Stats;
use crate::sync::{self, Arc, JoinHandle, Mutex, Ordering, READS_AHEAD, lock};
use crate::transaction::{PutTransaction, TakeTransaction};

/// A durable channel of opaque events. Clones are the same channel.
///
/// Dropping the last clone closes it, which touches nothing on the disk: closing and crashing
/// leave the same behind.
///
/// ```
/// use forebay_wal::{Channel, Options};
/// let dir = tempfile::tempdir()?;
/// let channel = Channel::open(dir.path(), Options::new().bytes_max(1 << 20))?;
/// let mut put = channel.put_transaction();
/// put.put(b"hello")?;
/// put.commit()?;
/// drop(channel);
///
/// let channel = Channel::open(dir.path(), Options::new())?;
/// let mut take = channel.take_transaction("main")?;
/// assert_eq!(&take.take()?.expect("it is still there").bytes[..], b"hello");
/// take.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Channel {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    engine: Shared,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What one transaction and one event may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of one transaction: each event and its length (two bytes, six
    /// from 65,535 on), positions,
    /// the producer's name.
    pub transaction_bytes: usize,
    /// The most bytes of one event.
    pub event_bytes: usize,
}

/// Where a new cursor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorStart {
    /// At the oldest event that is still there.
    Oldest,
    /// Behind the newest event.
    Next,
    /// At that seq, or at the nearest one that is still there.
    Seq(u64),
}

impl Channel {
    /// Opens the channel in a directory, or makes one there.
    ///
    /// # Errors
    ///
    /// `InUse` if somebody has it open, `NewerVersion`, `Corrupt` only if the options ask for it,
    /// `Invalid` for options that cannot be, `Io` if the directory cannot be read and written.
    /// Whatever else stands in the directory, it opens.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Channel> {
        let env = if options.direct { Env::os_direct() } else { Env::os() };
        Channel::open_in(dir.as_ref(), options, env)
    }

    /// The same in a world of one's own, a simulated one for instance.
    ///
    /// # Errors
    ///
    /// As [`Channel::open`].
    pub fn open_in(dir: &Path, options: Options, env: Env) -> Result<Channel> {
        let background = options.background;
        let engine: Shared = Arc::new(open::open(dir, options, env)?);
        let handle = Handle { engine, threads: Mutex::new(Vec::new()) };
        if background == Background::Threads {
            handle.start("forebay-log", log_thread)?;
            handle.start("forebay-care", care_thread)?;
            if READS_AHEAD {
                handle.start("forebay-read", read_thread)?;
            }
        }
        Ok(Channel { handle: Arc::new(handle) })
    }

    fn engine(&self) -> &Shared {
        &self.handle.engine
    }

    /// Begins a put transaction.
    pub fn put_transaction(&self) -> PutTransaction {
        PutTransaction::new(self.engine().clone())
    }

    /// Begins a take transaction on a cursor. A new name makes a new cursor at the oldest event.
    ///
    /// # Errors
    ///
    /// `Closed`; `Invalid` or `LimitReached` if the cursor cannot be made.
    pub fn take_transaction(&self, cursor: &str) -> Result<TakeTransaction> {
        self.engine().check()?;
        let id = self.engine().cursor_id(cursor)?;
        Ok(TakeTransaction::new(self.engine().clone(), id))
    }

    /// Makes a cursor. Fine, and without effect, if there is one of that name.
    ///
    /// # Errors
    ///
    /// `Closed`; `Invalid` for a name that cannot be; `LimitReached`.
    pub fn add_cursor(&self, name: &str, start: CursorStart) -> Result<()> {
        let start = match start {
            CursorStart::Oldest => None,
            CursorStart::Next => Some(u64::MAX),
            CursorStart::Seq(seq) => Some(seq),
        };
        self.engine().make_cursor(name, start).map(|_| ())
    }

    /// Removes a cursor: what it had still to see pins nothing any more.
    ///
    /// # Errors
    ///
    /// `NoSuchCursor`; `Closed`.
    pub fn remove_cursor(&self, name: &str) -> Result<()> {
        let id = self.id_of(name)?;
        self.engine().commit_control(Record::Cursor(CursorChange::Removed { id })).map(|_| ())
    }

    fn id_of(&self, name: &str) -> Result<u32> {
        let view = lock(&self.engine().view);
        view.state.cursor_named(name).map(|(id, _)| id).ok_or_else(|| {
            let known: Vec<&str> =
                view.state.cursors.values().map(|cursor| cursor.name.as_str()).collect();
            let text = format!("there is no cursor {name:?}; there are {}", known.join(", "));
            Error::new(ErrorKind::NoSuchCursor, text)
        })
    }

    /// Drops all events before a seq on every cursor, durably, and counts them as dropped.
    ///
    /// # Errors
    ///
    /// `Closed` or `Failed`.
    pub fn discard_before(&self, seq: u64) -> Result<()> {
        let until = {
            let view = lock(&self.engine().view);
            seq.min(view.state.next_seq)
        };
        let ranges = vec![SeqRange::new(1, until)];
        let dropped = Dropped { reason: DropReason::Discarded, ranges };
        self.engine().commit_control(Record::Drop(dropped)).map(|_| ())
    }

    /// Lets a producer go on behind a sequence that was refused and that it will not repeat.
    pub fn forgive(&self, producer: &str) {
        lock(&self.engine().queue).forgive(producer);
    }

    /// The last committed position under a key.
    pub fn position(&self, key: &str) -> Option<Bytes> {
        lock(&self.engine().view).state.positions.get(key).cloned()
    }

    /// All positions, by key.
    pub fn positions(&self) -> Vec<(String, Bytes)> {
        let view = lock(&self.engine().view);
        view.state.positions.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The last committed sequence of a producer.
    pub fn producer_sequence(&self, producer: &str) -> Option<u64> {
        lock(&self.engine().view).state.producers.get(producer).copied()
    }

    /// The last committed state of a cursor.
    pub fn cursor_state(&self, cursor: &str) -> Option<Bytes> {
        let view = lock(&self.engine().view);
        view.state.cursor_named(cursor).and_then(|(_, cursor)| cursor.state.clone())
    }

    /// What one transaction may hold.
    pub fn limits(&self) -> Limits {
        let most = self.engine().geometry.transaction_bytes_max;
        Limits { transaction_bytes: most, event_bytes: longest_within(most) }
    }

    /// When a commit is acknowledged.
    pub fn sync_class(&self) -> SyncClass {
        self.engine().options.sync
    }

    /// The channel's figures at this moment.
    pub fn stats(&self) -> Stats {
        Stats::of(self.engine())
    }

    /// Asks for a checkpoint soon. It is written when the log shows that its place is synced.
    pub fn checkpoint(&self) {
        self.engine().want_checkpoint();
    }

    /// Does a round of what the channel's own thread does beside the commits: checkpoints, spare
    /// segments, watermarks. For [`Background::Manual`]; harmless otherwise.
    pub fn tend(&self) {
        self.engine().tend();
    }

    /// Closes the channel and lets go of its directory. Commits that wait get `Closed`; what was
    /// acknowledged stays, what was not taken to its end comes again.
    pub fn close(&self) {
        self.handle.close();
    }
}

impl Handle {
    fn start(&self, name: &str, run: fn(&Shared)) -> Result<()> {
        let engine = self.engine.clone();
        let thread = sync::spawn(name, move || run(&engine))
            .map_err(|error| Error::io(format!("start thread {name}"), error))?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    fn close(&self) {
        let engine: &Engine = &self.engine;
        engine.news.stop.store(true, Ordering::Release);
        engine.end(Ended::Closed);
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
        // Whoever leads still writes; the next owner must come after that.
        drop(lock(&engine.log));
        if let Some(mut status) = lock(&engine.care).status.take() {
            // Whoever looks from now on should not think that somebody is at work.
            status.store(&[("wall_us", 0)], None);
        }
        *lock(&engine.owner) = None;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}
