//! Figures of an open channel.

use crate::engine::Engine;
use crate::options::SyncClass;
use crate::queue::Ended;
use crate::record::Loss;
use crate::sync::lock;

/// What a channel is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It takes puts.
    Open,
    /// Puts wait for space.
    Full,
    /// A failure of the disk ended writing; it must be opened again.
    Failed,
    /// It was closed.
    Closed,
}

/// Figures of an open channel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// The channel's identity.
    pub uuid: [u8; 16],
    /// Whether it takes puts.
    pub condition: Condition,
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
    /// Segments that nothing needs.
    pub segments_free: usize,
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
    /// Bytes of recent events in memory.
    pub tail_bytes: usize,
    /// What went wrong last beside the commits: a checkpoint, a spare, quarantine.
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
        let condition = {
            let queue = lock(&engine.queue);
            match queue.ended {
                Some(Ended::Closed) => Condition::Closed,
                Some(Ended::Failed) => Condition::Failed,
                None if queue.blocked => Condition::Full,
                None => Condition::Open,
            }
        };
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
            segments_free: segments.free.len(),
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
            tail_bytes: lock(&engine.tail).bytes(),
            trouble,
        }
    }
}
