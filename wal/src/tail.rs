//! The tail cache: the events of recent puts, in the buffers that they came in, for takers that
//! keep up. While none does, nothing is kept: the buffers are of more use to the next puts.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::events;

/// Neighbouring events as they stand in a put record: as `events.rs` writes them.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
    pub(crate) events: Bytes,
}

impl Run {
    /// The seq behind the last one.
    pub(crate) fn end_seq(&self) -> u64 {
        self.first_seq + self.count
    }

    /// Whether its bytes are as many events as it counts, to the last byte.
    pub(crate) fn is_sound(&self) -> bool {
        let mut rest = &self.events[..];
        for _ in 0..self.count {
            let Some(event) = events::first(rest) else { return false };
            rest = &rest[event.end..];
        }
        rest.is_empty()
    }

    /// Takes the first event off the front; `None` if the bytes are not what they should be.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let event = self.pass()?;
        let bytes = self.events.slice(event.clone());
        self.events.advance(event.end);
        Some(bytes)
    }

    /// Where the first event stands, which is counted as passed.
    fn pass(&mut self) -> Option<std::ops::Range<usize>> {
        if self.count == 0 {
            return None;
        }
        let event = events::first(&self.events)?;
        self.first_seq += 1;
        self.count -= 1;
        Some(event)
    }

    /// Passes over events until `seq` is the first; whether it is.
    pub(crate) fn skip_to(&mut self, seq: u64) -> bool {
        while self.first_seq < seq && self.count > 0 {
            let Some(event) = self.pass() else { return false };
            self.events.advance(event.end);
        }
        self.first_seq == seq && self.count > 0
    }
}

/// The newest runs, as many as fit.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Each with its bytes; those that nobody was near to are here without their events.
    runs: VecDeque<(Run, usize)>,
    /// The bytes of all of them.
    window_bytes: usize,
    /// The bytes of those that are kept.
    bytes: usize,
    bytes_max: usize,
}

/// What a run costs beside its events.
const RUN_BYTES: usize = 96;

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Tail {
        Tail { runs: VecDeque::new(), window_bytes: 0, bytes: 0, bytes_max }
    }

    /// Adds the newest run; the oldest ones make room. `reader_at` is where the foremost cursor
    /// takes next.
    pub(crate) fn push(&mut self, mut run: Run, reader_at: u64) {
        if self.bytes_max == 0 || run.count == 0 {
            return;
        }
        let near = self.runs.front().map_or(run.first_seq, |(oldest, _)| oldest.first_seq);
        let bytes = run.events.len() + RUN_BYTES;
        if reader_at < near {
            run.events = Bytes::new();
        }
        self.window_bytes += bytes;
        self.bytes += run.events.len() + RUN_BYTES;
        self.runs.push_back((run, bytes));
        while self.window_bytes > self.bytes_max
            && let Some((oldest, bytes)) = self.runs.pop_front()
        {
            self.window_bytes -= bytes;
            self.bytes -= oldest.events.len() + RUN_BYTES;
        }
    }

    /// The run that holds `seq`.
    pub(crate) fn get(&self, seq: u64) -> Option<Run> {
        let at = self.runs.partition_point(|(run, _)| run.end_seq() <= seq);
        let run = self.runs.get(at).map(|(run, _)| run);
        run.filter(|run| run.first_seq <= seq && !run.events.is_empty()).cloned()
    }

    /// How many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first_seq: u64, events: &[&[u8]]) -> Run {
        let mut bytes = Vec::new();
        for event in events {
            let start = bytes.len();
            bytes.extend_from_slice(&[0; events::SHORT_HEAD]);
            bytes.extend_from_slice(event);
            events::close(&mut bytes, start);
        }
        Run { first_seq, count: events.len() as u64, events: bytes.into() }
    }

    #[test]
    fn a_run_gives_its_events_one_by_one_or_from_the_middle() {
        let mut whole = run(5, &[b"a", b"", b"ccc"]);
        let mut middle = whole.clone();
        assert_eq!(whole.next().as_deref(), Some(&b"a"[..]));
        assert_eq!(whole.next().as_deref(), Some(&b""[..]));
        assert_eq!(whole.next().as_deref(), Some(&b"ccc"[..]));
        assert_eq!(whole.next(), None);
        assert!(middle.skip_to(7));
        assert_eq!(middle.next().as_deref(), Some(&b"ccc"[..]));
        assert!(!middle.skip_to(9));
    }

    #[test]
    fn the_oldest_runs_make_room() {
        let mut tail = Tail::new(3 * (RUN_BYTES + 3));
        for seq in 1..=10 {
            tail.push(run(seq, &[b"x"]), seq);
        }
        assert!(tail.get(7).is_none());
        assert_eq!(tail.get(8).map(|run| run.first_seq), Some(8));
        assert!(tail.get(11).is_none());
        assert!(tail.bytes() <= 3 * (RUN_BYTES + 3));
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_has_fallen_behind_until_it_is_near_again() {
        let mut tail = Tail::new(3 * (RUN_BYTES + 3));
        let kept =
            |tail: &Tail| -> Vec<u64> { (1..=20).filter(|&seq| tail.get(seq).is_some()).collect() };
        (1..=6).for_each(|seq| tail.push(run(seq, &[b"x"]), 3));
        assert_eq!(kept(&tail), Vec::from([4, 5, 6]));
        (7..=9).for_each(|seq| tail.push(run(seq, &[b"x"]), 3));
        assert_eq!(kept(&tail), Vec::<u64>::new());
        assert!(tail.bytes() <= 3 * RUN_BYTES);
        tail.push(run(10, &[b"x"]), 8);
        tail.push(run(11, &[b"x"]), 8);
        assert_eq!(kept(&tail), Vec::from([10, 11]));
    }
}
