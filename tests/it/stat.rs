//! `forebay stat` from outside: beside an owner, on a closed channel, on a damaged one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::channel::{FileChannel, FileOptions};
use forebay::event::Event;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::LONG;

fn home() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn stat(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.current_dir(home).arg("stat").args(arguments);
    command.output().expect("it runs")
}

/// What it prints with `--json`: one object and nothing else.
#[track_caller]
fn figures(home: &Path, code: i32) -> Value {
    let output = stat(home, &["data", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// What it prints for people.
#[track_caller]
fn words(home: &Path, code: i32) -> String {
    let output = stat(home, &["data"]);
    assert_eq!(output.status.code(), Some(code));
    String::from_utf8(output.stdout).expect("it is text")
}

fn small() -> FileOptions {
    FileOptions { bytes_max: Some(1 << 20), ..FileOptions::default() }
}

/// A closed channel with so many events, one a transaction and so one a block.
fn channel_of(home: &Path, events: usize) {
    let channel = FileChannel::open(home.join("data"), small()).expect("it opens");
    for number in 0..events {
        let mut put = channel.put_transaction();
        put.put(&Event::new(format!("event {number}"))).expect("it fits");
        put.commit().expect("there is space");
    }
}

/// Every file with its contents.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(directory).expect("it is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths.map(|path| (path.clone(), std::fs::read(&path).expect("a file"))).collect()
}

/// The segments that a report lists with a role.
fn with_role<'a>(figures: &'a Value, role: &str) -> Vec<&'a Value> {
    let segments = figures["segments"].as_array().expect("a list");
    segments.iter().filter(|segment| segment["role"] == role).collect()
}

#[test]
fn every_figure_of_a_closed_channel_is_there_and_nothing_changes() {
    let home = home();
    channel_of(home.path(), 3);
    let before = contents(&home.path().join("data"));
    let figures = figures(home.path(), 0);
    assert_eq!(words(home.path(), 0).lines().count(), 12);
    assert_eq!(contents(&home.path().join("data")), before);

    let keys: Vec<&str> =
        figures.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = vec![
        "uuid",
        "events",
        "events_unproven",
        "next_seq",
        "next_lsn",
        "durable_lsn",
        "generation",
        "bytes",
        "bytes_max",
        "events_max",
        "segments",
        "cursors",
        "oldest_seq",
        "oldest_age_ms",
        "losses",
        "lost_events",
        "dropped_events",
        "recent_losses",
        "new_losses",
        "torn_blocks",
        "replayed_blocks",
        "from_checkpoint",
        "quarantine_bytes",
        "live",
        "condition",
        "poisoned",
        "why",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&figures["events"], &figures["next_seq"]), (&3.into(), &4.into()));
    assert_eq!((&figures["bytes_max"], &figures["losses"]), (&(1 << 20).into(), &0.into()));
    assert_eq!(figures["cursors"], serde_json::json!([{"name": "main", "floor": 1, "pending": 3}]));
    assert_eq!((&figures["oldest_seq"], &figures["torn_blocks"]), (&1.into(), &0.into()));
    assert!(figures["oldest_age_ms"].as_u64().is_some_and(|age| age < 60_000));
    let uuid = figures["uuid"].as_str().expect("text");
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_eq!((&figures["condition"], &figures["why"]), (&"closed".into(), &Value::Null));
    assert_eq!(with_role(&figures, "active").len(), 1);
    assert!(with_role(&figures, "spare").len() >= 2);
    assert!(figures["bytes"].as_u64().is_some_and(|bytes| 0 < bytes && bytes <= 1 << 20));
}

#[test]
fn an_owner_at_work_is_seen_and_not_disturbed() {
    let home = home();
    channel_of(home.path(), 2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.current_dir(home.path()).args(["take", "data", "--follow"]);
    let mut owner = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(owner.stdout.take().expect("it is piped")).lines();
    for expected in ["event 0", "event 1"] {
        assert_eq!(lines.next().expect("it prints").expect("it is text"), expected);
    }
    let deadline = Instant::now() + LONG;
    loop {
        let figures = figures(home.path(), 0);
        let live = &figures["live"];
        if figures["events"] == 0 && live["taken"] == 2 && live["events"] == 0 {
            assert_eq!(figures["oldest_seq"], Value::Null);
            break;
        }
        assert!(Instant::now() < deadline, "{figures}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let words = words(home.path(), 0);
    assert!(words.contains("at work") && words.contains("condition    open"), "{words}");
    // Whoever owns the channel still does.
    assert!(FileChannel::open(home.path().join("data"), small()).is_err());
    owner.kill().expect("it runs");
    owner.wait().expect("it ends");
}

#[test]
fn an_owner_that_puts_and_rolls_is_looked_at_all_along() {
    let home = home();
    let channel = FileChannel::open(home.path().join("data"), small()).expect("it opens");
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            for _ in 0..20 {
                figures(home.path(), 0);
            }
        });
        while !looking.is_finished() {
            let mut put = channel.put_transaction();
            put.put(&Event::new(vec![b'x'; 20_000])).expect("it fits");
            put.commit().expect("there is space");
            let mut take = channel.take_transaction("main").expect("it is open");
            take.take_many(10, Duration::ZERO).expect("they can be read");
            take.commit().expect("it is open");
        }
    });
    assert_eq!(figures(home.path(), 0)["events"], 0);
}

