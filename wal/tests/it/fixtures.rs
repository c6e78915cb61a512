//! Channels that an earlier program left behind, byte for byte: every later one reads the same out
//! of them. Written once, by `FOREBAY_WRITE_FIXTURES=1`; of each file the part up to its last byte
//! that is not zero is kept, and the manifest tells how long it was.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_wal::{
    Background, Channel, CursorStart, ErrorKind, Inspection, Loss, Options, SyncClass,
};
use tempfile::TempDir;

use forebay_proof::lab::{Lab, PUT, ack, blocks, name_of};
use forebay_proof::model::{DIR, event, options};

const NAMES: [&str; 3] = ["commit", "interval", "damaged"];

fn home(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(name)
}

/// A life that leaves one of every kind of record behind.
fn lived(name: &str) -> Lab {
    let class = match name {
        "interval" => SyncClass::Interval(Duration::from_millis(100)),
        _ => SyncClass::Commit,
    };
    let lab = Lab::new(name.len() as u64).with(options(class).events_max(100_000));
    let mut channel = lab.open();
    channel.add_cursor("third", CursorStart::Next).expect("room");
    channel.add_cursor("gone", CursorStart::Oldest).expect("room");
    let (mut id, mut behind) = (1, 0);
    while behind < if name == "commit" { 6 } else { 2 } {
        behind += u64::from(channel.stats().segments_live == 2);
        let mut put = channel.put_transaction();
        for _ in 0..1 + id % 4 {
            put.put(&event(id)).expect("it fits");
            id += 1;
        }
        put.set_producer(&format!("producer-{}", id % 3), id).expect("room");
        put.set_position(&format!("file-{}", id % 2), &id.to_le_bytes()).expect("room");
        put.set_expiry(id as i64 * 1000);
        put.commit().expect("room");
        if id % 5 == 0 {
            let mut take = channel.take_transaction("second").expect("a take");
            let skipped = channel.take_transaction("second").expect("a take");
            take.take_many(2, usize::MAX).expect("events");
            take.set_state(format!("state {id}").as_bytes()).expect("room");
            take.commit().expect("an acknowledgement");
            skipped.rollback();
        }
        if id % 50 == 0 {
            lab.idle(&channel);
            drop(channel);
            channel = lab.open();
        }
    }
    channel.remove_cursor("gone").expect("it is there");
    channel.discard_before(10).expect("open");
    let mut put = channel.put_transaction();
    put.set_position("file-0", b"").expect("room");
    put.commit().expect("room");
    ack(&channel, "main", 5);
    channel.checkpoint();
    lab.idle(&channel);
    if name == "damaged" {
        drop(channel);
        let path = &lab.segments()[0];
        let hit = blocks(&lab.fs.read_file(path)).into_iter().rfind(|block| block.has(PUT));
        lab.fs.flip_bit(path, hit.expect("puts").offset + 100, 0);
        // It is noticed and stands in the ledger; another one is not noticed yet.
        channel = lab.open();
        forebay_proof::lab::peek(&channel, "main");
        lab.idle(&channel);
        drop(channel);
        let hit = blocks(&lab.fs.read_file(path)).into_iter().filter(|block| block.has(PUT)).nth(9);
        lab.fs.flip_bit(path, hit.expect("puts").offset + 100, 0);
    } else {
        drop(channel);
    }
    lab
}

fn is_kept(name: &str) -> bool {
    name.ends_with(".wal") || name.starts_with("checkpoint.")
}

fn write(name: &str) {
    let lab = lived(name);
    let home = home(name);
    fs::create_dir_all(&home).expect("a directory");
    let mut manifest = String::new();
    for path in lab.fs.paths().into_iter().filter(|path| is_kept(&name_of(path))) {
        let bytes = lab.fs.read_file(&path);
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        writeln!(manifest, "{} {}", name_of(&path), bytes.len()).expect("a string");
        fs::write(home.join(name_of(&path)), &bytes[..used]).expect("a file");
    }
    fs::write(home.join("manifest"), manifest).expect("a file");
    fs::write(home.join("dump"), dump(name)).expect("a file");
}

