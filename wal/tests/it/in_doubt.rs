//! Two failures, one on the heels of the other: what could not be appended elsewhere is in doubt,
//! the channel takes no more, and the next open decides; whoever waits shares one fate.

use std::future::Future;
use std::io::{self, IoSlice};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use forebay_wal::fs::sim::{Call, Fault, SimFs, Survive};
use forebay_wal::fs::{Entry, File, Fs, Lock, Mode, Page};
use forebay_wal::{
    Channel, Condition, CursorStart, Env, ErrorKind, PutTransaction, Receipt, SyncClass,
};

use forebay_proof::lab::{Lab, ack, drain, peek, put};
use forebay_proof::model::{event, id_of};

use crate::story::{After, Story};

/// Long enough for a roll, a few recycled segments, a reopening.
const STEPS: u64 = 45;

/// How many operations behind the first failure the second one comes.
const HEELS: u64 = 6;

#[test]
fn p4_p10_two_failures_in_a_row_lose_nothing_and_repeat_nothing() {
    let mut clean = Story::begin(SyncClass::Commit);
    let first = clean.lab.fs.ops();
    clean.live(STEPS);
    let log = clean.lab.fs.op_log().split_off(first as usize);
    let (mut doubtful_puts, mut doubtful_acks, mut went_on) = (0, 0, 0);
    for (n, line) in log.iter().enumerate() {
        for behind in 1..=HEELS {
            let what = format!("{n} ({line}) and {behind} behind it fail");
            let mut story = Story::begin(SyncClass::Commit);
            story.lab.fs.fail_at(first + n as u64, Fault::Eio);
            story.lab.fs.fail_at(first + n as u64 + behind, Fault::Eio);
            story.live(STEPS);
            assert!(story.told.in_doubt <= 1, "{what}: {:?}", story.told);
            doubtful_puts += story.told.doubtful_puts.len();
            doubtful_acks += story.told.doubtful_acks.len();
            let channel = story.channel.take();
            if let Some(channel) = channel.filter(|c| c.stats().condition != Condition::Failed) {
                let told = (story.told.in_doubt, story.told.failed);
                assert!(told == (0, 0) || story.told.reopened > 0, "{what}: {told:?}");
                story.check(&what, &channel, After::Nothing);
                went_on += 1;
            }
            for survive in [Survive::Nothing, Survive::Everything, Survive::Seed(behind)] {
                let cut = story.lab.on(story.lab.fs.image(survive));
                story.check(&format!("{what}, {survive:?}"), &cut.open(), After::PowerCut);
            }
            let killed = story.lab.on(story.lab.fs.kill());
            story.check(&format!("{what}, killed"), &killed.open(), After::Kill);
        }
    }
    // The loop has met what it is about.
    assert!(doubtful_puts > 20, "{doubtful_puts} puts in doubt");
    assert!(doubtful_acks > 5, "{doubtful_acks} acknowledgements in doubt");
    assert!(went_on > 100, "{went_on} went on");
}

/// The poisoned segment is removed or fails to be, after the log has gone on.
#[test]
fn p9_p10_a_failure_while_a_poisoned_segment_is_cleared_away_is_harmless() {
    let calls = [Call::Remove, Call::SyncDir, Call::Rename, Call::SyncAll, Call::Create];
    for call in calls {
        for at in (0..STEPS).step_by(3) {
            let what = format!("{call:?} after a failed sync at step {at}");
            let mut story = Story::begin(SyncClass::Commit);
            story.live(at);
            let Some(before) = story.channel.as_ref().map(|c| c.stats().generation) else { break };
            story.lab.fs.fail_nth(Call::SyncData, 0, Fault::SyncFails);
            story.live(1);
            let channel = story.channel.clone().expect("open");
            assert_ne!(channel.stats().generation, before, "{what}");
            story.lab.fs.fail_nth(call, 0, Fault::Eio);
            drop(channel);
            story.live(STEPS);
            let channel = story.channel.take().expect("open");
            assert_eq!((story.told.in_doubt, story.told.failed), (0, 0), "{what}");
            story.check(&what, &channel, After::Nothing);
            story.lab.idle(&channel);
            let there = story.lab.segments().len() as u64 * (128 << 10);
            assert_eq!(there, channel.stats().bytes, "{what}: {:?}", channel.stats().trouble);
            drop(channel);
            let cut = story.lab.on(story.lab.fs.crash(Survive::Seed(at)));
            story.check(&what, &cut.open(), After::PowerCut);
            assert!(cut.allocated_bytes() <= 1 << 20, "{what}");
        }
    }
}

