//! The probes that break the file channel of Apache Flume, where they are about events with headers.
//! `wal/tests/it/flume_probes.rs` has the others, and the table of all weaknesses.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use forebay::channel::{FileChannel, FileOptions, LossReason};
use forebay::event::Event;

/// W9, probe 10: in Flume, a header that changed on disk is delivered as if it were right.
#[test]
fn p6_a_header_that_changed_on_disk_is_noticed_and_not_delivered() {
    // The name of a header, its value, the body; in the second of three events.
    for word in ["severity-2", "critical-2", "body-2"] {
        let home = tempfile::tempdir().expect("a temporary directory");
        let options = FileOptions { bytes_max: Some(1 << 20), ..FileOptions::default() };
        let channel = FileChannel::open(home.path(), options.clone()).expect("it opens");
        for number in 1..=3 {
            let mut event = Event::new(format!("body-{number}"));
            event
                .headers
                .insert(format!("severity-{number}"), format!("critical-{number}"))
                .expect("it is short");
            let mut put = channel.put_transaction();
            put.put(&event).expect("it fits");
            put.commit().expect("there is space");
        }
        drop(channel);
        let (path, at) = place_of(home.path(), word);
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("it is ours");
        file.write_all_at(b"X", at).expect("it is written");

        let channel = FileChannel::open(home.path(), options).expect("damage is no error");
        let mut take = channel.take_transaction("main").expect("it is open");
        let taken = take.take_many(10, Duration::ZERO).expect("the others can be read");
        let bodies: Vec<&[u8]> = taken.iter().map(|taken| &taken.event.body[..]).collect();
        assert_eq!(bodies, [b"body-1", b"body-3"], "{word}");
        take.rollback();
        drop(channel);
        let seen = FileChannel::inspect(home.path()).expect("it can be looked at");
        assert_eq!((seen.losses, seen.lost_events), (1, 1), "{word}");
        assert_eq!(seen.recent_losses[0].reason, LossReason::Damaged);
        assert_eq!((seen.recent_losses[0].seqs.start, seen.recent_losses[0].seqs.end), (2, 3));
    }
}

/// The segment that holds a word, and where.
fn place_of(home: &std::path::Path, word: &str) -> (PathBuf, u64) {
    let entries = std::fs::read_dir(home).expect("a directory");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let segments = paths.filter(|path| path.extension().is_some_and(|end| end == "wal"));
    let found = segments.filter_map(|path| {
        let bytes = std::fs::read(&path).expect("a segment");
        let at = bytes.windows(word.len()).position(|window| window == word.as_bytes())?;
        Some((path, at as u64))
    });
    found.into_iter().next().expect("the word stands in a segment")
}
