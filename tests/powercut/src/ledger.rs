//! What was fed, what was acknowledged, what came out, and whether that can be.

use crate::random::Random;

/// One line: of which run of `put`, and its number in it, from 0. In the order of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub run: usize,
    pub number: u64,
}

/// The longest lines; a few come near it.
const LINE_BYTES_MAX: u64 = 12_000;

impl Line {
    /// Its text, of which the number alone decides everything.
    pub fn text(self) -> String {
        let mut random = Random::new((self.run as u64) << 32 | self.number);
        let length = match random.below(100) {
            0..60 => random.below(60),
            60..98 => random.below(900),
            _ => random.below(LINE_BYTES_MAX),
        };
        let letters = (0..length).map(|_| char::from(b'a' + random.below(26) as u8));
        let padding: String = letters.collect();
        format!("{} {} {padding}", self.run, self.number)
    }

    /// The line that a text is, if it is one, whole and unchanged.
    pub fn of(text: &str) -> Option<Line> {
        let mut words = text.splitn(3, ' ');
        let run = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        let line = Line { run, number };
        (line.text() == text).then_some(line)
    }
}

/// One run of `put`.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Lines that may have reached it.
    pub fed: u64,
    /// Lines that it acknowledged.
    pub acked: u64,
    /// Lines of it that are in the channel, once that has been seen.
    present: Option<u64>,
}

impl Run {
    pub fn new(fed: u64, acked: u64) -> Run {
        Run { fed, acked, present: None }
    }
}

/// What came out of a run of `take`.
#[derive(Debug, Clone, Copy)]
pub struct Taking {
    /// How many of the lines at the end may come again, as their commit was not heard of.
    pub in_doubt: usize,
    /// It ended because there was nothing more.
    pub drained: bool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub runs: Vec<Run>,
    /// The line that came last, of all so far.
    last: Option<Line>,
    /// Nothing before this may come any more.
    floor: Option<Line>,
}

impl Ledger {
    /// Lines that came out of one run of `take`; how many of them had come before.
    pub fn deliver(&mut self, lines: &[Line], taking: Taking) -> Result<u64, String> {
        let mut again = 0;
        let mut before = None;
        for &line in lines {
            self.step(before, line)?;
            again += u64::from(self.last.is_some_and(|last| line <= last));
            self.last = self.last.max(Some(line));
            before = Some(line);
        }
        // When the first came, nothing before it could.
        self.floor = self.floor.max(lines.first().copied());
        let certain = lines.len() - taking.in_doubt.min(lines.len());
        if let Some(line) = lines[..certain].last() {
            self.floor = self.floor.max(Some(behind(*line)));
        }
        if taking.drained {
            self.settle_until(self.last, self.runs.len(), "nothing more came")?;
            self.floor = self.last.map(behind);
        }
        Ok(again)
    }

    /// Whether a line may come behind another one of the same take, or as the first.
    fn step(&mut self, before: Option<Line>, line: Line) -> Result<(), String> {
        let run = self.runs.get(line.run).ok_or_else(|| format!("{line:?} was never put"))?;
        if line.number >= run.fed {
            return Err(format!("{line:?} was never put: {run:?}"));
        }
        if run.present.is_some_and(|present| line.number >= present) {
            return Err(format!("{line:?} came, and the channel had gone past it: {run:?}"));
        }
        match before {
            Some(before) => self.follow(Some(before), line),
            None if self.floor.is_some_and(|floor| line < floor) => {
                Err(format!("{line:?} came again; its take had been committed ({:?})", self.floor))
            }
            None if self.last.is_some_and(|last| line <= last) => Ok(()),
            None => self.follow(self.last, line),
        }
    }

    /// Whether a line is the next one behind another.
    fn follow(&mut self, before: Option<Line>, line: Line) -> Result<(), String> {
        let wanted = before.map_or(0, |before| before.number + 1);
        if before.map_or(0, |before| before.run) == line.run && line.number == wanted {
            return Ok(());
        }
        if before.is_some_and(|before| line.run <= before.run) || line.number != 0 {
            return Err(format!("{line:?} came behind {before:?}"));
        }
        self.settle_until(before, line.run, &format!("{line:?} came"))
    }

    /// The runs from that of a line on, up to another, have nothing more in the channel.
    fn settle_until(&mut self, last: Option<Line>, end: usize, why: &str) -> Result<(), String> {
        let first = last.map_or(0, |line| line.run);
        for number in first..end {
            let came = last.filter(|line| line.run == number).map_or(0, |line| line.number + 1);
            let run = &mut self.runs[number];
            if came < run.acked {
                return Err(format!("run {number}: {run:?}, and only {came} came before {why}"));
            }
            if run.present.is_some_and(|present| present != came) {
                return Err(format!("run {number}: {run:?}, and {came} came this time ({why})"));
            }
            run.present = Some(came);
        }
        Ok(())
    }

