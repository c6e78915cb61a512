//! Group commit: all that waits becomes one block, one write, one sync.
//!
//! There is no timer and no writer thread. Whoever commits while nobody leads, leads: takes from
//! the line, writes, publishes, and looks at the line again. A thread leads until its own commit
//! is done and then asks one that waits; the log's own thread leads for tasks that cannot block.

use std::time::Duration;

use crate::block::Body;
use crate::engine::Engine;
use crate::error::Result;
use crate::format::block_bytes;
use crate::log::Log;
use crate::queue::{CommitSlot, ControlWork, PutWork, Queue, Receipt};
use crate::record::Record;
use crate::signal::{Crowd, Slot, Woken};
use crate::state::CursorState;
use crate::sync::{Arc, MutexGuard, Ordering, lock};
use crate::tail::Run;

/// At about this size a group is large enough: more would only make its members wait.
const GROUP_BYTES: usize = 3 << 19;

/// What goes into one block.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) controls: Vec<ControlWork>,
    pub(crate) puts: Vec<PutWork>,
    snapshots: Vec<Arc<CommitSlot>>,
    len: usize,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.controls.is_empty() && self.puts.is_empty() && self.snapshots.is_empty()
    }

    fn slots(&self) -> impl Iterator<Item = &Arc<CommitSlot>> {
        let controls = self.controls.iter().filter_map(|work| work.slot.as_ref());
        controls.chain(self.puts.iter().flat_map(|work| &work.slots)).chain(&self.snapshots)
    }

    /// Whether something in it changes a table that has a limit.
    pub(crate) fn touches_tables(&self) -> bool {
        let with_state =
            |work: &ControlWork| matches!(&work.record, Record::Ack(ack) if ack.state.is_some());
        self.puts.iter().any(|work| work.put.producer.is_some() || !work.put.positions.is_empty())
            || self.controls.iter().any(with_state)
    }
}

/// What a look at the line gave.
enum Gathered {
    Group(Group),
    /// The next put needs a spare segment that is not there yet.
    NeedsSpare,
    /// Nothing that can be written; nobody leads any more.
    Nothing,
}

/// A group that is durable and published. Those who wait for it are still to be told.
#[derive(Debug, Default)]
struct Done {
    group: Group,
    /// Its puts, with their seqs.
    puts: Vec<Record>,
    /// Takers that have something to take now.
    wake: Vec<Arc<Slot<()>>>,
}

impl Done {
    /// Whether that commit is in it.
    fn holds(&self, slot: &Arc<CommitSlot>) -> bool {
        self.group.slots().any(|other| Arc::ptr_eq(other, slot))
    }

    fn tell(&self, engine: &Engine) {
        engine.acknowledge(&self.group, &self.puts);
        self.wake.iter().for_each(|waiter| waiter.complete(()));
    }
}

impl Engine {
    /// Puts a commit into the line and waits for its outcome on this thread.
    pub(crate) fn commit_blocking(
        &self,
        slot: &Arc<CommitSlot>,
        push: impl FnOnce(&mut Queue) -> Result<()>,
    ) -> Result<Receipt> {
        let lead = {
            let mut queue = lock(&self.queue);
            let crowd = if self.is_manual() { None } else { queue.crowd() };
            let is_one_of_many = crowd.is_some();
            crowd.into_iter().for_each(|crowd| slot.join(crowd));
            push(&mut queue)?;
            self.in_line.store(queue.in_line(), Ordering::Release);
            if is_one_of_many {
                self.call_leader_from(queue);
                return slot.wait_in_crowd();
            }
            !std::mem::replace(&mut queue.leading, true)
        };
        if lead {
            self.lead(Some(slot));
        }
        if self.is_manual() && !slot.is_complete() {
            // Nobody else will make room.
            self.refuse_blocked();
        }
        loop {
            match slot.wait(None) {
                Woken::Outcome(outcome) => return outcome,
                Woken::Lead => self.lead(Some(slot)),
                Woken::TimedOut => unreachable!("a wait without a limit timed out"),
            }
        }
    }

    /// Puts a commit into the line for a task that will be woken.
    pub(crate) fn commit_later(&self, push: impl FnOnce(&mut Queue) -> Result<()>) -> Result<()> {
        let mut queue = lock(&self.queue);
        push(&mut queue)?;
        self.in_line.store(queue.in_line(), Ordering::Release);
        self.call_leader_from(queue);
        Ok(())
    }

    /// Sees to it that somebody leads, if there is something in the line.
    pub(crate) fn call_leader(&self) {
        self.call_leader_from(lock(&self.queue));
    }

    fn call_leader_from(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.leading || queue.is_empty() {
            return;
        }
        queue.leading = true;
        if self.is_manual() {
            drop(queue);
            self.lead(None);
        } else {
            queue.thread_leads = true;
            drop(queue);
            self.log_bell.ring();
        }
    }

