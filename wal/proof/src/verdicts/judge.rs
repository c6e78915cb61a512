//! What the channel makes of a damaged disk, held against the truth.

use std::collections::{BTreeMap, BTreeSet};

use forebay_wal::{Channel, ErrorKind, Loss, LossReason};

use super::harm::Harm;
use super::life::Life;
use super::truth::{Hits, Truth, find};
use super::{Counts, Fate, Where};
use crate::filled::{CURSORS, losses};
use crate::lab::{Lab, SECTOR, drain, peek, put, rises, u64_at};

/// An event that was never put before.
const NEW_ID: u64 = 10_000_002;

/// One disk, before and after it was damaged.
pub struct Case<'a> {
    pub life: &'a Life,
    pub truth: &'a Truth,
    pub before: &'a Lab,
    pub after: &'a Lab,
    pub harms: &'a [Harm],
    pub name: String,
}

/// What the first open showed.
struct Verdict {
    seen: BTreeMap<&'static str, Vec<(u64, u64)>>,
    losses: Vec<Loss>,
    named: BTreeSet<u64>,
    lost_events: u64,
    next_seq: u64,
    /// The event that was put then, unless the channel was full.
    new: Option<u64>,
}

impl Case<'_> {
    /// Opens the disk, twice, and counts.
    pub fn judge(&self, counts: &mut Counts) {
        counts.images += 1;
        let hits = Hits::between(self.truth, self.before, self.after);
        let disk = self.after.copy();
        let channel = disk.open();
        let verdict = look(&channel, self.life);
        let mut wrong = Vec::new();
        let fates = self.judge_events(&hits, &verdict, &mut wrong);
        self.judge_ledger(&hits, &verdict, &mut wrong);
        self.judge_tail(&hits, &verdict, counts, &mut wrong);
        self.judge_seqs(&hits, &verdict, &mut wrong);
        self.judge_second_open(&disk, channel, &hits, &verdict, &mut wrong);
        self.count(&fates, counts);
        if let Some(what) = wrong.first() {
            let more = wrong.len() - 1;
            let harms: Vec<&str> = self.harms.iter().map(|harm| &harm.what[..]).collect();
            let lost = &verdict.losses;
            counts.blame(format!(
                "{what}, and {more} more [{}; {harms:?}; {:?}; spoken {} of {}; {lost:?}]",
                self.name, self.life.sync, hits.spoken_lsn, hits.last_lsn
            ));
        }
    }

    fn count(&self, fates: &BTreeMap<Where, Fate>, counts: &mut Counts) {
        let mut names: Vec<String> = match self.harms {
            [] => vec!["none".to_owned()],
            [one] => vec![one.place.to_owned(), format!("({})", one.manner)],
            _ => vec!["two at once".to_owned()],
        };
        if !self.life.is_commit() {
            names = vec![format!("weaker class, {} damages", self.harms.len())];
        }
        for name in names {
            let (images, row) = counts.row(name);
            *images += 1;
            for (place, fate) in fates {
                let sum = row.entry(*place).or_default();
                sum.blocks += fate.blocks;
                sum.served += fate.served;
                sum.named += fate.named;
                sum.told += fate.told;
                sum.silent += fate.silent;
            }
        }
    }

    fn is_needed(&self, cursor: &str, seq: u64) -> bool {
        let doubtful = self.life.doubtful_ack.as_ref();
        let doubtful = doubtful.filter(|(of, _)| *of == cursor).map(|(_, seqs)| seqs);
        !self.life.acked[cursor].contains(&seq) && !doubtful.is_some_and(|seqs| seqs.contains(&seq))
    }

    /// Seqs that were acknowledged before a sync and are not synced.
    fn unsynced(&self) -> BTreeSet<u64> {
        let blocks = self.truth.with_records().filter(|(_, known)| !known.synced);
        blocks.flat_map(|(_, known)| known.block.seqs.0..known.block.seqs.1).collect()
    }

    /// What became of the events, of those that were hit and of the others.
    fn judge_events(
        &self,
        hits: &Hits,
        verdict: &Verdict,
        wrong: &mut Vec<String>,
    ) -> BTreeMap<Where, Fate> {
        let mut fates: BTreeMap<Where, Fate> = BTreeMap::new();
        let hit = hits.all_seqs();
        let unsynced = self.unsynced();
        let weaker_cut = self.weaker_cut(hits);
        let mut where_hit = BTreeMap::new();
        for (range, first_lsn) in &hits.seqs {
            let place = hits.place(*first_lsn);
            fates.entry(place).or_default().blocks += 1;
            where_hit.extend(range.clone().map(|seq| (seq, place)));
        }
        for (&seq, &id) in &self.life.events {
            let needing = CURSORS.into_iter().filter(|cursor| self.is_needed(cursor, seq));
            let missing: Vec<&str> =
                needing.clone().filter(|cursor| !verdict.shows(cursor, seq)).collect();
            if needing.count() == 0 {
                continue;
            }
            let named = verdict.named.contains(&seq);
            if hit.contains(&seq) && !unsynced.contains(&seq) {
                let fate = fates.entry(where_hit[&seq]).or_default();
                match (missing.is_empty(), named) {
                    (true, _) => fate.served += 1,
                    (false, true) => fate.named += 1,
                    (false, false) if verdict.tells_of(seq, self.truth) => {
                        fate.told += 1;
                        if where_hit[&seq] == Where::Outside && !hits.stateless && !hits.hidden {
                            wrong.push(format!("not named: seq {seq} (event {id})"));
                        }
                    }
                    (false, false) => {
                        fate.silent += 1;
                        if where_hit[&seq] == Where::Outside {
                            wrong.push(format!("silent: seq {seq} (event {id})"));
                        }
                    }
                }
            } else if !missing.is_empty() && !unsynced.contains(&seq) {
                let cut = weaker_cut.is_some_and(|from| from <= seq);
                if !cut || !named {
                    wrong.push(format!("not hit: seq {seq}, missing on {missing:?}, {named}"));
                }
            }
            if named && missing.is_empty() {
                wrong.push(format!("seq {seq} is named and there"));
            }
        }
        self.judge_seen(hits, &unsynced, verdict, wrong);
        fates
    }

    /// In a weaker class a hole of which nothing says that it was synced looks like what a power
    /// cut leaves: what stands behind is named as never synced. From which seq on.
    fn weaker_cut(&self, hits: &Hits) -> Option<u64> {
        let in_doubt = hits.records.iter().filter(|(lsn, _)| *lsn > hits.spoken_lsn);
        in_doubt.map(|(_, seq)| *seq).min().filter(|_| !self.life.is_commit())
    }

    /// What is seen was put under that seq, in order, and was not acknowledged.
    fn judge_seen(
        &self,
        hits: &Hits,
        unsynced: &BTreeSet<u64>,
        verdict: &Verdict,
        wrong: &mut Vec<String>,
    ) {
        for (cursor, seen) in &verdict.seen {
            if !rises(seen) {
                wrong.push(format!("{cursor} is out of order"));
            }
            let doubtful = &self.life.doubtful_put;
            let here = seen.iter().filter(|(_, id)| doubtful.contains(id)).count();
            if here != 0 && here != doubtful.len() {
                wrong.push(format!("half a put: {doubtful:?}"));
            }
            for (seq, id) in seen {
                let known = self.life.events.get(seq);
                if known != Some(id) && !(known.is_none() && doubtful.contains(id)) {
                    wrong.push(format!("{cursor}: seq {seq} is event {id} and was {known:?}"));
                }
                let again = self.life.acked[cursor].contains(seq);
                let allowed = hits.acks || !self.life.is_commit();
                if again && !allowed && !unsynced.contains(seq) {
                    wrong.push(format!("{cursor} gets seq {seq} again"));
                }
            }
        }
    }

    /// The ledger names what was hit, each seq once, and nothing else.
    fn judge_ledger(&self, hits: &Hits, verdict: &Verdict, wrong: &mut Vec<String>) {
        let hit = hits.all_seqs();
        let mut ranges: Vec<_> = verdict.losses.iter().map(|loss| loss.seqs).collect();
        ranges.retain(|range| !range.is_empty());
        ranges.sort_by_key(|range| range.start);
        if ranges.windows(2).any(|pair| pair[1].start < pair[0].end) {
            wrong.push("a seq is named twice".to_owned());
        }
        let all: u64 = ranges.iter().map(|range| range.len()).sum();
        if verdict.losses.len() < 16 && verdict.lost_events > all {
            wrong.push(format!("{} lost events, {all} named", verdict.lost_events));
        }
        let unsynced = self.unsynced();
        let cut = self.weaker_cut(hits);
        for loss in &verdict.losses {
            let given = self.life.events.range(loss.seqs.start..loss.seqs.end);
            // What all have acknowledged is named when the acknowledgements are lost as well.
            let unneeded = |seq: u64| CURSORS.iter().all(|cursor| !self.is_needed(cursor, seq));
            let mut seqs = given.map(|(seq, _)| *seq).filter(|seq| !(hits.acks && unneeded(*seq)));
            let odd = match loss.reason {
                LossReason::Unsynced => {
                    seqs.find(|seq| !unsynced.contains(seq) && cut.is_none_or(|cut| *seq < cut))
                }
                // What was never synced may be gone with a segment that is.
                _ => seqs.find(|seq| !hit.contains(seq) && !unsynced.contains(seq)),
            };
            if let Some(seq) = odd
                && !hits.stateless
            {
                wrong.push(format!("seq {seq} is named and was not hit"));
            }
        }
    }

    /// A torn tail is no damage.
    fn judge_tail(
        &self,
        hits: &Hits,
        verdict: &Verdict,
        counts: &mut Counts,
        wrong: &mut Vec<String>,
    ) {
        let damaged = !hits.ranges.is_empty() || !self.harms.is_empty();
        if hits.torn {
            counts.torn += 1;
            counts.torn_and_damaged += u64::from(damaged);
        }
        let mut corrupt = verdict.losses.iter().filter(|loss| loss.reason != LossReason::Unsynced);
        let unsynced = self.unsynced();
        let names_it =
            |loss: &Loss| unsynced.range(loss.seqs.start..loss.seqs.end).next().is_some();
        let called = if damaged {
            self.life.is_commit() && !hits.stateless && corrupt.any(names_it)
        } else {
            corrupt.next().is_some()
        };
        if called {
            counts.called_corrupt += u64::from(hits.torn);
            wrong.push("a torn tail is called corrupt".to_owned());
        }
    }

    /// No seq that was given out for an event is given out again, unless nothing knew of it.
    fn judge_seqs(&self, hits: &Hits, verdict: &Verdict, wrong: &mut Vec<String>) {
        let unspoken = hits.seqs.iter().any(|(_, lsn)| *lsn > hits.spoken_lsn);
        let last = self.life.events.last_key_value().map_or(0, |(seq, _)| *seq);
        // In a weaker class it is a State that keeps seqs from being used again.
        let open = hits.end_is_hit || hits.spoken_lsn < hits.last_lsn;
        let unreserved = !self.life.is_commit() && open;
        let known = !unspoken && !hits.stateless && !unreserved;
        if verdict.next_seq <= last && known {
            wrong.push(format!("seq {} is used again", verdict.next_seq));
        }
    }

    /// Nothing is noticed twice, all that was seen comes again, and what was damaged is kept.
    fn judge_second_open(
        &self,
        disk: &Lab,
        channel: Channel,
        hits: &Hits,
        verdict: &Verdict,
        wrong: &mut Vec<String>,
    ) {
        disk.idle(&channel);
        drop(channel);
        let channel = disk.open();
        for cursor in CURSORS {
            let mut again = drain(&channel, cursor);
            let new = again.pop_if(|_| verdict.new.is_some()).map(|last| last.1);
            if new != verdict.new || again != verdict.seen[cursor] {
                wrong.push(format!("{cursor} sees something else at the second open"));
            }
        }
        if losses(&channel) != verdict.losses {
            let more = losses(&channel);
            wrong.push(format!("another loss at the second open: {more:?}"));
        }
        disk.idle(&channel);
        disk.idle(&channel);
        let live = channel.stats().segments_live;
        // A cursor that nobody remembers keeps what it had still to see.
        if live != 1 && !hits.stateless {
            wrong.push(format!("{live} segments are live after all is taken"));
        }
        self.judge_quarantine(disk, hits, verdict, wrong);
    }

    /// The damaged bytes are in quarantine, or where they were.
    fn judge_quarantine(
        &self,
        disk: &Lab,
        hits: &Hits,
        verdict: &Verdict,
        wrong: &mut Vec<String>,
    ) {
        let kept = disk.quarantine();
        for whole in &self.truth.segments {
            let id = u64_at(&whole.bytes, 32);
            let Some(damaged) = find(self.after, whole) else { continue };
            let lost = hits.ranges.iter().filter(|range| range.0 == id);
            for &(_, from, until) in lost.filter(|range| verdict.loses(id, range.1)) {
                // What is left of a sector that the file ends in is no part of the segment.
                let until = until.min(damaged.len() as u64 / SECTOR * SECTOR);
                if from >= until {
                    continue;
                }
                let bytes = &damaged[from as usize..until as usize];
                let copied = kept.iter().any(|(name, held)| {
                    let Some(at) = place_of(name, id) else { return false };
                    let inside = at <= from && until <= at + held.len() as u64;
                    inside && held[(from - at) as usize..(until - at) as usize] == *bytes
                });
                let aside = kept.iter().any(|(name, held)| {
                    name.ends_with(".orphan")
                        && held.get(from as usize..until as usize) == Some(bytes)
                });
                let there = disk.segments().iter().any(|path| {
                    let held = disk.fs.read_file(path);
                    held.get(from as usize..until as usize) == Some(bytes)
                });
                if !copied && !aside && !there {
                    wrong.push(format!("{from}..{until} of segment {id} is not kept"));
                }
            }
        }
    }
}