/// The files of a fixture, whole again.
fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let manifest = fs::read_to_string(home(name).join("manifest")).expect("a manifest");
    let whole = |line: &str| {
        let (file, len) = line.split_once(' ').expect("a name and a length");
        let mut bytes = fs::read(home(name).join(file)).expect("a file");
        bytes.resize(len.parse().expect("a length"), 0);
        (file.to_owned(), bytes)
    };
    manifest.lines().map(whole).collect()
}

fn dump(name: &str) -> String {
    let mut out = String::new();
    let lab = Lab::new(1);
    for (file, bytes) in files(name) {
        lab.fs.write_file(Path::new(DIR).join(file), &bytes);
    }
    dump_inspection(&mut out, &lab.inspect());
    for (file, bytes) in files(name) {
        assert_eq!(lab.fs.read_file(Path::new(DIR).join(file)), bytes, "looking changed something");
    }
    // On a real disk, for writing.
    let dir = tempfile::tempdir().expect("a directory");
    for (file, bytes) in files(name) {
        fs::write(dir.path().join(file), bytes).expect("a file");
    }
    let channel = Channel::open(dir.path(), manual()).expect("it opens");
    dump_channel(&mut out, &channel);
    out
}

fn dump_inspection(out: &mut String, seen: &Inspection) {
    let mut line = |text: String| writeln!(out, "{text}").expect("a string");
    line(format!("uuid {:02x?}", seen.uuid));
    line(format!("generation {}", seen.generation));
    line(format!("next seq {}, next lsn {}, W {}", seen.next_seq, seen.next_lsn, seen.durable_lsn));
    line(format!("limits {} {}", seen.bytes_max, seen.events_max));
    line(format!("events {}, dropped {}", seen.events, seen.dropped_events));
    line(format!("losses {}, lost {}", seen.losses, seen.lost_events));
    line(format!("torn {}, unproven {}", seen.torn_blocks, seen.events_unproven));
    line(format!("oldest {:?} of {:?}", seen.oldest_seq, seen.oldest_us));
    for segment in &seen.segments {
        let (id, first) = (segment.id, segment.first_seq);
        line(format!("segment {id}: {} bytes, {:?}, from {first:?}", segment.bytes, segment.role));
    }
    for cursor in &seen.cursors {
        line(format!("cursor {}: floor {}, {}", cursor.name, cursor.floor, cursor.pending));
    }
    seen.recent_losses.iter().for_each(|loss| line(format!("known loss {}", of_loss(loss))));
    seen.new_losses.iter().for_each(|loss| line(format!("new loss {}", of_loss(loss))));
}

fn of_loss(loss: &Loss) -> String {
    let (seqs, lsns, at) = (loss.seqs, loss.lsns, loss.offset_bytes);
    let range = format!("{}..{}, lsns {}..{}", seqs.start, seqs.end, lsns.0, lsns.1);
    format!("{:?} {range}, segment {} at {at}+{}", loss.reason, loss.segment, loss.len_bytes)
}

fn dump_channel(out: &mut String, channel: &Channel) {
    let mut line = |text: String| writeln!(out, "{text}").expect("a string");
    for (key, value) in channel.positions() {
        line(format!("position {key}: {value:?}"));
    }
    for producer in (0..3).map(|n| format!("producer-{n}")) {
        line(format!("{producer}: {:?}", channel.producer_sequence(&producer)));
    }
    for cursor in channel.stats().cursors {
        let name = &cursor.name;
        line(format!("cursor {name}: state {:?}", channel.cursor_state(name)));
        let seen = forebay_proof::lab::peek(channel, name);
        let ids = seen.iter().map(|(seq, id)| format!("{seq}={id}"));
        line(format!("cursor {name}: {}", ids.collect::<Vec<_>>().join(" ")));
    }
    for loss in channel.stats().recent_losses {
        line(format!("loss {}", of_loss(&loss)));
    }
}

