//! The whole channel on a simulated disk.

use std::future::Future as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_proof::lab::put;
use forebay_proof::model::{DIR, event, id_of};
use forebay_wal::fs::sim::{SimClock, SimFs, SimRandom, Survive};
use forebay_wal::{Background, Channel, Clock, Env, ErrorKind, Options, decide_limits};
use loom::future::block_on;
use loom::model::Builder;
use loom::thread::{self, JoinHandle};

/// How often a schedule interrupts a thread that could go on, where three are at work or the
/// channel's own threads as well.
const INTERRUPTIONS: usize = 3;
const INTERRUPTIONS_WITH_THREADS: usize = 2;
/// More places to choose than any schedule has.
const BRANCHES_MAX: usize = 50_000;
const STACK_BYTES: usize = 1 << 20;

/// A clock that goes on by a moment whenever somebody looks, so that a leader may wait for company.
#[derive(Debug, Default)]
struct Passing(AtomicU64);

impl Clock for Passing {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn wall_us(&self) -> i64 {
        0
    }
}

fn env(fs: SimFs, time_passes: bool) -> Env {
    let clock: Arc<dyn Clock> =
        if time_passes { Arc::new(Passing::default()) } else { Arc::new(SimClock::new()) };
    Env { fs: Arc::new(fs), clock, random: Arc::new(SimRandom::new(1)) }
}

fn options() -> Options {
    Options::new().bytes_max(1 << 20).put_timeout(Duration::from_secs(1_000_000))
}

/// A situation, and what is explored of it.
#[derive(Debug, Clone)]
struct Explored {
    options: Options,
    /// `None` for every schedule there is.
    interruptions: Option<usize>,
    /// How many events are in the channel when it begins.
    events: u64,
    time_passes: bool,
}

/// Two threads at work, without a bound.
fn two_at_work() -> Explored {
    let options = options().background(Background::Manual);
    Explored { options, interruptions: None, events: 0, time_passes: false }
}

fn three_at_work() -> Explored {
    Explored { interruptions: Some(INTERRUPTIONS), ..two_at_work() }
}

/// Two threads at work on a channel of at most so many events, and the channel's own two.
fn with_threads(events_max: u64, events: u64) -> Explored {
    let options = options().events_max(events_max);
    let interruptions = Some(INTERRUPTIONS_WITH_THREADS);
    Explored { options, interruptions, events, time_passes: false }
}

impl Explored {
    /// Runs a situation in every schedule, on a channel that is made once and opened anew each
    /// time. Only what happens within the situation is explored.
    fn run(self, situation: impl Fn(&Channel) + Send + Sync + 'static) {
        let disk = SimFs::new(1);
        let (new, by_hand) = (disk.clone(), self.options.clone().background(Background::Manual));
        self.explore(move || {
            let channel =
                Channel::open_in(Path::new(DIR), by_hand.clone(), env(new.clone(), false));
            let channel = channel.expect("it opens");
            for id in 0..self.events {
                put(&channel, [id]).expect("there is room");
            }
            channel.close();
        });
        let (count, options) = (Arc::new(Mutex::new(0)), self.options.clone());
        let counted = count.clone();
        self.explore(move || {
            let fs = disk.image(Survive::Everything);
            let channel =
                Channel::open_in(Path::new(DIR), options.clone(), env(fs, self.time_passes));
            let channel = channel.expect("it opens");
            loom::explore();
            situation(&channel);
            loom::stop_exploring();
            channel.close();
            *counted.lock().expect("no panic") += 1;
        });
        println!("{} schedules", count.lock().expect("no panic"));
    }

    fn explore(&self, run: impl Fn() + Send + Sync + 'static) {
        let run = Arc::new(run);
        let mut builder = Builder::new();
        builder.max_branches = BRANCHES_MAX;
        builder.preemption_bound = builder.preemption_bound.or(self.interruptions);
        builder.expect_explicit_explore = true;
        builder.check(move || {
            decide_limits(None);
            let run = run.clone();
            // The explorer's own stack is too small for a log.
            spawn(move || run()).join().expect("no panic");
        });
    }
}

fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK_BYTES).spawn(run).expect("there are few")
}

/// Takes and acknowledges the next event of `main`, when there is one; its id.
fn take_one(channel: &Channel) -> u64 {
    loop {
        let mut take = channel.take_transaction("main").expect("a take");
        if let Some(taken) = take.take().expect("an event") {
            take.commit().expect("an acknowledgement");
            return id_of(&taken.bytes);
        }
        assert!(take.wait(Duration::MAX).expect("it is open"), "no limit passes");
    }
}

#[test]
fn p1_p3_of_two_threads_that_commit_one_may_lead_for_both() {
    two_at_work().run(|channel| {
        let other = channel.clone();
        let other = spawn(move || put(&other, [2]).expect("a commit").first_seq);
        let mine = put(channel, [1]).expect("a commit").first_seq;
        let theirs = other.join().expect("no panic");
        assert_eq!(mine + theirs, 3);
    });
}

