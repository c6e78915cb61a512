//! The crate from outside, in one binary.

mod agent;
mod backlog;
mod bench;
mod check;
mod command;
mod config;
mod contract;
mod corpora;
mod file_roll;
mod flume_probes;
mod kill;
mod netcat;
mod runner;
mod small_disk;
mod stat;
mod support;
mod syscalls;
mod tidy;
mod torture;
