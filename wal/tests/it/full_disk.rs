//! No space, from each operation of a life on, for good or for a while: puts wait or are refused,
//! everything else goes through, and puts go on by themselves when space returns.

use std::time::{Duration, Instant};

use forebay_wal::fs::sim::Survive;
use forebay_wal::{Background, Condition, CursorStart, ErrorKind, Options, SyncClass};

use forebay_proof::lab::{Lab, ack, drain, peek, put};

use crate::story::{After, Story};

const STEPS: u64 = 85;
const ROOM: u64 = 1 << 40;
const LIMIT: u64 = 1 << 20;

const CLASSES: [SyncClass; 3] =
    [SyncClass::Commit, SyncClass::Interval(Duration::from_millis(100)), SyncClass::Os];

fn ops_of_life(sync: SyncClass) -> (u64, u64) {
    let mut story = Story::begin(sync);
    let first = story.lab.fs.ops();
    story.live(STEPS);
    (first, story.lab.fs.ops())
}

/// Puts may have been refused; nothing else was, and all is there.
fn check_life(what: &str, story: &mut Story) {
    let told = &story.told;
    let other = (told.failed, told.in_doubt, told.unread, told.unopened);
    assert_eq!(other, (0, 0, 0, 0), "{what}: the disk is full, and that is no failure");
    let channel = story.channel.clone().expect("open");
    assert!(matches!(channel.stats().condition, Condition::Open | Condition::Full), "{what}");
    assert_eq!(channel.stats().poisoned, 0, "{what}");
    story.check(what, &channel, After::Nothing);
    assert!(story.lab.allocated_bytes() <= LIMIT, "{what}");
    for survive in [Survive::Nothing, Survive::Seed(7)] {
        // It opens on the full disk as well.
        let cut = story.lab.on(story.lab.fs.image(survive));
        story.check(&format!("{what}, {survive:?}"), &cut.open(), After::PowerCut);
    }
}

/// Space is there; puts go on without anybody's help.
fn goes_on(what: &str, story: &mut Story) {
    let channel = story.channel.take().expect("open");
    story.lab.fs.set_capacity(ROOM);
    for (_, id) in drain(&channel, "main") {
        assert!(story.told.acked.insert(id) || channel.sync_class() != SyncClass::Commit);
    }
    story.lab.idle(&channel);
    for id in 900_000..900_060 {
        let receipt = put(&channel, [id]).expect(what);
        assert_eq!(story.told.put.insert(receipt.first_seq, id), None, "{what}");
    }
    assert_eq!(channel.stats().condition, Condition::Open, "{what}");
    story.check(what, &channel, After::Nothing);
    drop(channel);
    let killed = story.lab.on(story.lab.fs.kill());
    story.check(what, &killed.open(), After::Kill);
}

#[test]
fn p9_the_disk_fills_up_at_each_operation_and_stays_full() {
    let mut refused = 0;
    for sync in CLASSES {
        let (first, end) = ops_of_life(sync);
        for op in first..end {
            let what = format!("{sync:?}: full from operation {op} on");
            let mut story = Story::begin(sync);
            story.lab.fs.set_capacity_at(op, 0);
            story.live(STEPS);
            refused += story.told.full;
            check_life(&what, &mut story);
            goes_on(&what, &mut story);
        }
    }
    assert!(refused > 100, "{refused} puts were refused");
}

#[test]
fn p9_the_disk_is_full_for_a_while_at_each_operation() {
    for sync in CLASSES {
        let (first, end) = ops_of_life(sync);
        for op in (first..end).step_by(3) {
            for ops in [1, 4, 30] {
                let what = format!("{sync:?}: full from operation {op} on, for {ops}");
                let mut story = Story::begin(sync);
                story.lab.fs.set_capacity_at(op, 0);
                story.lab.fs.set_capacity_at(op + ops, ROOM);
                story.live(STEPS);
                check_life(&what, &mut story);
            }
        }
    }
}

