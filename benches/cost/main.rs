//! A fixed piece of work, to be counted and not timed: instructions and allocations do not depend on
//! what else the machine does.
//!
//! ```sh
//! cargo build --release -p forebay-benches --bin cost
//! valgrind --tool=callgrind target/release/cost put 100 100000
//! valgrind target/release/cost take 100 100000   # "total heap usage" has the allocations
//! ```
//!
//! `put` puts so many events of 512 bytes with one header; `take` puts them and takes them from the
//! tail cache; `drain` puts them all, then takes them from the segments. The difference between two
//! runs with other numbers of events is what the events cost.

use std::process::ExitCode;

use forebay_benches::event;
use forebay_wal::{Channel, Options, SyncClass};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match &arguments[..] {
        [what, batch, events] => batch.parse().ok().zip(events.parse().ok()).map(|n| (what, n)),
        _ => None,
    };
    let Some((what, (batch, events))) = parsed else {
        eprintln!("usage: cost put|take|drain BATCH EVENTS");
        return ExitCode::from(2);
    };
    work(what, batch, events);
    ExitCode::SUCCESS
}

fn work(what: &str, batch: usize, events: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new().bytes_max(4 << 30).sync(SyncClass::Os);
    let channel = Channel::open(dir.path(), options).expect("a channel");
    let event = event();
    for _ in 0..events / batch {
        let mut put = channel.put_transaction();
        for _ in 0..batch {
            put.put(&event).expect("it fits");
        }
        put.commit().expect("it is committed");
        if what == "take" {
            take(&channel, batch);
        }
    }
    if what == "drain" {
        for _ in 0..events / batch {
            take(&channel, batch);
        }
    }
}

fn take(channel: &Channel, batch: usize) {
    let mut take = channel.take_transaction("main").expect("a take");
    let taken = take.take_many(batch, usize::MAX).expect("events");
    assert_eq!(taken.len(), batch);
    take.commit().expect("it is acknowledged");
}