#[test]
fn a_full_channel_says_so_and_who_pins_it() {
    let home = home();
    let channel = FileChannel::open(home.path().join("data"), small()).expect("it opens");
    let filled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let putter = scope.spawn(|| {
            while !filled.load(Ordering::Relaxed) {
                let mut put = channel.put_transaction();
                put.put(&Event::new(vec![b'x'; 20_000])).expect("it fits");
                put.commit().expect("there is space, or will be");
            }
        });
        let deadline = Instant::now() + LONG;
        loop {
            let figures = figures(home.path(), 0);
            if figures["condition"] == "full" {
                let why = figures["why"].as_str().expect("a reason");
                assert!(why.contains("cursor \"main\""), "{why}");
                assert_eq!(figures["poisoned"], 0);
                break;
            }
            assert!(Instant::now() < deadline, "{figures}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let words = words(home.path(), 0);
        assert!(words.contains("condition    full: the channel"), "{words}");
        filled.store(true, Ordering::Relaxed);
        let mut take = channel.take_transaction("main").expect("it is open");
        take.take_many(1000, Duration::ZERO).expect("they can be read");
        take.commit().expect("it is open");
        putter.join().expect("it did not panic");
    });
}

#[test]
fn damage_is_told_before_and_after_the_open_that_finds_it() {
    let home = home();
    channel_of(home.path(), 5);
    let data = home.path().join("data");
    let active = with_role(&figures(home.path(), 0), "active")[0]["id"].as_u64().expect("a number");
    let path = data.join(format!("{active:020}.wal"));
    let bytes = std::fs::read(&path).expect("the active segment");
    let at = bytes.windows(7).position(|window| window == b"event 2").expect("it stands there");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("it is ours");
    file.write_all_at(b"EVENT", at as u64).expect("it is written");
    drop(file);

    let before = contents(&data);
    let found = figures(home.path(), 1);
    assert_eq!(contents(&data), before);
    assert_eq!((&found["losses"], &found["events"]), (&0.into(), &4.into()));
    let loss = &found["new_losses"][0];
    assert_eq!(
        (&loss["reason"], &loss["first_seq"], &loss["end_seq"]),
        (&"damaged".into(), &3.into(), &4.into())
    );
    let text = words(home.path(), 1);
    assert!(text.contains("finds a loss") && text.contains("seq 3: its bytes changed"), "{text}");

    drop(FileChannel::open(&data, small()).expect("damage is no error"));
    let known = figures(home.path(), 1);
    assert_eq!((&known["losses"], &known["lost_events"]), (&1.into(), &1.into()));
    assert_eq!((&known["new_losses"], &known["events"]), (&Value::Array(Vec::new()), &4.into()));
    assert_eq!(known["recent_losses"][0]["first_seq"], 3);
    let text = words(home.path(), 1);
    assert!(text.contains("1 known, 1 event") && text.contains("noticed"), "{text}");
}

#[test]
fn a_torn_end_is_told_and_is_no_loss() {
    let home = home();
    channel_of(home.path(), 3);
    let data = home.path().join("data");
    let active = with_role(&figures(home.path(), 0), "active")[0]["id"].as_u64().expect("a number");
    let path = data.join(format!("{active:020}.wal"));
    let bytes = std::fs::read(&path).expect("the active segment");
    let at = bytes.windows(7).position(|window| window == b"event 2").expect("it stands there");
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("it is ours");
    file.write_all_at(b"EVENT", at as u64).expect("it is written");
    file.flush().expect("it is written");
    // What tells of the block was never written either.
    let behind = (at - at % 4096 + 4096) as u64;
    file.write_all_at(&[0; 4096], behind).expect("it is written");
    let found = figures(home.path(), 0);
    assert_eq!((&found["torn_blocks"], &found["events"]), (&1.into(), &2.into()));
    assert!(words(home.path(), 0).contains("never were acknowledged"));
}

#[test]
fn without_a_channel_it_ends_with_2_and_makes_nothing() {
    let home = home();
    std::fs::create_dir(home.path().join("empty")).expect("it can be made");
    for directory in ["nowhere", "empty"] {
        for arguments in [&[directory][..], &[directory, "--json"]] {
            let output = stat(home.path(), arguments);
            assert_eq!(output.status.code(), Some(2));
            assert!(output.stdout.is_empty());
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("there is no"), "{stderr}");
        }
    }
    assert!(!home.path().join("nowhere").exists());
    assert!(contents(&home.path().join("empty")).is_empty());
    assert_eq!(stat(home.path(), &[]).status.code(), Some(2));
}