/// A life in which the first sync of all fails; what it leaves behind is removed one day.
fn life_with_a_poisoned_segment(plan: impl Fn(&SimFs)) -> Story {
    let mut story = Story::begin(SyncClass::Commit);
    story.lab.fs.fail_nth(Call::SyncData, 0, Fault::SyncFails);
    plan(&story.lab.fs);
    // One opening only: what is forgotten is forgotten for good.
    story.live(38);
    let channel = story.channel.clone().expect("open");
    drain(&channel, "main").iter().for_each(|(_, id)| assert!(story.told.acked.insert(*id)));
    (0..4).for_each(|_| story.lab.idle(&channel));
    story
}

#[test]
fn p9_p10_a_poisoned_segment_whose_removal_fails_half_way_does_not_count_for_ever() {
    let clean = life_with_a_poisoned_segment(|_| {});
    let log = clean.lab.fs.op_log();
    let removals: Vec<u64> =
        (0..log.len()).filter(|&n| log[n].starts_with("remove")).map(|n| n as u64).collect();
    assert!(!removals.is_empty(), "{log:#?}");
    for op in removals.iter().flat_map(|&op| [op, op + 1]) {
        let story = life_with_a_poisoned_segment(|fs| fs.fail_at(op, Fault::Eio));
        let what = format!("{} fails", log[op as usize]);
        let channel = story.channel.as_ref().expect("open");
        let there = story.lab.segments().len() as u64 * (128 << 10);
        assert_eq!(channel.stats().bytes, there, "{what}: {:?}", channel.stats().trouble);
        assert_eq!(channel.stats().segments_free, 0, "{what}");
        story.check(&what, channel, After::Nothing);
    }
}

/// A disk whose next syncs of data wait at a gate.
#[derive(Debug, Clone)]
struct GatedFs {
    fs: SimFs,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    waiting: bool,
}

impl Gate {
    fn close(&self) {
        self.state.lock().expect("no panic").closed = true;
    }

    fn open(&self) {
        self.state.lock().expect("no panic").closed = false;
        self.changed.notify_all();
    }

    /// Waits until a sync stands at the gate.
    fn until_reached(&self) {
        let state = self.state.lock().expect("no panic");
        let limit = Duration::from_secs(30);
        let (state, late) = self
            .changed
            .wait_timeout_while(state, limit, |state| !state.waiting)
            .expect("no panic");
        drop(state);
        assert!(!late.timed_out(), "no sync came");
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("no panic");
        if state.closed {
            state.waiting = true;
            self.changed.notify_all();
            state = self.changed.wait_while(state, |state| state.closed).expect("no panic");
            state.waiting = false;
        }
    }
}

