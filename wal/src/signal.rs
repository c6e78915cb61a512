//! What a thread or a task waits for: one-shot outcomes, alone or in a crowd, and bells.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::{Arc, Condvar, Mutex, lock, wait, wait_timeout};

/// A place where one outcome arrives, and one waits for it.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    inner: Mutex<Inner<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    outcome: Option<T>,
    /// The waiter is asked to lead the log before it waits on.
    lead: bool,
    /// A thread waits, and the condition is worth a call.
    waiting: bool,
    waker: Option<Waker>,
    /// A thread waits there, with others, and not here.
    crowd: Option<Arc<Crowd>>,
}

/// A place where many threads wait, each for an outcome of its own, to be woken by one call: a call
/// for each of them would take longer than the sync that they wait for.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    gate: Mutex<()>,
    called: Condvar,
}

impl Crowd {
    /// Wakes all of them; those whose outcome is not there sleep on.
    pub(crate) fn call(&self) {
        // Whoever has looked for its outcome in vain sleeps by the time we hold this.
        drop(lock(&self.gate));
        self.called.notify_all();
    }
}

/// What ended a wait.
#[derive(Debug)]
pub(crate) enum Woken<T> {
    Outcome(T),
    Lead,
    TimedOut,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Arc<Slot<T>> {
        Arc::new(Slot {
            inner: Mutex::new(Inner {
                outcome: None,
                lead: false,
                waiting: false,
                waker: None,
                crowd: None,
            }),
            arrived: Condvar::new(),
        })
    }

    /// Its thread will wait in a crowd. Before anybody else has the slot.
    pub(crate) fn join(&self, crowd: Arc<Crowd>) {
        lock(&self.inner).crowd = Some(crowd);
    }

    /// Whether its thread waits in a crowd, and is not to be woken on its own.
    pub(crate) fn is_in_crowd(&self) -> bool {
        lock(&self.inner).crowd.is_some()
    }

    /// Delivers the outcome and wakes whoever waits.
    pub(crate) fn complete(&self, outcome: T) {
        if let Some(crowd) = self.complete_in_crowd(outcome) {
            crowd.call();
        }
    }

    /// The same, but for who waits in a crowd: the caller calls it when all have their outcomes.
    pub(crate) fn complete_in_crowd(&self, outcome: T) -> Option<Arc<Crowd>> {
        self.change(|inner| inner.outcome = Some(outcome))
    }

    /// Asks the waiting thread to lead.
    pub(crate) fn ask_to_lead(&self) {
        self.change(|inner| inner.lead = true);
    }

    fn change(&self, change: impl FnOnce(&mut Inner<T>)) -> Option<Arc<Crowd>> {
        let mut inner = lock(&self.inner);
        change(&mut inner);
        let crowd = inner.crowd.clone();
        let waker = inner.waker.take();
        let waiting = inner.waiting;
        drop(inner);
        if waiting {
            self.arrived.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        crowd
    }

    /// Waits for the outcome together with others.
    pub(crate) fn wait_in_crowd(&self) -> T {
        let crowd = lock(&self.inner).crowd.clone().unwrap_or_default();
        let mut gate = lock(&crowd.gate);
        loop {
            if let Some(outcome) = lock(&self.inner).outcome.take() {
                return outcome;
            }
            gate = wait(&crowd.called, gate);
        }
    }

    /// Whether the outcome is there.
    pub(crate) fn is_complete(&self) -> bool {
        lock(&self.inner).outcome.is_some()
    }

    /// Waits for the outcome, for a request to lead, or for so long.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Woken<T> {
        let mut inner = lock(&self.inner);
        let mut timed_out = false;
        loop {
            if inner.lead {
                inner.lead = false;
                return Woken::Lead;
            }
            if let Some(outcome) = inner.outcome.take() {
                return Woken::Outcome(outcome);
            }
            if timed_out {
                return Woken::TimedOut;
            }
            inner.waiting = true;
            inner = match timeout {
                None => wait(&self.arrived, inner),
                Some(timeout) => {
                    let (again, late) = wait_timeout(&self.arrived, &self.inner, inner, timeout);
                    timed_out = late;
                    again
                }
            };
            inner.waiting = false;
        }
    }

    /// Whether the outcome is there, as a future; it stays there.
    pub(crate) fn watch(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.inner);
        if inner.outcome.is_some() {
            return Poll::Ready(());
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The outcome, as a future.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut inner = lock(&self.inner);
        match inner.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                inner.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Something that a thread sleeps on and others ring.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    condvar: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        let mut rung = lock(&self.rung);
        if !*rung {
            *rung = true;
            drop(rung);
            self.condvar.notify_one();
        }
    }

    /// Waits for it to ring, at most so long; whether it rang. Who sleeps on it still hears it.
    pub(crate) fn rings_within(&self, timeout: Duration) -> bool {
        let rung = lock(&self.rung);
        *rung || *wait_timeout(&self.condvar, &self.rung, rung, timeout).0
    }

    /// Sleeps until it rings, or for so long.
    pub(crate) fn sleep(&self, timeout: Duration) {
        let mut rung = lock(&self.rung);
        if !*rung {
            rung = wait_timeout(&self.condvar, &self.rung, rung, timeout).0;
        }
        *rung = false;
    }
}
