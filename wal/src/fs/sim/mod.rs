//! A simulated disk in memory, which forgets what was not synced and fails when it is told to.
//!
//! [`SimFs`] keeps, for every file, what a running process sees, what the medium holds, and the
//! writes and changes of size that lie between; for every directory the same of its names.
//! [`SimFs::crash`] cuts the power: what was synced stays, and the seed decides piece by piece
//! what stays of the rest. [`SimFs::kill`] ends the process alone: all that was written is still
//! there, and still not synced.
//!
//! Every call that changes or syncs something is an operation with a number, from 0. A test
//! plans faults by these numbers, and reads in [`SimFs::op_log`] what they were. Every call, those
//! that only look included, also has a number among the calls of its kind ([`Call`]), and a test
//! may plan faults by those.
//!
//! | file | holds |
//! | --- | --- |
//! | `handles.rs` | the traits of the log, on top of the state |
//! | `state.rs`   | the whole disk: files, directories, space, trace |
//! | `node.rs`    | one file: cache, medium, what lies between |
//! | `names.rs`   | one directory, likewise |
//! | `content.rs` | the sectors of one file |
//! | `survive.rs` | the dice: what a power cut leaves |
//! | `faults.rs`  | the plan of faults |
//! | `damage.rs`  | what a test does behind the log's back |
//! | `world.rs`   | the clock and the randomness |
//!
//! What is simpler than on a real disk: directories are durable once made and cannot be removed,
//! a rename stays within its directory, the bytes of a sector that a write does not touch are
//! never harmed by it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use state::State;

mod content;
mod damage;
mod faults;
mod handles;
mod names;
mod node;
mod state;
mod survive;
mod world;

pub use faults::{Call, Fault};
pub use survive::Survive;
pub use world::{SimClock, SimRandom, sim_env};

type Shared = Arc<Mutex<State>>;

/// A simulated disk. Clones are the same disk, as other processes see it.
#[derive(Debug, Clone)]
pub struct SimFs {
    shared: Shared,
}

impl SimFs {
    /// An empty disk without any directory. All that it does by chance goes by the seed.
    pub fn new(seed: u64) -> SimFs {
        SimFs::of(State::new(seed))
    }

    /// Cuts the power: every call on this disk and its handles fails from now on, and the disk
    /// that is found afterwards is returned. It has no locks, no plan and an empty trace. Calling
    /// it again gives another outcome of the same power cut.
    pub fn crash(&self, survive: Survive) -> SimFs {
        let mut state = lock(&self.shared);
        state.dead = true;
        SimFs::of(state.after_power_cut(survive))
    }

    /// The disk that would be found if the power were cut now; this one goes on.
    pub fn image(&self, survive: Survive) -> SimFs {
        SimFs::of(lock(&self.shared).after_power_cut(survive))
    }

    /// Kills the process: every call on this disk and its handles fails from now on. The disk that
    /// the next process finds is returned: all is there, the unsynced too, still unsynced; the
    /// locks are gone.
    pub fn kill(&self) -> SimFs {
        let mut state = lock(&self.shared);
        state.dead = true;
        SimFs::of(state.after_kill())
    }

    /// Plans a fault for one operation.
    pub fn fail_at(&self, op_index: u64, fault: Fault) {
        lock(&self.shared).plan.fail_at(op_index, fault);
    }

    /// Plans a fault for every operation from this one on, until another that is planned from a
    /// later one takes over.
    pub fn fail_from(&self, op_index: u64, fault: Fault) {
        lock(&self.shared).plan.fail_from(op_index, fault);
    }

    /// Plans a fault for one call of a kind: the one that comes after `n` more of that kind.
    pub fn fail_nth(&self, call: Call, n: u64, fault: Fault) {
        let mut state = lock(&self.shared);
        let number = state.calls(call) + n;
        state.plan.fail_call_at(call, number, fault);
    }

    /// Plans a fault for every call of a kind that comes after `n` more of that kind, until
    /// another that is planned from a later one takes over.
    pub fn fail_nth_and_later(&self, call: Call, n: u64, fault: Fault) {
        let mut state = lock(&self.shared);
        let number = state.calls(call) + n;
        state.plan.fail_calls_from(call, number, fault);
    }

    /// How many calls of a kind there were so far, whether they went well or not.
    pub fn calls(&self, call: Call) -> u64 {
        lock(&self.shared).calls(call)
    }

    /// Forgets all faults and changes of capacity that were planned: the disk is well again.
    pub fn heal(&self) {
        lock(&self.shared).plan.heal();
    }

    /// Plans a crash: this operation is not done, and every call fails from then on. What is found
    /// afterwards, [`SimFs::crash`] or [`SimFs::kill`] tells.
    pub fn crash_at(&self, op_index: u64) {
        lock(&self.shared).plan.crash_at = Some(op_index);
    }

    /// How many operations there were so far: the index of the next one.
    pub fn ops(&self) -> u64 {
        lock(&self.shared).op_log.len() as u64
    }

    /// One line for each operation so far: what, on which file, where, and the fault it met.
    pub fn op_log(&self) -> Vec<String> {
        lock(&self.shared).op_log.clone()
    }

    /// One line for each change that is not synced: what [`Survive::Only`] and
    /// [`Survive::AllBut`] count, from 0.
    pub fn unsynced(&self) -> Vec<String> {
        lock(&self.shared).unsynced()
    }

    /// Whether the power is cut or the process killed.
    pub fn is_crashed(&self) -> bool {
        lock(&self.shared).dead
    }

    /// Sets how many bytes all files together may allocate. What is allocated already stays, even
    /// when it is more.
    pub fn set_capacity(&self, bytes: u64) {
        lock(&self.shared).capacity_bytes = bytes;
    }

    /// Plans a change of the capacity: it is this from that operation on.
    pub fn set_capacity_at(&self, op_index: u64, bytes: u64) {
        lock(&self.shared).plan.set_capacity_at(op_index, bytes);
    }

    fn of(state: State) -> SimFs {
        SimFs { shared: Arc::new(Mutex::new(state)) }
    }
}

/// Locks a mutex even after a test has panicked with it: its other threads must still end.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
