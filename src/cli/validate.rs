//! `forebay validate`: all that is wrong with a configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use crate::config::Config;
use crate::failure::Failure;

/// Tell all that is wrong with a configuration, with file, line and key.
///
/// Nothing is opened, made or contacted. Exits with 0 if the agent could be built from the file,
/// and with 2 otherwise.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forebay validate -f agent.toml")]
pub(super) struct Validate {
    /// The configuration
    #[arg(short = 'f', long, value_name = "CONFIG")]
    file: PathBuf,
    /// The agent's name in a file that holds several
    #[arg(short = 'n', long, value_name = "AGENT")]
    name: Option<String>,
}

impl Validate {
    pub(super) fn execute(self) -> Result<Outcome, Failure> {
        load(&self.file, self.name.as_deref())?;
        Ok(Outcome::Fine)
    }
}

/// Reads the configuration of the agent that is named.
pub(super) fn load(file: &Path, name: Option<&str>) -> Result<Config, Failure> {
    if file.extension().is_some_and(|extension| extension == "properties") {
        let text = format!(
            "{}: Flume's properties files are not read by this version; write the agent as TOML",
            file.display()
        );
        return Err(Failure::new(text));
    }
    if let Some(name) = name {
        tracing::debug!(name, "a TOML file holds one agent; its name is not looked at");
    }
    Config::load(file).map_err(|problems| {
        let count = problems.iter().count();
        let text = format!("{count} problem{}:\n{problems}", if count == 1 { "" } else { "s" });
        Failure::new(text)
    })
}
