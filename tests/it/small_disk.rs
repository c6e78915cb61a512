//! A real file system that runs full: ext4 of 40 MiB in a loop-mounted image, where that can be had.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{fine, forebay, home, run};
use crate::support::LONG;

const DISK_BYTES: u64 = 40 << 20;
/// Segments of 2 MiB: the first three fit everywhere, and eight of them leave room for others.
const LIMIT: &str = "16MiB";
/// No acknowledgement for so long, with lines left to be put, is a wait for space: a commit here
/// takes milliseconds. It is shorter than a put waits before it gives up.
const STALL: Duration = Duration::from_millis(700);

/// A mounted file system, unmounted when it is dropped, and then removed.
struct SmallDisk {
    home: TempDir,
}

impl SmallDisk {
    /// Makes and mounts it, or says why that cannot be done here.
    fn mount() -> Result<SmallDisk, String> {
        let home = home();
        let image = home.path().join("image");
        let file = File::create(&image).expect("a temporary file");
        file.set_len(DISK_BYTES).expect("a file with a hole");
        drop(file);
        let disk = SmallDisk { home };
        fs::create_dir(disk.path()).expect("a directory");
        command("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&image])?;
        command("mount", &["-o", "loop"], &[&image, &disk.path()])?;
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("disk")
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Writes a file of somebody else's until nothing more fits.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a name fits");
        for bytes in [vec![1; 1 << 16], vec![1; 512]] {
            let error = loop {
                if let Err(error) = filler.write_all(&bytes) {
                    break error;
                }
            };
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
            // What was promised to it has its blocks before smaller pieces are tried.
            filler.sync_data().expect("it was written");
        }
    }

    fn empty(&self) {
        fs::remove_file(self.filler()).expect("it is there");
        // Blocks of a removed file are free for others once its removal is on the disk.
        File::open(self.path()).and_then(|dir| dir.sync_all()).expect("a directory can be synced");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Only if it was mounted; nothing more can be done about it here.
        let _ = command("umount", &[], &[&self.path()]);
    }
}

/// Runs a command of the system; what it says if it fails.
fn command(name: &str, options: &[&str], paths: &[&Path]) -> Result<(), String> {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).args(options).args(paths);
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Numbered lines of a kilobyte.
fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| format!("{number:08} {:01015}\n", 0)).collect()
}

/// Puts lines; how many were acknowledged, and what was said if not all could be.
fn put(disk: &SmallDisk, numbers: std::ops::Range<u64>) -> (u64, String) {
    let count = numbers.end - numbers.start;
    let arguments = ["put", "data", "--ack", "--bytes-max", LIMIT, "--batch", "50"];
    let output = run(&disk.path(), &arguments, lines(numbers).as_bytes());
    let acks = String::from_utf8(output.stdout).expect("numbers are text");
    let acked = acks.lines().last().map_or(0, |ack| ack.parse().expect("a number"));
    let complaint = String::from_utf8(output.stderr).expect("words");
    let expected = if acked == count { Some(0) } else { Some(2) };
    assert_eq!(output.status.code(), expected, "{acked} of {count}: {complaint}");
    (acked, complaint)
}

/// A put that goes on while we look at its acknowledgements.
struct Putting {
    child: Child,
    feeder: JoinHandle<()>,
    acks: Receiver<u64>,
}

fn begin_put(disk: &SmallDisk, numbers: std::ops::Range<u64>) -> Putting {
    let arguments = ["put", "data", "--ack", "--batch", "50"];
    let mut child = forebay(&disk.path(), &arguments);
    let mut stdin = child.stdin.take().expect("it is piped");
    let feeder = std::thread::spawn(move || {
        // If the put ends early, its exit code says so.
        let _ = stdin.write_all(lines(numbers).as_bytes());
    });
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, acks) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines() {
            let ack = line.expect("it is read").parse().expect("a number");
            if sender.send(ack).is_err() {
                break;
            }
        }
    });
    Putting { child, feeder, acks }
}

/// Takes up to so many lines; their numbers.
fn take(disk: &SmallDisk, max: u64) -> Vec<u64> {
    let max = max.to_string();
    let arguments = ["take", "data", "--batch", "7", "--max", &max];
    let output = fine(run(&disk.path(), &arguments, b""));
    let text = String::from_utf8(output).expect("the lines are text");
    let number = |line: &str| line.split(' ').next().and_then(|number| number.parse().ok());
    text.lines().map(|line| number(line).expect("a whole line")).collect()
}

/// The events that `stat` sees; nothing may be lost.
fn events(disk: &SmallDisk) -> u64 {
    let output = fine(run(&disk.path(), &["stat", "data", "--json"], b""));
    let figures: serde_json::Value = serde_json::from_slice(&output).expect("one JSON object");
    figures["events"].as_u64().expect("a number")
}

#[test]
fn p9_a_channel_on_a_full_disk_gives_what_it_has_and_goes_on_when_space_returns() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            println!("skipped: a small file system cannot be mounted here: {why}");
            return;
        }
    };
    let (first, _) = put(&disk, 0..100);
    assert_eq!(first, 100, "there is room");

    disk.fill();
    let (more, complaint) = put(&disk, 100..10_000);
    assert!(more > 0, "what was allocated before can be used");
    let words = ["the disk is full", "is full: ", "cursor \"main\"", "forebay take"];
    assert!(words.iter().all(|word| complaint.contains(word)), "{complaint}");
    let end = 100 + more;
    assert_eq!(events(&disk), end, "a refused put leaves nothing behind");

    // It opens, serves and commits without a block of the disk.
    assert_eq!(take(&disk, 60), (0..60).collect::<Vec<u64>>());
    assert_eq!(events(&disk), end - 60);

    let end = space_returns(&disk, end);
    disk.fill();
    assert_eq!(events(&disk), end - 60);
    assert_eq!(take(&disk, 10_000), (60..end).collect::<Vec<u64>>());
    assert_eq!(events(&disk), 0);

    // What was taken has made room, though the disk has none.
    let (acked, _) = put(&disk, end..end + 1500);
    assert_eq!(acked, 1500, "recycled segments need no space");
    assert_eq!(take(&disk, 10_000), (end..end + 1500).collect::<Vec<u64>>());
}

/// A put waits for space, space returns, and all of its lines are acknowledged; the next line.
fn space_returns(disk: &SmallDisk, start: u64) -> u64 {
    const LINES: u64 = 4000;
    let mut putting = begin_put(disk, start..start + LINES);
    let mut acked = 0;
    loop {
        match putting.acks.recv_timeout(STALL) {
            Ok(ack) => acked = ack,
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("it ended after {acked} lines"),
        }
    }
    assert!(acked < LINES, "there was no room for all");
    disk.empty();
    while acked < LINES {
        let next = putting.acks.recv_timeout(LONG);
        acked = next.unwrap_or_else(|error| panic!("no more than {acked} lines: {error}"));
    }
    putting.feeder.join().expect("it ends");
    assert_eq!(putting.child.wait().expect("it ends").code(), Some(0));
    start + LINES
}
