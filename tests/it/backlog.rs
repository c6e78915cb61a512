//! P8: neither the time to open nor the memory grows with what waits.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::command::{fine, forebay, home, run};

const EVENTS: u64 = 5_000_000;

/// Puts so many numbered lines.
fn fill(home: &Path, lines: u64) {
    let mut put = forebay(home, &["put", "data", "--batch", "20000"]);
    let mut input = BufWriter::with_capacity(1 << 20, put.stdin.take().expect("piped"));
    for line in 0..lines {
        writeln!(input, "{line:09} a line of a usual length, as logs have them").expect("taken");
    }
    drop(input);
    fine(put.wait_with_output().expect("it ends"));
}

/// How long a process takes that opens the channel, prints the oldest event and ends.
fn time_to_first_event(home: &Path) -> Duration {
    let started = Instant::now();
    let mut take = forebay(home, &["take", "data", "--max", "1", "--cursor", "main"]);
    // Nothing is acknowledged: the reader of the output is gone before it is printed.
    drop(take.stdout.take());
    take.wait().expect("it ends");
    started.elapsed()
}

/// The most memory that a process has had, in KiB, while it fills its output and waits.
fn peak_kib(home: &Path) -> u64 {
    let mut take = forebay(home, &["take", "data", "--follow"]);
    let status = format!("/proc/{}/status", take.id());
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut peak = 0;
    let mut same = 0;
    // Nobody reads: it stops when the pipe is full, long after it has opened the channel.
    while same < 20 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
        same = if now == peak { same + 1 } else { 0 };
        peak = now;
    }
    take.kill().expect("it runs");
    take.wait().expect("it ends");
    assert!(peak > 0, "no figure");
    peak
}

#[test]
fn p8_p11_five_million_events_open_at_once_with_and_without_checkpoints() {
    let home = home();
    fill(home.path(), EVENTS);
    let best = (0..5).map(|_| time_to_first_event(home.path())).min().expect("five");
    assert!(best < Duration::from_millis(100), "it took {best:?} at best");
    let peak = peak_kib(home.path());
    assert!(peak < 64 * 1024, "{peak} KiB");

    for checkpoint in ["checkpoint.a", "checkpoint.b"] {
        std::fs::remove_file(home.path().join("data").join(checkpoint)).expect("it is there");
    }
    let without = time_to_first_event(home.path());
    assert!(without < Duration::from_secs(3), "without checkpoints it took {without:?}");

    // All of them come, in their order, but for those that the stopped reader's pipe had taken.
    let output = fine(run(home.path(), &["take", "data", "--batch", "20000"], b""));
    let first = output.get(..9).expect("a line");
    let first: u64 = std::str::from_utf8(first).expect("digits").parse().expect("digits");
    assert!(first < 10_000, "more than a pipe holds was acknowledged: {first}");
    let mut line = first;
    for text in output.split(|&byte| byte == b'\n').filter(|text| !text.is_empty()) {
        let number: u64 = std::str::from_utf8(&text[..9]).expect("digits").parse().expect("digits");
        assert_eq!(number, line);
        line += 1;
    }
    assert_eq!(line, EVENTS);
}