#[test]
fn p1_p3_of_three_threads_that_commit_each_hears_of_its_own() {
    three_at_work().run(|channel| {
        let others = [2, 3].map(|id| {
            let other = channel.clone();
            spawn(move || put(&other, [id]).expect("a commit").first_seq)
        });
        let mine = put(channel, [1]).expect("a commit").first_seq;
        let theirs: u64 = others.map(|other| other.join().expect("no panic")).iter().sum();
        assert_eq!(mine + theirs, 6);
    });
}

#[test]
fn p1_p3_the_thread_of_the_log_leads_for_tasks() {
    with_threads(0, 0).run(|channel| {
        let other = channel.clone();
        let other = spawn(move || put(&other, [2]).expect("a commit").first_seq);
        let mut mine = channel.put_transaction();
        mine.put(&event(1)).expect("it fits");
        let mine = block_on(mine.commit_async()).expect("a commit").first_seq;
        assert_eq!(mine + other.join().expect("no panic"), 3);
    });
}

#[test]
fn p1_p3_a_leader_that_waits_for_company_goes_on_whoever_comes() {
    let explored = Explored { time_passes: true, ..with_threads(0, 0) };
    explored.run(|channel| {
        let other = channel.clone();
        let other = spawn(move || put(&other, [2]).expect("a commit").first_seq);
        let commits = [3, 4].map(|id| {
            let mut put = channel.put_transaction();
            put.put(&event(id)).expect("it fits");
            put.commit_async()
        });
        let mine: u64 =
            commits.map(|commit| block_on(commit).expect("a commit").first_seq).iter().sum();
        assert_eq!((mine + other.join().expect("no panic")) % 3, 0);
    });
}

#[test]
fn p5_a_taker_that_goes_to_sleep_while_something_is_put_is_woken() {
    two_at_work().run(|channel| {
        let other = channel.clone();
        let taker = spawn(move || take_one(&other));
        put(channel, [1]).expect("a commit");
        assert_eq!(taker.join().expect("no panic"), 1);
    });
}

#[test]
fn p5_a_task_that_goes_to_sleep_while_something_is_put_is_woken() {
    two_at_work().run(|channel| {
        let other = channel.clone();
        let taker = spawn(move || {
            let mut take = other.take_transaction("main").expect("a take");
            block_on(take.ready()).expect("it is open");
            id_of(&take.take().expect("an event").expect("there is one").bytes)
        });
        put(channel, [1]).expect("a commit");
        assert_eq!(taker.join().expect("no panic"), 1);
    });
}

#[test]
fn p5_the_first_of_two_takers_that_is_woken_wakes_the_second() {
    three_at_work().run(|channel| {
        let takers = [1, 2].map(|_| {
            let other = channel.clone();
            spawn(move || take_one(&other))
        });
        put(channel, [1, 2]).expect("a commit");
        let sum: u64 = takers.map(|taker| taker.join().expect("no panic")).iter().sum();
        assert_eq!(sum, 3);
    });
}

#[test]
fn p5_a_taker_that_leaves_with_a_wake_up_passes_it_on() {
    three_at_work().run(|channel| {
        let (leaves, stays) = (channel.clone(), channel.clone());
        let leaves = spawn(move || {
            let mut take = leaves.take_transaction("main").expect("a take");
            // It looks once, as one does who waits for something else as well.
            let mut ready = std::pin::pin!(take.ready());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = ready.as_mut().poll(&mut context);
        });
        let stays = spawn(move || take_one(&stays));
        put(channel, [1]).expect("a commit");
        leaves.join().expect("no panic");
        assert_eq!(stays.join().expect("no panic"), 1);
    });
}

#[test]
fn p9_a_put_that_waits_for_space_goes_on_when_an_event_is_taken() {
    with_threads(1, 1).run(|channel| {
        let other = channel.clone();
        let putter = spawn(move || put(&other, [1]).expect("there is room again").first_seq);
        assert_eq!(take_one(channel), 0);
        assert_eq!(putter.join().expect("no panic"), 2);
    });
}

#[test]
fn p9_a_put_that_is_given_up_lets_those_behind_it_on() {
    with_threads(2, 0).run(|channel| {
        let mut large = channel.put_transaction();
        [1, 2, 3].iter().for_each(|&id| large.put(&event(id)).expect("it fits"));
        let never = large.commit_async();
        let other = channel.clone();
        let behind = spawn(move || put(&other, [4]).expect("there is room for it").first_seq);
        drop(never);
        assert_eq!(behind.join().expect("no panic"), 1);
    });
}

#[test]
fn p12_closing_ends_a_put_that_waits_for_space() {
    with_threads(1, 1).run(|channel| {
        let other = channel.clone();
        let putter = spawn(move || {
            let outcome = put(&other, [1]).map_err(|error| error.kind());
            assert_eq!(outcome, Err(ErrorKind::Closed));
        });
        channel.close();
        putter.join().expect("no panic");
    });
}

#[test]
fn p12_closing_ends_the_wait_of_a_taker() {
    two_at_work().run(|channel| {
        let other = channel.clone();
        let taker = spawn(move || {
            let Ok(mut take) = other.take_transaction("main") else { return };
            let ended = take.wait(Duration::MAX).map_err(|error| error.kind());
            assert_eq!(ended, Err(ErrorKind::Closed));
        });
        channel.close();
        taker.join().expect("no panic");
    });
}
