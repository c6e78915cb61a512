//! `netcat`: lines over TCP, each answered `OK` once it is committed, as Flume's source of that
//! name does.
//!
//! | key | default | what |
//! | --- | --- | --- |
//! | `bind` | 127.0.0.1 | the address to listen on |
//! | `port` | | the port; 0 takes a free one, which the log names |
//! | `ack_every_event` | true | answer `OK` for each line |
//! | `max_line_length` | 512 | the most bytes of a line with its newline |
//! | `batch_size` | 100 | the most lines of one transaction |
//! | `max_connections` | 1000 | further ones wait until one ends |
//! | `strip_cr` | false | cut a `\r` before the newline off |
//!
//! - The answers come in the order of the lines, each after the commit that covers its line. A
//!   line that was not answered may or may not be in the channel.
//! - A line that is too long is answered `FAILED: ...` after the answers of those before it, and
//!   the connection is closed; it is never cut.
//! - A rest without a newline at the end of the stream is a line, and is answered: losing it
//!   without a word would be worse than Flume's habit of dropping it is useful.
//! - A full channel holds the connection: nothing more is read until there is space.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::lines::{End, IN_FLIGHT_MAX, LineOptions, pump};
use super::{Context, Handed, Kind, Outlet, Source, Started};
use crate::backoff::Backoff;
use crate::channel::{BoxFuture, Error};
use crate::config::Section;
use crate::failure::Failure;
use crate::shutdown::Stop;

pub(super) const KIND: Kind = Kind { name: "netcat", configure };

/// As in Flume.
const LINE_BYTES_MAX: usize = 512;
const ACCEPT_RETRY_FIRST: Duration = Duration::from_millis(50);
const ACCEPT_RETRY_LIMIT: Duration = Duration::from_secs(1);
/// How long a refused client's rest is read, so that the refusal reaches it before the close.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug)]
struct Netcat {
    bind: String,
    port: u16,
    connections_max: usize,
    answers: Answers,
    lines: LineOptions,
}

#[derive(Debug, Clone, Copy)]
struct Answers {
    every_event: bool,
}

fn configure(section: &mut Section<'_>) -> Box<dyn Source> {
    let bind = section.text("bind").unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = section.required_whole("port", 0..=u64::from(u16::MAX));
    let port = u16::try_from(port).unwrap_or(0);
    if port != 0 {
        section.claim("port", format!("TCP {bind}:{port}"));
    }
    Box::new(Netcat {
        bind,
        port,
        connections_max: section.count_or("max_connections", 1000),
        answers: Answers { every_event: section.flag_or("ack_every_event", true) },
        lines: LineOptions::read(section, LINE_BYTES_MAX),
    })
}

impl Source for Netcat {
    fn start(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<Started, Failure>> {
        Box::pin(async move {
            let place = (self.bind.as_str(), self.port);
            let failed = || Failure::new(format!("cannot listen on {}:{}", self.bind, self.port));
            let listener =
                TcpListener::bind(place).await.map_err(|error| failed().because(error))?;
            let address = listener.local_addr().map_err(|error| failed().because(error))?;
            info!(source = context.outlet.source(), %address, "listens");
            let running = Box::pin(accept(*self, listener, context));
            Ok(Started { address: Some(address), running })
        })
    }
}

async fn accept(netcat: Netcat, listener: TcpListener, context: Context) -> Result<(), Failure> {
    let Context { outlet, mut stop } = context;
    let places = Arc::new(Semaphore::new(netcat.connections_max));
    let lines = Arc::new(netcat.lines);
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::new(ACCEPT_RETRY_FIRST, ACCEPT_RETRY_LIMIT);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = stop.stopped() => break,
            accepted = accepted => accepted,
            // Those that ended are forgotten as they end.
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff.reset();
                let connection = serve(
                    stream,
                    peer,
                    Arc::clone(&lines),
                    netcat.answers,
                    outlet.clone(),
                    stop.clone(),
                );
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // Such as too many open files: it passes, and the other connections go on.
            Err(error) => {
                warn!(source = outlet.source(), %error, "cannot accept a connection");
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    lines: Arc<LineOptions>,
    answers: Answers,
    outlet: Outlet,
    stop: Stop,
) {
    // Answers are small and waited for. Where this fails they are only slower.
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    let (end, answered) = {
        let mut pumping = std::pin::pin!(pump(&mut reader, &lines, &outlet, stop, sender));
        let mut answering = std::pin::pin!(answer(&mut writer, receiver, answers));
        tokio::select! {
            end = &mut pumping => (end, answering.await),
            // It ends first only by a failed commit: what is read on cannot be answered.
            answered = &mut answering => (End::Unheard, answered),
        }
    };
    let source = outlet.source();
    let refusal = match (end, answered) {
        (_, Err(error)) => {
            warn!(source, %peer, %error, "a commit failed; the connection is closed");
            Some(error.to_string())
        }
        (End::TooLong(line), Ok(())) => {
            warn!(source, %peer, line, "a line is too long; the connection is closed");
            let limit = lines.line_bytes_max.min(outlet.event_bytes_max());
            Some(format!("Event exceeds the maximum length ({limit} chars, including newline)"))
        }
        (End::Refused(error), Ok(())) => {
            warn!(source, %peer, %error, "a line was refused; the connection is closed");
            Some(error.to_string())
        }
        (End::Failed(error), Ok(())) => {
            debug!(source, %peer, %error, "the connection broke");
            None
        }
        (End::Eof | End::Stopped | End::Unheard, Ok(())) => None,
    };
    if let Some(refusal) = refusal {
        refuse(&mut reader, &mut writer, &refusal).await;
    }
}

/// Answers each transaction once it is acknowledged. A client that no longer listens is read on:
/// what it sent is worth keeping.
async fn answer(
    writer: &mut OwnedWriteHalf,
    mut handed: mpsc::Receiver<Handed>,
    answers: Answers,
) -> Result<(), Error> {
    let mut heard = answers.every_event;
    while let Some(handed) = handed.recv().await {
        let lines = handed.acknowledged().await?;
        if heard {
            heard = writer.write_all("OK\n".repeat(lines).as_bytes()).await.is_ok();
        }
    }
    Ok(())
}

/// Tells the client why, and closes. What it still sends is read and dropped for a moment: a
/// close with unread bytes would reset the connection and take the refusal with it.
async fn refuse(reader: &mut OwnedReadHalf, writer: &mut OwnedWriteHalf, why: &str) {
    let refusal = format!("FAILED: {}\n", why.replace('\n', " "));
    if writer.write_all(refusal.as_bytes()).await.is_err() || writer.shutdown().await.is_err() {
        return;
    }
    let mut rest = reader.take(LINGER_BYTES_MAX);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}
