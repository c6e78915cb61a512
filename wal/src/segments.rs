//! The table of segments: live, spare and free, and how much of the byte limit they use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::options::{Geometry, SPARES_RESERVED};
use crate::segment::Segment;

/// How many spares are kept ready beside the reserved ones; more are given back to the disk.
const SPARES_AHEAD: usize = 2;

/// Which segments there are.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// Those that hold something needed, the active one among them.
    pub(crate) live: BTreeMap<u64, Segment>,
    /// The id of the one that was taken from the spares to become active, until it is live.
    pub(crate) beginning: Option<u64>,
    /// Ready to become active, in the order of their ids.
    pub(crate) spares: VecDeque<Segment>,
    /// No synced State lists them any more: to be made spares of, or removed.
    pub(crate) free: Vec<Segment>,
    /// The log could not begin in them. A seal names the first: as long as no State behind it is
    /// synced, an open that did not find it would call it missing.
    pub(crate) abandoned: Vec<Segment>,
    /// The spare that zeroes are being written to right now, outside the lock.
    pub(crate) ahead: Option<u64>,
    /// How many are being made or recycled right now, outside the lock.
    pub(crate) making: usize,
    pub(crate) next_id: u64,
    /// Names that no new file may take.
    pub(crate) taken: BTreeSet<String>,
}

impl Segments {
    /// An id that was never used.
    pub(crate) fn new_id(&mut self) -> u64 {
        loop {
            let id = self.next_id;
            self.next_id += 1;
            if !self.taken.contains(&crate::names::segment(id))
                && !self.taken.contains(&crate::names::temporary(id))
            {
                return id;
            }
        }
    }

    /// The bytes of all segment files, those being made and the one that begins included.
    pub(crate) fn bytes(&self, geometry: &Geometry) -> u64 {
        let all = self.live.values().chain(&self.spares).chain(&self.free).chain(&self.abandoned);
        all.map(|segment| segment.len_bytes).sum::<u64>()
            + (self.making as u64 + u64::from(self.beginning.is_some())) * geometry.segment_bytes
    }

    /// Whether the byte limit has room for one more segment.
    pub(crate) fn may_make(&self, geometry: &Geometry) -> bool {
        self.bytes(geometry) + geometry.segment_bytes
            <= geometry.segments_max * geometry.segment_bytes
    }

    /// Whether a free segment should become a spare; otherwise it goes.
    pub(crate) fn wants_spares(&self, geometry: &Geometry) -> bool {
        let wanted = self.spares.len() + self.making < SPARES_RESERVED + SPARES_AHEAD;
        wanted && (self.may_make(geometry) || self.spares.len() < self.spares_beyond(geometry))
    }

    /// How many spares are kept although the limit has no room for them: some for acks, when it
    /// was lowered below what is live.
    fn spares_beyond(&self, geometry: &Geometry) -> usize {
        let live: u64 = self.live.values().map(|segment| segment.len_bytes).sum();
        let lowered = live > geometry.segments_max * geometry.segment_bytes;
        if lowered { SPARES_RESERVED } else { 0 }
    }

    /// Gives up spares that the limit has no room for: a power cut may bring back a file whose
    /// removal was not durable.
    pub(crate) fn give_up_spares(&mut self, geometry: &Geometry) {
        let live: u64 = self.live.values().map(|segment| segment.len_bytes).sum();
        let most = geometry.segments_max * geometry.segment_bytes;
        let room = (most.saturating_sub(live) / geometry.segment_bytes) as usize;
        let kept = room.max(self.spares_beyond(geometry)).min(self.spares.len());
        self.free.extend(self.spares.drain(kept..));
    }

    /// Whether puts may go into a block that needs `rolls` further segments: the reserved spares
    /// are for acks, states and losses alone.
    pub(crate) fn admits_puts(&self, rolls: usize) -> bool {
        self.spares.len() >= SPARES_RESERVED + rolls
    }

    /// Adds a spare in its place. One that was overtaken by the log needs a new id first.
    pub(crate) fn add_spare(&mut self, spare: Segment) {
        if self.beginning == Some(spare.id) {
            self.beginning = None;
        }
        let active = self.live.last_key_value().map(|(&active, _)| active);
        if active.max(self.beginning).is_some_and(|newest| newest > spare.id) {
            self.free.push(spare);
            return;
        }
        let at = self.spares.partition_point(|other| other.id < spare.id);
        self.spares.insert(at, spare);
    }

    /// A write or sync of a spare failed: it goes.
    pub(crate) fn poison_spare(&mut self, id: u64) {
        let at = self.spares.iter().position(|spare| spare.id == id);
        let spare = at.and_then(|at| self.spares.remove(at));
        self.free.extend(spare.map(|spare| Segment { poisoned: true, ..spare }));
    }

    /// Chooses the spare that is to be written ahead next, and from where on.
    pub(crate) fn begin_ahead(&mut self) -> Option<Segment> {
        let spare = self.spares.iter().find(|spare| !spare.is_written())?.clone();
        self.ahead = Some(spare.id);
        Some(spare)
    }

    /// So much more of it is written, or a write or sync of it failed: then it goes.
    pub(crate) fn end_ahead(&mut self, id: u64, written_bytes: Option<u64>) {
        self.ahead = None;
        match (written_bytes, self.spares.iter_mut().find(|spare| spare.id == id)) {
            (Some(bytes), Some(spare)) => spare.written_bytes = bytes,
            (None, Some(_)) => self.poison_spare(id),
            (_, None) => {}
        }
    }

    /// Whether the next spare is written ahead, and one that puts may use.
    pub(crate) fn next_is_better(&self, above: u64) -> bool {
        let at = self.spares.partition_point(|spare| spare.id <= above);
        self.spares.len() > SPARES_RESERVED + at
            && self.spares.get(at).is_some_and(|spare| spare.is_written())
    }

    /// A spare whose header may be written: nobody is at work on it.
    pub(crate) fn witness(&self) -> Option<&Segment> {
        self.spares.iter().rev().find(|spare| Some(spare.id) != self.ahead)
    }

    /// The spare with the lowest id above `above`.
    pub(crate) fn next_spare(&self, above: u64) -> Option<u64> {
        self.spares.iter().find(|spare| spare.id > above).map(|spare| spare.id)
    }

    /// The spare with the lowest id above `above`: segments become active in the order of ids.
    pub(crate) fn take_spare(&mut self, above: u64) -> Option<Segment> {
        let at = self.spares.partition_point(|spare| spare.id <= above);
        // What the log has overtaken is of no use under its id.
        self.free.extend(self.spares.drain(..at));
        let spare = self.spares.pop_front();
        self.beginning = spare.as_ref().map(|spare| spare.id);
        // Zeroes would land on what the log writes there.
        assert!(self.beginning.is_none() || self.beginning != self.ahead);
        spare
    }

    /// The log goes on in it: its State is synced.
    pub(crate) fn enter(&mut self, segment: Segment) {
        self.beginning = None;
        self.free.append(&mut self.abandoned);
        self.live.insert(segment.id, segment);
    }

    /// The log could not begin in it.
    pub(crate) fn abandon(&mut self, segment: Segment) {
        self.beginning = None;
        self.abandoned.push(Segment { poisoned: true, ..segment });
    }
}
