//! The processes of the phase `open`: each does one thing, so that its peak memory is its own.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::super::{Outcome, child};
use super::bed;
use super::load::{Events, Load};
use super::report;
use super::system;
use crate::channel::{FileChannel, MAIN_CURSOR};
use crate::failure::Failure;

/// How often it is looked whether a child has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What `forebay bench` starts. It ends when its standard input does.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(in crate::cli) struct BenchChild {
    /// The channel's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What to do, as JSON
    #[arg(long, value_name = "WORK")]
    work: String,
}

/// What a child does.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Do {
    /// Puts so many events.
    Fill(u64),
    /// Opens the channel and takes its first event.
    First,
    /// Takes and acknowledges all.
    Drain,
}

/// What a child is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Work {
    pub what: Do,
    pub size: usize,
    pub sync: String,
    pub bytes_max: u64,
}

/// What a child says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Done {
    pub events: u64,
    /// From before the channel was opened.
    pub seconds: f64,
    pub peak_rss_mib: Option<f64>,
}

impl BenchChild {
    pub(in crate::cli) fn execute(self) -> Result<Outcome, Failure> {
        let work: Work = serde_json::from_str(&self.work)
            .map_err(|error| Failure::new("--work is none").because(error))?;
        child::end_with_the_parent();
        let started = Instant::now();
        // It ends without closing the channel, as a killed process does.
        let (channel, events) = work.run(&self.directory)?;
        let seconds = started.elapsed().as_secs_f64();
        let done = Done { events, seconds, peak_rss_mib: system::peak_rss_mib() };
        let text = serde_json::to_string(&done)
            .map_err(|error| Failure::new("the figures cannot be written").because(error))?;
        report::print(&text)?;
        std::mem::forget(channel);
        Ok(Outcome::Fine)
    }
}

impl Work {
    fn run(&self, dir: &Path) -> Result<(FileChannel, u64), Failure> {
        let sync = self.sync.parse().map_err(|_| Failure::new("the work's sync is none"))?;
        let load = Load {
            size: self.size,
            batch: 1,
            producers: 1,
            in_flight: 1,
            consumers: 1,
            sync,
            direct: false,
            few_checkpoints: false,
        };
        let channel = bed::open(dir, &load, self.bytes_max, 0)?;
        let events = match self.what {
            Do::Fill(count) => {
                let events = Events::new(&load, &channel)?;
                bed::fill(&channel, &events, &load, count, &AtomicBool::new(false))?
            }
            Do::First => first(&channel)?,
            Do::Drain => bed::drain(&channel)?,
        };
        Ok((channel, events))
    }

    /// A child does it; nothing if a signal came first.
    pub(super) fn start(&self, dir: &Path, stop: &AtomicBool) -> Result<Option<Done>, Failure> {
        let failed = |error: std::io::Error| Failure::new("a child cannot be run").because(error);
        let work = serde_json::to_string(self)
            .map_err(|error| Failure::new("the work cannot be written").because(error))?;
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg("bench-child").arg(dir).arg("--work").arg(work);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A signal from the terminal is for the parent alone.
        let mut child = command.process_group(0).spawn().map_err(failed)?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            if stop.load(Ordering::Relaxed) {
                child.kill().and_then(|()| child.wait()).map_err(failed)?;
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let mut said = String::new();
        if let Some(output) = &mut child.stdout {
            output.read_to_string(&mut said).map_err(failed)?;
        }
        if !status.success() {
            return Err(Failure::new(format!("a child ended with {status}")));
        }
        serde_json::from_str(&said)
            .map(Some)
            .map_err(|error| Failure::new(format!("a child said {said:?}")).because(error))
    }
}

/// Takes one event and gives it back.
fn first(channel: &FileChannel) -> Result<u64, Failure> {
    let failed = |error| Failure::new("the first event cannot be taken").because(error);
    let mut take = channel.take_transaction(MAIN_CURSOR).map_err(failed)?;
    let taken = take.take_many(1, Duration::ZERO).map_err(failed)?;
    Ok(taken.len() as u64)
}
