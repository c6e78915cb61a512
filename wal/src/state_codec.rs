//! The bytes of a State. Drawn in `FORMAT.md`.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::format::{NUMBER_MAX, VERSION};
use crate::ranges::RangeSet;
use crate::record::{Loss, decode_ranges, encode_ranges};
use crate::state::{CursorState, Damaged, Ledger, LiveSegment, State};
use crate::wire::{Read, Write};

impl State {
    /// Appends the state's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(VERSION);
        out.extend_from_slice(&self.uuid);
        let numbers = [
            self.generation,
            self.generation_lsn,
            self.next_lsn,
            self.next_seq,
            self.seq_reserved,
            self.bytes_max,
            self.events_max,
        ];
        for number in numbers {
            out.put_u64(number);
        }
        out.put_u32(self.next_cursor);
        out.put_u32(self.cursors.len() as u32);
        for (id, cursor) in &self.cursors {
            out.put_u32(*id);
            out.put_name(&cursor.name);
            encode_set(&cursor.acked, out);
            out.put_long(cursor.state.as_deref().unwrap_or_default());
        }
        out.put_u32(self.producers.len() as u32);
        for (name, sequence) in &self.producers {
            out.put_name(name);
            out.put_u64(*sequence);
        }
        out.put_u32(self.positions.len() as u32);
        for (key, value) in &self.positions {
            out.put_name(key);
            out.put_long(value);
        }
        encode_set(&self.absent, out);
        self.encode_ledger(out);
        out.put_u32(self.segments.len() as u32);
        for segment in &self.segments {
            for number in [segment.id, segment.salt, segment.first_seq, segment.first_lsn] {
                out.put_u64(number);
            }
        }
        out.put_u64(self.prev_end.0);
        out.put_u64(self.prev_end.1);
        out.put_u32(self.prev_end.2);
        // Reserved: the origins of a copied channel's older seqs.
        out.put_u32(0);
    }

    fn encode_ledger(&self, out: &mut Vec<u8>) {
        out.put_u64(self.ledger.losses);
        out.put_u64(self.ledger.lost_events);
        out.put_u64(self.ledger.dropped_events);
        out.put_u32(self.ledger.recent.len() as u32);
        for loss in &self.ledger.recent {
            loss.encode(out);
        }
        out.put_u32(self.damaged.len() as u32);
        for damaged in &self.damaged {
            out.put_u64(damaged.segment);
            out.put_u64(damaged.offset_bytes);
            out.put_u64(damaged.len_bytes);
        }
    }

    /// Reads a state; `None` if a field is not there or says what cannot be.
    pub(crate) fn decode(read: &mut Read) -> Option<State> {
        if read.u32()? > VERSION {
            return None;
        }
        let mut state = State {
            uuid: read.array()?,
            generation: read.u64()?,
            generation_lsn: read.u64()?,
            next_lsn: read.u64()?,
            next_seq: read.u64()?,
            seq_reserved: read.u64()?,
            bytes_max: read.u64()?,
            events_max: read.u64()?,
            next_cursor: read.u32()?,
            cursors: decode_cursors(read)?,
            ..State::default()
        };
        for _ in 0..read.count(10)? {
            state.producers.insert(read.name()?, read.u64()?);
        }
        for _ in 0..read.count(6)? {
            state.positions.insert(read.name()?, copied(read.long()?));
        }
        state.absent = decode_set(read)?;
        state.ledger = decode_ledger(read)?;
        for _ in 0..read.count(24)? {
            let damaged =
                Damaged { segment: read.u64()?, offset_bytes: read.u64()?, len_bytes: read.u64()? };
            state.damaged.push(damaged);
        }
        state.segments = decode_segments(read)?;
        state.prev_end = (read.u64()?, read.u64()?, read.u32()?);
        let _origins = read.long()?;
        let numbers = [
            state.next_lsn,
            state.next_seq,
            state.seq_reserved,
            state.generation,
            state.generation_lsn,
        ];
        let sound = state.next_lsn > 0
            && state.next_seq > 0
            && state.next_cursor > 0
            && numbers.iter().all(|&number| number < NUMBER_MAX)
            && state.segments.iter().all(|segment| segment.id < NUMBER_MAX);
        sound.then_some(state)
    }
}

fn decode_cursors(read: &mut Read) -> Option<BTreeMap<u32, CursorState>> {
    let mut cursors = BTreeMap::new();
    for _ in 0..read.count(14)? {
        let id = read.u32()?;
        let name = read.name()?;
        let acked = decode_set(read)?;
        let state = read.long()?;
        let state = (!state.is_empty()).then(|| copied(state));
        cursors.insert(id, CursorState { name, acked, state });
    }
    Some(cursors)
}

fn decode_ledger(read: &mut Read) -> Option<Ledger> {
    let (losses, lost_events, dropped_events) = (read.u64()?, read.u64()?, read.u64()?);
    let count = read.count(Loss::LEN)?;
    let recent = (0..count).map(|_| Loss::decode(read)).collect::<Option<Vec<Loss>>>()?;
    Some(Ledger { losses, lost_events, dropped_events, recent })
}

