//! A count of what is done, for people: only on a terminal, only when it takes a while.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shorter work shows nothing.
const DELAY: Duration = Duration::from_secs(1);

/// A bar moves in so many steps.
const BAR_STEPS: u64 = 1000;

/// A count on standard error, or nothing at all.
pub(super) struct Progress {
    what: &'static str,
    started: Instant,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// No count.
    pub(super) fn none() -> Progress {
        Progress { what: "", started: Instant::now(), wanted: false, bar: None }
    }

    /// A count of something, if standard error is a terminal.
    pub(super) fn of(what: &'static str) -> Progress {
        let wanted = std::io::stderr().is_terminal();
        Progress { what, started: Instant::now(), wanted, bar: None }
    }

    /// A count of lines taken, unless they are themselves printed on the terminal.
    pub(super) fn output() -> Progress {
        if std::io::stdout().is_terminal() { Progress::none() } else { Progress::of("lines taken") }
    }

    /// A bar for work of a known size, told by [`Progress::reach`].
    pub(super) fn share(what: &'static str) -> Progress {
        Progress { bar: None, ..Progress::of(what) }
    }

    /// That share of it is done.
    pub(super) fn reach(&mut self, share: f64) {
        if !self.wanted || self.started.elapsed() < DELAY {
            return;
        }
        let what = self.what;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(BAR_STEPS);
            let style = format!("{what} {{wide_bar}} {{percent}}%");
            if let Ok(style) = ProgressStyle::with_template(&style) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position((share.clamp(0.0, 1.0) * BAR_STEPS as f64) as u64);
    }

    /// So many are done.
    pub(super) fn at(&mut self, count: u64) {
        if !self.wanted || self.started.elapsed() < DELAY {
            return;
        }
        let what = self.what;
        let bar = self.bar.get_or_insert_with(|| {
            let style = format!("{{spinner}} {{human_pos}} {what}, {{per_sec}}");
            let bar = ProgressBar::new_spinner();
            // The template is ours; without it the default style still counts.
            if let Ok(style) = ProgressStyle::with_template(&style) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(count);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
