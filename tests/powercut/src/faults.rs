//! What a disk does not do, does badly, or does until the power goes.

use std::time::Duration;

/// A call that changes something on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Write,
    Sync,
    SyncDirectory,
    Create,
    Rename,
    Remove,
    Allocate,
    SetLength,
    MakeDirectory,
}

impl Call {
    pub const KINDS: usize = Call::MakeDirectory as usize + 1;
}

/// One call that fails: the n-th of its kind since the disk was started, counted from 1.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    pub call: Call,
    pub nth: u64,
    /// So do all behind it.
    pub onwards: bool,
}

/// When the power goes, if not by the clock.
#[derive(Debug, Clone, Copy)]
pub struct CutAt {
    /// Calls of this kind are counted, or all that change something.
    pub call: Option<Call>,
    pub nth: u64,
    /// That call still has its effect; only its answer never comes.
    pub done: bool,
}

/// How the disk answers when it is asked how much room it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Room {
    #[default]
    Told,
    /// The call is not supported.
    Unsupported,
    /// All figures are 0, as file systems say that do not know.
    Zeroes,
}

/// What is odd about a disk, for all of its life.
#[derive(Debug, Clone, Default)]
pub struct Traits {
    /// `fallocate` is not supported.
    pub no_allocate: bool,
    /// Opening with `O_DIRECT` is refused.
    pub no_direct: bool,
    /// Nothing is cached by the system, and no file can be mapped for shared writing.
    pub no_cache: bool,
    /// `flock` is not supported.
    pub no_lock: bool,
    /// `flock` is the disk's own matter: a lock ends when it hears that a file was closed, which may
    /// be a moment after the process has ended.
    pub own_locks: bool,
    /// It stays mounted through a cut; for disks of which the system caches nothing.
    pub stays_mounted: bool,
    /// Syncing a directory is refused with `EINVAL`.
    pub no_directory_sync: bool,
    pub room: Room,
    /// No file ever says how many blocks it has.
    pub no_blocks: bool,
    /// `fdatasync` leaves lengths and allocations behind, and what was written beyond them.
    pub forgets_lengths: bool,
    /// A rename is two changes, of which one may survive without the other.
    pub loose_renames: bool,
    /// Any sync makes all earlier names and lengths durable, as one journal does.
    pub one_journal: bool,
    /// Sectors that were being written when the power went may hold anything.
    pub garbles: bool,
    /// Writes take a part of what they are given.
    pub short_writes: bool,
    /// The longest time that a sync takes beyond its own.
    pub slow_sync: Duration,
    /// All that can be allocated.
    pub space_bytes: Option<u64>,
    /// A file's sync is answered and does nothing: with such a disk every promise must break.
    pub lies: bool,
    /// So is a directory's.
    pub lies_of_names: bool,
}
