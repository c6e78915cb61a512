//! The walk along the log: step by step, as the table decides.

use std::path::Path;

use crate::block::records;
use crate::directory::Directory;
use crate::error::Result;
use crate::format::{BLOCK_ALIGN, SEGMENT_BYTES, STATE_OFFSET};
use crate::ranges::{RangeSet, SeqRange};
use crate::record::{Loss, LossReason, Record};
use crate::roll::SEQS_RESERVED;
use crate::segment::Segment;
use crate::state::{LiveSegment, State};

use super::scan::{Found, Scan, read_body};
use super::start::Start;
use super::table::{Decision, Facts, decide};
use super::{Evidence, Recovered, Report, Stretch, read_failed};

/// The walk along the log.
pub(super) struct Walk {
    state: State,
    evidence: Evidence,
    /// The segment and offset behind the last block that was taken in, or the start.
    at: (u64, u64),
    prev_crc: u32,
    events_unproven: u64,
    /// The seq behind the last one that stands in the cache and not on the medium, acknowledged
    /// before a sync.
    unbelieved_seq: u64,
    /// What the last seal says of where the log goes on, until it does.
    sealed: Option<(u64, u64)>,
    /// The file that held the log's end is gone, or shorter than it was made.
    end_is_gone: bool,
    losses: Vec<Loss>,
    /// There was no State to start from, and none was met since.
    headless: Option<Loss>,
    /// Then also: the segments that no block says anything of, and that are not empty.
    pub(super) unreadable: Vec<Segment>,
    report: Report,
    now_us: i64,
    writable: bool,
}

impl Walk {
    pub(super) fn new(start: Start, evidence: Evidence, now_us: i64, writable: bool) -> Walk {
        let report = Report { from_checkpoint: start.from_checkpoint, ..Report::default() };
        let at = (start.segment, start.offset);
        let mut walk = Walk {
            state: start.state,
            evidence,
            at,
            prev_crc: start.prev_crc,
            events_unproven: 0,
            unbelieved_seq: 0,
            sealed: None,
            end_is_gone: false,
            losses: Vec::new(),
            headless: None,
            unreadable: Vec::new(),
            report,
            now_us,
            writable,
        };
        if start.lost_bytes > 0 {
            // A head is never without a State: what it said is lost, and who has seen what.
            let none = SeqRange::new(walk.state.next_seq, walk.state.next_seq);
            let place = (at, start.lost_bytes);
            let loss = walk.loss(LossReason::Damaged, none, walk.state.next_lsn, place);
            walk.headless = Some(loss);
        }
        walk
    }

    /// Takes in one segment; whether the log goes on behind it.
    pub(super) fn segment(&mut self, stretch: &mut Stretch, dir: &Path) -> Result<bool> {
        let segment = stretch.segment.clone();
        let failed = |error| read_failed(dir, &segment, error);
        let scan = stretch.take_scan(dir)?;
        for (index, found) in scan.blocks.iter().enumerate() {
            let believed = self.is_believed(stretch, found).map_err(failed)?;
            if !believed {
                if found.header.sync_class != 0 {
                    self.unbelieved_seq = self.unbelieved_seq.max(found.header.next_seq_after);
                }
                continue;
            }
            let decision = self.decide(Some(found));
            match decision {
                Decision::Apply => self.apply(stretch, found).map_err(failed)?,
                Decision::Skip => {}
                Decision::Lose => {
                    self.lose_before(stretch, found);
                    self.apply(stretch, found).map_err(failed)?;
                }
                Decision::CutAtHole => {
                    let rest = Scan { blocks: scan.blocks[index..].to_vec(), ..Scan::default() };
                    stretch.scan = Some(rest);
                    return Ok(false);
                }
                Decision::LoseTail | Decision::End | Decision::Impossible => {
                    unreachable!("{decision:?} for a block")
                }
            }
        }
        let end = self.at.1;
        self.report.torn_blocks += scan
            .broken
            .iter()
            .filter(|torn| torn.offset >= end && !self.evidence.voids(torn))
            .count() as u64;
        Ok(true)
    }

    /// What is above W may stand in the cache alone: synced first, it must come from the medium.
    fn is_believed(&self, stretch: &mut Stretch, found: &Found) -> std::io::Result<bool> {
        if self.is_synced(found) {
            return Ok(true);
        }
        if stretch.cached.contains(&found.header.offset) {
            return Ok(false);
        }
        Ok(!self.writable || found.header.records == 0 || stretch.is_on_medium(found)?)
    }

