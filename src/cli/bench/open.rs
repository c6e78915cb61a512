//! The phase that opens a channel with a backlog, in processes of its own.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::child::{Do, Done, Work};
use super::cold;
use super::load::Load;
use super::pace::{median, per_second};
use super::report::{Open, OpenPeaks};
use crate::failure::Failure;

/// The events, unless they are given.
pub(super) const EVENTS: u64 = 1_000_000;
/// It is opened so many times.
const OPENS: usize = 5;
/// What saves time at an open, and must not be needed for it.
const CHECKPOINTS: [&str; 2] = ["checkpoint.a", "checkpoint.b"];

/// What is opened, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub events: u64,
    pub bytes_max: u64,
    /// Nothing of it is in the system's memory.
    pub cold: bool,
}

/// Fills, opens, drains; nothing if a signal came first. `done` is told how much of it is done.
pub(super) fn run(
    dir: &Path,
    rules: Rules,
    load: &Load,
    stop: &AtomicBool,
    done: &mut dyn FnMut(f64),
) -> Result<Option<Open>, Failure> {
    let dir = dir.join("open");
    let child = |what: Do| {
        let (size, sync) = (load.size, load.sync.to_string());
        let work = Work { what, size, sync, bytes_max: rules.bytes_max };
        work.start(&dir, stop)
    };
    let first = || {
        if rules.cold {
            cold::forget(&dir)?;
        }
        child(Do::First)
    };
    let Some(filled) = child(Do::Fill(rules.events))? else { return Ok(None) };
    done(0.5);
    let mut opens = Vec::new();
    for _ in 0..OPENS {
        let Some(opened) = first()? else { return Ok(None) };
        opens.push(opened);
    }
    for name in CHECKPOINTS {
        remove(&dir.join(name))?;
    }
    let Some(without) = first()? else { return Ok(None) };
    done(0.6);
    let Some(drained) = child(Do::Drain)? else { return Ok(None) };
    done(1.0);
    Ok(Some(Open {
        events: filled.events,
        events_drained: drained.events,
        first_event_ms: median(opens.iter().map(ms)).unwrap_or_default(),
        first_event_ms_each: opens.iter().map(ms).collect(),
        without_checkpoints_ms: ms(&without),
        cold: rules.cold,
        fill_events_per_s: rate(&filled),
        drain_events_per_s: rate(&drained),
        peak_rss_mib: OpenPeaks {
            fill: filled.peak_rss_mib,
            open: opens.iter().map(|open| open.peak_rss_mib).fold(None, larger),
            without_checkpoints: without.peak_rss_mib,
            drain: drained.peak_rss_mib,
        },
    }))
}

fn ms(done: &Done) -> f64 {
    done.seconds * 1000.0
}

fn rate(done: &Done) -> f64 {
    per_second(done.events as f64, std::time::Duration::from_secs_f64(done.seconds))
}

/// The larger of two, as far as they are known.
pub(super) fn larger(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let text = format!("{} cannot be removed", path.display());
            Err(Failure::new(text).because(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::larger;

    #[test]
    fn the_larger_of_two_is_the_known_one_where_one_is_unknown() {
        assert_eq!(larger(None, None), None);
        assert_eq!(larger(Some(2.0), None), Some(2.0));
        assert_eq!(larger(Some(2.0), Some(3.0)), Some(3.0));
    }
}
