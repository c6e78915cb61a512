//! What many do at once to one channel, in schedules chosen at random.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_proof::model::event;
use forebay_wal::fs::sim::Fault;
use forebay_wal::{Channel, Clock, CursorStart, ErrorKind, Options, SyncClass};
use shuttle::future::block_on;
use shuttle::thread;

use super::explore::{all_limits_pass, below, explore, limits_pass};
use super::roles::{Way, checkpointer, events_of, join, putter, taker};
use super::world::{Disk, PUTTER, World};

/// A put waits for space as long as it takes.
pub const PATIENT: Duration = Duration::from_secs(1_000_000);

pub fn options() -> Options {
    Options::new().bytes_max(1 << 20).put_timeout(PATIENT).cursor("main").cursor("other")
}

/// Two putters, two takers of one cursor and one of another, somebody who asks for checkpoints;
/// all must be taken before the channel is closed, or it hangs.
pub fn all_at_work(world: &World, transactions: u64) {
    let putters = [
        putter(world, 1, transactions, Way::Thread),
        putter(world, 2, transactions, if below(2) == 0 { Way::Task } else { Way::Several }),
    ];
    let others = [
        taker(world, "main", 2, Way::Thread),
        taker(world, "main", 1, Way::Task),
        taker(world, "other", 3, if below(2) == 0 { Way::Thread } else { Way::Task }),
        checkpointer(world, 2),
    ];
    join(putters);
    world.wait_until_all_is_taken();
    world.channel.close();
    join(others);
    world.went(&[ErrorKind::Closed]);
    world.check_order();
}

#[test]
fn p3_p4_p5_no_taker_is_idle_while_something_is_readable() {
    let disk = Disk::empty(options());
    explore(move || {
        limits_pass(4);
        let world = World::new(&disk, 2 * events_of(3), 2);
        all_at_work(&world, 3);
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p3_p4_p9_puts_that_wait_for_an_event_to_be_taken_go_on_by_themselves() {
    let disk = Disk::empty(options().events_max(2));
    explore(move || {
        limits_pass(4);
        let world = World::new(&disk, 2 * events_of(3), 2);
        all_at_work(&world, 3);
        world.check_after_power_cut(&["main", "other"]);
    });
}

/// Puts until there is no room; the ids of what fitted. They are large events.
fn fill(channel: &Channel) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        let id = large(ids.len() as u64);
        let mut put = channel.put_transaction();
        put.put(&event(id)).expect("it fits");
        match put.commit() {
            Ok(_) => ids.push(id),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full);
                return ids;
            }
        }
    }
}

/// The ids of the largest events, in order.
pub fn large(number: u64) -> u64 {
    number * 77 + 70
}

/// Two putters of large events, two takers that make room for them, and the checkpointer.
fn all_at_work_on_a_full_channel(world: &World) {
    let putters = [1, 2].map(|number| {
        let world = world.clone();
        thread::spawn(move || {
            for id in [1, 2].map(|event| large(number * PUTTER + event)) {
                let put = world.transaction(&[id]);
                let outcome = if number == 1 { put.commit() } else { block_on(put.commit_async()) };
                world.note_put(&[id], outcome);
            }
        })
    });
    let others = [
        taker(world, "main", 20, Way::Thread),
        taker(world, "main", 10, Way::Task),
        checkpointer(world, 2),
    ];
    join(putters);
    world.wait_until_all_is_taken();
    world.channel.close();
    join(others);
    world.went(&[ErrorKind::Closed]);
    world.check_after_power_cut(&["main"]);
}

pub fn full() -> Disk {
    Disk::new(Options::new().bytes_max(1 << 20).put_timeout(PATIENT), fill)
}

#[test]
fn p3_p4_p9_puts_into_a_full_channel_go_on_by_themselves_when_events_are_taken() {
    let disk = full();
    explore(move || {
        limits_pass(4);
        all_at_work_on_a_full_channel(&World::new(&disk, 4, 1));
    });
}

#[test]
fn p4_p9_p10_so_they_do_when_the_disk_fails_once_in_between() {
    let disk = full();
    explore(move || {
        limits_pass(4);
        let world = World::new(&disk, 4, 1);
        fail_once(&world, 80);
        all_at_work_on_a_full_channel(&world);
    });
}

