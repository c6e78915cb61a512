//! Channels that an earlier program left behind, byte for byte: every later one reads the same out
//! of them. Written once, by `FOREBAY_WRITE_FIXTURES=1`; of each file the part up to its last byte
//! that is not zero is kept, and the manifest tells how long it was.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_wal::{Channel, CursorStart, Inspection, Loss, Options, SyncClass};

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
    let options = Options::new().background(forebay_wal::Background::Manual);
    let channel = Channel::open(dir.path(), options).expect("it opens");
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
