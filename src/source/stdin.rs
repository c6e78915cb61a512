//! `stdin`: the lines of standard input, until it ends.
//!
//! | key | default | what |
//! | --- | --- | --- |
//! | `batch_size` | 100 | the most lines of one transaction |
//! | `max_line_length` | the channel's limit | the most bytes of a line with its newline |
//! | `strip_cr` | false | cut a `\r` before the newline off |
//!
//! A last line without a newline is an event as well. A line that is too long ends the source
//! with a failure that names its number; the lines before it are in the channel.

use tokio::sync::mpsc;
use tracing::info;

use super::lines::{End, IN_FLIGHT_MAX, LineOptions, pump};
use super::{Context, Handed, Kind, Source, Started};
use crate::channel::{BoxFuture, Error};
use crate::config::Section;
use crate::failure::Failure;

pub(super) const KIND: Kind = Kind { name: "stdin", configure };

#[derive(Debug)]
struct Stdin {
    lines: LineOptions,
}

fn configure(section: &mut Section<'_>) -> Box<dyn Source> {
    section.claim("type", "standard input");
    Box::new(Stdin { lines: LineOptions::read(section, usize::MAX) })
}

impl Source for Stdin {
    fn start(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<Started, Failure>> {
        let running = Box::pin(run(*self, context));
        Box::pin(async move { Ok(Started { address: None, running }) })
    }
}

async fn run(stdin: Stdin, context: Context) -> Result<(), Failure> {
    let Context { outlet, stop } = context;
    let mut options = stdin.lines;
    // Without this a line that no channel takes would be read to its end first.
    options.line_bytes_max = options.line_bytes_max.min(outlet.event_bytes_max());
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    let lines = pump(tokio::io::stdin(), &options, &outlet, stop, sender);
    let (end, acknowledged) = tokio::join!(lines, acknowledge(receiver));
    let lines = acknowledged.map_err(|error| {
        Failure::new("a commit failed; later lines were not read").because(error)
    })?;
    info!(source = outlet.source(), lines, "standard input has ended");
    match end {
        End::Eof | End::Stopped | End::Unheard => Ok(()),
        End::TooLong(line) => Err(Failure::new(format!(
            "line {line} is longer than {} bytes with its newline; raise `max_line_length` or the \
             channel's `bytes_max`",
            options.line_bytes_max
        ))),
        End::Refused(error) => Err(Failure::new("a channel refused a line").because(error)),
        End::Failed(error) => Err(Failure::new("standard input cannot be read").because(error)),
    }
}

/// Sees every transaction through, in order; the first failure ends the reading.
async fn acknowledge(mut handed: mpsc::Receiver<Handed>) -> Result<usize, Error> {
    let mut lines = 0;
    while let Some(handed) = handed.recv().await {
        lines += handed.acknowledged().await?;
    }
    Ok(lines)
}
