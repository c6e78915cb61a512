//! `forebay run`: the agent.

use std::path::PathBuf;

use clap::Args;
use tracing::{info, warn};

use super::{Outcome, validate};
use crate::agent::Agent;
use crate::config::Config;
use crate::failure::Failure;
use crate::shutdown::Signals;

/// Run the agent that a configuration describes, until SIGTERM or SIGINT.
///
/// Then the sources stop, the sinks deliver what is left, and it exits with 0. A second signal
/// ends it at once, which loses nothing that a file channel has acknowledged. An agent whose
/// sources all come to an end, like standard input, stops by itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forebay run -f agent.toml\n  \
    forebay run -f agent.toml --log debug --log-format json\n  \
    journalctl -f | forebay run -f stdin.toml")]
pub(super) struct Run {
    /// The configuration
    #[arg(short = 'f', long, value_name = "CONFIG")]
    file: PathBuf,
    /// The agent's name in a file that holds several
    #[arg(short = 'n', long, value_name = "AGENT")]
    name: Option<String>,
}

impl Run {
    pub(super) fn execute(self) -> Result<Outcome, Failure> {
        let config = validate::load(&self.file, self.name.as_deref())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::new("the runtime cannot be started").because(error))?;
        let ended = runtime.block_on(run(config));
        // A read of standard input may be under way, which nothing but input would end.
        runtime.shutdown_background();
        ended.map(|()| Outcome::Fine)
    }
}

async fn run(config: Config) -> Result<(), Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new("signals cannot be listened to").because(error))?;
    let mut agent = tokio::select! {
        started = Agent::start(config) => started?,
        signal = signals.next() => {
            warn!(signal, "stops before it was started");
            return Ok(());
        }
    };
    tokio::select! {
        signal = signals.next() => info!(signal, "stops: sources first, then the sinks drain"),
        () = agent.sources_ended() => info!("all sources have come to their end"),
    }
    tokio::select! {
        stopped = agent.stop() => stopped,
        signal = signals.next() => {
            Err(Failure::new(format!("a second signal, {signal}, ended the agent at once")))
        }
    }
}
