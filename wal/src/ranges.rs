//! Sets of seqs as ranges: what a cursor has acknowledged, what was returned, what is lost.

use std::collections::BTreeMap;

/// A half-open range of seqs: `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqRange {
    /// The first seq of the range.
    pub start: u64,
    /// The seq behind the last one.
    pub end: u64,
}

impl SeqRange {
    /// The range from `start` up to, but without, `end`; empty when `end` is not above `start`.
    pub fn new(start: u64, end: u64) -> SeqRange {
        SeqRange { start, end: end.max(start) }
    }

    /// How many seqs are in it.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.end == self.start
    }
}

/// A set of seqs, kept as disjoint ranges that do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RangeSet {
    /// start -> end
    ranges: BTreeMap<u64, u64>,
    /// How many seqs are in all of them.
    len: u64,
}

impl RangeSet {
    pub(crate) fn new() -> RangeSet {
        RangeSet::default()
    }

    /// How many seqs are in the set.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many separate ranges it has.
    pub(crate) fn pieces(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SeqRange> + '_ {
        self.ranges.iter().map(|(&start, &end)| SeqRange { start, end })
    }

    pub(crate) fn first(&self) -> Option<SeqRange> {
        self.iter().next()
    }

    /// The seq behind the highest one; 0 for the empty set.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// The range that holds `seq`.
    pub(crate) fn holding(&self, seq: u64) -> Option<SeqRange> {
        let (&start, &end) = self.ranges.range(..=seq).next_back()?;
        (seq < end).then_some(SeqRange { start, end })
    }

    /// Whether all of `range` is in the set.
    pub(crate) fn covers(&self, range: SeqRange) -> bool {
        range.is_empty() || self.holding(range.start).is_some_and(|held| held.end >= range.end)
    }

    /// Adds a range; how many of its seqs were new.
    pub(crate) fn insert(&mut self, range: SeqRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let SeqRange { mut start, mut end } = range;
        let before = self.len;
        // The neighbour on the left, if it touches.
        if let Some((&left, &left_end)) = self.ranges.range(..=start).next_back()
            && left_end >= start
        {
            start = left;
        }
        // All that begin inside, or right at the end.
        while let Some((&inner, &inner_end)) = self.ranges.range(start..=end).next() {
            self.ranges.remove(&inner);
            self.len -= inner_end - inner;
            end = end.max(inner_end);
        }
        self.ranges.insert(start, end);
        self.len += end - start;
        self.len - before
    }

    /// Takes a range out; how many of its seqs were there.
    pub(crate) fn remove(&mut self, range: SeqRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let before = self.len;
        if let Some((&left, &left_end)) = self.ranges.range(..range.start).next_back()
            && left_end > range.start
        {
            self.ranges.insert(left, range.start);
            self.len -= left_end - range.start;
            if left_end > range.end {
                self.ranges.insert(range.end, left_end);
                self.len += left_end - range.end;
            }
        }
        while let Some((&inner, &inner_end)) = self.ranges.range(range.start..range.end).next() {
            self.ranges.remove(&inner);
            self.len -= inner_end - inner;
            if inner_end > range.end {
                self.ranges.insert(range.end, inner_end);
                self.len += inner_end - range.end;
            }
        }
        before - self.len
    }

    /// The first range, or as much of its front as `max` seqs; taken out.
    pub(crate) fn pop_front(&mut self, max: u64) -> Option<SeqRange> {
        let first = self.first()?;
        let taken = SeqRange::new(first.start, first.start + first.len().min(max));
        self.remove(taken);
        Some(taken)
    }

    /// The parts of `range` that are not in the set.
    pub(crate) fn missing_in(&self, range: SeqRange) -> Vec<SeqRange> {
        let mut missing = Vec::new();
        let mut at = range.start;
        if let Some(held) = self.holding(at) {
            at = held.end;
        }
        while at < range.end {
            let next = self.ranges.range(at..range.end).next();
            let (until, then) = next.map_or((range.end, range.end), |(&start, &end)| (start, end));
            if until > at {
                missing.push(SeqRange::new(at, until));
            }
            at = then;
        }
        missing
    }
}

impl FromIterator<SeqRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = SeqRange>>(ranges: I) -> RangeSet {
        let mut set = RangeSet::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ranges(set: &RangeSet) -> Vec<(u64, u64)> {
        set.iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn neighbours_melt_into_one() {
        let mut set = RangeSet::new();
        assert_eq!(set.insert(SeqRange::new(1, 3)), 2);
        assert_eq!(set.insert(SeqRange::new(5, 7)), 2);
        assert_eq!(set.insert(SeqRange::new(3, 5)), 2);
        assert_eq!(ranges(&set), [(1, 7)]);
        assert_eq!(set.insert(SeqRange::new(2, 6)), 0);
        assert_eq!(set.len(), 6);
    }

    proptest! {
        #[test]
        fn the_set_is_a_set(ops in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 1..60)) {
            let mut set = RangeSet::new();
            let mut model = BTreeSet::new();
            for (add, start, len) in ops {
                let range = SeqRange::new(start, start + len);
                let seqs = range.start..range.end;
                if add {
                    let new = seqs.filter(|&seq| model.insert(seq)).count() as u64;
                    prop_assert_eq!(set.insert(range), new);
                } else {
                    let gone = seqs.filter(|seq| model.remove(seq)).count() as u64;
                    prop_assert_eq!(set.remove(range), gone);
                }
                prop_assert_eq!(set.len(), model.len() as u64);
                let listed: Vec<u64> = set.iter().flat_map(|held| held.start..held.end).collect();
                prop_assert_eq!(&listed, &model.iter().copied().collect::<Vec<_>>());
                let whole = SeqRange::new(0, 100);
                let missing: u64 = set.missing_in(whole).iter().map(|range| range.len()).sum();
                prop_assert_eq!(missing + set.len(), 100);
                prop_assert!(set.pieces() <= set.len() as usize);
            }
        }
    }
}
