//! The group commit and the wake-ups with two or three threads, in every schedule there is.
//!
//!     cargo test -p forebay-wal --features loom --test exhaustive
//!
//! `pieces.rs` takes what threads wait on by itself, `whole.rs` the whole channel on a simulated
//! disk: two threads in all their schedules; three, or the channel's own beside them, in all in
//! which threads are interrupted at no more than so many places, which may be any.
//! `LOOM_MAX_PREEMPTIONS` sets how many.
//!
//! Time stands still here, see `tests/schedules`: a wake-up that is lost is a deadlock.

mod pieces;
mod whole;

#[expect(dead_code, reason = "the pieces need a part of it")]
#[path = "../../src/signal.rs"]
mod signal;
#[expect(dead_code, unused_imports, reason = "the pieces need a part of it")]
#[path = "../../src/sync.rs"]
mod sync;