#[test]
fn p7_p11_what_version_1_wrote_is_read_as_it_always_was() {
    if std::env::var_os("FOREBAY_WRITE_FIXTURES").is_some() {
        NAMES.iter().for_each(|name| write(name));
    }
    for name in NAMES {
        let golden = fs::read_to_string(home(name).join("dump")).expect("a dump");
        let now = dump(name);
        let differs = golden.lines().zip(now.lines()).find(|(golden, now)| golden != now);
        assert_eq!(differs, None, "{name}");
        assert_eq!(golden, now, "{name}");
    }
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A segment header of a later version, otherwise as it was.
fn newer_segment(bytes: &mut [u8], version: u32) {
    put_u32(bytes, 8, version);
    let sum = crc32fast::hash(&bytes[..124]);
    put_u32(bytes, 124, sum);
}

fn newer_checkpoint(bytes: &mut [u8]) {
    put_u32(bytes, 8, 2);
    let sum = crc32fast::hash(&bytes[..20]);
    put_u32(bytes, 20, sum);
}

/// A block header of a later version at an offset.
fn newer_block(bytes: &mut [u8], at: usize) {
    bytes[at + 4..at + 6].copy_from_slice(&2_u16.to_le_bytes());
    let sum = crc32fast::hash(&bytes[at..at + 188]);
    put_u32(bytes, at + 188, sum);
}

/// The State that begins the body of a block, of a later version; all sums are right.
fn newer_state(bytes: &mut [u8], at: usize) {
    const STATE: u8 = 6;
    let (record, body_len) = (at + 192, u32_at(bytes, at + 108) as usize);
    assert_eq!(bytes[record + 4], STATE);
    put_u32(bytes, record + 12, 2);
    let len = u32_at(bytes, record) as usize;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes[record..record + 8]);
    sum.update(&bytes[record + 12..record + 12 + len]);
    put_u32(bytes, record + 8, sum.finalize());
    let sum = crc32fast::hash(&bytes[record..record + body_len]);
    put_u32(bytes, at + 168, sum);
    let sum = crc32fast::hash(&bytes[at..at + 188]);
    put_u32(bytes, at + 188, sum);
}

/// Every file of a directory but the lock, whose text names the owner.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut all: Vec<_> = paths
        .filter(|path| path.file_name().is_some_and(|name| name != "LOCK"))
        .map(|path| (path.clone(), fs::read(&path).expect("a file")))
        .collect();
    all.sort();
    all
}

/// The fixture on a real disk, with a change to one of its files.
fn changed(files: &[(String, Vec<u8>)], name: &str, change: impl Fn(&mut [u8])) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (file, bytes) in files {
        let mut bytes = bytes.clone();
        if file == name {
            change(&mut bytes);
        }
        fs::write(dir.path().join(file), bytes).expect("a file");
    }
    dir
}

fn manual() -> Options {
    Options::new().background(Background::Manual)
}

#[test]
fn p7_a_segment_of_a_newer_version_is_refused_by_name_and_nothing_is_touched() {
    for fixture in NAMES {
        let files = files(fixture);
        let segments = files.iter().filter(|(name, _)| name.ends_with(".wal"));
        for (name, version) in segments.flat_map(|(name, _)| [(name, 2), (name, 700_000)]) {
            let dir = changed(&files, name, |bytes| newer_segment(bytes, version));
            let before = contents(dir.path());
            let opened = Channel::open(dir.path(), manual()).map(|_| ());
            let looked = Inspection::read(dir.path()).map(|_| ());
            let asked = Inspection::is_channel(dir.path()).map(|_| ());
            for refused in [opened, looked, asked] {
                let error = refused.expect_err("a newer version");
                assert_eq!(error.kind(), ErrorKind::NewerVersion);
                let text = error.to_string();
                let named = [name.as_str(), &format!("version {version}"), "up to 1"];
                assert!(named.iter().all(|word| text.contains(word)), "{text}");
            }
            assert!(contents(dir.path()) == before, "{fixture}, {name}: something changed");
            // The program that knows it finds it as it was: the lock is free.
            fs::write(dir.path().join(name), &files.iter().find(|f| f.0 == *name).expect("it").1)
                .expect("a file");
            Channel::open(dir.path(), manual()).expect("it opens as version 1");
        }
    }
}

