//! What a bench has to say, for people.

use super::report::Report;

use std::fmt::Write as _;

use super::pace::Figures;

/// The whole.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let both = report.phases.both.as_ref().map(|both| &both.put);
    let floor = report.floor.as_ref().map(|floor| ("floor", &floor.figures, None));
    let phases = [("put", report.phases.put.as_ref()), ("both", both)];
    let phases = phases.into_iter().filter_map(|(name, phase)| Some((name, phase?)));
    let phases = phases.map(|(name, phase)| (name, &phase.figures, phase.ratio_to_floor));
    for (name, figures, ratio) in floor.into_iter().chain(phases) {
        let Figures { events_per_s, commits_per_s, mb_per_s, .. } = figures;
        let ratio = ratio.map_or(String::new(), |ratio| format!(" {ratio:.2} of the floor"));
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{name:<6} {events_per_s:>12.0} events/s {commits_per_s:>9.0} commits/s \
             {mb_per_s:>8.1} MB/s{ratio}"
        );
    }
    text
}
