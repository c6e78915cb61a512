//! What a bench has to say, for people.

use std::fmt::Write as _;

use super::pace::{Figures, Percentiles};
use super::report::{Both, Floor, Measured, Open, Report, Take};

/// How much longer a bar is for twice the time, and how long at most.
const BAR_STEP: f64 = 3.0;
const BAR_MAX: f64 = 60.0;

/// The whole.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    line(&mut text, &head(report));
    if let Some(put) = &report.phases.put {
        title(&mut text, "Puts");
        put_table(&mut text, report, put, None);
        line(&mut text, &beside_floor(put, report.floor.as_ref()));
        beside_disk(&mut text, report, put);
        histogram(&mut text, &put.figures, report.floor.as_ref());
    }
    if let Some(both) = &report.phases.both {
        title(&mut text, "Puts and takes at once");
        put_table(&mut text, report, &both.put, Some(both));
        line(&mut text, &beside_floor(&both.put, report.floor.as_ref()));
        beside_puts(&mut text, both);
        histogram(&mut text, &both.put.figures, report.floor.as_ref());
    }
    if let Some(take) = &report.phases.take {
        title(&mut text, "Takes of a backlog");
        take_table(&mut text, take);
    }
    if let Some(open) = &report.phases.open {
        title(&mut text, "Open with a backlog");
        open_table(&mut text, open);
    }
    if report.interrupted {
        line(&mut text, "\nended early by a signal");
    }
    if let Some(kept) = &report.kept {
        line(&mut text, &format!("\nkept: {kept}"));
    }
    text
}

fn line(text: &mut String, line: &str) {
    // Writing into a string does not fail.
    let _ = writeln!(text, "{line}");
}

fn title(text: &mut String, title: &str) {
    line(text, &format!("\n{title}"));
}

/// What was measured.
fn head(report: &Report) -> String {
    let producers = match (report.producers, report.in_flight) {
        (1, 1) => "one producer".to_owned(),
        (1, in_flight) => format!("one task with {in_flight} commits in flight"),
        (producers, _) => format!("{producers} producers"),
    };
    let size = report.size;
    let (batch, sync, lap) = (report.batch, &report.sync, report.lap);
    let disk = report.file_system.as_deref().unwrap_or("an unknown file system");
    format!(
        "{producers}, {batch} events a commit, bodies of {size} bytes and one header each; \
         sync = {sync}, {lap} lap, on {disk}"
    )
}

fn columns(text: &mut String) {
    line(
        text,
        &format!(
            "{:<8}{:>13}{:>12}{:>9}{:>11}{:>11}{:>11}{:>13}{:>12}",
            "",
            "events/s",
            "commits/s",
            "MB/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "syncs/commit",
            "bytes/byte"
        ),
    );
}

fn row(text: &mut String, name: &str, figures: &Figures) {
    let times = figures.commit_us;
    line(
        text,
        &format!(
            "{name:<8}{:>13}{:>12}{:>9.1}{:>11.1}{:>11.1}{:>11.1}{:>13.2}{:>12.2}",
            grouped(figures.events_per_s),
            grouped(figures.commits_per_s),
            figures.mb_per_s,
            times.p50,
            times.p99,
            times.p999,
            figures.syncs_per_commit,
            figures.bytes_written_per_payload_byte
        ),
    );
}

fn put_table(text: &mut String, report: &Report, put: &Measured, both: Option<&Both>) {
    columns(text);
    if let Some(floor) = &report.floor {
        row(text, "floor", &floor.figures);
    }
    match both {
        None => row(text, "put", &put.figures),
        Some(_) => row(text, "both", &put.figures),
    }
}

/// How much of the floor that is.
fn beside_floor(measured: &Measured, floor: Option<&Floor>) -> String {
    let Some((ratio, floor)) = measured.ratio_to_floor.zip(floor) else {
        return "no floor was measured".to_owned();
    };
    let p99 = measured.ratio_p99_to_floor.unwrap_or_default();
    let write = grouped(floor.write_bytes as f64);
    let sync = match &floor.sync[..] {
        "none" => "no sync".to_owned(),
        sync => format!("one {sync}"),
    };
    format!(
        "{ratio:.2} of the floor's commits a second, p99 {p99:.2} times the floor's (the floor: one \
         write of {write} bytes and {sync} a commit)"
    )
}

fn beside_disk(text: &mut String, report: &Report, put: &Measured) {
    if let Some((disk, ratio)) = report.disk.zip(put.ratio_to_disk_bandwidth) {
        let (large, small) = (disk.write_1mib_sync_mb_per_s, grouped(disk.write_4k_sync_per_s));
        line(
            text,
            &format!(
                "{ratio:.2} of the disk's bandwidth: it gave {large:.0} MB/s in writes of 1 MiB with \
                 a sync each, and {small} writes of 4 KiB with a sync each a second"
            ),
        );
    }
    let Figures { bytes_preparing, fresh_segments, rolls, .. } = put.figures;
    let preparing = bytes_preparing as f64 / f64::from(1 << 20);
    line(
        text,
        &format!(
            "the log went on in {rolls} further segments, {fresh_segments} of them never written \
             before; {preparing:.1} MiB were written to prepare segments"
        ),
    );
}