    /// Whether evidence says that a record of the block was synced.
    fn is_synced(&self, found: &Found) -> bool {
        let last_lsn = found.header.next_lsn().saturating_sub(1);
        found.header.records > 0 && last_lsn <= self.evidence.durable_lsn
    }

    fn decide(&mut self, found: Option<&Found>) -> Decision {
        let expected = self.state.next_lsn;
        let facts = Facts {
            end: found.is_none(),
            void: found.is_some_and(|found| self.evidence.voids(&found.header)),
            behind: found.is_some_and(|found| found.header.first_lsn < expected),
            ahead: found.is_some_and(|found| found.header.first_lsn > expected),
            synced: expected <= self.evidence.durable_lsn || (found.is_none() && self.end_is_gone),
        };
        let (letter, decision) = decide(facts);
        *self.report.rows.entry(letter).or_default() += 1;
        decision
    }

    fn apply(&mut self, stretch: &Stretch, found: &Found) -> std::io::Result<()> {
        let header = &found.header;
        self.enter(stretch, found);
        let body = read_body(&*stretch.file, header)?;
        self.sealed = None;
        match records(header, body) {
            Some(records) => {
                // Of a generation that ended right here, the next segment may have gone with it.
                let ended = self.evidence.ends_before(header.generation, header.first_lsn + 1);
                if let Some(Record::Seal(seal)) = records.last()
                    && !ended
                {
                    self.sealed = Some((seal.next_segment, seal.next_salt));
                }
                records.iter().for_each(|record| self.state.apply(record));
                if records.iter().any(|record| matches!(record, Record::State(_))) {
                    self.headless = None;
                    self.unreadable.clear();
                }
            }
            // A sound block with a record that this version cannot read.
            None => {
                let seqs = SeqRange::new(header.next_seq_before, header.next_seq_after);
                let place = ((stretch.segment.id, header.offset), header.total_bytes());
                let loss = self.loss(LossReason::Damaged, seqs, header.next_lsn(), place);
                self.losses.push(loss);
            }
        }
        if header.next_lsn() > self.evidence.durable_lsn + 1 {
            self.events_unproven += header.next_seq_after - header.next_seq_before;
        }
        self.state.next_lsn = header.next_lsn();
        self.state.next_seq = self.state.next_seq.max(header.next_seq_after);
        if header.sync_class != 0 && self.state.next_seq > self.state.seq_reserved {
            // The State that had reserved them is lost, and may have reserved so many.
            self.state.seq_reserved = self.state.next_seq + SEQS_RESERVED;
        }
        self.state.generation = header.generation;
        self.state.generation_lsn = header.generation_lsn;
        self.at = (stretch.segment.id, found.end());
        self.prev_crc = found.crc;
        self.report.blocks += 1;
        Ok(())
    }

    /// A segment whose States are both unreadable is live all the same.
    fn enter(&mut self, stretch: &Stretch, found: &Found) {
        let id = stretch.segment.id;
        if self.state.segments.last().is_none_or(|last| last.id < id) {
            let last_seq = self.state.segments.last().map_or(0, |last| last.first_seq);
            self.state.segments.push(LiveSegment {
                id,
                salt: stretch.segment.salt,
                first_seq: found.header.next_seq_before.max(last_seq),
                first_lsn: found.header.first_lsn,
            });
        }
    }

    fn lose_before(&mut self, stretch: &Stretch, found: &Found) {
        let header = &found.header;
        let (segment, from, until) = if self.at.0 == stretch.segment.id {
            (self.at.0, self.at.1, header.offset)
        } else {
            (stretch.segment.id, STATE_OFFSET, header.offset)
        };
        let seqs = SeqRange::new(self.state.next_seq, header.next_seq_before);
        let place = ((segment, from), until.saturating_sub(from));
        let loss = self.loss(LossReason::Damaged, seqs, header.first_lsn, place);
        self.losses.push(loss);
        self.state.next_lsn = header.first_lsn;
        self.state.next_seq = self.state.next_seq.max(header.next_seq_before);
    }