    /// Writes groups until the line is empty, or until `own` is done and another leads.
    pub(crate) fn lead(&self, own: Option<&Arc<CommitSlot>>) {
        let mut log = lock(&self.log);
        let mut spare_failed = false;
        loop {
            self.await_company(&mut log);
            let done = match self.gather(&log, spare_failed) {
                Gathered::Nothing => return,
                Gathered::NeedsSpare => {
                    spare_failed = !self.make_spare_now(&mut log);
                    continue;
                }
                Gathered::Group(group) => self.write_group(&mut log, group),
            };
            spare_failed = false;
            let over = own.is_some_and(|own| done.holds(own) || own.is_complete());
            if over && self.hand_over() {
                // The next group is on its way before those of this one are woken.
                drop(log);
                done.tell(self);
                return;
            }
            done.tell(self);
        }
    }

    /// Lets somebody else lead; whether there is somebody, or nothing to do.
    fn hand_over(&self) -> bool {
        let mut queue = lock(&self.queue);
        if queue.is_empty() {
            queue.leading = false;
            return true;
        }
        if let Some(successor) = queue.successor() {
            // Under the queue's lock: whoever takes it out of the line completes it later, and a
            // waiter looks for the request before the outcome.
            successor.ask_to_lead();
            return true;
        }
        if self.is_manual() {
            return false;
        }
        queue.thread_leads = true;
        drop(queue);
        self.log_bell.ring();
        true
    }

    /// Takes from the line what goes into the next block. Acknowledgements and the like always
    /// go; puts as long as there is room that is not kept back.
    fn gather(&self, log: &Log, spare_failed: bool) -> Gathered {
        let mut queue = lock(&self.queue);
        let mut group = Group::default();
        queue.groups = queue.groups.wrapping_add(1);
        if !queue.snapshots.is_empty() {
            group.snapshots = std::mem::take(&mut queue.snapshots);
            return Gathered::Group(group);
        }
        let most = GROUP_BYTES.min(self.geometry.transaction_bytes_max);
        while let Some(next) = queue.controls.front()
            && (group.len == 0 || group.len + next.len <= most)
        {
            group.len += next.len;
            group.controls.extend(queue.controls.pop_front());
        }
        let needs_spare = self.gather_puts(log, &mut queue, &mut group, most);
        if needs_spare && group.is_empty() && !spare_failed {
            return Gathered::NeedsSpare;
        }
        if group.is_empty() {
            if !queue.puts.is_empty() && queue.drop_abandoned() {
                drop(queue);
                return self.gather(log, spare_failed);
            }
            queue.leading = false;
            let blocked = !queue.puts.is_empty();
            let before = std::mem::replace(&mut queue.blocked, blocked);
            drop(queue);
            if blocked {
                self.refuse_expired();
            }
            if blocked && !before {
                // From here on the tending thread makes space, and lets them try again each round.
                self.care_bell.ring();
            }
            return Gathered::Nothing;
        }
        Gathered::Group(group)
    }

    /// Adds puts to a group; whether a spare segment would let another one in.
    fn gather_puts(
        &self,
        log: &Log,
        queue: &mut MutexGuard<'_, Queue>,
        group: &mut Group,
        most: usize,
    ) -> bool {
        let mut room = self.event_room(queue, group);
        while let Some(next) = queue.puts.front() {
            let len = group.len + next.len();
            if !group.is_empty() && len > most {
                return false;
            }
            let fits = log.fits(block_bytes(len));
            if !fits && !group.is_empty() {
                return false;
            }
            if !lock(&self.segments).admits_puts(usize::from(!fits)) {
                return true;
            }
            let count = u64::from(next.put.count);
            if count > room {
                return false;
            }
            room -= count;
            group.len = len;
            group.puts.extend(queue.puts.pop_front());
        }
        queue.blocked = false;
        false
    }

    /// How many events the event limit leaves room for, behind the acknowledgements of the group:
    /// they stand in the same block, before its puts.
    fn event_room(&self, queue: &Queue, group: &Group) -> u64 {
        if queue.puts.is_empty() {
            return 0;
        }
        let view = lock(&self.view);
        let state = &view.state;
        if state.events_max == 0 {
            return u64::MAX;
        }
        let waiting = |(id, cursor): (&u32, &CursorState)| {
            let acks = group.controls.iter().filter_map(|work| match &work.record {
                // One with a state may still be refused.
                Record::Ack(ack) if ack.cursor == *id && ack.state.is_none() => Some(&ack.ranges),
                _ => None,
            });
            // What was dropped while the take was open does not wait any more.
            let new = acks.flatten().flat_map(|range| cursor.acked.missing_in(*range));
            let acked: u64 = new.map(|range| range.len()).sum();
            cursor.pending(state.next_seq).saturating_sub(acked)
        };
        let most = state.cursors.iter().map(waiting).max();
        state.events_max.saturating_sub(most.unwrap_or_else(|| state.pending()))
    }

