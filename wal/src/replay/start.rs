//! Where replay starts: at the newest state that can be read.

use std::path::Path;

use crate::block::records;
use crate::checkpoint::Checkpoint;
use crate::directory::Directory;
use crate::env::Env;
use crate::error::Result;
use crate::format::STATE_OFFSET;
use crate::fs::Mode;
use crate::record::{CursorChange, Record};
use crate::segment::Segment;
use crate::state::State;

use super::scan::{Found, is_on_medium, read_body, scan};
use super::{GLANCE_BYTES, read_failed};

/// After so many older States the newest one has been seen.
const HEADS_OLDER: usize = 3;

/// A state, and where the log behind it begins.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) state: State,
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) prev_crc: u32,
    /// The highest LSN that the state itself proves to have been synced.
    pub(super) durable_lsn: u64,
    /// Without any state: what of the first segment lies before the first block.
    pub(super) lost_bytes: u64,
    /// Nothing but the blocks themselves is left to begin with.
    pub(super) stateless: bool,
    pub(super) from_checkpoint: bool,
}

/// The newest of the checkpoints and of the States at the segments' heads.
pub(super) fn choose(
    env: &Env,
    dir: &Path,
    directory: &Directory,
    checkpoints: &[Checkpoint],
    writable: bool,
) -> Result<Start> {
    let ours = checkpoints
        .iter()
        .filter(|checkpoint| directory.uuid.is_none_or(|uuid| uuid == checkpoint.state.uuid));
    let newest = ours.max_by_key(|checkpoint| (rank(&checkpoint.state), checkpoint.number));
    let head = newest_head(env, dir, directory, writable)?;
    let start = match (newest, head) {
        (Some(checkpoint), Some(head)) if rank(&checkpoint.state) <= rank(&head.state) => head,
        (Some(checkpoint), _) => from_checkpoint(checkpoint),
        (None, Some(head)) => head,
        (None, None) => without_state(env, dir, directory, writable)?,
    };
    Ok(start)
}

/// A later generation knows better than an earlier one, whatever LSN that had come to.
fn rank(state: &State) -> (u64, u64) {
    (state.generation, state.next_lsn)
}

fn from_checkpoint(checkpoint: &Checkpoint) -> Start {
    Start {
        durable_lsn: checkpoint.state.next_lsn - 1,
        lost_bytes: 0,
        state: checkpoint.state.clone(),
        segment: checkpoint.segment,
        offset: checkpoint.offset_bytes,
        prev_crc: checkpoint.prev_crc,
        stateless: false,
        from_checkpoint: true,
    }
}

/// The State at the head of the newest segment that has one. Behind it are only spares.
fn newest_head(
    env: &Env,
    dir: &Path,
    directory: &Directory,
    writable: bool,
) -> Result<Option<Start>> {
    let mut newest: Option<Start> = None;
    let mut older = 0;
    for segment in directory.segments.values().rev() {
        let best = newest.as_ref().map(|best| rank(&best.state));
        let Some(head) = head_of(env, dir, segment, best.filter(|_| writable), writable)? else {
            continue;
        };
        match &newest {
            Some(best) if rank(&best.state) >= rank(&head.state) => older += 1,
            _ => newest = Some(head),
        }
        // Ids rise with time, but a segment that failed while it began, or that was away for a
        // while and came back, may stand above the newest.
        if older == HEADS_OLDER {
            break;
        }
    }
    Ok(newest)
}