fn beside_puts(text: &mut String, both: &Both) {
    if let Some(ratio) = both.put.ratio_to_put_only {
        line(text, &format!("{ratio:.2} of the events a second of puts alone"));
    }
    let waited = both.take_wait_us;
    let committed = both.take_commit_us;
    line(
        text,
        &format!(
            "{} events a second were taken; takes waited {:.0} us for events (p50; p99 {:.0}, max \
             {:.0}), their commits took {:.0} us (p50; p99 {:.0}); at most {} events waited",
            grouped(both.events_taken_per_s),
            waited.p50,
            waited.p99,
            waited.max,
            committed.p50,
            committed.p99,
            grouped(both.backlog_events_max as f64),
        ),
    );
}

fn take_table(text: &mut String, take: &Take) {
    columns(text);
    if let Some(floor) = &take.floor {
        row(text, "floor", &floor.figures);
    }
    row(text, "take", &take.take.figures);
    line(text, &beside_floor(&take.take, take.floor.as_ref()));
    let memory = if take.cold { "from the disk" } else { "as the system had them" };
    if let Some((read, ratio)) = take.read_floor.zip(take.ratio_to_read_floor) {
        line(
            text,
            &format!(
                "{ratio:.2} of a plain reader: it read segments {memory} at {:.0} MB/s ({:.0} with a \
                 small write and a sync for each batch), and they were drained at {:.0} MB/s",
                read.mb_per_s, read.acked_mb_per_s, read.drained_mb_per_s
            ),
        );
    }
}

fn open_table(text: &mut String, open: &Open) {
    let mib = |mib: Option<f64>| mib.map_or("?".to_owned(), |mib| format!("{mib:.1} MiB"));
    let peaks = open.peak_rss_mib;
    let rows = [
        ("events", grouped(open.events as f64)),
        ("first event", format!("{:.1} ms from before the open", open.first_event_ms)),
        ("the same", format!("{:.1} ms without checkpoints", open.without_checkpoints_ms)),
        ("fill", format!("{} events/s", grouped(open.fill_events_per_s))),
        ("drain", format!("{} events/s", grouped(open.drain_events_per_s))),
        (
            "memory",
            format!(
                "{} at most while filling, {} opening, {} draining",
                mib(peaks.fill),
                mib(peaks.open),
                mib(peaks.drain)
            ),
        ),
    ];
    for (name, value) in rows {
        line(text, &format!("{name:<14}{value}"));
    }
}

/// How long commits took, a line for each percentile.
fn histogram(text: &mut String, figures: &Figures, floor: Option<&Floor>) {
    let rows = |times: Percentiles| {
        [
            ("p50", times.p50),
            ("p90", times.p90),
            ("p99", times.p99),
            ("p99.9", times.p999),
            ("max", times.max),
        ]
    };
    let floors = floor.map(|floor| rows(floor.figures.commit_us));
    line(text, "how long a commit took (a bar is longer by three for twice the time)");
    let ours = rows(figures.commit_us);
    let shortest = floors.map_or(ours[0].1, |floors| floors[0].1.min(ours[0].1));
    for (at, (name, us)) in ours.into_iter().enumerate() {
        line(text, &format!("{name:>8}{us:>11.1} us  {}", bar(us, shortest)));
        if let Some((_, us)) = floors.map(|floors| floors[at]) {
            line(text, &format!("{:>8}{us:>11.1} us  {}", "floor", bar(us, shortest)));
        }
    }
}

/// A bar for a time; that of the shortest time is one doubling long.
fn bar(us: f64, shortest: f64) -> String {
    let doublings = if shortest > 0.0 && us > shortest { (us / shortest).log2() } else { 0.0 };
    "#".repeat(((1.0 + doublings) * BAR_STEP).round().min(BAR_MAX) as usize)
}

/// A whole number, in groups of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let table = [(0.4, "0"), (999.6, "1,000"), (123_456.0, "123,456"), (1e9, "1,000,000,000")];
        for (number, text) in table {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_bar_grows_by_a_step_for_twice_the_time() {
        let steps = [(100.0, 3), (50.0, 3), (200.0, 6), (800.0, 12), (1e300, 60), (f64::NAN, 3)];
        for (us, len) in steps {
            assert_eq!(bar(us, 100.0).len(), len, "{us}");
        }
        assert_eq!(bar(5.0, 0.0), "###");
    }
}
