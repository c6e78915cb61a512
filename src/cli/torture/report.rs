//! What a torture has to say: lines while it goes on, and the end of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::check::{Figures, Violation};
use crate::failure::Failure;

/// All figures. The keys of the JSON object are stable: more may come, none goes or changes its
/// meaning.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Report {
    pub seed: u64,
    /// Processes that were to be killed.
    pub rounds: u64,
    pub kills: u64,
    /// Channels that were made for it.
    pub channels: u64,
    /// What was under way at the kill, as the child had told; a kill may count for several.
    pub kills_by_phase: BTreeMap<&'static str, u64>,
    /// What the kills waited for.
    pub kills_by_aim: BTreeMap<&'static str, u64>,
    #[serde(flatten)]
    pub figures: Figures,
    /// Violations found, of which the first few are kept.
    pub violations_found: u64,
    pub violations: Vec<Violation>,
    /// Whether a signal ended it early.
    pub interrupted: bool,
    pub elapsed_ms: u64,
    /// Where the evidence is, if there is some.
    pub kept: Option<String>,
}

impl Figures {
    /// Adds those of another channel.
    pub(super) fn add(&mut self, other: &Figures) {
        let Figures {
            puts,
            events_put,
            puts_refused,
            takes,
            events_acked,
            takes_rolled_back,
            events_checked,
            duplicates_checked,
            cursors_read,
            puts_in_doubt,
            puts_found,
            takes_in_doubt,
            takes_found,
        } = other;
        self.puts += puts;
        self.events_put += events_put;
        self.puts_refused += puts_refused;
        self.takes += takes;
        self.events_acked += events_acked;
        self.takes_rolled_back += takes_rolled_back;
        self.events_checked += events_checked;
        self.duplicates_checked += duplicates_checked;
        self.cursors_read += cursors_read;
        self.puts_in_doubt += puts_in_doubt;
        self.puts_found += puts_found;
        self.takes_in_doubt += takes_in_doubt;
        self.takes_found += takes_found;
    }
}

impl Report {
    /// How far it has come, in one line.
    pub(super) fn progress(&self, rounds: u64, seen: &Figures) -> String {
        let (done, kills) = (self.rounds, self.kills);
        let checked = self.figures.events_checked + seen.events_checked;
        let violations = self.violations_found;
        format!(
            "{done:>7} of {rounds} rounds {kills:>7} kills {checked:>10} events checked \
             {violations:>3} violations"
        )
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Failure::new("the figures cannot be written").because(error))
    }

    /// The whole, for people.
    pub(super) fn text(&self) -> String {
        let figures = &self.figures;
        let elapsed = Duration::from_millis(self.elapsed_ms);
        let counts = |counts: &BTreeMap<&str, u64>| {
            let each = counts.iter().map(|(name, count)| format!("{name} {count}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let rate = self.rounds as f64 / elapsed.as_secs_f64().max(0.001);
        let rows = [
            ("seed", self.seed.to_string()),
            (
                "rounds",
                format!("{} on {} channels, {rate:.1} a second", self.rounds, self.channels),
            ),
            ("kills", self.kills.to_string()),
            ("under way", counts(&self.kills_by_phase)),
            ("aimed at", counts(&self.kills_by_aim)),
            (
                "puts",
                format!(
                    "{} with {} events, {} refused, {} in doubt of which {} were there",
                    figures.puts,
                    figures.events_put,
                    figures.puts_refused,
                    figures.puts_in_doubt,
                    figures.puts_found
                ),
            ),
            (
                "takes",
                format!(
                    "{} with {} events, {} rolled back, {} in doubt of which {} counted",
                    figures.takes,
                    figures.events_acked,
                    figures.takes_rolled_back,
                    figures.takes_in_doubt,
                    figures.takes_found
                ),
            ),
            (
                "checked",
                format!(
                    "{} events, {} repeats, {} cursors from end to end",
                    figures.events_checked, figures.duplicates_checked, figures.cursors_read
                ),
            ),
            ("violations", self.violations_found.to_string()),
        ];
        let mut text = String::new();
        for (name, value) in rows {
            // Writing into a string does not fail.
            let _ = writeln!(text, "{name:<12} {value}");
        }
        for Violation { promise, round, text: what } in &self.violations {
            let _ = writeln!(text, "  {promise} broken in round {round}: {what}");
        }
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "\nkept: {}", hint(Path::new(kept)));
        }
        if self.interrupted {
            let _ = writeln!(text, "\nended early by a signal");
        }
        text
    }
}

/// How to look at what was kept.
fn hint(kept: &Path) -> String {
    format!(
        "{0}\n  `forebay stat` shows the channel in the last channel-*/data; channel-*/before is \
         what the last process found,\n  channel-*/log is all that the processes said, with the \
         plan of each round",
        kept.display()
    )
}

/// Prints, also when nobody reads any more.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout();
    match writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new("standard output cannot be written").because(error))
        }
        _ => Ok(()),
    }
}