    fn write_group(&self, log: &mut Log, group: Group) -> Done {
        let outcome = if group.snapshots.is_empty() {
            self.write_records(log, group)
        } else {
            let outcome = self.write_snapshot(log);
            for slot in group.slots() {
                slot.complete(match &outcome {
                    Ok(()) => Ok(self.receipt(0, 0, false)),
                    Err(error) => Err(error.again()),
                });
            }
            outcome.map(|()| Done::default())
        };
        match outcome {
            Ok(done) => {
                self.after_group(log);
                done
            }
            Err(error) => {
                self.fail(&error);
                Done::default()
            }
        }
    }

    /// Numbers the records, writes their block, publishes them. An error ends the channel; those
    /// who wait have been told.
    fn write_records(&self, log: &mut Log, mut group: Group) -> Result<Done> {
        self.answer_duplicates(&mut group);
        self.refuse_beyond_limits(&mut group);
        if group.is_empty() {
            return Ok(Done::default());
        }
        let mut body = Body::default();
        for work in &group.controls {
            body.push(&work.record, None);
        }
        let mut next_seq = log.next_seq;
        let mut puts = Vec::with_capacity(group.puts.len());
        for work in &mut group.puts {
            let mut put = std::mem::take(&mut work.put);
            put.first_seq = next_seq;
            next_seq += u64::from(put.count);
            let record = Record::Put(put);
            body.push(&record, work.sum);
            puts.push(record);
        }
        let begun = self.env.clock.monotonic();
        if let Err(error) = self.append(log, &body, next_seq) {
            for slot in group.slots() {
                slot.complete(Err(error.again()));
            }
            return Err(error);
        }
        let now = self.env.clock.monotonic();
        let members = group.controls.len() + puts.len();
        log.written.commits += members as u64;
        let in_line = {
            let mut queue = lock(&self.queue);
            queue.lately = members + queue.members();
            queue.members()
        };
        let took = if log.class.is_commit() { now.saturating_sub(begun) } else { Duration::ZERO };
        log.company.note(members, in_line, body.block_bytes(), took);
        log.company.begin(now);
        let wake = self.publish(&group, &puts);
        Ok(Done { group, puts, wake })
    }

    /// The records are durable as far as the class promises: let takers see them. Which of those to
    /// wake.
    fn publish(&self, group: &Group, puts: &[Record]) -> Vec<Arc<Slot<()>>> {
        {
            let reader_at = self.news.reader_at.load(Ordering::Relaxed);
            let mut tail = lock(&self.tail);
            for record in puts {
                if let Record::Put(put) = record {
                    let count = u64::from(put.count);
                    let run = Run { first_seq: put.first_seq, count, events: put.events.clone() };
                    tail.push(run, reader_at);
                }
            }
        }
        let (wake, space) = {
            let mut view = lock(&self.view);
            for work in &group.controls {
                view.publish(&work.record);
            }
            puts.iter().for_each(|record| view.publish(record));
            (view.wake_list(), !group.controls.is_empty() && self.has_reclaimable(&view.state))
        };
        if !group.controls.is_empty() {
            self.space_may_be_back(space);
        }
        wake
    }

    fn acknowledge(&self, group: &Group, puts: &[Record]) {
        let mut crowds: Vec<Arc<Crowd>> = Vec::new();
        let mut complete = |slot: &CommitSlot, receipt: Receipt| {
            if let Some(crowd) = slot.complete_in_crowd(Ok(receipt))
                && !crowds.iter().any(|known| Arc::ptr_eq(known, &crowd))
            {
                crowds.push(crowd);
            }
        };
        for work in &group.controls {
            let Some(slot) = &work.slot else { continue };
            let events = match &work.record {
                Record::Ack(ack) => ack.ranges.iter().map(|range| range.len()).sum(),
                _ => 0,
            };
            complete(slot, self.receipt(0, events, false));
        }
        for (work, record) in group.puts.iter().zip(puts) {
            let Record::Put(put) = record else { continue };
            for (index, slot) in work.slots.iter().enumerate() {
                let receipt = self.receipt(put.first_seq, u64::from(put.count), index > 0);
                complete(slot, receipt);
            }
        }
        crowds.iter().for_each(|crowd| crowd.call());
    }

    pub(crate) fn receipt(&self, first_seq: u64, events: u64, duplicate: bool) -> Receipt {
        Receipt { first_seq, events, duplicate, sync: self.options.sync }
    }

    /// Writes a record that nobody waits for, and waits for it on this thread.
    pub(crate) fn commit_control(&self, record: Record) -> Result<Receipt> {
        let slot = Slot::new();
        let work = ControlWork::new(record, Some(slot.clone()), true);
        self.commit_blocking(&slot, |queue| queue.push_control(work))
    }
}