/// The live segments, whose ids and seqs must rise.
fn decode_segments(read: &mut Read) -> Option<Vec<LiveSegment>> {
    let mut segments: Vec<LiveSegment> = Vec::new();
    for _ in 0..read.count(32)? {
        let segment = LiveSegment {
            id: read.u64()?,
            salt: read.u64()?,
            first_seq: read.u64()?,
            first_lsn: read.u64()?,
        };
        if let Some(last) = segments.last()
            && (last.id >= segment.id || last.first_seq > segment.first_seq)
        {
            return None;
        }
        segments.push(segment);
    }
    Some(segments)
}

/// A copy of its own, so that a few bytes do not keep a whole block in memory.
fn copied(bytes: Bytes) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

fn encode_set(set: &RangeSet, out: &mut Vec<u8>) {
    encode_ranges(&set.iter().collect::<Vec<_>>(), out);
}

fn decode_set(read: &mut Read) -> Option<RangeSet> {
    Some(decode_ranges(read)?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Geometry;
    use crate::ranges::SeqRange;
    use crate::record::LossReason;
    use crate::state::{DAMAGED_KEPT, LOSSES_KEPT};

    fn pieces(count: usize) -> RangeSet {
        (1..=count as u64).map(|n| SeqRange::new(3 * n, 3 * n + 1)).collect()
    }

    /// A name of that length for each number.
    fn name(number: usize, len: usize) -> String {
        format!("{number:0len$}")
    }

    /// With all that its limits have room for.
    fn largest(bytes_max: u64) -> State {
        let geometry = Geometry::new(bytes_max);
        let mut state = State::new([7; 16], bytes_max);
        let split = geometry.fragments_max + geometry.gaps_max.div_ceil(geometry.cursors_max) + 2;
        for id in 0..geometry.cursors_max {
            let name = name(id, crate::options::CURSOR_NAME_BYTES_MAX);
            let cursor = CursorState { name, acked: pieces(split), state: None };
            state.cursors.insert(id as u32, cursor);
        }
        let first = state.cursors.get_mut(&0).expect("a cursor");
        first.state = Some(vec![1; geometry.table_bytes_max].into());
        let len = (geometry.table_bytes_max / geometry.producers_max - 10).max(5);
        for number in 0..(geometry.table_bytes_max / (len + 10)).min(geometry.producers_max) {
            state.producers.insert(name(number, len), u64::MAX);
        }
        for number in 0..geometry.table_bytes_max / 16 {
            state.positions.insert(name(number, 9), Bytes::from_static(b"1"));
        }
        state.absent = pieces(geometry.absent_max);
        let loss = Loss {
            reason: LossReason::Damaged,
            seqs: SeqRange::new(1, 2),
            lsns: (1, 2),
            segment: 1,
            offset_bytes: 0,
            len_bytes: 1,
            noticed_us: 0,
        };
        state.ledger.recent = vec![loss; LOSSES_KEPT];
        state.damaged = vec![Damaged { segment: 1, offset_bytes: 0, len_bytes: 1 }; DAMAGED_KEPT];
        state.segments = (1..=geometry.segments_max)
            .map(|id| LiveSegment { id, salt: 1, first_seq: id, first_lsn: id })
            .collect();
        state
    }

    #[test]
    fn the_largest_state_fits_twice_and_into_a_checkpoint_whatever_the_limit() {
        for shift in 20..=42 {
            for bytes_max in [1u64 << shift, (2 << shift) - 1, (1 << shift) + (1 << (shift - 1))] {
                let (geometry, state) = (Geometry::new(bytes_max), largest(bytes_max));
                let mut bytes = Vec::new();
                state.encode(&mut bytes);
                let len = bytes.len() as u64;
                assert!(len + 256 <= geometry.checkpoint_bytes, "{bytes_max}: {len} bytes");
                // What `open` asks for, so that it never refuses its own channel.
                assert!(8 * len <= geometry.segment_bytes.max(256 << 10), "{bytes_max}: {len}");
                let block = crate::format::block_bytes;
                let all = 2 * block(bytes.len() + 12) + block(geometry.transaction_bytes_max + 64);
                assert!(all + 2 * 4096 <= geometry.segment_bytes, "{bytes_max}: {len} bytes");
                assert_eq!(State::decode(&mut Read::new(bytes.into())), Some(state));
            }
        }
    }

    #[test]
    fn losses_split_a_state_into_only_so_many_pieces_and_absent_ones_are_kept() {
        let geometry = Geometry::new(1 << 20);
        let mut state = State::new([7; 16], 1 << 20);
        for (id, name) in [(1, "one"), (2, "two")] {
            let cursor = CursorState { name: name.to_owned(), ..CursorState::default() };
            state.cursors.insert(id, cursor);
        }
        state.next_seq = 10_000;
        for n in 1..1000 {
            state.make_unavailable(SeqRange::new(3 * n, 3 * n + 1));
            assert_eq!(state.pass_over(SeqRange::new(3 * n, 3 * n + 1)), 1);
        }
        let split: usize = state.cursors.values().map(|cursor| cursor.acked.pieces()).sum();
        assert_eq!((split, state.absent.pieces()), (geometry.gaps_max, geometry.absent_max));
        assert_eq!(state.absent.end(), 2998, "the newest");
        // Nothing is expected of what is absent, though a take has still to pass it.
        let last = SeqRange::new(2997, 2998);
        assert!(state.needs(last) && !state.expects(last));
        // What touches a piece splits nothing.
        assert_eq!(state.pass_over(SeqRange::new(4, 5)), 1);
        assert!(state.cursors.values().all(|cursor| cursor.acked.covers(SeqRange::new(3, 5))));
    }
}
