//! The program under trial: one run of it, fed, watched, and cut off when its time has come.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ledger::Line;
use crate::mount::Plug;

/// No run needs as long, on the slowest machine.
const HANG: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// What is fed to a run of `put`.
#[derive(Debug, Clone, Copy)]
pub struct Feed {
    pub run: usize,
    pub lines: u64,
    /// So many lines are written at once; then comes a pause.
    pub burst: u64,
    pub pause: Duration,
}

/// How a run ends, if it does not end by itself before.
#[derive(Debug, Clone, Copy)]
pub enum End {
    Itself,
    /// The power goes after this time; or before, when the disk was told so.
    Cut(Duration),
    /// The process alone is killed.
    Kill(Duration),
}

/// A run that is over.
#[derive(Debug)]
pub struct Ran {
    pub exit: ExitStatus,
    pub output: Vec<u8>,
    pub complaint: String,
    /// Lines that may have reached it.
    pub fed: u64,
    /// It was killed, with or without its disk, or its disk lost power.
    pub killed: bool,
    pub hung: bool,
}

impl Ran {
    /// What it acknowledged: the number in the last whole line, and whether the numbers rose.
    pub fn acked(&self) -> Result<u64, String> {
        let whole = self.output.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let text = String::from_utf8_lossy(&self.output[..whole]);
        let mut acked = 0;
        for line in text.lines() {
            let number: u64 = line.parse().map_err(|_| format!("the ack {line:?}"))?;
            if number <= acked || number > self.fed {
                return Err(format!("the ack {number} behind {acked}, of {} lines", self.fed));
            }
            acked = number;
        }
        Ok(acked)
    }

    /// The lines that it printed whole.
    pub fn lines(&self) -> Result<Vec<Line>, String> {
        let whole = self.output.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.output.len() - whole;
        if rest > 0 && !self.killed {
            return Err(format!("its output ends with {rest} bytes of a line"));
        }
        let text = String::from_utf8_lossy(&self.output[..whole]);
        let lines = text.lines().map(|text| {
            let start: String = text.chars().take(60).collect();
            Line::of(text).ok_or_else(|| format!("a line that nobody put: {start:?}"))
        });
        lines.collect()
    }
}

/// Runs the program. When the power goes, it may live on for so long and see that nothing works.
pub fn run(
    binary: &Path,
    arguments: &[String],
    feed: Option<Feed>,
    end: End,
    linger_max: Duration,
    plug: &Arc<Plug>,
) -> std::io::Result<Ran> {
    let mut command = Command::new(binary);
    command.args(arguments);
    command.stdin(if feed.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let fed = Arc::new(AtomicU64::new(0));
    let feeder = feed.zip(child.stdin.take()).map(|(feed, input)| {
        let fed = fed.clone();
        thread::spawn(move || pour(feed, input, &fed))
    });
    let output = child.stdout.take().map(collect);
    let complaint = child.stderr.take().map(collect);
    let (killed, hung) = attend(&mut child, end, linger_max, plug)?;
    let exit = child.wait()?;
    let bytes = |reader: Option<JoinHandle<Vec<u8>>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    let (output, complaint) = (bytes(output), bytes(complaint));
    if let Some(feeder) = feeder {
        let _ = feeder.join();
    }
    let complaint = String::from_utf8_lossy(&complaint).into_owned();
    Ok(Ran { exit, output, complaint, fed: fed.load(Ordering::SeqCst), killed, hung })
}

/// Waits for the end that was chosen; whether the run was killed, and whether it had hung.
fn attend(
    child: &mut Child,
    end: End,
    linger_max: Duration,
    plug: &Arc<Plug>,
) -> std::io::Result<(bool, bool)> {
    let begun = Instant::now();
    loop {
        let late = match end {
            End::Itself => false,
            End::Cut(after) | End::Kill(after) => begun.elapsed() >= after,
        };
        if late && matches!(end, End::Cut(_)) {
            plug.pull();
        }
        let hung = begun.elapsed() >= HANG;
        if plug.wait(LOOK_AGAIN) || late || hung {
            if plug.wait(Duration::ZERO) {
                linger(child, linger_max)?;
            }
            // It may have ended by itself; then this does nothing.
            child.kill()?;
            return Ok((true, hung));
        }
        if child.try_wait()?.is_some() {
            return Ok((false, false));
        }
    }
}

/// Leaves a process alone for a while on a disk without power.
fn linger(child: &mut Child, most: Duration) -> std::io::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < most && child.try_wait()?.is_none() {
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Writes lines until there are no more or nobody reads them.
fn pour(feed: Feed, mut input: ChildStdin, fed: &AtomicU64) {
    let mut number = 0;
    while number < feed.lines {
        let end = feed.lines.min(number + feed.burst);
        let lines = (number..end).map(|number| Line { run: feed.run, number }.text() + "\n");
        let burst: String = lines.collect();
        // Counted before they are written: from then on they may be in the channel.
        fed.store(end, Ordering::SeqCst);
        if input.write_all(burst.as_bytes()).is_err() {
            return;
        }
        number = end;
        thread::sleep(feed.pause);
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error came.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}
