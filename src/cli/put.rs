//! `forebay put`: the lines of standard input into a file channel.

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use clap::Args;
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::Outcome;
use super::progress::Progress;
use crate::channel::{
    Channel, Error, ErrorKind, FileChannel, FileOptions, PutTransaction, SyncClass,
};
use crate::config::parse_size;
use crate::event::Event;
use crate::failure::Failure;

const READ_BYTES: usize = 64 * 1024;
/// How many reads wait to be put while a commit is under way.
const READS_AHEAD: usize = 64;

/// Put each line of standard input into a channel, as an event.
///
/// Lines end with a newline, which is not part of the event; all other bytes are kept, and a last
/// line without a newline counts. What has arrived is committed as soon as nothing more is there
/// to be read. The channel is made if there is none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forebay put data < access.log\n  \
    tail -F access.log | forebay put data --batch 100\n  \
    forebay put data --ack --bytes-max 4GiB < access.log | tail -n 1")]
pub(super) struct Put {
    /// The channel's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The most lines of one transaction
    #[arg(long, value_name = "N", default_value = "1000")]
    batch: NonZeroUsize,
    /// Print the number of lines acknowledged so far after each commit
    #[arg(long)]
    ack: bool,
    /// When the channel syncs: commit, interval:TIME or os
    #[arg(long, value_name = "SYNC", default_value = "commit")]
    sync: String,
    /// The most bytes the channel may take on the disk, like 64MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes_max: Option<u64>,
}

