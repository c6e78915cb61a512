//! A source's way into its channels: one gathering of events becomes one transaction in each.
//!
//! Commits are handed over in order and wait for space as long as it takes: a full channel holds
//! its sources back, and nothing overtakes. With several channels an event is acknowledged when
//! all of them have it; if one fails, those before it keep what they have, and the source's
//! client, not having been answered, sends again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::backoff::Backoff;
use crate::channel::{Channel, Commit, Error, ErrorKind, PutTransaction};
use crate::event::Event;

/// A commit that waits longer than this is worth a word.
const WAIT_NOTICE: Duration = Duration::from_secs(5);
/// How often a source says that it is held back.
const NOTICE_INTERVAL: Duration = Duration::from_secs(60);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LIMIT: Duration = Duration::from_secs(5);

/// A source's way into its channels. Clones are the same way.
#[derive(Clone)]
pub struct Outlet {
    shared: Arc<Shared>,
}

struct Shared {
    source: String,
    channels: Vec<(String, Arc<dyn Channel>)>,
    noticed: Mutex<Option<Instant>>,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outlet").field("source", &self.source()).finish_non_exhaustive()
    }
}

/// What became of an event that was put into a gathering.
#[derive(Debug)]
pub enum Placed {
    /// It is in.
    In,
    /// The transaction is full: commit, and put it into the next.
    Next(Event),
}

impl Outlet {
    /// The way of one source into its channels.
    pub fn new(source: impl Into<String>, channels: Vec<(String, Arc<dyn Channel>)>) -> Outlet {
        let shared = Shared { source: source.into(), channels, noticed: Mutex::new(None) };
        Outlet { shared: Arc::new(shared) }
    }

    /// The source's name.
    pub fn source(&self) -> &str {
        &self.shared.source
    }

    /// The most bytes an encoded event may have to fit into every channel.
    pub fn event_bytes_max(&self) -> usize {
        let limits = self.shared.channels.iter().map(|(_, channel)| channel.limits().event_bytes);
        limits.min().unwrap_or(usize::MAX)
    }

    /// Begins to gather events for one transaction.
    pub fn gather(&self) -> Gathering {
        let puts = self.shared.channels.iter().map(|(_, channel)| begin(channel)).collect();
        Gathering { outlet: self.clone(), events: Vec::new(), puts }
    }

    /// Says why the source is held back, at most once in a while.
    fn notice(&self, channel: &str, why: impl FnOnce() -> String) {
        let mut noticed = self.shared.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if noticed.is_none_or(|last| now.duration_since(last) >= NOTICE_INTERVAL) {
            *noticed = Some(now);
            let source = self.source();
            warn!(source, channel, "the source is held back: {}", why());
        }
    }
}

fn begin(channel: &Arc<dyn Channel>) -> Box<dyn PutTransaction> {
    let mut put = channel.put_transaction();
    put.set_wait(Duration::MAX);
    put
}

fn fill(channel: &Arc<dyn Channel>, events: &[Event]) -> Result<Box<dyn PutTransaction>, Error> {
    let mut put = begin(channel);
    for event in events {
        put.put(event)?;
    }
    Ok(put)
}

/// Events on their way into one transaction of each channel. Dropping it rolls back.
pub struct Gathering {
    outlet: Outlet,
    events: Vec<Event>,
    puts: Vec<Box<dyn PutTransaction>>,
}

impl fmt::Debug for Gathering {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gathering").field("events", &self.len()).finish_non_exhaustive()
    }
}

impl Gathering {
    /// Adds an event, if it fits. An error leaves the others as they are.
    pub fn put(&mut self, event: Event) -> Result<Placed, Error> {
        for at in 0..self.puts.len() {
            let Err(error) = self.puts[at].put(&event) else { continue };
            self.take_back(at)?;
            if error.kind() == ErrorKind::TransactionTooLarge && !self.events.is_empty() {
                return Ok(Placed::Next(event));
            }
            return Err(error);
        }
        self.events.push(event);
        Ok(Placed::In)
    }

    /// Makes the first `count` transactions anew, without the event that a later one refused.
    fn take_back(&mut self, count: usize) -> Result<(), Error> {
        for (put, (_, channel)) in
            self.puts.iter_mut().zip(&self.outlet.shared.channels).take(count)
        {
            *put = fill(channel, &self.events)?;
        }
        Ok(())
    }

    /// How many events are in it.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Hands the events over to every channel, now and in the order of the calls.
    pub fn commit(self) -> Handed {
        let commits = self.puts.into_iter().map(|put| put.commit()).collect();
        Handed { outlet: self.outlet, events: self.events, commits }
    }
}

/// A transaction that was handed over and is not known to be acknowledged.
#[must_use = "events are acknowledged only when the outcome is Ok"]
#[derive(Debug)]
pub struct Handed {
    outlet: Outlet,
    events: Vec<Event>,
    commits: Vec<Commit>,
}

impl Handed {
    /// Waits until every channel has acknowledged, and says how many events that covers.
    pub async fn acknowledged(self) -> Result<usize, Error> {
        let shared = &self.outlet.shared;
        for ((name, channel), commit) in shared.channels.iter().zip(self.commits) {
            see_through(&self.outlet, name, channel, commit, &self.events).await?;
        }
        Ok(self.events.len())
    }
}

/// Waits for one channel; where it refuses for want of space in spite of the wait, tries again.
async fn see_through(
    outlet: &Outlet,
    name: &str,
    channel: &Arc<dyn Channel>,
    mut commit: Commit,
    events: &[Event],
) -> Result<(), Error> {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LIMIT);
    loop {
        match timeout(WAIT_NOTICE, &mut commit).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::Full => {
                outlet.notice(name, || error.to_string());
                tokio::time::sleep(backoff.next_wait()).await;
                commit = fill(channel, events)?.commit();
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => outlet.notice(name, || waiting_text(channel)),
        }
    }
}

fn waiting_text(channel: &Arc<dyn Channel>) -> String {
    let stats = channel.stats();
    let behind = stats.pinned_by.map(|name| format!("; cursor {name:?} is farthest behind"));
    format!(
        "a commit has been waiting for space; the channel holds {} events in {} of {} bytes{}",
        stats.events,
        stats.bytes,
        stats.bytes_max,
        behind.unwrap_or_default()
    )
}
