//! Many threads that commit at once, which wait in a crowd, and leaders that wait for company: time
//! passes here whenever somebody looks at the clock.

use std::sync::Arc;
use std::time::Duration;

use forebay_proof::model::sized;
use forebay_wal::fs::sim::{Call, Fault};
use forebay_wal::{ErrorKind, Options};
use shuttle::thread::{self, JoinHandle};

use super::explore::{below, explore, limits_pass};
use super::roles::{Way, checkpointer, events_of, join, putter, taker};
use super::situations::{PATIENT, Passing, all_at_work, fail_once, full, give_way, large, options};
use super::world::{Disk, PUTTER, World};

/// More threads than it takes for a crowd.
const MANY: u64 = 10;
/// How many large events each of a few putters puts.
const PUTS: u64 = 80;

fn world(disk: &Disk, events: u64, cursors: u64) -> World {
    World::at(disk, events, cursors, Arc::new(Passing::default()))
}

/// Many threads that put, and a task whose commits make many of them even when the threads come
/// one after the other.
fn crowd(world: &World, each: u64) -> Vec<JoinHandle<()>> {
    let mut threads = vec![putter(world, MANY, MANY, Way::Several)];
    threads.extend((0..MANY).map(|number| putter(world, number, each, Way::Thread)));
    threads
}

/// The id of an event that takes a quarter of a segment.
fn largest(number: u64) -> u64 {
    sized(number, 25_000)
}

fn events_of_crowd(each: u64) -> u64 {
    events_of(MANY) + MANY * events_of(each)
}

fn takers(world: &World) -> [JoinHandle<()>; 3] {
    [
        taker(world, "main", 3, Way::Thread),
        taker(world, "main", 5, Way::Task),
        taker(world, "other", 7, Way::Thread),
    ]
}

