//! The agent: channels, the sinks that empty them, the sources that fill them.
//!
//! Each source and sink is a task of its own: the failure of one is logged and stops no other. A
//! graceful stop goes the way of the events: sources first, then sinks drain, then the channels
//! close. It is for convenience alone; after a crash a durable channel holds the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::channel::{self, Channel};
use crate::config::{Config, SinkConfig, SourceConfig};
use crate::failure::Failure;
use crate::shutdown::{Shutdown, Stop};
use crate::sink;
use crate::source::{Context, Outlet};

type Channels = BTreeMap<String, Arc<dyn Channel>>;

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    channels: Channels,
    addresses: BTreeMap<String, SocketAddr>,
    sources: Tasks,
    sinks: Tasks,
    stop_sources: Shutdown,
    drain_sinks: Shutdown,
    shutdown_timeout: std::time::Duration,
}

/// The tasks of one kind of component, and what went wrong with them.
#[derive(Debug)]
struct Tasks {
    kind: &'static str,
    set: JoinSet<(String, Result<(), Failure>)>,
    failures: Vec<String>,
}

impl Tasks {
    fn new(kind: &'static str) -> Tasks {
        Tasks { kind, set: JoinSet::new(), failures: Vec::new() }
    }

    /// Waits for the next task to end; `false` when none is left.
    async fn next_ended(&mut self) -> bool {
        let Some(ended) = self.set.join_next().await else { return false };
        let kind = self.kind;
        match ended {
            Ok((name, Ok(()))) => info!("{kind} `{name}` has ended"),
            Ok((name, Err(failure))) => {
                error!("{kind} `{name}` has failed, the others go on: {failure}");
                self.failures.push(format!("{kind} `{name}`: {failure}"));
            }
            Err(cancelled) if cancelled.is_cancelled() => {}
            Err(panicked) => {
                error!("a {kind} has failed, the others go on: {panicked}");
                self.failures.push(format!("a {kind}: {panicked}"));
            }
        }
        true
    }

    /// Waits for all tasks, and ends those that are not done by the deadline.
    async fn all_ended(&mut self, deadline: Option<Instant>) {
        let all = async { while self.next_ended().await {} };
        let in_time = match deadline {
            Some(deadline) => timeout_at(deadline, all).await.is_ok(),
            None => {
                all.await;
                true
            }
        };
        if !in_time {
            warn!("a {} is not done in time and is ended", self.kind);
            self.set.shutdown().await;
        }
    }
}

impl Agent {
    /// Opens the channels, then starts the sinks, then the sources. A failure of any of these ends
    /// what was started before.
    pub async fn start(config: Config) -> Result<Agent, Failure> {
        let mut channels = Channels::new();
        for channel in &config.channels {
            let opened = channel::build(&channel.settings).map_err(|error| {
                Failure::new(format!("channel `{}` cannot be opened", channel.name)).because(error)
            })?;
            channels.insert(channel.name.clone(), opened);
        }
        let (stop_sources, stop) = Shutdown::new();
        let (drain_sinks, drain) = Shutdown::new();
        let mut agent = Agent {
            channels,
            addresses: BTreeMap::new(),
            sources: Tasks::new("source"),
            sinks: Tasks::new("sink"),
            stop_sources,
            drain_sinks,
            shutdown_timeout: config.shutdown_timeout,
        };
        for sink in config.sinks {
            agent.start_sink(sink, drain.clone())?;
        }
        for source in config.sources {
            agent.start_source(source, stop.clone()).await?;
        }
        info!(sources = agent.sources.set.len(), sinks = agent.sinks.set.len(), "the agent runs");
        Ok(agent)
    }

    fn start_sink(&mut self, config: SinkConfig, drain: Stop) -> Result<(), Failure> {
        let SinkConfig { name, runner, sink } = config;
        let failed = || Failure::new(format!("sink `{name}` cannot be started"));
        let channel = self.channel(&runner.channel).ok_or_else(failed)?;
        // The cursor is there before the first event, or that might be gone before it is read.
        let cursor = channel.take_transaction(&runner.cursor);
        drop(cursor.map_err(|error| failed().because(error))?);
        self.sinks.set.spawn(async move {
            let ended = sink::run(&name, sink, channel, &runner, drain).await;
            (name, ended)
        });
        Ok(())
    }

    async fn start_source(&mut self, config: SourceConfig, stop: Stop) -> Result<(), Failure> {
        let SourceConfig { name, channels, source } = config;
        let failed = || Failure::new(format!("source `{name}` cannot be started"));
        let mut reached = Vec::new();
        for channel in channels {
            let found = self.channel(&channel).ok_or_else(failed)?;
            reached.push((channel, found));
        }
        let context = Context { outlet: Outlet::new(name.clone(), reached), stop };
        let started = source.start(context).await.map_err(|cause| failed().because(cause))?;
        if let Some(address) = started.address {
            self.addresses.insert(name.clone(), address);
        }
        self.sources.set.spawn(async move { (name, started.running.await) });
        Ok(())
    }

    /// The address that a source listens on, which its configuration may have left open.
    pub fn address(&self, source: &str) -> Option<SocketAddr> {
        self.addresses.get(source).copied()
    }

    /// A channel, for those who embed the agent.
    pub fn channel(&self, name: &str) -> Option<Arc<dyn Channel>> {
        self.channels.get(name).cloned()
    }

    /// Waits until every source has come to its end by itself; for ever if there is none.
    pub async fn sources_ended(&mut self) {
        if self.sources.set.is_empty() {
            std::future::pending::<()>().await;
        }
        self.sources.all_ended(None).await;
    }

    /// Stops the sources, lets the sinks drain, and closes the channels. An error says what had
    /// failed, at any time before.
    pub async fn stop(mut self) -> Result<(), Failure> {
        let deadline = Instant::now().checked_add(self.shutdown_timeout);
        self.stop_sources.stop();
        self.sources.all_ended(deadline).await;
        self.drain_sinks.stop();
        self.sinks.all_ended(deadline).await;
        for (name, channel) in &self.channels {
            let events = channel.stats().events;
            if events > 0 {
                warn!(channel = name, events, "events are left in the channel");
            }
            channel.close();
        }
        let mut failures = self.sources.failures;
        failures.append(&mut self.sinks.failures);
        if failures.is_empty() {
            info!("the agent has stopped");
            Ok(())
        } else {
            Err(Failure::new(format!("the agent has stopped, and failed: {}", failures.join("; "))))
        }
    }
}
