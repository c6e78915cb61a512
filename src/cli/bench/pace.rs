//! What slices of work did, and what many of them come to. Rates are medians over slices, so that
//! a moment in which the machine did something else does not count.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer commits count as this long.
const LONGEST: Duration = Duration::from_secs(3600);
/// A megabyte, as disks are sold.
const MB: f64 = 1e6;

/// A piece of a measurement, measured on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    pub commits: u64,
    pub events: u64,
    pub took: Duration,
}

impl Slice {
    pub(super) fn commits_per_s(self) -> f64 {
        per_second(self.commits as f64, self.took)
    }

    pub(super) fn events_per_s(self) -> f64 {
        per_second(self.events as f64, self.took)
    }
}

/// How long commits took, to three digits.
#[derive(Debug, Clone)]
pub(super) struct Latency(Histogram<u32>);

impl Latency {
    pub(super) fn new() -> Latency {
        let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
        Latency(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are in their order"))
    }

    pub(super) fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn add(&mut self, other: &Latency) {
        // Both have the same bounds, so that every value of one has its place in the other.
        let _ = self.0.add(&other.0);
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        let us = |nanos: u64| nanos as f64 / 1000.0;
        Percentiles {
            p50: us(self.0.value_at_quantile(0.5)),
            p90: us(self.0.value_at_quantile(0.9)),
            p99: us(self.0.value_at_quantile(0.99)),
            p999: us(self.0.value_at_quantile(0.999)),
            max: us(self.0.max()),
        }
    }
}

/// Latencies, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// What went to the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub syncs: u64,
    /// Bytes that commits have written.
    pub bytes: u64,
    /// Bytes that were written to prepare segments.
    pub preparing: u64,
    pub rolls: u64,
    /// Rolls into segments that had never been written before.
    pub fresh: u64,
    /// Bytes of all write calls of this process, if the system tells.
    pub write_calls: Option<u64>,
}

impl Disk {
    /// What was written since an earlier moment.
    pub(super) fn since(self, before: Disk) -> Disk {
        let calls = self.write_calls.zip(before.write_calls);
        Disk {
            syncs: self.syncs.saturating_sub(before.syncs),
            bytes: self.bytes.saturating_sub(before.bytes),
            preparing: self.preparing.saturating_sub(before.preparing),
            rolls: self.rolls.saturating_sub(before.rolls),
            fresh: self.fresh.saturating_sub(before.fresh),
            write_calls: calls.map(|(now, then)| now.saturating_sub(then)),
        }
    }

    fn plus(self, more: Disk) -> Disk {
        let calls = self.write_calls.zip(more.write_calls);
        Disk {
            syncs: self.syncs + more.syncs,
            bytes: self.bytes + more.bytes,
            preparing: self.preparing + more.preparing,
            rolls: self.rolls + more.rolls,
            fresh: self.fresh + more.fresh,
            write_calls: calls.map(|(one, other)| one + other),
        }
    }
}

/// All slices of one contender.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub slices: Vec<Slice>,
    pub latency: Latency,
    pub disk: Disk,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let disk = Disk { write_calls: Some(0), ..Disk::default() };
        Tally { slices: Vec::new(), latency: Latency::new(), disk }
    }

    /// Adds a slice. One in which nothing was done, as a signal came first, is none.
    pub(super) fn add(&mut self, slice: Slice, latency: &Latency, disk: Disk) {
        if slice.commits > 0 {
            self.slices.push(slice);
            self.latency.add(latency);
            self.disk = self.disk.plus(disk);
        }
    }

    pub(super) fn commits(&self) -> u64 {
        self.slices.iter().map(|slice| slice.commits).sum()
    }

    pub(super) fn took(&self) -> Duration {
        self.slices.iter().map(|slice| slice.took).sum()
    }

    /// What it comes to, if there was anything.
    pub(super) fn figures(&self, payload_bytes: u64, peak_rss_mib: Option<f64>) -> Option<Figures> {
        let (commits, took) = (self.commits(), self.took());
        let events: u64 = self.slices.iter().map(|slice| slice.events).sum();
        let events_per_s = median(self.slices.iter().map(|slice| slice.events_per_s()))?;
        let payload = events * payload_bytes;
        Some(Figures {
            events_per_s,
            commits_per_s: median(self.slices.iter().map(|slice| slice.commits_per_s()))?,
            mb_per_s: events_per_s * payload_bytes as f64 / MB,
            commit_us: self.latency.percentiles(),
            events,
            commits,
            seconds: took.as_secs_f64(),
            slices: self.slices.len(),
            events_per_s_overall: per_second(events as f64, took),
            commits_per_s_overall: per_second(commits as f64, took),
            syncs: self.disk.syncs,
            syncs_per_commit: ratio(self.disk.syncs as f64, commits as f64),
            payload_bytes: payload,
            bytes_written: self.disk.bytes,
            bytes_written_per_payload_byte: ratio(self.disk.bytes as f64, payload as f64),
            bytes_preparing: self.disk.preparing,
            bytes_of_write_calls: self.disk.write_calls,
            rolls: self.disk.rolls,
            fresh_segments: self.disk.fresh,
            peak_rss_mib,
        })
    }
}

