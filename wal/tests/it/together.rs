//! Commits that meet in one group: the log's own thread is held at a place, until all stand in line.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use forebay_proof::lab::{drain, put};
use forebay_proof::model::{DIR, event};
use forebay_wal::fs::sim::{SimFs, SimRandom};
use forebay_wal::{Channel, Clock, Commit, Env, ErrorKind, Options, Receipt, Result};

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// A clock that goes on only when the disk has done something, and at which the log's own thread
/// can be held; after that it takes one more step and stands still.
#[derive(Debug)]
struct Held {
    fs: SimFs,
    gate: Mutex<Gate>,
    changed: Condvar,
    stands_at: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    /// The next one who comes is held.
    Armed,
    Held,
}

impl Clock for Held {
    fn monotonic(&self) -> Duration {
        let mut gate = self.gate.lock().expect("no panic");
        if *gate == Gate::Armed && thread::current().name() == Some("forebay-log") {
            *gate = Gate::Held;
            self.stands_at.store(self.fs.ops() + 1, Ordering::Relaxed);
            self.changed.notify_all();
            while *gate == Gate::Held {
                gate = self.changed.wait(gate).expect("no panic");
            }
        }
        Duration::from_millis(self.fs.ops().min(self.stands_at.load(Ordering::Relaxed)))
    }

    fn wall_us(&self) -> i64 {
        self.fs.ops() as i64
    }
}

impl Held {
    /// Whatever is committed from here on stands in line behind that put, which is being written.
    fn hold(&self, channel: &Channel, id: u64) -> Commit {
        *self.gate.lock().expect("no panic") = Gate::Armed;
        let first = later(channel, [id]);
        let gate = self.gate.lock().expect("no panic");
        let wait = |gate: &mut Gate| *gate != Gate::Held;
        let held = self.changed.wait_timeout_while(gate, DEADLINE, wait).expect("no panic");
        assert!(!held.1.timed_out(), "the log's thread never looks at the clock");
        first
    }

    fn let_go(&self) {
        *self.gate.lock().expect("no panic") = Gate::Open;
        self.changed.notify_all();
    }
}

fn open(options: Options) -> (Channel, Arc<Held>) {
    let fs = SimFs::new(1);
    let clock = Arc::new(Held {
        fs: fs.clone(),
        gate: Mutex::default(),
        changed: Condvar::new(),
        stands_at: AtomicU64::new(u64::MAX),
    });
    let env = Env { fs: Arc::new(fs), clock: clock.clone(), random: Arc::new(SimRandom::new(1)) };
    let options = options.bytes_max(1 << 20);
    (Channel::open_in(Path::new(DIR), options, env).expect("it opens"), clock)
}

fn later(channel: &Channel, ids: impl IntoIterator<Item = u64>) -> Commit {
    let mut put = channel.put_transaction();
    ids.into_iter().for_each(|id| put.put(&event(id)).expect("it fits"));
    put.set_wait(Duration::ZERO);
    put.commit_async()
}

/// The outcome, as long as it comes.
fn outcome(commit: Commit) -> Result<Receipt> {
    let (tell, hear) = mpsc::channel();
    thread::spawn(move || tell.send(commit.wait()));
    hear.recv_timeout(DEADLINE).expect("it is never told")
}

#[test]
fn p9_acknowledgements_make_room_under_the_event_limit_for_the_puts_of_their_block() {
    let (channel, clock) = open(Options::new().events_max(10).cursor("main"));
    put(&channel, 1..10).expect("nine");
    let mut take = channel.take_transaction("main").expect("a take");
    assert_eq!(take.take_many(4, usize::MAX).expect("events").len(), 4);
    let first = clock.hold(&channel, 10);
    let (ack, fits) = (take.commit_async(), later(&channel, 11..15));
    let one_too_many = later(&channel, [15]);
    clock.let_go();
    outcome(first).expect("the tenth");
    outcome(ack).expect("four fewer");
    outcome(fits).expect("four more");
    assert_eq!(outcome(one_too_many).expect_err("eleven").kind(), ErrorKind::Full);
    assert_eq!(channel.stats().events, 10);
}

#[test]
fn p9_acknowledgements_of_events_that_were_discarded_make_no_room_a_second_time() {
    let (channel, clock) = open(Options::new().events_max(10).cursor("main"));
    put(&channel, 1..9).expect("eight");
    let mut take = channel.take_transaction("main").expect("a take");
    assert_eq!(take.take_many(8, usize::MAX).expect("events").len(), 8);
    channel.discard_before(9).expect("they are gone");
    put(&channel, 11..17).expect("six");
    let first = clock.hold(&channel, 17);
    let (ack, too_many) = (take.commit_async(), later(&channel, 18..23));
    clock.let_go();
    outcome(first).expect("the seventh");
    outcome(ack).expect("it is acknowledged, though nothing is left of it");
    assert_eq!(outcome(too_many).expect_err("seven and five").kind(), ErrorKind::Full);
    assert_eq!(channel.stats().events, 7);
}

#[test]
fn p3_a_leader_waits_for_nobody_on_a_clock_that_stands_still() {
    let (channel, clock) = open(Options::new().cursor("main"));
    // What is due after the first group of a segment is done, so that the disk rests.
    put(&channel, [0]).expect("a commit");
    let first = clock.hold(&channel, 1);
    let others = [later(&channel, [2]), later(&channel, [3])];
    clock.let_go();
    // Three were there, two come again: the leader waits for a third, and time does not pass.
    outcome(first).expect("a commit");
    for commit in others {
        outcome(commit).expect("a commit");
    }
    assert_eq!(drain(&channel, "main").iter().map(|(_, id)| *id).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// Takes, the moment it hears of a commit, what it finds.
#[derive(Debug)]
struct Looks {
    channel: Channel,
    found: mpsc::Sender<usize>,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let mut take = self.channel.take_transaction("main").expect("a take");
        let taken = take.take_many(10, usize::MAX).expect("events");
        // Whoever listens does so until it hears of the first one.
        let _ = self.found.send(taken.len());
    }
}

#[test]
fn p5_whoever_hears_of_a_commit_finds_its_events() {
    let (channel, clock) = open(Options::new().cursor("main"));
    let (found, hear) = mpsc::channel();
    let waker = Waker::from(Arc::new(Looks { channel: channel.clone(), found }));
    let mut commit = pin!(clock.hold(&channel, 1));
    let mut context = Context::from_waker(&waker);
    assert!(commit.as_mut().poll(&mut context).is_pending(), "it is being written");
    clock.let_go();
    assert_eq!(hear.recv_timeout(DEADLINE).expect("it is told"), 1);
}