/// The State at a segment's head, from either copy. Whoever wants to write believes one that is
/// newer than `best` only from the medium: an open whose sync failed has left it in the cache.
fn head_of(
    env: &Env,
    dir: &Path,
    segment: &Segment,
    best: Option<(u64, u64)>,
    writable: bool,
) -> Result<Option<Start>> {
    let failed = |error| read_failed(dir, segment, error);
    let file = segment.open(env, dir, if writable { Mode::ReadWrite } else { Mode::Read })?;
    let look = |until: u64| {
        let until = until.min(segment.len_bytes);
        scan(&*file, segment.owner(), STATE_OFFSET, until).map_err(failed)
    };
    let mut head = look(STATE_OFFSET + GLANCE_BYTES)?;
    if head.blocks.is_empty() && (head.first_is_bad || !head.broken.is_empty()) {
        // A State that is longer than a glance, with a damaged first copy.
        head = look(STATE_OFFSET + segment.len_bytes / 2)?;
    }
    let mut synced = false;
    for found in head.blocks.iter().take_while(|found| found.header.records == 0) {
        let body = read_body(&*file, &found.header).map_err(failed)?;
        let mut records = records(&found.header, body).unwrap_or_default();
        let Some(Record::State(state)) = records.pop() else { continue };
        if writable && best.is_none_or(|best| best < rank(&state)) {
            if !synced {
                file.sync_data().map_err(failed)?;
                synced = true;
            }
            if !is_on_medium(&*file, found).map_err(failed)? {
                continue;
            }
        }
        return Ok(Some(from_head(*state, segment, found)));
    }
    Ok(None)
}

fn from_head(state: State, segment: &Segment, found: &Found) -> Start {
    Start {
        durable_lsn: found.header.durable_lsn,
        lost_bytes: 0,
        state,
        segment: segment.id,
        offset: found.end(),
        prev_crc: found.crc,
        stateless: false,
        from_checkpoint: false,
    }
}

/// No state is left: begin at the first block there is, with one cursor that has seen nothing.
fn without_state(env: &Env, dir: &Path, directory: &Directory, writable: bool) -> Result<Start> {
    let mut state = State::new(directory.uuid.unwrap_or_default(), 0);
    let mut at = (directory.highest_id() + 1, STATE_OFFSET);
    let mut lost_bytes = 0;
    for segment in directory.segments.values() {
        let failed = |error| read_failed(dir, segment, error);
        let file = segment.open(env, dir, Mode::Read)?;
        let mut blocks =
            scan(&*file, segment.owner(), STATE_OFFSET, segment.len_bytes).map_err(failed)?.blocks;
        if writable && !blocks.is_empty() {
            // What an open that failed left in the cache alone is not the beginning of anything.
            let file = segment.open(env, dir, Mode::ReadWrite)?;
            file.sync_data().map_err(failed)?;
            let mut absent = 0;
            while absent < blocks.len() && !is_on_medium(&*file, &blocks[absent]).map_err(failed)? {
                absent += 1;
            }
            blocks.drain(..absent);
        }
        if let Some(first) = blocks.first() {
            // The limit that made segments of that length.
            state.bytes_max = 8 * segment.len_bytes;
            state.next_lsn = first.header.first_lsn.max(1);
            state.next_seq = first.header.next_seq_before.max(1);
            state.generation = first.header.generation;
            state.generation_lsn = first.header.generation_lsn;
            let (name, start) = (crate::MAIN_CURSOR.to_owned(), state.next_seq);
            state.apply(&Record::Cursor(CursorChange::Made { id: 1, name, start }));
            state.next_lsn -= 1;
            at = (segment.id, STATE_OFFSET);
            lost_bytes = first.header.offset - STATE_OFFSET;
            break;
        }
    }
    Ok(Start {
        state,
        segment: at.0,
        offset: at.1,
        prev_crc: 0,
        durable_lsn: 0,
        lost_bytes,
        stateless: true,
        from_checkpoint: false,
    })
}

/// The segments of which no block is readable and that look as if something had been written at
/// their head.
pub(super) fn unreadable(env: &Env, dir: &Path, directory: &Directory) -> Result<Vec<Segment>> {
    let mut unreadable = Vec::new();
    for segment in directory.segments.values() {
        let file = segment.open(env, dir, Mode::Read)?;
        let found = scan(&*file, segment.owner(), STATE_OFFSET, segment.len_bytes)
            .map_err(|error| read_failed(dir, segment, error))?;
        if found.blocks.is_empty() && (found.first_is_bad || !found.broken.is_empty()) {
            unreadable.push(segment.clone());
        }
    }
    Ok(unreadable)
}