#[test]
fn p9_a_channel_lives_on_a_disk_of_any_size_it_could_be_made_on() {
    let mut lives = 0;
    for kib in (300..1100).step_by(20) {
        let lab = Lab::new(1).with(forebay_proof::model::options(SyncClass::Commit));
        lab.fs.set_capacity(kib << 10);
        let Ok(channel) = lab.try_open() else { continue };
        drop(channel);
        let mut story = Story::on(lab, SyncClass::Commit);
        story.live(STEPS);
        let what = format!("a disk of {kib} KiB");
        check_life(&what, &mut story);
        assert!(story.told.put.len() > 100, "{what}: {} events fitted", story.told.put.len());
        goes_on(&what, &mut story);
        lives += 1;
    }
    assert!(lives > 20, "{lives} disks were large enough");
}

fn plain() -> Options {
    Options::new()
        .bytes_max(LIMIT)
        .background(Background::Manual)
        .put_timeout(Duration::ZERO)
        .cursor("main")
}

#[test]
fn p9_at_the_byte_limit_on_a_full_disk_all_but_puts_goes_through() {
    let lab = Lab::new(5).with(plain());
    let channel = lab.open();
    let end = (1..).find(|id| put(&channel, [*id]).is_err()).expect("it has a limit");
    assert!(lab.allocated_bytes() <= LIMIT);
    lab.fs.set_capacity(0);
    let refused = put(&channel, [end]).expect_err("full");
    assert_eq!(refused.kind(), ErrorKind::Full);
    assert_eq!(channel.stats().condition, Condition::Full);
    let mut take = channel.take_transaction("main").expect("a take");
    take.take_many(10, usize::MAX).expect("events");
    take.rollback();
    assert_eq!(ack(&channel, "main", 5), [1, 2, 3, 4, 5]);
    channel.add_cursor("late", CursorStart::Seq(20)).expect("a cursor");
    channel.discard_before(30).expect("a drop");
    channel.remove_cursor("late").expect("a cursor that is there");
    let before = lab.fs.op_log().len();
    channel.checkpoint();
    lab.idle(&channel);
    let log = lab.fs.op_log().split_off(before);
    assert!(log.iter().any(|line| line.starts_with("write checkpoint")), "{log:#?}");
    drop(channel);
    let channel = lab.open();
    let seen: Vec<u64> = drain(&channel, "main").iter().map(|(_, id)| *id).collect();
    assert_eq!(seen, (30..end).collect::<Vec<_>>());
    lab.idle(&channel);
    // Segments are used again: that takes no space of the disk. Those beyond two were given back
    // to it, as to any other user of the disk.
    let further = (end..).find(|id| put(&channel, [*id]).is_err()).expect("it has a limit");
    assert!(further > end + 40, "{} fit now", further - end);
    assert!(lab.allocated_bytes() <= LIMIT);
}

/// Puts that wait on a full disk, with the channel's own threads at work.
#[test]
fn p9_puts_that_wait_go_on_by_themselves_when_the_disk_has_space_again() {
    let threads = plain().background(Background::Threads).put_timeout(Duration::from_secs(3600));
    let lab = Lab::new(6).with(threads);
    let channel = lab.open();
    lab.fs.set_capacity(0);
    std::thread::scope(|scope| {
        let putters: Vec<_> = (0..3)
            .map(|n| {
                let channel = channel.clone();
                scope.spawn(move || {
                    for id in n * 1000..n * 1000 + 20 {
                        put(&channel, [id]).expect("space comes in time");
                    }
                })
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        while channel.stats().condition != Condition::Full {
            assert!(Instant::now() < deadline, "{:?}", channel.stats());
            std::thread::sleep(Duration::from_millis(2));
        }
        let why = channel.stats().why.expect("a reason");
        assert!(why.contains("the disk is full"), "{why}");
        lab.fs.set_capacity(ROOM);
        putters.into_iter().for_each(|putter| putter.join().expect("no panic"));
    });
    assert_eq!(peek(&channel, "main").len(), 60);
    assert_eq!(channel.stats().condition, Condition::Open);
}