impl Fs for GatedFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.fs.list(dir)
    }
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let file = self.fs.open(path, mode)?;
        Ok(Arc::new(GatedFile { file, gate: self.gate.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.fs.lock(path)
    }
    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.fs.available_bytes(dir)
    }
    fn page(&self, path: &Path, len_bytes: usize) -> io::Result<Box<dyn Page>> {
        self.fs.page(path, len_bytes)
    }
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl File for GatedFile {
    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }
    fn allocated_bytes(&self) -> io::Result<u64> {
        self.file.allocated_bytes()
    }
    fn read_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset_bytes)
    }
    fn read_medium_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        self.file.read_medium_at(buf, offset_bytes)
    }
    fn write_at(&self, bufs: &[IoSlice<'_>], offset_bytes: u64) -> io::Result<usize> {
        self.file.write_at(bufs, offset_bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
    fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.file.allocate(len_bytes)
    }
}

fn outcome<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn putting(channel: &Channel, id: u64) -> PutTransaction {
    let mut put = channel.put_transaction();
    put.put(&event(id)).expect("it fits");
    put
}

const WAITERS: std::ops::Range<u64> = 20..28;

/// What each of those who waited was told: the leader, the putters behind it, the taker.
struct Fates {
    leader: Result<Receipt, ErrorKind>,
    putters: Vec<Result<Receipt, ErrorKind>>,
    taker: Result<Receipt, ErrorKind>,
}

/// Ten events are there. One putter leads and stands at its sync; eight more and a take that
/// holds three events commit behind it. Then the plan is made, and the gate opens.
fn at_the_gate(plan: impl FnOnce(&SimFs)) -> (Lab, Channel, Fates) {
    let lab = Lab::new(7);
    let gate = Arc::new(Gate::default());
    let fs = Arc::new(GatedFs { fs: lab.fs.clone(), gate: gate.clone() });
    let lab = Lab { env: Env { fs, ..lab.env.clone() }, ..lab };
    let channel = lab.open();
    put(&channel, 1..11).expect("room");
    gate.close();
    let leader = std::thread::spawn({
        let channel = channel.clone();
        move || putting(&channel, 19).commit()
    });
    gate.until_reached();
    // They stand in the line when these calls return.
    let putters: Vec<_> = WAITERS.map(|id| putting(&channel, id).commit_async()).collect();
    let mut take = channel.take_transaction("main").expect("a take");
    assert_eq!(take.take_many(3, usize::MAX).expect("events").len(), 3);
    let taker = take.commit_async();
    plan(&lab.fs);
    gate.open();
    let kind = |error: forebay_wal::Error| error.kind();
    let leader = leader.join().expect("no panic").map_err(kind);
    // The leader wrote them all before it returned, or nobody ever will.
    let putters = putters.into_iter().map(|commit| outcome(commit).expect("told").map_err(kind));
    let fates = Fates {
        leader,
        putters: putters.collect(),
        taker: outcome(taker).expect("told").map_err(kind),
    };
    (lab, channel, fates)
}

fn ids(channel: &Channel, cursor: &str) -> Vec<u64> {
    peek(channel, cursor).iter().map(|(_, id)| *id).collect()
}

#[test]
fn p10_all_who_wait_when_a_sync_fails_are_acknowledged_once_it_went_well_elsewhere() {
    // The sync of the leader's own block, then the one of those behind it.
    for n in 0..2 {
        let (lab, channel, fates) = at_the_gate(|fs| {
            // The State of the new generation is synced between the two if the first fails.
            fs.fail_nth(Call::SyncData, n, Fault::SyncFails);
        });
        assert_eq!(fates.leader.map(|receipt| receipt.first_seq), Ok(11));
        for (at, fate) in fates.putters.iter().enumerate() {
            assert_eq!(fate.map(|receipt| receipt.first_seq), Ok(12 + at as u64), "{n}");
        }
        assert_eq!(fates.taker.map(|receipt| receipt.events), Ok(3));
        let expected: Vec<u64> = (4..11).chain([19]).chain(WAITERS).collect();
        assert_eq!(ids(&channel, "main"), expected);
        assert_eq!(channel.stats().condition, Condition::Open);
        drop(channel);
        for survive in [Survive::Nothing, Survive::Everything] {
            let cut = lab.on(lab.fs.image(survive));
            assert_eq!(ids(&cut.open(), "main"), expected, "{n}, {survive:?}");
        }
    }
}

#[test]
fn p10_all_who_wait_are_in_doubt_when_going_on_elsewhere_fails_too() {
    let outcomes = [Survive::Nothing, Survive::Everything, Survive::Seed(1), Survive::Seed(2)];
    for partly in [Fault::SyncFails, Fault::SyncFailsInPart] {
        let (lab, channel, fates) = at_the_gate(|fs| {
            // The leader's sync goes well; the group behind it fails, and so does all else.
            fs.fail_nth_and_later(Call::SyncData, 1, partly);
        });
        assert_eq!(fates.leader.map(|receipt| receipt.first_seq), Ok(11));
        assert!(fates.putters.iter().all(|fate| *fate == Err(ErrorKind::InDoubt)));
        assert_eq!(fates.taker, Err(ErrorKind::InDoubt));
        lab.fs.heal();
        refuses_everything(&channel);
        drop(channel);
        for survive in outcomes {
            let cut = lab.on(lab.fs.image(survive));
            settled_whole(&cut.open());
        }
        settled_whole(&lab.on(lab.fs.kill()).open());
    }
}

/// It takes nothing in and gives nothing out until it is opened again, even on a sound disk.
fn refuses_everything(channel: &Channel) {
    assert_eq!(channel.stats().condition, Condition::Failed);
    assert_eq!(put(channel, [99]).expect_err("a put").kind(), ErrorKind::Failed);
    let refused = channel.add_cursor("new", CursorStart::Oldest).expect_err("a cursor");
    assert_eq!(refused.kind(), ErrorKind::Failed);
    let take = channel.take_transaction("main").map(|_| ());
    assert_eq!(take.expect_err("a take").kind(), ErrorKind::Failed);
    assert_eq!(channel.discard_before(5).expect_err("a drop").kind(), ErrorKind::Failed);
    channel.tend();
    assert_eq!(channel.stats().condition, Condition::Failed);
}

/// One block held them all: they are there all of them, in order, or none of them.
fn settled_whole(channel: &Channel) {
    assert_eq!(channel.stats().losses, 0);
    let without: Vec<u64> = (1..11).chain([19]).collect();
    let with: Vec<u64> = (4..11).chain([19]).chain(WAITERS).collect();
    let seen = ids(channel, "main");
    assert!(seen == without || seen == with, "{seen:?}");
    let receipt = put(channel, [50]).expect("it takes puts again");
    let next = if seen == with { 20 } else { 12 };
    assert_eq!(receipt.first_seq, next);
}

#[test]
fn p10_a_take_that_was_open_when_the_channel_failed_can_do_nothing_more() {
    let lab = Lab::new(3);
    let channel = lab.open();
    put(&channel, 1..11).expect("room");
    ack(&channel, "main", 2);
    let mut held = channel.take_transaction("main").expect("a take");
    let taken = held.take_many(3, usize::MAX).expect("events");
    assert_eq!(taken.iter().map(|taken| id_of(&taken.bytes)).collect::<Vec<_>>(), [3, 4, 5]);
    let mut idle = channel.take_transaction("main").expect("a take");
    lab.fs.fail_nth_and_later(Call::SyncData, 0, Fault::SyncFails);
    assert_eq!(put(&channel, [11]).expect_err("two failures").kind(), ErrorKind::InDoubt);
    lab.fs.heal();
    assert_eq!(idle.take_many(1, usize::MAX).expect_err("failed").kind(), ErrorKind::Failed);
    assert_eq!(idle.wait(Duration::ZERO).expect_err("failed").kind(), ErrorKind::Failed);
    assert_eq!(held.commit().expect_err("failed").kind(), ErrorKind::Failed);
    drop((idle, channel));
    // What was refused for certain comes again; what is in doubt is there whole or not at all.
    for survive in [Survive::Nothing, Survive::Everything] {
        let seen = ids(&lab.on(lab.fs.image(survive)).open(), "main");
        assert_eq!(seen[..8], (3..11).collect::<Vec<_>>());
        assert!(seen.len() == 8 || seen[8..] == [11]);
    }
}