impl Put {
    pub(super) fn execute(self) -> Result<Outcome, Failure> {
        let sync = self.sync.parse::<SyncClass>();
        let sync = sync.map_err(|error| Failure::new(format!("--sync {}: {error}", self.sync)))?;
        let options = FileOptions { bytes_max: self.bytes_max, sync, ..FileOptions::default() };
        let opened = FileChannel::open(&self.directory, options);
        let channel = opened.map_err(|error| {
            let text = format!("the channel {} cannot be opened", self.directory.display());
            Failure::new(text).because(error)
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::new("the runtime cannot be started").because(error))?;
        let acks = self.ack.then(std::io::stdout);
        let feed = Feed::new(&channel, self.batch.get(), acks);
        let fed = runtime.block_on(feed.all(read_ahead(std::io::stdin())));
        channel.close();
        fed.map(|_| Outcome::Fine)
    }
}

/// Reads in a thread of its own, which the end of the receiver ends.
fn read_ahead(mut input: impl Read + Send + 'static) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(READS_AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; READ_BYTES];
            let read = match input.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(length);
                    Ok(Bytes::from(chunk))
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Lines on their way into a channel.
struct Feed<'a, A: Write> {
    channel: &'a dyn Channel,
    batch: usize,
    acks: Option<A>,
    put: Box<dyn PutTransaction>,
    /// Lines put so far; the number of the last one.
    lines: u64,
    /// Lines acknowledged so far.
    acknowledged: u64,
    progress: Progress,
}

impl<'a, A: Write> Feed<'a, A> {
    fn new(channel: &'a dyn Channel, batch: usize, acks: Option<A>) -> Feed<'a, A> {
        let progress = if acks.is_some() { Progress::none() } else { Progress::of("lines put") };
        let put = channel.put_transaction();
        Feed { channel, batch, acks, put, lines: 0, acknowledged: 0, progress }
    }

    /// Puts every line, and says how many were acknowledged. Where it fails, the lines before
    /// have been committed.
    async fn all(
        mut self,
        mut chunks: mpsc::Receiver<std::io::Result<Bytes>>,
    ) -> Result<u64, Failure> {
        let ended = self.until_end(&mut chunks).await;
        if !matches!(ended, Err(Ended::Commit(_))) {
            self.commit().await.map_err(Ended::into_failure)?;
        }
        ended.map_err(Ended::into_failure)?;
        Ok(self.acknowledged)
    }

    async fn until_end(
        &mut self,
        chunks: &mut mpsc::Receiver<std::io::Result<Bytes>>,
    ) -> Result<(), Ended> {
        let line_bytes_max = self.channel.limits().event_bytes;
        let mut rest = BytesMut::new();
        loop {
            let chunk = match chunks.try_recv() {
                Ok(chunk) => Some(chunk),
                Err(TryRecvError::Empty) => {
                    // Nothing more is there at the moment: whoever feeds a line gets it committed.
                    self.commit().await?;
                    chunks.recv().await
                }
                Err(TryRecvError::Disconnected) => None,
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|error| {
                Ended::Input(Failure::new("standard input cannot be read").because(error))
            })?;
            self.split(&mut rest, chunk).await?;
            if rest.len() > line_bytes_max {
                return Err(self.too_long(line_bytes_max));
            }
        }
        if rest.is_empty() { Ok(()) } else { self.line(rest.freeze()).await }
    }

    /// Puts the lines that end in this chunk; `rest` is the start of the first, then of the next.
    async fn split(&mut self, rest: &mut BytesMut, mut chunk: Bytes) -> Result<(), Ended> {
        while let Some(at) = chunk.iter().position(|byte| *byte == b'\n') {
            let mut line = chunk.split_to(at + 1);
            line.truncate(at);
            if rest.is_empty() {
                self.line(line).await?;
            } else {
                rest.extend_from_slice(&line);
                self.line(rest.split().freeze()).await?;
            }
        }
        rest.extend_from_slice(&chunk);
        Ok(())
    }

    async fn line(&mut self, line: Bytes) -> Result<(), Ended> {
        let event = Event::new(line);
        let mut put = self.put.put(&event);
        if put.as_ref().is_err_and(|error| error.kind() == ErrorKind::TransactionTooLarge) {
            self.commit().await?;
            put = self.put.put(&event);
        }
        match put {
            Ok(()) => self.lines += 1,
            Err(error) if error.kind() == ErrorKind::EventTooLarge => {
                return Err(self.too_long(self.channel.limits().event_bytes));
            }
            Err(error) => return Err(self.refused(error)),
        }
        if self.put.len() >= self.batch { self.commit().await } else { Ok(()) }
    }

    async fn commit(&mut self) -> Result<(), Ended> {
        if self.put.is_empty() {
            return Ok(());
        }
        let put = std::mem::replace(&mut self.put, self.channel.put_transaction());
        let lines = put.len() as u64;
        if let Err(error) = put.commit().await {
            return Err(self.refused(error));
        }
        self.acknowledged += lines;
        self.progress.at(self.acknowledged);
        if let Some(acks) = &mut self.acks {
            let written = writeln!(acks, "{}", self.acknowledged).and_then(|()| acks.flush());
            written.map_err(|error| {
                Ended::Commit(Failure::new("acknowledgements cannot be printed").because(error))
            })?;
        }
        Ok(())
    }

    fn too_long(&self, limit: usize) -> Ended {
        Ended::Input(Failure::new(format!(
            "line {} is longer than an event of this channel can be ({limit} bytes with its \
             headers); a channel made with a larger --bytes-max takes longer ones, up to 16 MiB",
            self.lines + 1
        )))
    }

    fn refused(&self, error: Error) -> Ended {
        let advice = match error.kind() {
            ErrorKind::Full => "; take events out with `forebay take`",
            ErrorKind::InDoubt => "; the next lines may be in the channel or not",
            _ => "",
        };
        let text = format!("{} lines were acknowledged, no more{advice}", self.acknowledged);
        Ended::Commit(Failure::new(text).because(error))
    }
}

/// Why the lines ended early.
#[derive(Debug)]
enum Ended {
    /// By what was read: what was put before can be committed.
    Input(Failure),
    /// By a commit, behind which nothing may be put.
    Commit(Failure),
}

impl Ended {
    fn into_failure(self) -> Failure {
        match self {
            Ended::Input(failure) | Ended::Commit(failure) => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::channel::{MAIN_CURSOR, MemoryChannel, MemoryOptions};

    fn channel(bytes_max: u64) -> MemoryChannel {
        let put_timeout = Duration::ZERO;
        MemoryChannel::new(MemoryOptions { bytes_max, put_timeout, ..MemoryOptions::default() })
    }

    /// Feeds chunks that are all there from the start.
    async fn feed(
        channel: &MemoryChannel,
        batch: usize,
        chunks: &[&[u8]],
    ) -> (Result<u64, Failure>, String) {
        let (sender, receiver) = mpsc::channel(chunks.len().max(1));
        for chunk in chunks {
            sender.send(Ok(Bytes::copy_from_slice(chunk))).await.expect("there is room");
        }
        drop(sender);
        let mut acks = Vec::new();
        let fed = Feed::new(channel, batch, Some(&mut acks)).all(receiver).await;
        (fed, String::from_utf8(acks).expect("numbers are text"))
    }

    async fn bodies(channel: &MemoryChannel) -> Vec<Vec<u8>> {
        let mut take = channel.take_transaction(MAIN_CURSOR).expect("it is open");
        let taken = take.take(usize::MAX, Duration::ZERO).await.expect("it is open");
        taken.into_iter().map(|taken| taken.event.body.to_vec()).collect()
    }

    #[tokio::test]
    async fn any_bytes_between_newlines_are_an_event_however_they_are_cut() {
        let text = b"a\n\n\xff\xfe\r\nlong line\n\nrest";
        for cut in 0..text.len() {
            let channel = channel(1 << 20);
            let (fed, _) = feed(&channel, 100, &[&text[..cut], &text[cut..]]).await;
            assert_eq!(fed.expect("it fits"), 6);
            let expected: [&[u8]; 6] = [b"a", b"", b"\xff\xfe\r", b"long line", b"", b"rest"];
            assert_eq!(bodies(&channel).await, expected);
        }
    }

    #[tokio::test]
    async fn acks_count_the_lines_after_each_commit() {
        let (fed, acks) = feed(&channel(1 << 20), 2, &[b"1\n2\n3\n", b"4\n5"]).await;
        assert_eq!((fed.expect("it fits"), acks.as_str()), (5, "2\n4\n5\n"));
        let (fed, acks) = feed(&channel(1 << 20), 2, &[]).await;
        assert_eq!((fed.expect("there is nothing"), acks.as_str()), (0, ""));
    }

    #[tokio::test]
    async fn what_has_arrived_is_committed_while_the_input_stays_open() {
        let channel = channel(1 << 20);
        let (sender, receiver) = mpsc::channel(1);
        let feeding = channel.clone();
        let fed =
            tokio::spawn(
                async move { Feed::new(&feeding, 100, None::<Vec<u8>>).all(receiver).await },
            );
        sender.send(Ok(Bytes::from_static(b"one\ntw"))).await.expect("it is read");
        let mut take = channel.take_transaction(MAIN_CURSOR).expect("it is open");
        let taken = take.take(10, Duration::from_secs(30)).await.expect("it is open");
        assert_eq!(taken[0].event.body, "one");
        sender.send(Ok(Bytes::from_static(b"o"))).await.expect("it is read");
        drop(sender);
        assert_eq!(fed.await.expect("it ends").expect("it fits"), 2);
    }

    #[tokio::test]
    async fn a_line_too_long_is_named_and_those_before_it_are_committed() {
        let channel = channel(4096);
        let long = vec![b'x'; channel.limits().event_bytes];
        for chunks in [[&b"1\n2\n"[..], &long, b"\n4\n"], [b"1\n2\n", &long, b"more"]] {
            let (fed, acks) = feed(&channel, 100, &chunks).await;
            let failure = fed.expect_err("a line is too long").to_string();
            assert!(failure.contains("line 3 "), "{failure}");
            assert_eq!(acks, "2\n");
        }
    }

    #[tokio::test]
    async fn a_transaction_is_committed_before_it_passes_its_limit() {
        let channel = channel(4096);
        let line = [&[b'x'; 400][..], b"\n"].concat();
        let (fed, acks) = feed(&channel, 100, &[&line.repeat(8)]).await;
        assert_eq!((fed.expect("it fits"), acks.as_str()), (8, "2\n4\n6\n8\n"));
    }

    #[tokio::test]
    async fn a_full_channel_ends_it_with_the_count_and_the_way_out() {
        let channel = channel(4096);
        let line = [&[b'x'; 400][..], b"\n"].concat();
        let (fed, acks) = feed(&channel, 100, &[&line.repeat(20)]).await;
        let failure = fed.expect_err("the channel is full").to_string();
        assert!(failure.contains("10 lines") && failure.contains("forebay take"), "{failure}");
        assert!(acks.ends_with("\n10\n"), "{acks}");
        assert_eq!(channel.stats().events, 10);
    }
}
