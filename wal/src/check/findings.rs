//! What was found, weighed: which events it costs, and whether the ledger tells of it already.

use std::io;
use std::path::Path;

use crate::checkpoint;
use crate::directory::Directory;
use crate::env::Env;
use crate::format::SegmentHeaderScan;
use crate::fs::{File, Mode};
use crate::names;
use crate::ranges::{RangeSet, SeqRange};
use crate::record::{Loss, LossReason};
use crate::segment::{Segment, read_header};
use crate::state::{LiveSegment, State};

use super::walk::Found;
use super::{Damage, DamageKind, Look};

/// How often a file beside the log that looks damaged is read again: it may be written just now.
const TRIES: usize = 5;

impl Found {
    pub(super) fn in_segment(self, segment: &Segment) -> Damage {
        Damage {
            kind: self.kind,
            segment: segment.id,
            file: segment.name.clone(),
            offset_bytes: self.offset_bytes,
            len_bytes: self.len_bytes,
            seqs: self.seqs,
            waiting: 0,
            known: false,
        }
    }
}

/// A live segment that is not there.
pub(super) fn missing(live: &LiveSegment, until_seq: u64) -> Damage {
    Damage {
        kind: DamageKind::Missing,
        segment: live.id,
        file: names::segment(live.id),
        offset_bytes: 0,
        len_bytes: 0,
        seqs: SeqRange::new(live.first_seq, until_seq.max(live.first_seq)),
        waiting: 0,
        known: false,
    }
}

/// What is wrong with a live segment's file, apart from its blocks.
pub(super) fn of_file(file: &dyn File, segment: &Segment) -> io::Result<Vec<Damage>> {
    let none = SeqRange::new(segment.known.1, segment.known.1);
    let whole = |kind, offset_bytes, len_bytes| {
        let found = Found { kind, offset_bytes, len_bytes, seqs: none };
        found.in_segment(segment)
    };
    let mut damages = Vec::new();
    if !has_its_header(file, segment)? {
        damages.push(whole(DamageKind::Header, 0, crate::format::SEGMENT_HEADER_LEN as u64));
    }
    if segment.cut_short {
        damages.push(whole(DamageKind::Cut, segment.len_bytes, 0));
    }
    Ok(damages)
}

/// Whether a segment's file begins with the header of just that segment.
fn has_its_header(file: &dyn File, segment: &Segment) -> io::Result<bool> {
    for _ in 0..TRIES {
        if let SegmentHeaderScan::Valid(header) = read_header(file)? {
            return Ok((header.id, header.salt) == (segment.id, segment.salt));
        }
    }
    Ok(false)
}

/// Joins what replay misses to the places that were found.
pub(super) fn add_losses(damages: &mut Vec<Damage>, losses: &[Loss], directory: &Directory) {
    for loss in losses {
        let found = damages.iter_mut().find(|damage| damage.is_place_of(loss));
        if let Some(damage) = found {
            damage.seqs = joined(damage.seqs, loss.seqs);
            continue;
        }
        let kind = match loss.reason {
            LossReason::Damaged => DamageKind::Bytes,
            LossReason::SegmentMissing => DamageKind::Missing,
            LossReason::Unsynced => DamageKind::Unsynced,
        };
        let name = directory.segments.get(&loss.segment).map(|segment| segment.name.clone());
        damages.push(Damage {
            kind,
            segment: loss.segment,
            file: name.unwrap_or_else(|| names::segment(loss.segment)),
            offset_bytes: loss.offset_bytes,
            len_bytes: loss.len_bytes,
            seqs: loss.seqs,
            waiting: 0,
            known: false,
        });
    }
}

fn joined(one: SeqRange, other: SeqRange) -> SeqRange {
    if one.is_empty() {
        return other;
    }
    if other.is_empty() {
        return one;
    }
    SeqRange::new(one.start.min(other.start), one.end.max(other.end))
}

impl Damage {
    /// Whether a loss is what this costs.
    fn is_place_of(&self, loss: &Loss) -> bool {
        let missing = self.kind == DamageKind::Missing;
        if self.segment != loss.segment || missing != (loss.reason == LossReason::SegmentMissing) {
            return false;
        }
        missing || self.touches(loss.offset_bytes, loss.len_bytes)
    }

    fn touches(&self, offset_bytes: u64, len_bytes: u64) -> bool {
        let (one, other) = (self.len_bytes.max(1), len_bytes.max(1));
        self.offset_bytes < offset_bytes + other && offset_bytes < self.offset_bytes + one
    }

    /// Says what the damage costs, and whether the ledger knows. `new` are losses that it does not.
    pub(super) fn weigh(&mut self, state: &State, new: &[Loss]) {
        self.waiting = waiting(state, self.seqs);
        let is_new = new.iter().any(|loss| self.is_place_of(loss));
        let damaged = state.damaged.iter().any(|damaged| {
            damaged.segment == self.segment && self.touches(damaged.offset_bytes, damaged.len_bytes)
        });
        let told = damaged || state.ledger.recent.iter().any(|loss| self.is_place_of(loss));
        let absent = !self.seqs.is_empty() && state.absent.covers(self.seqs);
        self.known = !is_new && self.waiting == 0 && (told || absent);
    }
}

/// How many seqs of a range some cursor has still to see, those left out that are known to be
/// absent.
fn waiting(state: &State, seqs: SeqRange) -> u64 {
    let mut waiting = RangeSet::new();
    if state.cursors.is_empty() {
        waiting.insert(seqs);
    }
    for cursor in state.cursors.values() {
        cursor.acked.missing_in(seqs).into_iter().for_each(|range| _ = waiting.insert(range));
    }
    state.absent.iter().for_each(|range| _ = waiting.remove(range));
    waiting.len()
}

/// Files that are not sound and on which no event depends.
pub(super) fn remarks(dir: &Path, env: &Env, look: &Look) -> Vec<(String, &'static str)> {
    let mut remarks = Vec::new();
    for name in names::CHECKPOINTS {
        if (0..TRIES).all(|_| checkpoint::is_bad(env, dir, name)) {
            remarks.push((name.to_owned(), "is no whole checkpoint: an open replays more instead"));
        }
    }
    let directory = &look.files.directory;
    for name in &directory.orphans {
        remarks.push((name.clone(), "belongs to no log that is known here"));
    }
    let live = &look.recovered.state.segments;
    let spares = directory.segments.values().filter(|segment| {
        !live.iter().any(|live| (live.id, live.salt) == (segment.id, segment.salt))
    });
    for spare in spares {
        let file = env.fs.open(&names::path(dir, &spare.name), Mode::Read);
        // One that was renamed since was used, or made anew.
        let Ok(file) = file else { continue };
        if spare.cut_short {
            remarks.push((spare.name.clone(), "is a spare, and shorter than it was made"));
        }
        let valid = |scan| matches!(scan, SegmentHeaderScan::Valid(_));
        if (0..TRIES).all(|_| !read_header(&*file).is_ok_and(valid)) {
            remarks.push((spare.name.clone(), "is a spare whose header is damaged"));
        }
    }
    remarks
}
