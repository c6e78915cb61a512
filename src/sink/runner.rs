//! What drives a sink: take, deliver, commit; on a failure give back, wait, and try again.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{Sink, SinkState};
use crate::backoff::Backoff;
use crate::channel::{Channel, ErrorKind, TakeTransaction};
use crate::config::Section;
use crate::failure::Failure;
use crate::shutdown::Stop;

/// Where a sink takes from, and how.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// The channel's name.
    pub channel: String,
    /// The cursor's name.
    pub cursor: String,
    /// The most events of one take.
    pub batch_size: usize,
    /// The first wait after a failure; each further one is longer by as much.
    pub backoff: Duration,
    /// The longest wait after a failure.
    pub backoff_max: Duration,
}

impl RunnerOptions {
    /// Reads the keys that all sinks share.
    pub fn read(section: &mut Section<'_>, channel: String, cursor: String) -> RunnerOptions {
        RunnerOptions {
            channel,
            cursor,
            batch_size: section.count_or("batch_size", 100),
            backoff: section.duration("backoff").unwrap_or(Duration::from_secs(1)),
            backoff_max: section.duration("backoff_max").unwrap_or(Duration::from_secs(5)),
        }
    }
}

/// Runs a sink until its channel is closed, or until `drain` was told and the channel is empty.
///
/// It ends with a failure only where trying again could do harm: after a commit of which nobody
/// knows whether it holds, the sink must not undo what it delivered. A restart of the agent, which
/// opens the channel again, decides that.
pub async fn run(
    name: &str,
    mut sink: Box<dyn Sink>,
    channel: Arc<dyn Channel>,
    options: &RunnerOptions,
    mut drain: Stop,
) -> Result<(), Failure> {
    let mut backoff = Backoff::new(options.backoff, options.backoff_max);
    loop {
        let mut round = Round { sink: &mut *sink, channel: &*channel, options };
        let Err(failure) = round.deliver_all(&mut drain, &mut backoff).await else {
            info!(sink = name, "has delivered what there was");
            return Ok(());
        };
        match failure.channel_kind() {
            Some(ErrorKind::Closed) => return Ok(()),
            Some(ErrorKind::InDoubt) => return Err(failure),
            _ => {}
        }
        let wait = backoff.next_wait();
        warn!(sink = name, %failure, ?wait, "the sink failed; what it held comes again");
        if !drain.is_stopped() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = drain.stopped() => {}
            }
        } else if channel.stats().events == 0 {
            // There is nothing left that it could deliver.
            return Ok(());
        } else {
            tokio::time::sleep(wait).await;
        }
    }
}

/// What lies between the opening of a sink and its next failure.
struct Round<'a> {
    sink: &'a mut dyn Sink,
    channel: &'a dyn Channel,
    options: &'a RunnerOptions,
}

impl Round<'_> {
    async fn deliver_all(
        &mut self,
        drain: &mut Stop,
        backoff: &mut Backoff,
    ) -> Result<(), Failure> {
        let state = self.channel.cursor_state(&self.options.cursor);
        let state = self.sink.open(state).await?;
        if state.is_some() {
            commit(self.begin()?, state).await?;
        }
        loop {
            let mut take = self.begin()?;
            let taken = if drain.is_stopped() {
                take.take(self.options.batch_size, Duration::ZERO).await
            } else {
                tokio::select! {
                    taken = take.take(self.options.batch_size, Duration::MAX) => taken,
                    () = drain.stopped() => continue,
                }
            };
            let events =
                taken.map_err(|error| Failure::new("cannot take events").because(error))?;
            if events.is_empty() {
                // Without events a take ends only when it was not to wait for any.
                return Ok(());
            }
            let state = self.sink.deliver(events).await?;
            commit(take, state).await?;
            backoff.reset();
        }
    }

    fn begin(&self) -> Result<Box<dyn TakeTransaction>, Failure> {
        let take = self.channel.take_transaction(&self.options.cursor);
        take.map_err(|error| Failure::new("cannot begin a take").because(error))
    }
}

async fn commit(mut take: Box<dyn TakeTransaction>, state: SinkState) -> Result<(), Failure> {
    let failed = |error| Failure::new("cannot commit a take").because(error);
    if let Some(state) = state {
        take.set_state(&state).map_err(failed)?;
    }
    take.commit().await.map_err(failed)?;
    Ok(())
}
