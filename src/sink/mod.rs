//! Sinks: what takes events from a channel and delivers them.
//!
//! A sink is given events and says when they are delivered; taking, committing, giving back and
//! trying again are the runner's. A new sink is a file here and a line in [`KINDS`].

use bytes::Bytes;

use crate::channel::{BoxFuture, Taken};
use crate::config::Section;
use crate::failure::Failure;

mod file_roll;
mod logger;
mod null;
mod runner;

pub use runner::{RunnerOptions, run};

/// A type of sink.
#[derive(Debug)]
pub struct Kind {
    /// Its name in a configuration.
    pub name: &'static str,
    /// Whether it keeps a state in its cursor, which no other sink may then write.
    pub keeps_state: bool,
    /// Reads its keys. It touches nothing outside: `validate` calls it as well.
    pub configure: fn(&mut Section<'_>) -> Box<dyn Sink>,
}

/// Every type of sink.
pub const KINDS: &[Kind] = &[file_roll::KIND, logger::KIND, null::KIND];

/// The new state of a cursor, if a sink keeps one.
pub type SinkState = Option<Vec<u8>>;

/// A sink.
pub trait Sink: Send {
    /// Makes ready, before the first delivery and again after each failure. `state` is what the
    /// cursor's last commit left: what was delivered beyond it will be delivered again, so a sink
    /// that wants each event once undoes it here. A state in the answer is committed before the
    /// first delivery.
    fn open(&mut self, state: Option<Bytes>) -> BoxFuture<'_, Result<SinkState, Failure>>;

    /// Delivers events, all of them before it answers Ok. The answer's state is committed with
    /// the take.
    fn deliver(&mut self, events: Vec<Taken>) -> BoxFuture<'_, Result<SinkState, Failure>>;
}
