//! A slot and a bell, by themselves.

use std::cell::Cell;
use std::time::Duration;

use loom::future::block_on;
use loom::thread;

use crate::signal::{Bell, Crowd, Slot, Woken};
use crate::sync::{Arc, Mutex, decide_limits, lock};

/// Runs a situation in every schedule.
fn in_every_schedule(situation: impl Fn() + Send + Sync + 'static) {
    loom::model(move || {
        decide_limits(None);
        situation();
    });
}

/// The same, for each wait with a limit whose limit may pass, or none.
fn in_every_schedule_and_time(waits: u32, situation: impl Fn() + Send + Sync + 'static) {
    let situation = Arc::new(situation);
    for passes in 0..=waits {
        let situation = situation.clone();
        loom::model(move || {
            let seen = Cell::new(0);
            decide_limits(Some(Box::new(move || {
                seen.set(seen.get() + 1);
                seen.get() == passes
            })));
            situation();
        });
    }
}

fn wait_for<T>(slot: &Slot<T>) -> T {
    loop {
        match slot.wait(Some(Duration::MAX)) {
            Woken::Outcome(outcome) => return outcome,
            Woken::Lead | Woken::TimedOut => {}
        }
    }
}

#[test]
fn an_outcome_reaches_the_thread_that_waits_for_it() {
    in_every_schedule_and_time(2, || {
        let slot = Slot::new();
        let waiter = thread::spawn({
            let slot = slot.clone();
            move || wait_for(&slot)
        });
        slot.complete(7);
        assert_eq!(waiter.join().expect("no panic"), 7);
    });
}

#[test]
fn a_request_to_lead_is_heard_before_the_outcome_that_follows_it() {
    in_every_schedule_and_time(2, || {
        let slot = Slot::new();
        let waiter = thread::spawn({
            let slot = slot.clone();
            move || {
                let mut led = 0;
                loop {
                    match slot.wait(Some(Duration::MAX)) {
                        Woken::Outcome(()) => return led,
                        Woken::Lead => led += 1,
                        Woken::TimedOut => {}
                    }
                }
            }
        });
        slot.ask_to_lead();
        slot.complete(());
        assert_eq!(waiter.join().expect("no panic"), 1);
    });
}

#[test]
fn of_a_request_and_an_outcome_from_two_threads_neither_is_lost() {
    in_every_schedule(|| {
        let slot = Slot::new();
        let (asks, completes) = (slot.clone(), slot.clone());
        let asks = thread::spawn(move || asks.ask_to_lead());
        let completes = thread::spawn(move || completes.complete(()));
        let mut led = 0;
        loop {
            match slot.wait(None) {
                Woken::Outcome(()) => break,
                Woken::Lead => led += 1,
                Woken::TimedOut => unreachable!("there is no limit"),
            }
        }
        asks.join().expect("no panic");
        completes.join().expect("no panic");
        assert!(led <= 1);
    });
}

#[test]
fn an_outcome_wakes_the_task_that_waits_for_it() {
    in_every_schedule(|| {
        let slot = Slot::new();
        let waiter = thread::spawn({
            let slot = slot.clone();
            move || {
                block_on(std::future::poll_fn(|context| slot.watch(context)));
                block_on(std::future::poll_fn(|context| slot.poll(context)))
            }
        });
        slot.complete(7);
        assert!(slot.is_complete() || waiter.join().expect("no panic") == 7);
    });
}

#[test]
fn each_of_a_crowd_hears_of_its_own_outcome_by_one_call() {
    in_every_schedule(|| {
        let crowd = Arc::new(Crowd::default());
        let slots = [Slot::new(), Slot::new()];
        slots.iter().for_each(|slot| slot.join(crowd.clone()));
        let waiters = slots.clone().map(|slot| thread::spawn(move || slot.wait_in_crowd()));
        for (slot, outcome) in slots.iter().zip([7, 8]) {
            assert!(slot.complete_in_crowd(outcome).is_some());
        }
        crowd.call();
        assert_eq!(waiters.map(|waiter| waiter.join().expect("no panic")), [7, 8]);
    });
}

#[test]
fn one_of_a_crowd_is_refused_by_another_thread_than_the_one_that_calls_the_others() {
    in_every_schedule(|| {
        let crowd = Arc::new(Crowd::default());
        let slots = [Slot::new(), Slot::new()];
        slots.iter().for_each(|slot| slot.join(crowd.clone()));
        let refused = slots[1].clone();
        let refuses = thread::spawn(move || refused.complete(8));
        let first = slots[0].clone();
        let waiter = thread::spawn(move || first.wait_in_crowd());
        slots[0].complete(7);
        assert_eq!(slots[1].wait_in_crowd(), 8);
        assert_eq!(waiter.join().expect("no panic"), 7);
        refuses.join().expect("no panic");
    });
}

#[test]
fn what_was_left_before_a_bell_rang_is_found_by_the_one_it_wakes() {
    in_every_schedule_and_time(2, || {
        let bell = Arc::new(Bell::default());
        let work = Arc::new(Mutex::new(0));
        let ringers = [1, 2].map(|_| {
            let (bell, work) = (bell.clone(), work.clone());
            thread::spawn(move || {
                *lock(&work) += 1;
                bell.ring();
            })
        });
        let mut done = 0;
        while done < 2 {
            bell.sleep(Duration::MAX);
            done += std::mem::take(&mut *lock(&work));
        }
        ringers.into_iter().for_each(|ringer| ringer.join().expect("no panic"));
    });
}