/// The figures of a contender. The keys are stable: more may come, none goes or changes its meaning.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// Medians over the slices.
    pub events_per_s: f64,
    pub commits_per_s: f64,
    /// Of payload: bodies, names and values of headers.
    pub mb_per_s: f64,
    pub commit_us: Percentiles,
    pub events: u64,
    pub commits: u64,
    pub seconds: f64,
    pub slices: usize,
    /// All that was done in all the time.
    pub events_per_s_overall: f64,
    pub commits_per_s_overall: f64,
    pub syncs: u64,
    pub syncs_per_commit: f64,
    pub payload_bytes: u64,
    pub bytes_written: u64,
    pub bytes_written_per_payload_byte: f64,
    pub bytes_preparing: u64,
    pub bytes_of_write_calls: Option<u64>,
    pub rolls: u64,
    pub fresh_segments: u64,
    pub peak_rss_mib: Option<f64>,
}

/// How many a second. What took no time that can be measured took the least that can.
pub(super) fn per_second(count: f64, took: Duration) -> f64 {
    count / took.max(Duration::from_nanos(1)).as_secs_f64()
}

/// One by the other; nothing by nothing is nothing.
pub(super) fn ratio(one: f64, other: f64) -> f64 {
    if other > 0.0 { one / other } else { 0.0 }
}

/// The one in the middle, or between the two in the middle.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let above = values.get(middle)?;
    let below = if values.len() % 2 == 1 { above } else { values.get(middle - 1)? };
    Some(f64::midpoint(*below, *above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_no_outlier_moves_it() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([7.0].into_iter()), Some(7.0));
        assert_eq!(median([9.0, 1.0].into_iter()), Some(5.0));
        assert_eq!(median([1e9, 3.0, 2.0].into_iter()), Some(3.0));
        assert_eq!(median([4.0, 1.0, 2.0, 1e9].into_iter()), Some(3.0));
    }

    #[test]
    fn ratios_of_nothing_are_nothing() {
        assert_eq!(ratio(3.0, 2.0), 1.5);
        assert_eq!(ratio(3.0, 0.0), 0.0);
        assert_eq!(per_second(10.0, Duration::from_millis(500)), 20.0);
        assert!(per_second(1.0, Duration::ZERO).is_finite());
    }

    #[test]
    fn a_slow_slice_changes_the_overall_rate_and_not_the_median() {
        let mut tally = Tally::new();
        let mut latency = Latency::new();
        latency.record(Duration::from_micros(100));
        let disk = Disk { syncs: 2, bytes: 1500, write_calls: Some(1600), ..Disk::default() };
        for seconds in [1, 1, 8] {
            let slice = Slice { commits: 10, events: 100, took: Duration::from_secs(seconds) };
            tally.add(slice, &latency, disk);
        }
        let none = Slice { commits: 0, events: 0, took: Duration::from_secs(5) };
        tally.add(none, &latency, disk);
        let figures = tally.figures(10, None).expect("three slices");
        assert_eq!((figures.commits, figures.events, figures.slices), (30, 300, 3));
        assert_eq!((figures.commits_per_s, figures.events_per_s), (10.0, 100.0));
        assert_eq!((figures.commits_per_s_overall, figures.seconds), (3.0, 10.0));
        assert_eq!((figures.syncs, figures.syncs_per_commit), (6, 0.2));
        assert_eq!((figures.bytes_written_per_payload_byte, figures.mb_per_s), (1.5, 0.001));
        assert_eq!(figures.bytes_of_write_calls, Some(4800));
        assert!((99.0..101.0).contains(&figures.commit_us.p50), "{figures:?}");
        assert!(Tally::new().figures(10, None).is_none());
    }

    #[test]
    fn percentiles_rise_and_are_exact_to_three_digits() {
        let mut latency = Latency::new();
        (1..=1000).for_each(|us| latency.record(Duration::from_micros(us)));
        let percentiles = latency.percentiles();
        assert!((499.0..=501.0).contains(&percentiles.p50), "{percentiles:?}");
        assert!((989.0..=991.0).contains(&percentiles.p99), "{percentiles:?}");
        assert!((999.0..=1001.0).contains(&percentiles.max), "{percentiles:?}");
        assert!(percentiles.p50 < percentiles.p90 && percentiles.p99 < percentiles.p999);
        latency.record(Duration::MAX);
        assert!(latency.percentiles().max >= 3.6e9);
    }

    #[test]
    fn what_was_written_is_a_difference_of_two_moments() {
        let before = Disk { syncs: 3, bytes: 10, write_calls: Some(5), ..Disk::default() };
        let after = Disk { syncs: 4, bytes: 30, rolls: 1, write_calls: Some(45), ..before };
        let wanted =
            Disk { syncs: 1, bytes: 20, rolls: 1, write_calls: Some(40), ..Disk::default() };
        assert_eq!(after.since(before), wanted);
        assert_eq!(Disk::default().since(before).write_calls, None);
    }
}