    /// The log ends at a hole: what a weaker sync class had acknowledged behind it is a loss.
    pub(super) fn cut(&mut self, stretches: &mut [Stretch], dir: &Path) -> Result<()> {
        let mut until = (self.state.next_lsn, self.state.next_seq);
        for stretch in stretches {
            let scan = stretch.take_scan(dir)?;
            for found in &scan.blocks {
                if found.header.sync_class != 0 && !self.evidence.voids(&found.header) {
                    until.0 = until.0.max(found.header.next_lsn());
                    until.1 = until.1.max(found.header.next_seq_after);
                }
            }
        }
        if until.0 > self.state.next_lsn {
            let seqs = SeqRange::new(self.state.next_seq, until.1);
            let loss = self.loss(LossReason::Unsynced, seqs, until.0, (self.at, 0));
            self.losses.push(loss);
            self.state.next_seq = until.1;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, directory: &Directory) -> Recovered {
        let mut tail = directory.segments.contains_key(&self.at.0).then_some(self.at);
        self.end_is_gone = self.misses_its_end(directory);
        let tail_is_lost = self.decide(None) == Decision::LoseTail;
        if tail_is_lost {
            self.lose_tail(directory);
            // What is damaged stays where it is.
            tail = None;
        }
        self.keep_unreadable(tail_is_lost);
        if self.unbelieved_seq > self.state.next_seq {
            let seqs = SeqRange::new(self.state.next_seq, self.unbelieved_seq);
            let loss = self.loss(LossReason::Unsynced, seqs, self.state.next_lsn, (self.at, 0));
            self.losses.push(loss);
            self.state.next_seq = self.unbelieved_seq;
        }
        self.lose_missing_segments(directory);
        self.losses.extend(self.headless.take());
        let state = &self.state;
        self.losses.retain(|loss| !is_known(state, loss));
        let generations = self.evidence.generations.keys().copied();
        Recovered {
            tail,
            prev_crc: self.prev_crc,
            events_unproven: self.events_unproven,
            durable_lsn: self.evidence.durable_lsn,
            generation: generations
                .max()
                .unwrap_or(0)
                .max(self.evidence.generation_seen)
                .max(self.state.generation),
            losses: self.losses,
            report: self.report,
            state: self.state,
        }
    }

    /// Where no State says which segments are live, what stood in one of which nothing can be read
    /// is damage as well: it stays listed until its bytes are in quarantine.
    fn keep_unreadable(&mut self, tail_is_lost: bool) {
        let last = self.state.segments.last().map(|last| last.id);
        for segment in std::mem::take(&mut self.unreadable) {
            let place = self.state.segments.partition_point(|live| live.id < segment.id);
            let next = self.state.segments.get(place).copied();
            // Behind the log's end, or alone, it may be one that was just being begun.
            let was_live = last.map_or(tail_is_lost, |last| segment.id < last);
            if !was_live || next.is_some_and(|next| next.id == segment.id) {
                continue;
            }
            let first_seq = next.map_or(self.state.next_seq, |next| next.first_seq);
            let first_lsn = next.map_or(self.state.next_lsn, |next| next.first_lsn);
            let none = SeqRange::new(first_seq, first_seq);
            let len_bytes = segment.len_bytes.saturating_sub(STATE_OFFSET);
            let place_lost = ((segment.id, STATE_OFFSET), len_bytes);
            let loss = self.loss(LossReason::Damaged, none, self.state.next_lsn, place_lost);
            self.losses.push(loss);
            let live = LiveSegment { id: segment.id, salt: segment.salt, first_seq, first_lsn };
            self.state.segments.insert(place, live);
        }
    }

    /// Whether a file should be there, or be longer, for the log's end to stand in it. What a seal
    /// names was in the directory before the seal was written.
    fn misses_its_end(&self, directory: &Directory) -> bool {
        if self.gone(directory).is_some() {
            return true;
        }
        match self.sealed {
            Some((id, salt)) => find(directory, id, salt).is_none_or(|next| next.cut_short),
            None => directory.segments.get(&self.at.0).is_some_and(|here| here.cut_short),
        }
    }

    /// The last live segment, if it is not there.
    fn gone(&self, directory: &Directory) -> Option<LiveSegment> {
        let last = self.state.segments.last();
        last.filter(|last| find(directory, last.id, last.salt).is_none()).copied()
    }

    /// More had been synced than can be read: the end of the last segment, or a whole one that its
    /// predecessor's seal names.
    fn lose_tail(&mut self, directory: &Directory) {
        let next_lsn = (self.evidence.durable_lsn + 1).max(self.state.next_lsn);
        let next_seq = self.evidence.next_seq.max(self.state.next_seq);
        let gone = self.gone(directory);
        let next = self.sealed.and_then(|(id, salt)| find(directory, id, salt));
        let here = directory.segments.get(&self.at.0);
        let (at, len_bytes) = match (gone, self.sealed, next, here) {
            (Some(gone), ..) => ((gone.id, 0), 0),
            (None, _, Some(next), _) => {
                ((next.id, STATE_OFFSET), next.len_bytes.saturating_sub(STATE_OFFSET))
            }
            (None, Some((id, _)), None, _) => ((id, 0), 0),
            (None, None, _, Some(here)) => (self.at, here.len_bytes.saturating_sub(self.at.1)),
            (None, None, _, None) => (self.at, 0),
        };
        let missing = gone.is_some() || (self.sealed.is_some() && next.is_none());
        let reason = if missing { LossReason::SegmentMissing } else { LossReason::Damaged };
        let first_seq = gone.map_or(self.state.next_seq, |gone| gone.first_seq);
        let seqs = SeqRange::new(first_seq, next_seq);
        let loss = self.loss(reason, seqs, next_lsn, (at, len_bytes));
        self.losses.push(loss);
        if let Some(next) = next {
            // It stays listed until its bytes are in quarantine.
            self.state.segments.push(LiveSegment {
                id: next.id,
                salt: next.salt,
                first_seq: self.state.next_seq,
                first_lsn: self.state.next_lsn,
            });
        }
        self.state.next_lsn = next_lsn;
        self.state.next_seq = next_seq;
        // What was acknowledged after the last thing that is known may have been seen: no seq that
        // a segment has room for is used twice.
        let longest = directory.segments.values().map(|segment| segment.len_bytes).max();
        let longest = longest.unwrap_or(*SEGMENT_BYTES.end());
        let mut room = longest / 4;
        if self.evidence.weaker {
            // Each State in it may have reserved more, and the next open gone on behind that.
            room += longest / BLOCK_ALIGN * SEQS_RESERVED;
        }
        self.state.seq_reserved = self.state.seq_reserved.max(next_seq + room);
    }

    fn loss(
        &self,
        reason: LossReason,
        seqs: SeqRange,
        until_lsn: u64,
        ((segment, offset_bytes), len_bytes): ((u64, u64), u64),
    ) -> Loss {
        Loss {
            reason,
            seqs,
            lsns: (self.state.next_lsn, until_lsn),
            segment,
            offset_bytes,
            len_bytes,
            noticed_us: self.now_us,
        }
    }

    /// A live segment that is not there is a loss of what it held and some cursor still needs.
    fn lose_missing_segments(&mut self, directory: &Directory) {
        let ends = self.state.segments.iter().skip(1).map(|next| next.first_seq);
        let ends: Vec<u64> = ends.chain([self.state.next_seq]).collect();
        // What a hole in the log has told already is not told twice.
        let mut known = RangeSet::new();
        self.losses.iter().for_each(|loss| _ = known.insert(loss.seqs));
        let mut losses = Vec::new();
        for (segment, end) in self.state.segments.iter().zip(ends) {
            let there = find(directory, segment.id, segment.salt).is_some();
            // As the log's end, perhaps.
            let told = self.losses.iter().any(|loss| loss.segment == segment.id && !there);
            let seqs = SeqRange::new(segment.first_seq, end);
            if there || told || !self.state.expects(seqs) {
                continue;
            }
            for seqs in known.missing_in(seqs) {
                let mut loss = self.loss(LossReason::SegmentMissing, seqs, 0, ((segment.id, 0), 0));
                loss.lsns = (segment.first_lsn, segment.first_lsn);
                losses.push(loss);
            }
        }
        self.losses.extend(losses);
    }
}

/// A segment of the directory, if it is the very one.
fn find(directory: &Directory, id: u64, salt: u64) -> Option<&Segment> {
    directory.segments.get(&id).filter(|segment| segment.salt == salt)
}

/// Whether the ledger has that loss already: it was noticed at an earlier open, and its record
/// stands further on in the log.
fn is_known(state: &State, loss: &Loss) -> bool {
    if !loss.seqs.is_empty() {
        return !state.expects(loss.seqs);
    }
    state.ledger.recent.iter().any(|known| known.lsns == loss.lsns)
}
