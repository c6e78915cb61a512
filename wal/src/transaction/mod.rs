//! Put and take transactions: two types, so that "never both" is a matter of the compiler.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::engine::Shared;
use crate::error::Result;
use crate::queue::{CommitSlot, Receipt};
use crate::signal::{Slot, Woken};
use crate::sync::{Arc, lock};

mod put;
mod take;

pub use put::{KEY_BYTES_MAX, PutTransaction};
pub use take::{TakeTransaction, Taken};

/// The outcome of a commit, as a future; it needs no runtime and no timer.
#[derive(Debug)]
#[must_use = "a commit is acknowledged only when its outcome is Ok"]
pub struct Commit {
    engine: Shared,
    slot: Arc<CommitSlot>,
    over: bool,
}

impl Commit {
    fn waiting(engine: Shared, slot: Arc<CommitSlot>) -> Commit {
        Commit { engine, slot, over: false }
    }

    fn settled(engine: Shared, outcome: Result<Receipt>) -> Commit {
        let slot = Slot::new();
        slot.complete(outcome);
        Commit { engine, slot, over: false }
    }

    /// Waits for the outcome on this thread.
    ///
    /// # Errors
    ///
    /// As [`PutTransaction::commit`].
    pub fn wait(mut self) -> Result<Receipt> {
        self.over = true;
        loop {
            match self.slot.wait(None) {
                Woken::Outcome(outcome) => return outcome,
                Woken::Lead | Woken::TimedOut => {}
            }
        }
    }
}

impl Future for Commit {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Receipt>> {
        let outcome = self.slot.poll(context);
        self.over |= outcome.is_ready();
        outcome
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        // One that a leader has taken, or will take without waiting for space, goes on.
        if !self.over && !self.slot.is_complete() {
            let left = lock(&self.engine.queue).abandon(&self.slot);
            if left {
                // What stood behind it may fit.
                self.engine.call_leader();
            }
        }
    }
}
