//! The log: structured, to standard error.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// What is logged, and how.
#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// What to log: a level, or levels by module, like `info` or `warn,forebay::source=debug`
    #[arg(long = "log", value_name = "FILTER", global = true)]
    filter: Option<String>,
    /// How to write the log
    #[arg(long = "log-format", value_name = "FORMAT", global = true, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One line of text an entry
    Text,
    /// One JSON object a line
    Json,
}

impl LogArguments {
    pub(super) fn start(&self, default: &str) -> Result<(), Failure> {
        let filter = self.filter.as_deref().unwrap_or(default);
        let filter = EnvFilter::try_new(filter)
            .map_err(|error| Failure::new(format!("--log {filter}")).because(error))?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        let started = match self.format {
            Format::Text => log.try_init(),
            Format::Json => log.json().try_init(),
        };
        started.map_err(|error| Failure::new("the log cannot be started").because(error))
    }
}
