//! What the checker knows of a cursor and of the takes from it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::line::Op;
use super::Figures;

/// An event that a cursor has not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub put: Op,
    pub index: u32,
    /// Since when it can be taken, if nobody holds it.
    since: u64,
    pub holder: Option<Op>,
    /// A take that began when it could be taken got newer ones, but not this one.
    pub passed_over: Option<u64>,
    /// Its take was in doubt, and did not count.
    pub came_back: bool,
}

/// What is known of a cursor.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub pending: BTreeMap<u64, Pending>,
    pub acked: HashSet<u64>,
    /// What may still have been there when the cursor was made, though no other one needed it.
    pub maybe: HashSet<u64>,
    /// When the takes that carried a state were acknowledged.
    states: HashMap<Op, u64>,
    /// When the last one of them began to be.
    last_state: u64,
}

/// A take, as far as it is told.
#[derive(Debug)]
pub(super) struct Take {
    pub cursor: String,
    /// When its last call began, and whether it is under way.
    pub asked: u64,
    pub asking: bool,
    pub seqs: Vec<u64>,
    pub state: TakeState,
    /// When its process ended, if it is in doubt.
    pub ended: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakeState {
    Open,
    /// It is being acknowledged, with a state for its cursor or without.
    Committing {
        since: u64,
        state: bool,
    },
    RollingBack,
}

impl Pending {
    pub(super) fn new(put: Op, index: u32, since: u64) -> Pending {
        Pending { put, index, since, holder: None, passed_over: None, came_back: false }
    }
}

impl Take {
    pub(super) fn new(cursor: &str) -> Take {
        Take {
            cursor: cursor.to_owned(),
            asked: 0,
            asking: false,
            seqs: Vec::new(),
            state: TakeState::Open,
            ended: 0,
        }
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.ended > 0
    }

    pub(super) fn may_be_acked(&self) -> bool {
        matches!(self.state, TakeState::Committing { .. })
    }

    /// Its process has ended; whether its outcome is in doubt.
    pub(super) fn end(&mut self, now: u64, figures: &mut Figures) -> bool {
        if self.ended == 0 && self.may_be_acked() && !self.seqs.is_empty() {
            self.ended = now;
            figures.takes_in_doubt += 1;
        }
        self.is_in_doubt()
    }
}

impl Cursor {
    /// The process has ended: what it held can be taken, unless that is in doubt.
    pub(super) fn end(&mut self, now: u64, takes: &HashMap<Op, Take>) {
        for pending in self.pending.values_mut() {
            let take = pending.holder.and_then(|holder| takes.get(&holder));
            if !take.is_some_and(Take::may_be_acked) {
                pending.holder = None;
            }
            pending.since = now;
            pending.passed_over = None;
        }
    }

    /// What a take held can be taken again.
    pub(super) fn release(&mut self, seqs: Vec<u64>, holder: Op, now: u64, in_doubt: bool) {
        for seq in seqs {
            if let Some(pending) = self.pending.get_mut(&seq)
                && pending.holder == Some(holder)
            {
                pending.holder = None;
                pending.since = now;
                pending.came_back = in_doubt;
            }
        }
    }

    /// A take was acknowledged, by the line `at` or before it.
    pub(super) fn acknowledge(&mut self, op: Op, take: &Take, at: u64) {
        for seq in &take.seqs {
            self.pending.remove(seq);
            self.acked.insert(*seq);
        }
        if let TakeState::Committing { since, state: true } = take.state {
            self.states.insert(op, at);
            self.last_state = self.last_state.max(since);
        }
    }

    /// A take that began at `asked` got events up to `last`: all below it that could be taken all
    /// the while were passed over, unless another take that is under way has them.
    pub(super) fn pass_over(&mut self, asked: u64, now: u64, last: u64) {
        for (_, pending) in self.pending.range_mut(..last) {
            if pending.holder.is_none() && pending.since < asked {
                pending.passed_over.get_or_insert(now);
            }
        }
    }

    /// What should be here and is not. It is said once.
    pub(super) fn missing(&mut self, here: &HashSet<u64>) -> Vec<(u64, Pending)> {
        self.maybe.clear();
        let missing =
            |(seq, pending): &(&u64, &Pending)| !here.contains(seq) && pending.holder.is_none();
        let missing: Vec<(u64, Pending)> =
            self.pending.iter().filter(missing).map(|(seq, p)| (*seq, p.clone())).collect();
        for (seq, _) in &missing {
            self.pending.remove(seq);
        }
        missing
    }

    /// Whether the cursor may have the state of that take.
    pub(super) fn may_have_state(&self, value: Option<Op>) -> Result<(), &'static str> {
        match value {
            None if self.states.is_empty() => Ok(()),
            None => Err("one was committed"),
            Some(op) => match self.states.get(&op) {
                None => Err("it was not acknowledged"),
                Some(acked) if *acked < self.last_state => Err("a later one was committed"),
                Some(_) => Ok(()),
            },
        }
    }
}
