//! The locks, conditions and threads of the engine, in one place, so that a schedule explorer can
//! stand in for the system's: the features `loom` and `shuttle` choose one, and nothing else
//! knows.
//!
//! A panic while a lock is held is a bug of ours that has been reported by that panic already;
//! the others go on with what is there rather than fall over it one by one.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(all(feature = "loom", not(feature = "shuttle")))]
use loom::{sync, thread};
#[cfg(feature = "shuttle")]
use shuttle::{sync, thread};
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
use std::{sync, thread};

// Counting references is not what schedules are explored for.
pub(crate) use std::sync::{Arc, TryLockError};
pub(crate) use sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(crate) use sync::{Condvar, Mutex, MutexGuard};
pub(crate) use thread::{JoinHandle, yield_now};

/// Whether pieces are read ahead by a thread of their own. It shares nothing with the others but the
/// pieces, and explorers know only so many threads.
pub(crate) const READS_AHEAD: bool = !cfg!(any(feature = "loom", feature = "shuttle"));

/// Locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a condition.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a condition, at most so long; whether the time ran out.
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> (MutexGuard<'a, T>, bool) {
    if clock::is_late() {
        drop(guard);
        thread::yield_now();
        return (lock(mutex), true);
    }
    let (guard, late) =
        condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
    (guard, late.timed_out())
}

/// Starts a thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.to_owned());
    // An explorer's own measure is too small for a log.
    #[cfg(feature = "loom")]
    let thread = thread.stack_size(1 << 20);
    thread.spawn(run)
}

/// The system's conditions know the time themselves.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
mod clock {
    #[inline]
    pub(super) fn is_late() -> bool {
        false
    }
}

/// Explorers have no time: a wait with a limit never ends by itself there. Whatever needs a limit
/// to go on shows as a deadlock, unless the test lets limits pass.
#[cfg(any(feature = "loom", feature = "shuttle"))]
mod clock {
    use std::cell::RefCell;

    type Decision = Box<dyn FnMut() -> bool>;

    thread_local! {
        // All threads of an explored execution are one thread of the system.
        static DECISION: RefCell<Option<Decision>> = const { RefCell::new(None) };
    }

    /// From now on, at each wait with a limit, this says whether the limit passes before anything
    /// comes; `None` if none ever does.
    pub fn decide_limits(decision: Option<Decision>) {
        DECISION.set(decision);
    }

    pub(super) fn is_late() -> bool {
        let mut decision = DECISION.take();
        let late = decision.as_mut().is_some_and(|decision| decision());
        DECISION.set(decision);
        late
    }
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub use clock::decide_limits;
