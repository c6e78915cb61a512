//! Those who work on a channel at once: putters, takers, somebody who asks for checkpoints.

use std::time::Duration;

use forebay_wal::{ErrorKind, PutTransaction, Receipt, Result, TakeTransaction};
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use super::explore::below;
use super::world::{PUTTER, World};

/// How a putter or a taker waits for its commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// On its thread.
    Thread,
    /// As a task.
    Task,
    /// As a task with several commits on their way at once.
    Several,
    /// As a task that does not wait, now and then.
    Forgetful,
}

/// Starts a thread that puts so many transactions of one or two events each.
pub fn putter(world: &World, number: u64, transactions: u64, way: Way) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || {
        let mut next = number * PUTTER;
        let mut groups = Vec::new();
        for transaction in 0..transactions {
            let ids: Vec<u64> = (next..=next + transaction % 2).collect();
            next += ids.len() as u64;
            groups.push(ids);
        }
        match way {
            Way::Thread | Way::Task => {
                for ids in groups {
                    let outcome = commit_put(world.transaction(&ids), way);
                    world.note_put(&ids, outcome);
                }
            }
            Way::Several => {
                let commit = |ids: &Vec<u64>| world.transaction(ids).commit_async();
                let commits: Vec<_> = groups.iter().map(commit).collect();
                for (ids, commit) in groups.iter().zip(commits) {
                    world.note_put(ids, block_on(commit));
                }
            }
            Way::Forgetful => {
                for ids in groups {
                    let commit = world.transaction(&ids).commit_async();
                    if below(2) == 0 {
                        if below(2) == 0 {
                            thread::yield_now();
                        }
                        drop(commit);
                        world.forget_put(&ids);
                    } else {
                        world.note_put(&ids, block_on(commit));
                    }
                }
            }
        }
    })
}

/// How many events a putter puts in so many transactions.
pub fn events_of(transactions: u64) -> u64 {
    transactions + transactions / 2
}

fn commit_put(put: PutTransaction, way: Way) -> Result<Receipt> {
    if way == Way::Thread { put.commit() } else { block_on(put.commit_async()) }
}

/// Starts a thread that takes from a cursor until the channel has ended, rolls back now and then,
/// and sleeps when there is nothing. Nothing but an event or the end wakes it.
pub fn taker(world: &World, cursor: &'static str, most: usize, way: Way) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || {
        while let Ok(mut take) = world.channel.take_transaction(cursor) {
            let taken = match take.take_many(most, usize::MAX) {
                Ok(taken) => taken,
                Err(error) => {
                    assert!(is_end(error.kind()), "{error}");
                    return;
                }
            };
            assert!(taken.is_sorted_by_key(|taken| taken.seq), "{taken:?}");
            if taken.is_empty() {
                let came = sleep(&mut take, way);
                drop(take);
                if came.is_err() {
                    return;
                }
            } else if below(6) == 0 {
                take.rollback();
            } else {
                let outcome =
                    if way == Way::Thread { take.commit() } else { block_on(take.commit_async()) };
                world.note_take(cursor, &taken, outcome);
            }
        }
    })
}

fn sleep(take: &mut TakeTransaction, way: Way) -> Result<()> {
    if way == Way::Thread { take.wait(Duration::MAX).map(drop) } else { block_on(take.ready()) }
}

/// Whether an error says that the channel has ended.
pub fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Closed | ErrorKind::Failed)
}

/// Starts a thread that asks for checkpoints, and does a round of what the channel's own thread
/// does.
pub fn checkpointer(world: &World, rounds: u64) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || {
        for _ in 0..rounds {
            world.channel.checkpoint();
            if below(2) == 0 {
                world.channel.tend();
            }
            thread::yield_now();
        }
    })
}

/// Waits until all threads have ended.
pub fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no panic");
    }
}
