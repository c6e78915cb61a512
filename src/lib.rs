//! A durable file channel, and the agent around it: sources put events into channels in
//! transactions, sinks take them out in transactions, and what a commit acknowledged is delivered.
//!
//! One event's way, and the file that holds each step:
//!
//! | step | file |
//! | --- | --- |
//! | headers and a body become bytes                     | `event.rs` |
//! | a source gathers events as they come                | `source/`, one file each |
//! | and hands them to all of its channels, in order     | `source/outlet.rs` |
//! | a put transaction commits, a take transaction opens | `channel/mod.rs` |
//! | the events wait, in memory or on disk               | `channel/`, one file each |
//! | a runner takes them, and tries again on failure     | `sink/runner.rs` |
//! | a sink delivers them, and the take commits          | `sink/`, one file each |
//! | all of it is read from one file                     | `config/` |
//! | started, and stopped in the order of the events     | `agent.rs`, `shutdown.rs` |
//! | and reached from the command line                   | `cli/` |

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

pub mod event;

pub mod source;

pub mod channel;

pub mod sink;

pub mod config;

pub mod agent;
pub mod shutdown;

mod backoff;
mod failure;

pub mod cli;

pub use failure::Failure;
