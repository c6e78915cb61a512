//! `forebay bench` from outside: what it says is consistent, and what it made is gone.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::command::{fine, forebay, home, run};
use crate::support::LONG;

/// Runs it on a small channel in a new directory, which it has to leave as it found it.
fn bench(bytes_max: &str, arguments: &[&str]) -> Value {
    let home = home();
    let small = ["bench", "--json", "--dir", "b", "--bytes-max", bytes_max];
    let output = run(home.path(), &[&small[..], arguments].concat(), b"");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(std::fs::read_dir(home.path()).expect("it is there").count(), 0, "it is left empty");
    serde_json::from_slice(&output.stdout).expect("one object, nothing else")
}

#[track_caller]
fn number(value: &Value, key: &str) -> f64 {
    let found = value.pointer(&format!("/{key}")).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{key} in {value:#}"))
}

/// The figures that every contender has, and how they hang together.
#[track_caller]
fn check_figures(figures: &Value, batch: f64) {
    let of = |key: &str| number(figures, key);
    assert!(of("commits") > 0.0 && of("slices") > 0.0, "{figures:#}");
    assert_eq!(of("commits") * batch, of("events"), "{figures:#}");
    let near = |one: f64, other: f64| (one / other - 1.0).abs() < 1e-6;
    assert!(near(of("commits_per_s") * batch, of("events_per_s")), "{figures:#}");
    assert!(near(of("commits_per_s_overall") * of("seconds"), of("commits")), "{figures:#}");
    assert!(near(of("events_per_s_overall") * of("seconds"), of("events")), "{figures:#}");
    assert!(near(of("payload_bytes"), of("events") * 523.0), "{figures:#}");
    assert!(near(of("mb_per_s"), of("events_per_s") * 523.0 / 1e6), "{figures:#}");
    assert!(near(of("syncs_per_commit") * of("commits"), of("syncs")), "{figures:#}");
    let bytes = of("bytes_written_per_payload_byte") * of("payload_bytes");
    assert!(near(bytes, of("bytes_written")), "{figures:#}");
    let times = ["p50", "p90", "p99", "p999", "max"].map(|key| of(&format!("commit_us/{key}")));
    assert!(times.is_sorted() && times[0] > 0.0, "{figures:#}");
    of("bytes_preparing");
}

#[track_caller]
fn check_ratio(of: &Value, key: &str, one: f64, other: f64) {
    assert!((number(of, key) / (one / other) - 1.0).abs() < 1e-6, "{key} in {of:#}");
}

#[test]
fn puts_stand_beside_their_floor_and_all_figures_agree() {
    let report = bench("4MiB", &["--phase", "put", "--batch", "10", "--events", "3000"]);
    assert_eq!((&report["main"], &report["interrupted"]), (&"put".into(), &false.into()));
    for (key, value) in [("size", 512), ("batch", 10), ("producers", 1), ("in_flight", 1)] {
        assert_eq!(report[key], value, "{report:#}");
    }
    assert_eq!((&report["consumers"], &report["sync"]), (&0.into(), &"commit".into()));
    assert_eq!(report["lap"], "later");
    check_figures(&report, 10.0);
    assert_eq!(number(&report, "events"), 3000.0);
    assert!(number(&report, "slices") >= 10.0, "{report:#}");
    assert!(number(&report, "peak_rss_mib") > 0.5);
    // A lone producer shares its syncs with nobody.
    assert!(number(&report, "syncs") >= 300.0, "{report:#}");
    assert!(number(&report, "bytes_written_per_payload_byte") > 1.0, "{report:#}");
    let calls = number(&report, "bytes_of_write_calls");
    assert!(calls >= number(&report, "bytes_written"), "the process wrote it: {report:#}");
    let floor = &report["floor"];
    check_figures(floor, 10.0);
    assert_eq!((number(floor, "write_bytes"), &floor["sync"]), (8192.0, &"fdatasync".into()));
    assert_eq!(number(floor, "syncs"), number(floor, "commits"));
    assert_eq!(number(floor, "bytes_written"), number(floor, "commits") * 8192.0);
    let rates = (number(&report, "commits_per_s"), number(floor, "commits_per_s"));
    check_ratio(&report, "ratio_to_floor", rates.0, rates.1);
    let p99 = (number(&report, "commit_us/p99"), number(floor, "commit_us/p99"));
    check_ratio(&report, "ratio_p99_to_floor", p99.0, p99.1);
    let bandwidth = number(&report, "disk/write_1mib_sync_mb_per_s");
    assert!(number(&report, "disk/write_4k_sync_per_s") > 0.0);
    check_ratio(&report, "ratio_to_disk_bandwidth", number(&report, "mb_per_s"), bandwidth);
    for key in ["commits", "events_per_s", "commit_us", "ratio_to_floor"] {
        assert_eq!(report[key], report["phases"]["put"][key], "{key}");
    }
    let phases = report["phases"].as_object().expect("an object");
    assert_eq!(phases.len(), 1, "{phases:?}");
}

#[test]
fn several_producers_and_commits_in_flight_share_syncs() {
    for many in [["--producers", "4"], ["--in-flight", "8"]] {
        let load = ["--phase", "put", "--batch", "1", "--events", "2000", "--no-floor"];
        let arguments: Vec<&str> = load.into_iter().chain(many).collect();
        let report = bench("4MiB", &arguments);
        check_figures(&report, 1.0);
        assert_eq!(number(&report, "commits"), 2000.0);
        assert!(number(&report, "syncs") <= number(&report, "commits"), "{report:#}");
        assert_eq!((&report["floor"], &report["ratio_to_floor"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn puts_and_takes_at_once_stand_beside_puts_alone() {
    let report = bench("4MiB", &["--consumers", "2", "--batch", "5", "--events", "1000"]);
    assert_eq!(report["main"], "both");
    let (put, both) = (&report["phases"]["put"], &report["phases"]["both"]);
    check_figures(put, 5.0);
    check_figures(both, 5.0);
    check_figures(&report, 5.0);
    assert_eq!((number(put, "events"), number(both, "events")), (1000.0, 1000.0));
    let rates = (number(both, "events_per_s"), number(put, "events_per_s"));
    check_ratio(both, "ratio_to_put_only", rates.0, rates.1);
    assert_eq!(both["ratio_to_put_only"], report["ratio_to_put_only"]);
    // What the last takes left was not taken in time.
    let (taken, waiting) = (number(both, "events_taken"), number(both, "backlog_events_max"));
    assert!(taken > 0.0 && taken <= 1000.0 && taken + waiting >= 1000.0, "{both:#}");
    assert!(number(both, "takes") * 5.0 >= taken, "{both:#}");
    assert!(number(both, "take_wait_us/max") > 0.0 && number(both, "take_commit_us/p50") > 0.0);
}

#[test]
fn a_backlog_is_drained_beside_a_plain_reader() {
    let load = ["--phase", "take", "--cold", "--batch", "20", "--events", "20000"];
    let report = bench("16MiB", &load);
    let take = &report["phases"]["take"];
    check_figures(take, 20.0);
    assert_eq!((number(take, "events"), &take["cold"]), (20_000.0, &true.into()));
    assert_eq!((&report["main"], &report["commits"]), (&"take".into(), &take["commits"]));
    assert_eq!(number(take, "floor/write_bytes"), 4096.0);
    check_figures(&take["floor"], 20.0);
    let rates = ["drained_mb_per_s", "mb_per_s"].map(|key| number(&take["read_floor"], key));
    assert!(rates.iter().all(|rate| *rate > 0.0), "{take:#}");
    check_ratio(take, "ratio_to_read_floor", rates[0], rates[1]);
    assert!(number(take, "take_wait_us/max") > 0.0);
}

#[test]
fn a_channel_is_opened_with_and_without_checkpoints() {
    let report = bench("4MiB", &["--phase", "open", "--events", "3000"]);
    let open = &report["phases"]["open"];
    assert_eq!((number(open, "events"), number(open, "events_drained")), (3000.0, 3000.0));
    let each = open["first_event_ms_each"].as_array().expect("a list");
    let mut each: Vec<f64> = each.iter().map(|ms| ms.as_f64().expect("a number")).collect();
    each.sort_by(f64::total_cmp);
    assert_eq!((each.len(), number(open, "first_event_ms")), (5, each[2]));
    assert!(each[0] > 0.0 && number(open, "without_checkpoints_ms") > 0.0);
    for what in ["fill", "open", "without_checkpoints", "drain"] {
        assert!(number(open, &format!("peak_rss_mib/{what}")) > 0.5, "{open:#}");
    }
}

#[test]
fn weaker_classes_have_a_floor_of_their_own_and_a_first_lap_is_one() {
    let load = ["--phase", "put", "--events", "2000", "--lap", "first"];
    let report = bench("4MiB", &[&load[..], &["--sync", "os"]].concat());
    assert_eq!((&report["sync"], &report["lap"]), (&"os".into(), &"first".into()));
    let floor = &report["floor"];
    assert_eq!((&floor["sync"], &floor["syncs"]), (&"none".into(), &0.into()));
    assert!(number(&report, "syncs") < number(&report, "commits"), "{report:#}");
    let prepared = number(&report, "fresh_segments") + number(&report, "bytes_preparing");
    assert!(prepared > 0.0, "nothing had been written: {report:#}");
    let report = bench("4MiB", &[&load[..], &["--sync", "interval:5ms"]].concat());
    assert_eq!(report["floor"]["sync"], "fdatasync every 5ms");
}

#[test]
fn people_get_a_table_and_a_histogram() {
    let home = home();
    let load = ["bench", "--events", "2000", "--bytes-max", "4MiB", "--dir", "b", "--keep"];
    let text = String::from_utf8(fine(run(home.path(), &load, b""))).expect("it is text");
    for words in ["Puts", "of the floor's commits a second", "p99.9", "####", "Open with", "kept:"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
    let kept = text.lines().find_map(|line| line.strip_prefix("kept: ")).expect("a place");
    let kept = Path::new(kept);
    let kept = if kept.is_relative() { home.path().join(kept) } else { kept.to_owned() };
    assert!(kept.join("contest/put").is_dir() && kept.join("contest/floor").is_file());
    // What is kept is in the way of the next one.
    let output = run(home.path(), &load, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("b is not empty; name a new directory"), "{said}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_way_out() {
    let home = home();
    let most = "transaction has room for 131072 bytes";
    let table: [(&[&str], &str); 11] = [
        (&["--in-flight", "4", "--producers", "2"], "give one of them"),
        (&["--size", "0"], "at least 1"),
        (&["--batch", "0"], "--batch"),
        (&["--producers", "0"], "--producers"),
        (&["--events", "0"], "--events"),
        (&["--producers", "5000"], "at most 4096"),
        (&["--sync", "never"], "--sync never"),
        (&["--batch", "1000", "--bytes-max", "4MiB", "--phase", "put"], most),
        (&["--size", "1MiB", "--bytes-max", "4MiB", "--phase", "put"], "--size 1048576"),
        (&["--events", "1000000000000", "--phase", "open"], "MiB may be needed"),
        (&["--events", "10000", "--bytes-max", "4MiB", "--phase", "open"], "raise it, or lower"),
    ];
    for (arguments, words) in table {
        let all: Vec<&str> = ["bench", "--dir", "b"].iter().chain(arguments).copied().collect();
        let output = run(home.path(), &all, b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!home.path().join("b").exists(), "{arguments:?} left something");
    }
}

#[test]
fn a_signal_ends_it_with_what_is_known_and_nothing_is_left() {
    let home = home();
    let load = ["bench", "--json", "--phase", "put", "--events", "1000000000", "--batch", "1"];
    let child = forebay(home.path(), &[&load[..], &["--dir", "b", "--bytes-max", "4MiB"]].concat());
    let channel = || {
        let mut inside = std::fs::read_dir(home.path().join("b")).ok()?;
        let contest = inside.next()?.ok()?.path().join("contest");
        // It comes after all preparations.
        contest.join("floor").exists().then_some(())
    };
    let deadline = Instant::now() + LONG;
    while channel().is_none() {
        assert!(Instant::now() < deadline, "it never began");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(report["interrupted"], true);
    assert_eq!(std::fs::read_dir(home.path()).expect("it is there").count(), 0);
}
