//! `forebay check` from outside: on sound channels, on damaged ones, beside an owner.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::channel::{FileChannel, FileOptions, SyncClass};
use forebay::event::Event;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::LONG;

const SECTOR: usize = 4096;

fn home() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn check(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.current_dir(home).arg("check").args(arguments);
    command.output().expect("it runs")
}

/// What it prints with `--json`, on a directory that it leaves as it is.
#[track_caller]
fn findings(home: &Path, code: i32) -> Value {
    let before = contents(&home.join("data"));
    let output = check(home, &["data", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
    assert!(contents(&home.join("data")) == before, "it changed something");
    let found: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!(found["verdict"], if code == 0 { "sound" } else { "damaged" });
    assert_eq!(found["damages_total"] == 0, code == 0, "{found}");
    found
}

#[track_caller]
fn words(home: &Path, code: i32) -> String {
    let output = check(home, &["data"]);
    assert_eq!(output.status.code(), Some(code));
    String::from_utf8(output.stdout).expect("it is text")
}

/// The only damage there is.
#[track_caller]
fn damage(home: &Path) -> Value {
    let found = findings(home, 1);
    assert_eq!(found["damages_total"], 1, "{found}");
    found["damages"][0].clone()
}

fn options() -> FileOptions {
    FileOptions { bytes_max: Some(1 << 20), ..FileOptions::default() }
}

/// A process that another test is just starting may hold a copy of the lock for a moment.
fn open(home: &Path) -> FileChannel {
    let deadline = Instant::now() + LONG;
    loop {
        match FileChannel::open(home.join("data"), options()) {
            Ok(channel) => return channel,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn put(channel: &FileChannel, body: String) {
    let mut put = channel.put_transaction();
    put.put(&Event::new(body)).expect("it fits");
    put.commit().expect("there is space");
}

/// A closed channel with so many events of 10,000 bytes, one a block, a dozen a segment.
fn channel_of(home: &Path, events: u64) {
    let channel = open(home);
    (1..=events).for_each(|seq| put(&channel, body(seq)));
}

fn body(seq: u64) -> String {
    format!("<{seq}>{}", "x".repeat(10_000))
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(directory).expect("it is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths.filter(|path| path.is_file()).map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

/// The file and the place of an event's body.
fn place_of(home: &Path, seq: u64) -> (PathBuf, usize) {
    let wanted = format!("<{seq}>");
    let found = contents(&home.join("data")).into_iter().find_map(|(path, bytes)| {
        let at = bytes.windows(wanted.len()).position(|window| window == wanted.as_bytes())?;
        Some((path, at))
    });
    found.expect("it stands there")
}

fn flip(path: &Path, at: usize) {
    let mut byte = [0];
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("it is ours");
    file.read_exact_at(&mut byte, at as u64).expect("it is as long");
    file.write_all_at(&[byte[0] ^ 4], at as u64).expect("it can be written");
}

#[test]
fn every_figure_of_a_sound_channel_is_there() {
    let home = home();
    channel_of(home.path(), 30);
    let found = findings(home.path(), 0);
    let mut keys: Vec<&str> =
        found.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected = [
        "verdict",
        "uuid",
        "segments",
        "spares",
        "blocks",
        "void_blocks",
        "torn_blocks",
        "records",
        "events",
        "bytes",
        "next_seq",
        "next_lsn",
        "durable_lsn",
        "damages",
        "damages_total",
        "losses",
        "lost_events",
        "quarantine_bytes",
        "remarks",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!((&found["events"], &found["next_seq"]), (&30.into(), &31.into()));
    assert_eq!((&found["segments"], &found["torn_blocks"]), (&4.into(), &0.into()));
    assert!(found["bytes"].as_u64().is_some_and(|bytes| 300_000 < bytes && bytes < 1 << 20));
    let words = words(home.path(), 0);
    assert!(words.contains("30 events") && words.ends_with("sound\n"), "{words}");
}

#[test]
fn what_was_acknowledged_rolled_back_and_recycled_is_sound() {
    let home = home();
    for round in 0..6 {
        let channel = open(home.path());
        for seq in 0..20 {
            put(&channel, body(seq));
            let mut dropped = channel.put_transaction();
            dropped.put(&Event::new("never")).expect("it fits");
            drop(dropped);
        }
        let mut take = channel.take_transaction("main").expect("a take");
        assert!(!take.take_many(5, Duration::ZERO).expect("events").is_empty());
        take.rollback();
        let mut take = channel.take_transaction("main").expect("a take");
        assert!(take.take_many(17, Duration::ZERO).expect("events").len() >= 8);
        take.commit().expect("an acknowledgement");
        drop(channel);
        assert_eq!(findings(home.path(), 0)["damages"], Value::Array(Vec::new()), "{round}");
    }
    // The first segments have another life by now.
    let highest = contents(&home.path().join("data"))
        .into_keys()
        .filter_map(|path| path.file_stem()?.to_str()?.parse::<u64>().ok());
    assert!(highest.max().is_some_and(|id| id > 9));
}

#[test]
fn a_killed_channel_is_sound() {
    for sync in ["commit", "os"] {
        let home = home();
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.current_dir(home.path()).args(["put", "data", "--batch", "1", "--ack"]);
        if sync == "os" {
            let options = FileOptions { sync: SyncClass::Os, ..options() };
            FileChannel::open(home.path().join("data"), options).expect("it opens");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut owner = command.spawn().expect("it starts");
        let mut lines = owner.stdin.take().expect("it is piped");
        let mut acks = BufReader::new(owner.stdout.take().expect("it is piped")).lines();
        for seq in 0..40 {
            writeln!(lines, "{}", body(seq)).expect("it reads");
            acks.next().expect("it acknowledges").expect("it is text");
        }
        writeln!(lines, "{}", body(40)).expect("it reads");
        owner.kill().expect("it runs");
        owner.wait().expect("it ends");
        let events = findings(home.path(), 0)["events"].as_u64();
        assert!(events.is_some_and(|events| events == 40 || events == 41), "{events:?}");
    }
}

#[test]
fn a_flipped_bit_in_a_body_is_told_with_its_place_and_then_known() {
    let home = home();
    channel_of(home.path(), 30);
    let (path, at) = place_of(home.path(), 5);
    flip(&path, at + 100);
    let found = damage(home.path());
    let sector = (at - at % SECTOR) as u64;
    assert_eq!((&found["kind"], &found["offset_bytes"]), (&"bytes".into(), &sector.into()));
    assert_eq!((&found["first_seq"], &found["end_seq"]), (&5.into(), &6.into()));
    assert_eq!((&found["waiting"], &found["known"]), (&1.into(), &false.into()));
    assert_eq!(found["len_bytes"], 3 * SECTOR as u64);
    let name = path.file_name().expect("it has one").to_string_lossy();
    assert_eq!(found["file"], *name);
    let words_new = words(home.path(), 1);
    assert!(words_new.contains("seq 5; new: 1 event will not be delivered"), "{words_new}");

    let channel = open(home.path());
    let mut take = channel.take_transaction("main").expect("a take");
    let mut seqs = Vec::new();
    while seqs.last() != Some(&30) {
        let taken = take.take_many(30, LONG).expect("events");
        seqs.extend(taken.iter().map(|taken| taken.seq));
    }
    assert!(seqs.len() == 29 && !seqs.contains(&5), "{seqs:?}");
    // The loss stands in the log before the acknowledgement.
    take.commit().expect("an acknowledgement");
    drop(channel);
    let found = damage(home.path());
    assert_eq!((&found["known"], &found["waiting"]), (&true.into(), &0.into()));
    assert_eq!((&found["first_seq"], &found["end_seq"]), (&5.into(), &6.into()));
    assert!(words(home.path(), 1).contains("the ledger tells of it"));
}

#[test]
fn flipped_bits_in_headers_and_states_are_told_and_cost_no_event() {
    let cases =
        [(20, "header", 0), (SECTOR + 60, "bytes", SECTOR), (SECTOR + 300, "bytes", SECTOR)];
    for (at, kind, offset) in cases {
        let home = home();
        channel_of(home.path(), 30);
        let path = place_of(home.path(), 15).0;
        flip(&path, at);
        let found = damage(home.path());
        assert_eq!((&found["kind"], &found["offset_bytes"]), (&kind.into(), &offset.into()));
        assert_eq!((&found["waiting"], &found["first_seq"]), (&0.into(), &found["end_seq"]));
    }
}

#[test]
fn a_block_header_costs_its_block() {
    let home = home();
    channel_of(home.path(), 30);
    let (path, at) = place_of(home.path(), 17);
    flip(&path, at - at % SECTOR + 70);
    let found = damage(home.path());
    assert_eq!((&found["first_seq"], &found["end_seq"]), (&17.into(), &18.into()));
    assert_eq!(found["waiting"], 1);
}

#[test]
fn a_damaged_checkpoint_is_worth_a_remark_and_no_damage() {
    let home = home();
    channel_of(home.path(), 30);
    let checkpoints =
        ["checkpoint.a", "checkpoint.b"].map(|name| home.path().join("data").join(name));
    let written = checkpoints.iter().find(|path| read(path).starts_with(b"FORECKP"));
    // Where none was written yet, one that a power cut tore looks the same.
    match written {
        Some(path) => flip(path, 30),
        None => std::fs::write(&checkpoints[0], b"FORECKP\x01torn").expect("it can be written"),
    }
    let found = findings(home.path(), 0);
    let remarks = found["remarks"].as_array().expect("a list");
    assert_eq!(remarks.len(), 1, "{found}");
    assert!(remarks[0]["file"].as_str().is_some_and(|file| file.starts_with("checkpoint.")));
    assert!(words(home.path(), 0).contains("no whole checkpoint"));
}

#[test]
fn a_missing_segment_is_told_with_all_that_stood_in_it() {
    let home = home();
    channel_of(home.path(), 30);
    let path = place_of(home.path(), 15).0;
    let stood: Vec<u64> = (1..=30).filter(|seq| place_of(home.path(), *seq).0 == path).collect();
    std::fs::remove_file(&path).expect("it is ours");
    let found = damage(home.path());
    assert_eq!((&found["kind"], &found["known"]), (&"missing".into(), &false.into()));
    assert_eq!(found["first_seq"], stood[0]);
    assert_eq!(found["end_seq"], stood[stood.len() - 1] + 1);
    assert_eq!(found["waiting"], stood.len());
    assert!(words(home.path(), 1).contains("the file is gone"));
    drop(open(home.path()));
    let found = damage(home.path());
    assert_eq!((&found["kind"], &found["known"]), (&"missing".into(), &true.into()));
    assert_eq!(found["waiting"], 0);
}

#[test]
fn a_torn_tail_is_told_and_is_no_damage() {
    let home = home();
    channel_of(home.path(), 30);
    let (path, at) = place_of(home.path(), 30);
    flip(&path, at);
    // What tells of the block was never written either.
    let end = at - at % SECTOR + 3 * SECTOR;
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("it is ours");
    file.write_all_at(&[0; SECTOR], end as u64).expect("it can be written");
    let found = findings(home.path(), 0);
    assert_eq!((&found["torn_blocks"], &found["events"]), (&1.into(), &29.into()));
}

#[test]
fn beside_an_owner_at_work_nothing_is_taken_for_damage() {
    const ROUNDS: usize = 150;
    for sync in [SyncClass::Commit, SyncClass::Os] {
        let home = home();
        let data = home.path().join("data");
        let options = FileOptions { sync, ..options() };
        let channel = FileChannel::open(&data, options).expect("it opens");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut seq = 0;
                while !done.load(Ordering::Relaxed) {
                    seq += 1;
                    put(&channel, "y".repeat(1 + seq * 37 % 20_000));
                    // Some pauses for watermarks, many rolls and recycled segments.
                    if seq % 9 == 0 {
                        let mut take = channel.take_transaction("main").expect("a take");
                        take.take_many(9, Duration::ZERO).expect("events");
                        take.commit().expect("an acknowledgement");
                    }
                    if seq % 200 == 0 {
                        std::thread::sleep(Duration::from_millis(120));
                    }
                }
            });
            let mut found = Vec::new();
            for _ in 0..ROUNDS {
                let check = FileChannel::check(&data, |_, _| {}).expect("it can be checked");
                found.extend(check.damages);
                found.truncate(3);
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(found, [], "{sync:?}");
        });
    }
}

#[test]
fn without_a_channel_it_ends_with_2_and_makes_nothing() {
    let home = home();
    std::fs::create_dir(home.path().join("empty")).expect("it can be made");
    for directory in ["nowhere", "empty"] {
        for arguments in [&[directory][..], &[directory, "--json"]] {
            let output = check(home.path(), arguments);
            assert_eq!(output.status.code(), Some(2));
            assert!(output.stdout.is_empty());
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("there is no"), "{stderr}");
        }
    }
    assert!(!home.path().join("nowhere").exists());
    assert_eq!(check(home.path(), &[]).status.code(), Some(2));
}