/// Where a file of the quarantine was copied from, if it was from that segment.
fn place_of(name: &str, segment: u64) -> Option<u64> {
    let (id, rest) = name.strip_suffix(".damaged")?.split_once('-')?;
    (id.parse() == Ok(segment)).then(|| rest.parse().ok()).flatten()
}

fn look(channel: &Channel, life: &Life) -> Verdict {
    let seen = CURSORS.map(|cursor| (cursor, peek(channel, cursor))).into();
    let next_seq = channel.stats().next_seq;
    let new = match put(channel, [NEW_ID]) {
        Ok(receipt) => {
            assert_eq!(receipt.first_seq, next_seq);
            Some(NEW_ID)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            None
        }
    };
    let losses = losses(channel);
    // Between seqs that were given out there may be millions that never were.
    let of = |loss: &Loss| life.events.range(loss.seqs.start..loss.seqs.end).map(|(seq, _)| *seq);
    let named = losses.iter().flat_map(of).collect();
    Verdict { seen, named, losses, lost_events: channel.stats().lost_events, next_seq, new }
}

impl Verdict {
    fn shows(&self, cursor: &str, seq: u64) -> bool {
        self.seen[cursor].binary_search_by_key(&seq, |(seq, _)| *seq).is_ok()
    }

    /// Whether a line of the ledger covers the place of a seq that it does not name.
    fn tells_of(&self, seq: u64, truth: &Truth) -> bool {
        let block = truth
            .with_records()
            .find(|(_, known)| known.block.seqs.0 <= seq && seq < known.block.seqs.1);
        let Some((whole, known)) = block else { return false };
        let id = u64_at(&whole.bytes, 32);
        self.losses.iter().filter(|loss| loss.segment == id).any(|loss| {
            let range = loss.offset_bytes..loss.offset_bytes + loss.len_bytes;
            loss.len_bytes == 0 || range.contains(&known.block.offset)
        })
    }

    /// Whether the ledger tells of bytes at that place.
    fn loses(&self, segment: u64, offset: u64) -> bool {
        self.losses.iter().any(|loss| {
            loss.segment == segment
                && loss.offset_bytes <= offset
                && offset < loss.offset_bytes + loss.len_bytes
        })
    }
}