#[test]
fn p1_p6_a_cursor_made_while_segments_are_reclaimed_takes_nothing_from_others() {
    let disk = full();
    explore(move || {
        limits_pass(4);
        let world = World::new(&disk, 0, 1);
        let others = [taker(&world, "main", 4, Way::Thread), checkpointer(&world, 3)];
        let channel = world.channel.clone();
        let late = thread::spawn(move || {
            let mut take = channel.take_transaction("late").expect("there is room for it");
            let taken = take.take_many(usize::MAX, usize::MAX).expect("events");
            // What is gone by then is gone; from there on it sees all.
            assert!(taken.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq), "{taken:?}");
        });
        join([late]);
        world.wait_until_all_is_taken();
        world.channel.close();
        join(others);
        world.went(&[ErrorKind::Closed]);
        assert_eq!(world.channel.stats().losses, 0);
        world.check_after_power_cut(&["main"]);
    });
}

/// One of the next operations of the disk fails.
pub fn fail_once(world: &World, within: u64) {
    let fault = match below(4) {
        0 => Fault::Eio,
        1 => Fault::ShortWrite,
        2 => Fault::SyncFails,
        _ => Fault::SyncFailsInPart,
    };
    world.fs.fail_at(world.fs.ops() + below(within), fault);
}

#[test]
fn p1_p4_p12_closing_at_any_moment_ends_all_waits_and_loses_nothing() {
    let disk = Disk::empty(options().events_max(4));
    explore(move || {
        limits_pass(4);
        let world = World::new(&disk, 0, 0);
        let threads = [
            putter(&world, 1, 3, Way::Thread),
            putter(&world, 2, 4, Way::Several),
            putter(&world, 3, 4, Way::Forgetful),
            taker(&world, "main", 2, Way::Thread),
            taker(&world, "main", 1, Way::Task),
            taker(&world, "other", 3, Way::Thread),
            checkpointer(&world, 2),
        ];
        give_way(below(300));
        if below(2) == 0 {
            world.channel.close();
        } else {
            let other = world.channel.clone();
            let closer = thread::spawn(move || other.close());
            world.channel.close();
            join([closer]);
        }
        join(threads);
        world.went(&[ErrorKind::Closed]);
        world.check_after_power_cut(&["main", "other"]);
    });
}

pub fn give_way(times: u64) {
    (0..times).for_each(|_| thread::yield_now());
}

#[test]
fn p9_puts_that_are_given_up_leave_nothing_behind_that_hangs() {
    let disk = Disk::empty(options().events_max(2));
    explore(move || {
        limits_pass(4);
        let world = World::new(&disk, 0, 0);
        world.channel.remove_cursor("other").expect("it is there");
        let forgetful = putter(&world, 2, 4, Way::Forgetful);
        let putter = putter(&world, 1, 3, Way::Thread);
        let others = [taker(&world, "main", 2, Way::Thread), taker(&world, "main", 1, Way::Task)];
        join([putter, forgetful]);
        world.channel.close();
        join(others);
        world.went(&[ErrorKind::Closed]);
        world.check_after_power_cut(&["main"]);
    });
}

