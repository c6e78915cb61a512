//! Figures of an open channel.

use crate::engine::Engine;
use crate::options::SyncClass;
use crate::queue::Ended;
use crate::record::Loss;
use crate::sync::{Ordering, lock};

/// What a channel is at a moment. That segments were poisoned ([`Stats::poisoned`]) and the log went
/// on without them changes nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It takes puts.
    Open,
    /// Puts wait for space; [`Stats::why`] says which, and what pins it.
    Full,
    /// Read-only: a failure of the disk, which [`Stats::why`] names, ended writing. It takes no
    /// puts and no acknowledgements until it is opened again.
    Failed,
    /// It was closed.
    Closed,
}

impl Condition {
    /// The condition in a word: `open`, `full`, `read-only`, `closed`.
    pub fn word(self) -> &'static str {
        match self {
            Condition::Open => "open",
            Condition::Full => "full",
            Condition::Failed => "read-only",
            Condition::Closed => "closed",
        }
    }

    const ALL: [Condition; 4] =
        [Condition::Open, Condition::Full, Condition::Failed, Condition::Closed];

    /// Its number on the status page.
    pub(crate) fn code(self) -> u64 {
        self as u64
    }

    pub(crate) fn from_code(code: u64) -> Option<Condition> {
        Condition::ALL.into_iter().find(|condition| condition.code() == code)
    }

    /// What an engine is at this moment, and why, unless it is open.
    pub(crate) fn of(engine: &Engine) -> (Condition, Option<String>) {
        let (ended, waiting) = {
            let queue = lock(&engine.queue);
            // The one that found no room may have been refused meanwhile.
            let count = queue.puts.front().map_or(1, |work| u64::from(work.put.count));
            (queue.ended, queue.blocked.then_some(count))
        };
        match (ended, waiting) {
            (Some(Ended::Closed), _) => (Condition::Closed, None),
            (Some(Ended::Failed), _) => (Condition::Failed, lock(&engine.news.failure).clone()),
            (None, Some(count)) => (Condition::Full, Some(engine.why_full(count))),
            (None, None) => (Condition::Open, None),
        }
    }
}

/// Figures of an open channel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// The channel's identity.
    pub uuid: [u8; 16],
    /// Whether it takes puts.
    pub condition: Condition,
    /// Why puts wait, if it is full; what ended writing, if it is read-only.
    pub why: Option<String>,
    /// Segments that a failed write or sync has poisoned since the channel was opened. The log
    /// went on without them, and [`Stats::trouble`] says what failed.
    pub poisoned: u64,
    /// When a commit is acknowledged.
    pub sync: SyncClass,
    /// Events that the slowest cursor has still to acknowledge.
    pub events: u64,
    /// The limit of `events`; 0 for none.
    pub events_max: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The byte limit.
    pub bytes_max: u64,
    /// The seq that the next event will get.
    pub next_seq: u64,
    /// The LSN that the next record will get.
    pub next_lsn: u64,
    /// How often the channel was opened for writing or left a failed segment.
    pub generation: u64,
    /// Segments that hold something needed.
    pub segments_live: usize,
    /// Segments that are ready.
    pub segments_spare: usize,
    /// Those of them that have been written before, so that a sync has no metadata to write.
    pub segments_spare_written: usize,
    /// Segments that nothing needs.
    pub segments_free: usize,
    /// Segments that are being made or prepared at this moment.
    pub segments_making: usize,
    /// The length of a new segment.
    pub segment_bytes: u64,
    /// The cursors.
    pub cursors: Vec<CursorStats>,
    /// Events put since the channel was opened.
    pub events_put: u64,
    /// Events acknowledged since the channel was opened, over all cursors.
    pub events_taken: u64,
    /// Puts since then that had been committed before.
    pub duplicates: u64,
    /// Losses ever noticed.
    pub losses: u64,
    /// Events ever lost.
    pub lost_events: u64,
    /// Events ever dropped by the owner.
    pub dropped_events: u64,
    /// The last losses.
    pub recent_losses: Vec<Loss>,
    /// Bytes of log written since the channel was opened.
    pub written_bytes: u64,
    /// Blocks written since then.
    pub written_blocks: u64,
    /// Syncs of segments since then.
    pub syncs: u64,
    /// Records committed since then.
    pub commits: u64,
    /// How often the log went on in another segment since then.
    pub rolls: u64,
    /// How often that one had never been written before.
    pub fresh_rolls: u64,
    /// Bytes written since then to prepare segments: their headers, and zeroes ahead of the log.
    pub preparing_bytes: u64,
    /// Bytes of recent events in memory.
    pub tail_bytes: usize,
    /// What went wrong last, though the channel went on: a segment was poisoned; a checkpoint, a
    /// spare, quarantine failed.
    pub trouble: Option<String>,
}

/// Figures of a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorStats {
    /// Its name.
    pub name: String,
    /// The oldest seq that it has not acknowledged.
    pub floor: u64,
    /// How many events it has still to acknowledge.
    pub pending: u64,
    /// How many of them are in open takes.
    pub in_flight: u64,
    /// How many takes are open.
    pub open_takes: usize,
}

impl Stats {
    pub(crate) fn of(engine: &Engine) -> Stats {
        let (condition, why) = Condition::of(engine);
        let written = *lock(&engine.news.written);
        let trouble = lock(&engine.news.trouble).clone();
        let segments = lock(&engine.segments);
        let view = lock(&engine.view);
        let state = &view.state;
        let cursors = state.cursors.iter().map(|(id, cursor)| {
            let live = view.cursors.get(id);
            CursorStats {
                name: cursor.name.clone(),
                floor: cursor.floor(),
                pending: cursor.pending(state.next_seq),
                in_flight: live.map_or(0, |live| live.open_events()),
                open_takes: live.map_or(0, |live| live.open_takes()),
            }
        });
        Stats {
            uuid: state.uuid,
            condition,
            why,
            poisoned: engine.news.poisoned.load(Ordering::Relaxed),
            sync: engine.options.sync,
            events: state.pending(),
            events_max: state.events_max,
            bytes: segments.bytes(&engine.geometry),
            bytes_max: engine.geometry.bytes_max,
            next_seq: state.next_seq,
            next_lsn: state.next_lsn,
            generation: state.generation,
            segments_live: segments.live.len(),
            segments_spare: segments.spares.len(),
            segments_spare_written: segments
                .spares
                .iter()
                .filter(|spare| spare.is_written())
                .count(),
            segments_free: segments.free.len() + segments.abandoned.len(),
            segments_making: segments.making,
            segment_bytes: engine.geometry.segment_bytes,
            cursors: cursors.collect(),
            events_put: view.events_put,
            events_taken: view.events_taken,
            duplicates: view.duplicates,
            losses: state.ledger.losses,
            lost_events: state.ledger.lost_events,
            dropped_events: state.ledger.dropped_events,
            recent_losses: state.ledger.recent.clone(),
            written_bytes: written.bytes,
            written_blocks: written.blocks,
            syncs: written.syncs,
            commits: written.commits,
            rolls: written.rolls,
            fresh_rolls: written.fresh_rolls,
            preparing_bytes: engine.news.preparing_bytes.load(Ordering::Relaxed),
            tail_bytes: lock(&engine.tail).bytes(),
            trouble,
        }
    }
}