#[test]
fn p7_a_newer_version_with_a_bad_sum_is_damage_and_no_reason_to_refuse() {
    let files = files("commit");
    for (name, _) in files.iter().filter(|(name, _)| name.ends_with(".wal")) {
        let dir = changed(&files, name, |bytes| put_u32(bytes, 8, 2));
        let channel = Channel::open(dir.path(), manual()).expect("a block proves the segment");
        assert_eq!(channel.stats().losses, 0, "{name}");
    }
}

/// What a channel on this directory dumps.
fn dumped(dir: &TempDir) -> String {
    let mut out = String::new();
    dump_channel(&mut out, &Channel::open(dir.path(), manual()).expect("it opens"));
    out
}

#[test]
fn p7_p11_a_checkpoint_of_a_newer_version_is_as_none() {
    for fixture in NAMES {
        let files = files(fixture);
        let as_it_was = dumped(&changed(&files, "", |_| {}));
        for name in ["checkpoint.a", "checkpoint.b"] {
            let dir = changed(&files, name, newer_checkpoint);
            assert_eq!(dumped(&dir), as_it_was, "{fixture}, {name}");
        }
    }
}

#[test]
fn p6_p7_a_state_of_a_newer_version_costs_nothing_while_its_copy_can_be_read() {
    let files = files("commit");
    let as_it_was = dumped(&changed(&files, "", |_| {}));
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".wal")) {
        let found = blocks(bytes);
        let states = found.iter().take(2).filter(|block| block.kinds == [6]);
        for state in states {
            let dir = changed(&files, name, |bytes| newer_state(bytes, state.offset as usize));
            assert_eq!(dumped(&dir), as_it_was, "{name} at {}", state.offset);
        }
    }
}

#[test]
fn p6_p7_a_block_of_a_newer_version_is_damage_of_its_own_extent_alone() {
    let files = files("commit");
    let mut told = 0;
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".wal")) {
        let Some(hit) = blocks(bytes).into_iter().find(|block| block.has(PUT)) else { continue };
        let dir = changed(&files, name, |bytes| newer_block(bytes, hit.offset as usize));
        let channel = Channel::open(dir.path(), manual()).expect("it opens");
        let seen = forebay_proof::lab::peek(&channel, "third");
        let lost: Vec<u64> = (hit.seqs.0..hit.seqs.1).collect();
        assert!(seen.iter().all(|(seq, _)| !lost.contains(seq)), "{name}");
        let stats = channel.stats();
        // The ledger names what a cursor needed; what all had seen is no loss.
        let named: Vec<u64> =
            stats.recent_losses.iter().flat_map(|loss| loss.seqs.start..loss.seqs.end).collect();
        assert!(named.iter().all(|seq| lost.contains(seq)), "{name}: {named:?}, not {lost:?}");
        let whole = changed(&files, "", |_| {});
        let whole = Channel::open(whole.path(), manual()).expect("it opens");
        for (seq, id) in forebay_proof::lab::peek(&whole, "third") {
            assert!(lost.contains(&seq) || seen.contains(&(seq, id)), "{name}: {seq} as well");
            assert!(!lost.contains(&seq) || named.contains(&seq), "{name}: {seq} in silence");
        }
        told += named.len();
    }
    assert!(told > 0, "no block that was hit was needed by anybody");
}
