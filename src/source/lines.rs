//! Lines of a byte stream as events.
//!
//! A line ends with `\n`, which is not part of the event; every other byte is kept. What is there
//! is gathered into one transaction and handed over; then the next lines are read while the
//! commit is under way. Transactions follow each other in order, a bounded number at a time.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::outlet::{Gathering, Handed, Outlet, Placed};
use crate::channel::{Error, ErrorKind};
use crate::config::Section;
use crate::event::Event;
use crate::shutdown::Stop;

/// How much is asked of the stream at a time.
const READ_BYTES: usize = 32 * 1024;
/// How many transactions of one stream may wait for their commit.
pub(super) const IN_FLIGHT_MAX: usize = 8;

/// How lines become events.
#[derive(Debug, Clone)]
pub(super) struct LineOptions {
    /// The most lines of one transaction.
    pub(super) batch_size: usize,
    /// The most bytes of a line with its newline.
    pub(super) line_bytes_max: usize,
    /// Whether a `\r` before the newline is cut off.
    pub(super) strip_cr: bool,
}

impl LineOptions {
    /// Reads the keys that sources of lines share.
    pub(super) fn read(section: &mut Section<'_>, line_bytes_max: usize) -> LineOptions {
        let longest = section.size("max_line_length");
        if longest == Some(0) {
            section.problem("max_line_length", "must be at least 1: the newline counts");
        }
        let longest = longest.and_then(|bytes| usize::try_from(bytes).ok());
        LineOptions {
            batch_size: section.count_or("batch_size", 100),
            line_bytes_max: longest.unwrap_or(line_bytes_max),
            strip_cr: section.flag_or("strip_cr", false),
        }
    }
}

/// Why the lines ended. What was complete before has been handed over in each case.
#[derive(Debug)]
pub(super) enum End {
    /// The stream ended. A rest without a newline was a line as well.
    Eof,
    /// The source was told to stop. An incomplete line was left.
    Stopped,
    /// The line with this number, from 1, is too long.
    TooLong(u64),
    /// A channel refused the event for good.
    Refused(Error),
    /// Whoever waited for the commits is gone.
    Unheard,
    /// The stream failed.
    Failed(std::io::Error),
}

/// Reads lines until the stream ends, handing each transaction over to the channels and then to
/// `handed`, in order.
pub(super) async fn pump(
    reader: impl AsyncRead + Unpin,
    options: &LineOptions,
    outlet: &Outlet,
    stop: Stop,
    handed: mpsc::Sender<Handed>,
) -> End {
    let gathering = outlet.gather();
    let mut pump = Pump { options, outlet, handed, gathering, lines: 0 };
    let end = pump.run(reader, stop).await;
    // What came before the end is as good as any; after a lost listener it is not wanted.
    if matches!(end, End::Unheard) { end } else { pump.hand_over().await.err().unwrap_or(end) }
}

struct Pump<'a> {
    options: &'a LineOptions,
    outlet: &'a Outlet,
    handed: mpsc::Sender<Handed>,
    gathering: Gathering,
    lines: u64,
}

impl Pump<'_> {
    async fn run(&mut self, mut reader: impl AsyncRead + Unpin, mut stop: Stop) -> End {
        let mut buffer = BytesMut::new();
        // How far the buffer is known to hold no newline.
        let mut searched = 0;
        loop {
            if let Err(end) = self.split(&mut buffer, &mut searched).await {
                return end;
            }
            // Nothing more is there at the moment: nobody gains by waiting.
            if let Err(end) = self.hand_over().await {
                return end;
            }
            buffer.reserve(READ_BYTES);
            let read = tokio::select! {
                biased;
                () = stop.stopped() => return End::Stopped,
                read = reader.read_buf(&mut buffer) => read,
            };
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return End::Failed(error),
            }
        }
        if !buffer.is_empty()
            && let Err(end) = self.put(buffer.freeze()).await
        {
            return end;
        }
        End::Eof
    }

    /// Puts every complete line of the buffer.
    async fn split(&mut self, buffer: &mut BytesMut, searched: &mut usize) -> Result<(), End> {
        while let Some(at) = find_newline(&buffer[*searched..]) {
            let mut line = buffer.split_to(*searched + at + 1);
            *searched = 0;
            if line.len() > self.options.line_bytes_max {
                return Err(End::TooLong(self.lines + 1));
            }
            line.truncate(line.len() - 1);
            self.put(line.freeze()).await?;
        }
        *searched = buffer.len();
        // The newline that is still to come counts too.
        if buffer.len() >= self.options.line_bytes_max {
            return Err(End::TooLong(self.lines + 1));
        }
        Ok(())
    }

    async fn put(&mut self, mut line: Bytes) -> Result<(), End> {
        self.lines += 1;
        if self.options.strip_cr && line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        let mut event = Event::new(line);
        loop {
            match self.gathering.put(event) {
                Ok(Placed::In) => break,
                Ok(Placed::Next(same)) => {
                    self.hand_over().await?;
                    event = same;
                }
                Err(error) if error.kind() == ErrorKind::EventTooLarge => {
                    return Err(End::TooLong(self.lines));
                }
                Err(error) => return Err(End::Refused(error)),
            }
        }
        if self.gathering.len() >= self.options.batch_size {
            self.hand_over().await?;
        }
        Ok(())
    }

    /// Commits what was gathered, once fewer than the bound are in flight.
    async fn hand_over(&mut self) -> Result<(), End> {
        if self.gathering.is_empty() {
            return Ok(());
        }
        let place = self.handed.reserve().await.map_err(|_| End::Unheard)?;
        let gathered = std::mem::replace(&mut self.gathering, self.outlet.gather());
        place.send(gathered.commit());
        Ok(())
    }
}

fn find_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}
