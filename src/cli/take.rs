//! `forebay take`: events of a file channel to standard output.

use std::io::{BufWriter, ErrorKind, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use super::progress::Progress;
use crate::channel::{
    self, Channel, FileChannel, FileOptions, MAIN_CURSOR, TakeTransaction, Taken,
};
use crate::failure::Failure;
use crate::shutdown::Signals;

/// Take events out of a channel and print their bodies, one a line.
///
/// Events are acknowledged after they were written to the output. If its reader goes away, those
/// that could not be written stay in the channel; what it left unread in a pipe does not come
/// again, so take a few with `--max` and not with `head`. Ends when the channel is empty, unless it
/// is to follow.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forebay take data > lines\n  \
    forebay take data --max 10\n  \
    forebay take data --cursor audit --follow | grep error")]
pub(super) struct Take {
    /// The channel's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The most events of one transaction
    #[arg(long, value_name = "N", default_value = "1000")]
    batch: NonZeroUsize,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// The cursor to read; a new one begins at the oldest event
    #[arg(long, value_name = "NAME", default_value = MAIN_CURSOR)]
    cursor: String,
    /// Wait for more events until SIGTERM or SIGINT
    #[arg(long)]
    follow: bool,
}

impl Take {
    pub(super) fn execute(self) -> Result<Outcome, Failure> {
        let directory = self.directory.display();
        // Opening would make one.
        let exists = FileChannel::exists(&self.directory).map_err(|error| {
            Failure::new(format!("the channel {directory} cannot be opened")).because(error)
        })?;
        if !exists {
            return Err(Failure::new(format!("there is no channel at {directory}")));
        }
        let opened = FileChannel::open(&self.directory, FileOptions::default());
        let channel = opened.map_err(|error| {
            Failure::new(format!("the channel {directory} cannot be opened")).because(error)
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::new("the runtime cannot be started").because(error))?;
        let output = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
        let pour = Pour { channel: &channel, output, options: &self, progress: Progress::output() };
        let poured = runtime.block_on(async {
            // Only when it follows: else a signal ends the process, which gives the events back.
            let signals = if self.follow { Some(Signals::listen()) } else { None };
            let signals = signals.transpose();
            let mut signals = signals
                .map_err(|error| Failure::new("signals cannot be listened to").because(error))?;
            pour.all(async {
                match &mut signals {
                    Some(signals) => signals.next().await,
                    None => std::future::pending().await,
                }
            })
            .await
        });
        channel.close();
        poured.map(|_| Outcome::Fine)
    }
}

/// Events on their way out of a channel.
struct Pour<'a, O: Write> {
    channel: &'a dyn Channel,
    output: O,
    options: &'a Take,
    progress: Progress,
}

impl<O: Write> Pour<'_, O> {
    /// Prints events until there are no more, enough, or `stop` comes; says how many were
    /// acknowledged.
    async fn all(mut self, stop: impl Future<Output = &'static str>) -> Result<u64, Failure> {
        let mut stop = std::pin::pin!(stop);
        let mut delivered = 0;
        loop {
            let left = self.options.max.map_or(u64::MAX, |max| max - delivered);
            let batch = self.options.batch.get();
            let batch = usize::try_from(left).map_or(batch, |left| left.min(batch));
            if batch == 0 {
                return Ok(delivered);
            }
            let mut take = self.begin()?;
            let wait = if self.options.follow { Duration::MAX } else { Duration::ZERO };
            let taken = tokio::select! {
                taken = take.take(batch, wait) => taken,
                _ = &mut stop => return Ok(delivered),
            };
            let taken = taken.map_err(|error| Failure::new("cannot take events").because(error))?;
            if taken.is_empty() {
                return Ok(delivered);
            }
            match self.print(&taken) {
                Ok(()) => {}
                // The reader has what it wanted. Dropping the take gives the events back.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(delivered),
                Err(error) => {
                    return Err(Failure::new("standard output cannot be written").because(error));
                }
            }
            let committed = take.commit().await;
            committed.map_err(|error| {
                let comes = match error.kind() {
                    channel::ErrorKind::InDoubt => "may be printed again, or not",
                    _ => "will be printed again",
                };
                Failure::new(format!("what was printed last {comes}")).because(error)
            })?;
            delivered += taken.len() as u64;
            self.progress.at(delivered);
        }
    }

    fn begin(&self) -> Result<Box<dyn TakeTransaction>, Failure> {
        let take = self.channel.take_transaction(&self.options.cursor);
        take.map_err(|error| Failure::new("cannot begin a take").because(error))
    }

    fn print(&mut self, taken: &[Taken]) -> std::io::Result<()> {
        for taken in taken {
            self.output.write_all(&taken.event.body)?;
            self.output.write_all(b"\n")?;
        }
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{MemoryChannel, MemoryOptions};
    use crate::event::Event;

    fn options(max: Option<u64>, follow: bool) -> Take {
        let batch = NonZeroUsize::new(2).expect("it is not 0");
        let cursor = MAIN_CURSOR.to_owned();
        Take { directory: PathBuf::new(), batch, max, cursor, follow }
    }

    async fn channel_of(bodies: &[&'static str]) -> MemoryChannel {
        let channel = MemoryChannel::new(MemoryOptions::default());
        let mut put = channel.put_transaction();
        for body in bodies {
            put.put(&Event::new(*body)).expect("it fits");
        }
        put.commit().await.expect("there is space");
        channel
    }

    async fn pour(channel: &MemoryChannel, output: impl Write, options: &Take) -> u64 {
        let pour = Pour { channel, output, options, progress: Progress::none() };
        pour.all(std::future::pending()).await.expect("it ends well")
    }

    /// A reader that goes away after so many flushes.
    struct Closing(usize);

    impl Write for Closing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.0 = self.0.checked_sub(1).ok_or(ErrorKind::BrokenPipe)?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn all_events_are_printed_and_acknowledged_until_the_channel_is_empty() {
        let channel = channel_of(&["a", "", "c"]).await;
        let mut output = Vec::new();
        assert_eq!(pour(&channel, &mut output, &options(None, false)).await, 3);
        assert_eq!(output, b"a\n\nc\n");
        assert_eq!(channel.stats().events, 0);
    }

    #[tokio::test]
    async fn no_more_than_asked_for_is_taken() {
        let channel = channel_of(&["a", "b", "c", "d"]).await;
        for (max, expected) in [(0, ""), (3, "a\nb\nc\n")] {
            let mut output = Vec::new();
            assert_eq!(pour(&channel, &mut output, &options(Some(max), true)).await, max);
            assert_eq!(output, expected.as_bytes());
        }
        assert_eq!(channel.stats().events, 1);
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_leaves_what_it_may_not_have_seen() {
        let channel = channel_of(&["a", "b", "c", "d"]).await;
        assert_eq!(pour(&channel, Closing(1), &options(None, false)).await, 2);
        let stats = channel.stats();
        assert_eq!((stats.events, stats.events_in_flight), (2, 0));
    }

    #[tokio::test]
    async fn following_ends_when_told() {
        let channel = channel_of(&["a"]).await;
        let options = options(None, true);
        let mut output = Vec::new();
        let progress = Progress::none();
        let pour = Pour { channel: &channel, output: &mut output, options: &options, progress };
        let watched = channel.clone();
        let told = async move {
            // Told once the event is acknowledged.
            while watched.stats().events > 0 {
                tokio::task::yield_now().await;
            }
            "SIGTERM"
        };
        assert_eq!(pour.all(told).await.expect("it ends well"), 1);
        assert_eq!(output, b"a\n");
    }
}
