//! Sources: what puts events into channels.
//!
//! A source knows its [`Outlet`] and nothing of the channels behind it. A new one is a file here
//! and a line in [`KINDS`].

use std::fmt;
use std::net::SocketAddr;

use crate::channel::BoxFuture;
use crate::config::Section;
use crate::failure::Failure;
use crate::shutdown::Stop;

mod lines;
mod netcat;
mod outlet;
mod stdin;

pub use outlet::{Gathering, Handed, Outlet, Placed};

/// A type of source.
#[derive(Debug)]
pub struct Kind {
    /// Its name in a configuration.
    pub name: &'static str,
    /// Reads its keys. It touches nothing outside: `validate` calls it as well.
    pub configure: fn(&mut Section<'_>) -> Box<dyn Source>,
}

/// Every type of source.
pub const KINDS: &[Kind] = &[netcat::KIND, stdin::KIND];

/// A source that is configured and not yet started.
pub trait Source: Send {
    /// Takes hold of what it needs, such as its port. A failure here ends the start of the agent.
    fn start(self: Box<Self>, context: Context) -> BoxFuture<'static, Result<Started, Failure>>;
}

/// What a source is given.
#[derive(Debug)]
pub struct Context {
    /// Where its events go.
    pub outlet: Outlet,
    /// Tells it to stop: to accept nothing more, and to see what it has accepted through.
    pub stop: Stop,
}

/// A source that is ready to run.
pub struct Started {
    /// The address it listens on, if it does.
    pub address: Option<SocketAddr>,
    /// Its work. It ends when the source is told to stop or has come to its end.
    pub running: BoxFuture<'static, Result<(), Failure>>,
}

impl fmt::Debug for Started {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Started").field("address", &self.address).finish_non_exhaustive()
    }
}
