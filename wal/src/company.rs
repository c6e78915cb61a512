//! Waiting for company: when a group commit is worth a moment's delay.
//!
//! Whoever commits again and again comes back a few microseconds after each acknowledgement. A
//! leader that wrote at once would take the first one alone, and the others would wait for a whole
//! sync. So it waits until as many are in line as there were lately, at most half as long
//! as the last sync took. One who commits alone is never waited for, and waits for nobody.

use std::time::Duration;

use crate::engine::Engine;
use crate::log::Log;
use crate::sync::{Ordering, lock, yield_now};

/// A group of so many bytes costs what its bytes cost; more of them would not make it cheaper.
const ENOUGH_BYTES: u64 = 512 << 10;
/// After waits in vain so many groups, at most, go without one: two to this.
const SKIPPED_MOST_LOG2: u32 = 6;
/// A clock that shows the same so many times in a row stands still, and a wait by it would not end.
const LOOKS_MOST: u32 = 1000;

/// What is known of those who commit.
#[derive(Debug, Default)]
pub(crate) struct Company {
    /// How many commits were on their way at once when the last group was done.
    expected: usize,
    /// When that was.
    since: Duration,
    /// How long the last group's sync took.
    sync_took: Duration,
    /// How many waits in a row were in vain.
    in_vain: u32,
    /// How many groups go without a wait from here on.
    skipped: u32,
}

impl Company {
    /// A group is done: how many were in it, how many are in line by now, how large it was.
    pub(crate) fn note(&mut self, members: usize, in_line: usize, bytes: u64, took: Duration) {
        self.expected = if bytes < ENOUGH_BYTES { members + in_line } else { 0 };
        self.sync_took = took;
    }

    /// From when on the next ones are waited for.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.since = now;
    }

    /// For how many to wait.
    fn wanted(&mut self) -> Option<usize> {
        if self.expected < 2 || self.sync_took.is_zero() {
            return None;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return None;
        }
        Some(self.expected)
    }

    /// Until when to wait for the next one, if the last of so many came at that moment. At half a
    /// sync it ends. Sooner, when the next one comes so late that it is cheaper to leave it to the
    /// next group: each commit has its part of the time that its group takes.
    fn until(&self, members: usize, last_came: Duration) -> Duration {
        let group = self.sync_took + last_came.saturating_sub(self.since);
        let part = group / members.max(1).try_into().unwrap_or(u32::MAX);
        (last_came + part).min(self.since + self.sync_took / 2)
    }

    /// A wait is over; whether it brought anybody.
    fn waited(&mut self, gained: bool) {
        self.in_vain = if gained { 0 } else { (self.in_vain + 1).min(SKIPPED_MOST_LOG2) };
        self.skipped = if gained { 0 } else { 1 << self.in_vain };
    }
}

impl Engine {
    /// Waits until as many are in line as were lately, if that is worth it.
    pub(crate) fn await_company(&self, log: &mut Log) {
        if self.is_manual() {
            return;
        }
        let Some(expected) = log.company.wanted() else { return };
        let before = {
            let queue = lock(&self.queue);
            // The last one who came said so before the last group was gathered.
            self.in_line.store(queue.in_line(), Ordering::Relaxed);
            queue.in_line()
        };
        // To sleep and be woken would take longer than most of these waits.
        let (mut members, mut last_came) = (before, log.company.since);
        let (mut looked, mut stood) = (log.company.since, 0);
        while members < expected {
            let (now, came) = (self.env.clock.monotonic(), self.in_line.load(Ordering::Acquire));
            stood = if now == looked { stood + 1 } else { 0 };
            looked = now;
            if came != members {
                (members, last_came) = (came, now);
            } else if now >= log.company.until(members, last_came) || stood == LOOKS_MOST {
                break;
            }
            yield_now();
        }
        log.company.waited(before >= expected || members > before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(200);

    fn after(members: usize, in_line: usize, bytes: u64) -> Company {
        let mut company = Company::default();
        company.note(members, in_line, bytes, SYNC);
        company.begin(Duration::from_micros(1000));
        company
    }

    #[test]
    fn one_who_commits_alone_is_not_waited_for() {
        assert_eq!(after(1, 0, 4096).wanted(), None);
        assert_eq!(after(0, 1, 4096).wanted(), None);
    }

    #[test]
    fn as_many_are_expected_as_were_on_their_way() {
        assert_eq!(after(1, 1, 4096).wanted(), Some(2));
        assert_eq!(after(40, 24, 4096).wanted(), Some(64));
    }

    #[test]
    fn a_group_that_costs_what_its_bytes_cost_waits_for_nobody() {
        assert_eq!(after(4, 4, ENOUGH_BYTES).wanted(), None);
    }

    #[test]
    fn a_few_are_waited_for_half_a_sync_and_many_as_long_as_they_keep_coming() {
        let company = after(2, 0, 4096);
        let us = Duration::from_micros;
        assert_eq!(company.until(1, us(1000)), us(1100));
        assert_eq!(company.until(1, us(1090)), us(1100));
        assert_eq!(company.until(20, us(1000)), us(1010));
        assert_eq!(company.until(20, us(1040)), us(1052));
        assert_eq!(company.until(20, us(1099)), us(1100));
    }

    #[test]
    fn waits_in_vain_become_rare_and_one_that_was_not_makes_them_usual_again() {
        let mut company = after(2, 0, 4096);
        let mut waits = 0;
        for _ in 0..1000 {
            if company.wanted().is_some() {
                waits += 1;
                company.waited(false);
            }
        }
        assert!((10..30).contains(&waits), "{waits}");
        while company.wanted().is_none() {}
        company.waited(true);
        assert!(company.wanted().is_some());
    }
}
