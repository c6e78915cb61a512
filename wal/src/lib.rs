//! A durable channel of opaque events: put, take, commit, replay.
//!
//! One event's way, and the file that holds each step:
//!
//! | step | file |
//! | --- | --- |
//! | a caller gathers puts or takes | `transaction/` |
//! | a commit stands in line | `queue.rs` |
//! | whoever leads makes one block of all that waits | `group_commit.rs` |
//! | what would pass a limit of the State is refused | `tables.rs` |
//! | records and blocks, as values and as bytes | `record.rs`, `block.rs`, `format.rs` |
//! | the block goes to the end of the active segment and is synced | `log.rs` |
//! | the log goes on in the next segment, or elsewhere after a failure | `roll.rs`, `again.rs` |
//! | the state takes the records in, takers see them | `state.rs`, `view.rs`, `cursor.rs` |
//! | a taker reads them from memory or from the segments | `taking.rs`, `tail.rs`, `reader.rs` |
//! | what nothing needs any more becomes space | `reclaim.rs`, `segments.rs` |
//! | now and then the state is written down | `care.rs`, `checkpoint.rs` |
//! | a restart finds the newest state and reads the log behind it | `open.rs`, `replay/` |
//! | somebody asks whether every block is as it was written | `check/` |
//!
//! # What always holds
//!
//! - **I1** A commit is acknowledged, and its events are visible, only after a sync that covers it
//!   (sync class `commit`), or after the write (the weaker classes).
//! - **I2** A sector that acknowledges something is never written again before its segment is
//!   recycled.
//! - **I3** A segment is recycled only after a synced State no longer lists it, and a State leaves
//!   a segment out only when every cursor has acknowledged all of its events.
//! - **I4** The write of a block starts after the sync of the one before has returned.
//! - **I5** The live state and the replayed state come about by the same function,
//!   `State::apply`, over the same records.
//! - **I6** A checkpoint's place is not beyond a `durable_lsn` that stands in a synced block.
//! - **I7** Two segments are always ready that puts may not use.
//! - **I8** Nothing on the disk is deleted or overwritten because something is missing or damaged.
//!
//! The bytes are drawn in `FORMAT.md`, beside `Cargo.toml`.

#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod doors;
mod error;
mod events;
pub mod fs;

mod channel;
mod options;
mod transaction;

mod queue;
mod signal;

mod group_commit;

mod block;
mod checksum;
mod format;
mod record;
mod wire;

mod admission;
mod again;
mod log;
mod roll;
mod segment;
mod segments;

mod company;
mod cursor;
mod ranges;
mod read_ahead;
mod state;
mod state_codec;
mod tables;
mod view;

mod reader;
mod tail;
mod taking;

mod buffers;
mod care;
mod checkpoint;
mod checkpoint_codec;
mod quarantine;
mod reclaim;
mod status;

mod check;
mod directory;
mod open;
mod replay;

mod engine;
mod env;
mod inspect;
mod names;
mod stats;
mod sync;

pub use channel::{Channel, CursorStart, Limits};
pub use check::{Check, Damage, DamageKind};
pub use env::{Clock, Env, Random};
pub use error::{Error, ErrorKind, Result};
pub use inspect::{CursorInfo, Inspection, Role, SegmentInfo};
pub use options::{
    BYTES_MAX_DEFAULT, BYTES_MAX_LEAST, BYTES_MAX_MOST, Background, CURSOR_NAME_BYTES_MAX,
    OnCorruption, Options, SyncClass,
};
pub use queue::Receipt;
pub use ranges::SeqRange;
pub use record::{DropReason, Loss, LossReason};
pub use stats::{Condition, CursorStats, Stats};
pub use transaction::{Commit, KEY_BYTES_MAX, PutTransaction, TakeTransaction, Taken};

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub use sync::decide_limits;

/// The cursor that a channel has when none is named.
pub const MAIN_CURSOR: &str = "main";