    /// How many events the channel may hold: at the least, and at the most.
    pub fn pending(&self) -> (u64, u64) {
        let runs = self.runs.iter().enumerate();
        let (mut least, mut most) = (0, 0);
        for (number, run) in runs {
            let gone = |line: Option<Line>| match line {
                Some(line) if line.run > number => u64::MAX,
                Some(line) if line.run == number => line.number,
                _ => 0,
            };
            least += run.acked.saturating_sub(gone(self.last.map(behind)));
            most += run.present.unwrap_or(run.fed).saturating_sub(gone(self.floor));
        }
        (least, most)
    }

    /// The bytes that the channel may hold, roughly.
    pub fn pending_bytes(&self) -> u64 {
        self.pending().1 * 350
    }

    pub fn acked(&self) -> u64 {
        self.runs.iter().map(|run| run.acked).sum()
    }
}

/// The least line behind one.
fn behind(line: Line) -> Line {
    Line { number: line.number + 1, ..line }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: Taking = Taking { in_doubt: 0, drained: false };
    const DRAINED: Taking = Taking { in_doubt: 0, drained: true };

    fn ledger(runs: &[(u64, u64)]) -> Ledger {
        let runs = runs.iter().map(|&(fed, acked)| Run::new(fed, acked)).collect();
        Ledger { runs, ..Ledger::default() }
    }

    fn lines(run: usize, numbers: std::ops::Range<u64>) -> Vec<Line> {
        numbers.map(|number| Line { run, number }).collect()
    }

    #[test]
    fn a_text_is_its_line_only_if_nothing_is_changed_in_it() {
        let line = Line { run: 3, number: 17 };
        let text = line.text();
        assert_eq!(Line::of(&text), Some(line));
        assert_eq!(Line::of(&text[..text.len() - 1]), None);
        assert_eq!(Line::of(&text.replacen("17", "18", 1)), None);
    }

    #[test]
    fn acknowledged_lines_must_come_and_others_may() {
        let both = [lines(0, 0..4), lines(1, 0..2)].concat();
        assert_eq!(ledger(&[(9, 4), (5, 0)]).deliver(&both, DRAINED), Ok(0));
        assert!(ledger(&[(9, 5), (5, 0)]).deliver(&both, DRAINED).is_err());
        assert!(ledger(&[(9, 4), (5, 3)]).deliver(&both, DRAINED).is_err());
        assert!(ledger(&[(9, 4), (1, 0)]).deliver(&both, DRAINED).is_err());
        assert_eq!(ledger(&[(9, 4), (5, 3)]).deliver(&both, CLEAN), Ok(0));
    }

    #[test]
    fn a_hole_a_repeat_and_another_order_are_seen() {
        let mut wrong = lines(0, 0..5);
        wrong.remove(2);
        assert!(ledger(&[(9, 0)]).deliver(&wrong, CLEAN).is_err());
        let mut wrong = lines(0, 0..5);
        wrong.swap(2, 3);
        assert!(ledger(&[(9, 0)]).deliver(&wrong, CLEAN).is_err());
        assert!(ledger(&[(9, 0)]).deliver(&lines(0, 1..3), CLEAN).is_err());
    }

    #[test]
    fn only_what_is_in_doubt_may_come_again() {
        let doubt = Taking { in_doubt: 2, drained: false };
        for (start, fine) in [(2, false), (3, true), (4, true), (5, true), (6, false)] {
            let mut ledger = ledger(&[(9, 9)]);
            assert_eq!(ledger.deliver(&lines(0, 0..5), doubt), Ok(0));
            assert_eq!(ledger.deliver(&lines(0, start..9), DRAINED).is_ok(), fine, "{start}");
        }
    }

    #[test]
    fn what_was_gone_stays_gone() {
        let doubt = Taking { in_doubt: 9, drained: false };
        let mut ledger = ledger(&[(9, 2), (9, 0)]);
        let both = [lines(0, 0..3), lines(1, 0..1)].concat();
        assert_eq!(ledger.deliver(&both, doubt), Ok(0));
        assert_eq!(ledger.deliver(&both[1..], doubt), Ok(3));
        assert!(ledger.deliver(&lines(0, 1..5), doubt).is_err());
        assert_eq!(ledger.pending(), (0, 2 + 9));
    }
}