#[test]
fn p1_p3_p5_a_leader_that_waits_for_company_leaves_nobody_behind() {
    let disk = Disk::empty(options());
    explore(move || {
        limits_pass(4);
        let world = world(&disk, 2 * events_of(3), 2);
        all_at_work(&world, 3);
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p1_p3_p5_everybody_in_a_crowd_hears_of_their_own_commit() {
    let disk = Disk::empty(options());
    explore(move || {
        limits_pass(4);
        let world = world(&disk, events_of_crowd(2), 2);
        let (putters, takers) = (crowd(&world, 2), takers(&world));
        let checkpointer = checkpointer(&world, 2);
        join(putters);
        world.wait_until_all_is_taken();
        world.channel.close();
        join(takers);
        join([checkpointer]);
        world.went(&[ErrorKind::Closed]);
        world.check_order();
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p9_a_crowd_that_waits_for_events_to_be_taken_goes_on_by_itself() {
    let disk = Disk::empty(options().events_max(3));
    explore(move || {
        limits_pass(4);
        let world = world(&disk, events_of_crowd(1), 2);
        let (putters, takers) = (crowd(&world, 1), takers(&world));
        join(putters);
        world.wait_until_all_is_taken();
        world.channel.close();
        join(takers);
        world.went(&[ErrorKind::Closed]);
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p9_who_waits_too_long_in_a_crowd_is_refused_and_the_others_go_on() {
    let disk = Disk::empty(options().events_max(3));
    explore(move || {
        super::explore::all_limits_pass();
        let world = world(&disk, 0, 0);
        let forgetful = putter(&world, MANY, MANY, Way::Forgetful);
        let putters: Vec<_> = (0..MANY)
            .map(|number| {
                let world = world.clone();
                thread::spawn(move || {
                    for id in [1, 2].map(|event| number * PUTTER + event) {
                        let mut put = world.transaction(&[id]);
                        put.set_wait(Duration::from_millis(below(5000)));
                        let outcome = put.commit();
                        world.note_put(&[id], outcome);
                    }
                })
            })
            .collect();
        // They are read, for a while: there is room again, or there is none.
        for _ in 0..below(8) {
            for cursor in ["main", "other"] {
                let mut take = world.channel.take_transaction(cursor).expect("a take");
                let taken = take.take_many(2, usize::MAX).expect("events");
                let outcome = take.commit();
                world.note_take(cursor, &taken, outcome);
            }
        }
        join(putters);
        world.channel.close();
        join([forgetful]);
        world.went(&[ErrorKind::Full, ErrorKind::Closed]);
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p1_p12_closing_at_any_moment_ends_the_waits_of_a_crowd() {
    let disk = Disk::empty(options().events_max(20));
    explore(move || {
        limits_pass(4);
        let world = world(&disk, 0, 0);
        let (putters, takers) = (crowd(&world, 2), takers(&world));
        let checkpointer = checkpointer(&world, 2);
        give_way(below(600));
        world.channel.close();
        join(putters);
        join(takers);
        join([checkpointer]);
        world.went(&[ErrorKind::Closed]);
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p1_p10_a_crowd_does_not_see_one_failure_and_hears_of_the_end() {
    let disk = Disk::empty(options().events_max(20));
    explore(move || {
        limits_pass(4);
        let world = world(&disk, 0, 0);
        let gone = below(2) == 0;
        if gone {
            let fault = if below(2) == 0 { Fault::Eio } else { Fault::SyncFails };
            world.fs.fail_from(world.fs.ops() + below(40), fault);
        } else {
            fail_once(&world, 40);
        }
        let (putters, takers) = (crowd(&world, 2), takers(&world));
        if gone {
            give_way(below(900));
            world.channel.close();
        }
        join(putters);
        world.channel.close();
        join(takers);
        let ended = [ErrorKind::Closed, ErrorKind::Failed, ErrorKind::InDoubt];
        world.went(if gone { &ended } else { &ended[..1] });
        world.check_after_power_cut(&["main", "other"]);
    });
}

#[test]
fn p4_p9_a_crowd_and_a_snapshot_stand_in_line_for_a_full_channel() {
    let disk = full();
    explore(move || {
        limits_pass(4);
        let world = world(&disk, MANY, 1);
        let putters: Vec<_> = (0..MANY)
            .map(|number| {
                let world = world.clone();
                thread::spawn(move || {
                    let id = large((number + 1) * PUTTER);
                    let outcome = world.transaction(&[id]).commit();
                    world.note_put(&[id], outcome);
                })
            })
            .collect();
        let takers = [taker(&world, "main", 20, Way::Thread), taker(&world, "main", 10, Way::Task)];
        let checkpointer = checkpointer(&world, 2);
        join(putters);
        world.wait_until_all_is_taken();
        world.channel.close();
        join(takers);
        join([checkpointer]);
        world.went(&[ErrorKind::Closed]);
        world.check_after_power_cut(&["main"]);
    });
}

#[test]
fn p6_p10_a_segment_in_which_the_log_could_not_begin_is_not_missed_after_the_disk_is_gone() {
    let options = Options::new().bytes_max(1 << 20).put_timeout(PATIENT);
    let disk = Disk::empty(options.cursor("main"));
    explore(move || {
        limits_pass(20);
        let world = world(&disk, 0, 0);
        // The seal of a roll may go well, and nothing after it.
        world.fs.fail_nth_and_later(Call::SyncData, below(250), Fault::SyncFails);
        let putters = [1, 2].map(|number| {
            let world = world.clone();
            thread::spawn(move || {
                for id in (0..PUTS).map(|event| large(number * PUTTER + event)) {
                    let outcome = world.transaction(&[id]).commit();
                    world.note_put(&[id], outcome);
                }
            })
        });
        let taker = taker(&world, "main", 30, Way::Thread);
        give_way(below(6000));
        world.channel.close();
        join(putters);
        join([taker]);
        world.went(&[ErrorKind::Closed, ErrorKind::Failed, ErrorKind::InDoubt]);
        world.check_after_power_cut(&["main"]);
    });
}

#[test]
fn p1_p6_the_log_goes_on_in_spares_that_are_being_written_ahead() {
    let disk = Disk::empty(Options::new().bytes_max(1 << 20).put_timeout(PATIENT).cursor("main"));
    explore(move || {
        limits_pass(300);
        let world = world(&disk, 3 * 16, 1);
        let putters = [1, 2, 3].map(|number| {
            let world = world.clone();
            thread::spawn(move || {
                // A segment holds three of them, so that it often has to be another one.
                for id in (0..16).map(|event| largest(number * PUTTER + event)) {
                    let outcome = world.transaction(&[id]).commit();
                    world.note_put(&[id], outcome);
                }
            })
        });
        let taker = taker(&world, "main", 9, Way::Thread);
        join(putters);
        world.wait_until_all_is_taken();
        world.channel.close();
        join([taker]);
        world.went(&[ErrorKind::Closed]);
        let stats = world.channel.stats();
        assert!(stats.losses == 0 && stats.poisoned == 0, "{stats:?}");
        world.check_after_power_cut(&["main"]);
    });
}
