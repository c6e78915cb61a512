//! Campaigns: many scripts on several threads, and what came of them.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::life::Report;
use crate::script::{Script, Violation};

/// What a campaign came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub scripts: u64,
    pub report: Report,
    pub violations: Vec<Violation>,
}

/// At so many violations a campaign has made its point.
const VIOLATIONS_MAX: usize = 10;

/// Lives through the campaign's script of each seed.
pub fn cuts(seeds: Range<u64>, threads: usize) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let outcome = Mutex::new(Outcome::default());
    let work = || {
        let mut mine = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || mine.violations.len() >= VIOLATIONS_MAX {
                break;
            }
            mine.scripts += 1;
            match Script::campaign(seed).run() {
                Ok(report) => mine.report += report,
                Err(violation) => mine.violations.push(*violation),
            }
        }
        let mut all = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.scripts += mine.scripts;
        all.report += mine.report;
        all.violations.append(&mut mine.violations);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