#[test]
fn p1_p10_one_failure_of_the_disk_is_seen_by_nobody_who_waits() {
    let disk = Disk::empty(options().events_max(4));
    explore(move || {
        limits_pass(4);
        let world = World::new(&disk, 2 * events_of(3), 2);
        fail_once(&world, 40);
        all_at_work(&world, 3);
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p1_p2_p10_a_disk_that_is_gone_ends_all_waits_and_what_was_acknowledged_stays() {
    let disk = Disk::empty(options().events_max(4));
    explore(move || {
        limits_pass(4);
        let world = World::new(&disk, 0, 0);
        let fault = if below(2) == 0 { Fault::Eio } else { Fault::SyncFails };
        world.fs.fail_from(world.fs.ops() + below(40), fault);
        let threads = [
            putter(&world, 1, 3, Way::Thread),
            putter(&world, 2, 4, Way::Several),
            taker(&world, "main", 2, Way::Thread),
            taker(&world, "main", 1, Way::Task),
            taker(&world, "other", 3, Way::Thread),
            checkpointer(&world, 2),
        ];
        // It ends by itself, or nothing is written any more.
        give_way(below(600));
        world.channel.close();
        join(threads);
        world.went(&[ErrorKind::Closed, ErrorKind::Failed, ErrorKind::InDoubt]);
        world.check_after_power_cut(&["main", "other"]);
    });
}

/// A clock that goes on by itself, a little or a lot, whenever somebody looks.
#[derive(Debug, Default)]
pub struct Passing {
    now: Mutex<Duration>,
}

impl Clock for Passing {
    fn monotonic(&self) -> Duration {
        let mut now = self.now.lock().expect("no panic");
        *now += Duration::from_millis(1 << below(10));
        *now
    }

    fn wall_us(&self) -> i64 {
        self.now.lock().expect("no panic").as_micros() as i64
    }
}

#[test]
fn p9_a_put_that_waits_too_long_is_refused_and_is_not_there() {
    let disk = Disk::empty(options().events_max(2));
    explore(move || {
        all_limits_pass();
        let clock = Arc::new(Passing::default());
        let world = World::at(&disk, 0, 0, clock);
        let putters = [1, 2, 3].map(|number| {
            let world = world.clone();
            thread::spawn(move || {
                for id in number * PUTTER..number * PUTTER + 2 {
                    let mut put = world.transaction(&[id]);
                    put.set_wait(Duration::from_millis(below(5000)));
                    let outcome =
                        if number == 1 { block_on(put.commit_async()) } else { put.commit() };
                    world.note_put(&[id], outcome);
                }
            })
        });
        // One cursor is read, for a while: there is room again, or there is none.
        let other = world.clone();
        let reader = thread::spawn(move || {
            for _ in 0..below(4) {
                for cursor in ["main", "other"] {
                    let mut take = other.channel.take_transaction(cursor).expect("a take");
                    let taken = take.take_many(1, usize::MAX).expect("events");
                    let outcome = take.commit();
                    other.note_take(cursor, &taken, outcome);
                }
            }
        });
        join(putters);
        join([reader]);
        world.channel.close();
        world.went(&[ErrorKind::Full]);
        world.check_order();
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p5_those_who_wait_on_a_cursor_that_is_removed_hear_of_it() {
    let disk = Disk::empty(options());
    explore(move || {
        limits_pass(2);
        let world = World::new(&disk, 0, 0);
        let waiting = [true, false].map(|blocking| {
            let mut take = world.channel.take_transaction("other").expect("a take");
            thread::spawn(move || {
                loop {
                    let came = if blocking {
                        take.wait(Duration::MAX).map(drop)
                    } else {
                        block_on(take.ready())
                    };
                    let outcome = came.and_then(|()| take.take_many(1, usize::MAX));
                    match outcome.map_err(|error| error.kind()) {
                        Ok(_) => {}
                        Err(kind) => {
                            assert_eq!(kind, ErrorKind::NoSuchCursor);
                            return;
                        }
                    }
                }
            })
        });
        let putter = putter(&world, 1, 2, Way::Thread);
        let other = world.channel.clone();
        let remover = thread::spawn(move || {
            give_way(below(60));
            other.remove_cursor("other").expect("it is there");
            // One of the same name is another one.
            other.add_cursor("other", CursorStart::Next).expect("there is room");
        });
        join(waiting);
        join([putter, remover]);
        world.channel.close();
        world.check_after_power_cut(&["main"]);
    });
}

#[test]
fn p4_repeats_of_a_producer_from_two_threads_enter_once() {
    let disk = Disk::empty(options());
    explore(move || {
        limits_pass(2);
        let world = World::new(&disk, 3, 2);
        let transaction = |world: &World, sequence: u64| {
            let mut put = world.transaction(&[sequence]);
            put.set_producer("twice", sequence).expect("there is room");
            put
        };
        let one = world.clone();
        let one = thread::spawn(move || {
            let commits = [1, 2, 3].map(|sequence| transaction(&one, sequence).commit_async());
            for (commit, sequence) in commits.into_iter().zip(1..) {
                one.note_put(&[sequence], block_on(commit));
            }
        });
        let other = world.clone();
        let other = thread::spawn(move || {
            for sequence in 1..=3 {
                let outcome = transaction(&other, sequence).commit();
                other.note_put(&[sequence], outcome);
            }
        });
        let others = [taker(&world, "main", 2, Way::Thread), taker(&world, "other", 2, Way::Task)];
        join([one, other]);
        world.wait_until_all_is_taken();
        world.channel.close();
        join(others);
        world.went(&[ErrorKind::Closed]);
        world.check_order();
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p4_p12_the_weaker_classes_lose_nothing_when_the_process_ends() {
    let sync = SyncClass::Interval(Duration::from_millis(5));
    let disks = [SyncClass::Os, sync].map(|sync| Disk::empty(options().sync(sync)));
    explore(move || {
        limits_pass(8);
        let clock = Arc::new(Passing::default());
        let world = World::at(&disks[below(2) as usize], 2 * events_of(3), 2, clock);
        all_at_work(&world, 3);
        world.check_after_kill(&["main", "other"]);
    });
}
