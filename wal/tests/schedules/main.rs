//! The channel on a simulated disk in schedules chosen at random, with an explorer in the place of
//! the system's locks, conditions and threads.
//!
//!     cargo test -p forebay-wal --features shuttle --test schedules
//!
//! `FOREBAY_SCHEDULES` says how many each situation is tried with, `FOREBAY_SEED` where they
//! begin. A schedule that fails prints a string; with that in `FOREBAY_SCHEDULE`, and the name of
//! the test, the same schedule runs again.
//!
//! Time stands still here, but in `crowds.rs` and where a situation brings a clock of its own: a wait with a limit ends by itself only where the test says so, and in
//! half of the schedules never. So whatever needs a limit to pass before it goes on is a deadlock,
//! which the explorer sees; a wake-up that is lost is one.

mod crowds;
mod explore;
mod roles;
mod situations;
mod world;
