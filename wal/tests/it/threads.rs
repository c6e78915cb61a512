//! Real threads on a real disk: many put, many take, some wait, and then it closes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use forebay_wal::{Channel, ErrorKind, Inspection, Options, SyncClass};

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(start.elapsed() < DEADLINE, "a future hangs");
        thread::park_timeout(Duration::from_secs(1));
    }
}

/// Runs a test on a thread of its own, so that one that hangs fails.
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let runner = thread::spawn(move || {
        test();
        // Nobody listens any more if it was too late.
        let _ = done.send(());
    });
    match wait.recv_timeout(DEADLINE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            if let Err(panic) = runner.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn options() -> Options {
    Options::new().bytes_max(8 << 20).put_timeout(DEADLINE)
}

fn open(options: Options) -> (tempfile::TempDir, Channel) {
    let dir = tempfile::tempdir().expect("a directory");
    let channel = Channel::open(dir.path(), options).expect("it opens");
    (dir, channel)
}

fn event(putter: u64, number: u64) -> Vec<u8> {
    let mut bytes = putter.to_le_bytes().to_vec();
    bytes.extend(number.to_le_bytes());
    bytes.resize(16 + (number % 300) as usize, putter as u8);
    bytes
}

fn parse(bytes: &[u8]) -> (u64, u64) {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
    let (putter, number) = (number(0), number(8));
    assert_eq!(bytes, event(putter, number));
    (putter, number)
}

/// Puts events in transactions of one to five.
fn put_all(channel: &Channel, putter: u64, events: u64, blocking: bool) {
    let mut number = 0;
    let mut size = 1 + putter % 5;
    while number < events {
        let mut put = channel.put_transaction();
        for _ in 0..size.min(events - number) {
            put.put(&event(putter, number)).expect("it fits");
            number += 1;
        }
        size = size % 5 + 1;
        let stats = channel.stats();
        // Two checkpoints, the lock and the status page are not in it.
        assert!(stats.bytes + 57_344 <= stats.bytes_max, "{stats:?}");
        if blocking {
            put.commit().unwrap_or_else(|error| panic!("{error}: {:?}", channel.stats()));
        } else {
            block_on(put.commit_async()).expect("a commit");
        }
    }
}

/// Takes until everything is there; one take in five is rolled back.
fn take_all(
    channel: &Channel,
    cursor: &str,
    seen: &Mutex<Vec<(u64, u64, u64)>>,
    wanted: &AtomicU64,
) {
    let mut round = 0;
    while wanted.load(Ordering::Acquire) > 0 {
        round += 1;
        let mut take = channel.take_transaction(cursor).expect("a take");
        if round % 2 == 0 {
            take.wait(Duration::from_millis(50)).expect("open");
        }
        let taken = take.take_many(1 + round % 40, 20_000).expect("events");
        assert!(taken.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        if round % 5 == 0 {
            take.rollback();
            continue;
        }
        let held: Vec<_> = taken
            .iter()
            .map(|taken| {
                let (putter, number) = parse(&taken.bytes);
                (taken.seq, putter, number)
            })
            .collect();
        let committed = if round % 3 == 0 { block_on(take.commit_async()) } else { take.commit() };
        committed.expect("an acknowledgement");
        seen.lock().expect("no panic").extend(&held);
        wanted.fetch_sub(held.len() as u64, Ordering::AcqRel);
    }
}

/// Puts until there is no room; how many events fitted.
fn fill(channel: &Channel) -> usize {
    for count in 0.. {
        let mut put = channel.put_transaction();
        put.put(&[1; 4000]).expect("it fits");
        // A spare may be on its way.
        put.set_wait(Duration::from_millis(500));
        if let Err(error) = put.commit() {
            assert_eq!(error.kind(), ErrorKind::Full);
            return count;
        }
    }
    unreachable!("it has a limit")
}

fn many_put_and_many_take(sync: SyncClass, bytes_max: u64) {
    let (putters, events) = (12_u64, 1500_u64);
    let options = options().bytes_max(bytes_max).sync(sync).cursor("main").cursor("other");
    let (dir, channel) = open(options.tail_bytes(200 << 10));
    let cursors = ["main", "other"];
    let seen: Vec<_> = cursors.iter().map(|_| Mutex::new(Vec::new())).collect();
    let wanted = cursors.map(|_| AtomicU64::new(putters * events));
    thread::scope(|scope| {
        let (path, left) = (dir.path(), &wanted[0]);
        scope.spawn(move || {
            while left.load(Ordering::Acquire) > 0 {
                // Somebody looks on from outside.
                let seen = Inspection::read(path).expect("it can be looked at");
                assert_eq!((seen.losses, seen.new_losses.len()), (0, 0), "{seen:?}");
                thread::sleep(Duration::from_millis(20));
            }
        });
        for putter in 0..putters {
            let channel = channel.clone();
            scope.spawn(move || put_all(&channel, putter, events, putter < 8));
        }
        for (index, cursor) in cursors.iter().enumerate() {
            let takers = if index == 0 { 4 } else { 1 };
            for _ in 0..takers {
                let (seen, wanted, channel) = (&seen[index], &wanted[index], channel.clone());
                scope.spawn(move || take_all(&channel, cursor, seen, wanted));
            }
        }
    });
    for seen in seen {
        let mut seen = seen.into_inner().expect("no panic");
        seen.sort_unstable();
        let seqs: BTreeSet<u64> = seen.iter().map(|(seq, ..)| *seq).collect();
        assert_eq!(seqs.len() as u64, putters * events, "something came twice");
        let mut next: BTreeMap<u64, u64> = BTreeMap::new();
        for (seq, putter, number) in seen {
            let expected = next.entry(putter).or_insert(0);
            assert_eq!(number, *expected, "putter {putter} out of order at seq {seq}");
            *expected += 1;
        }
    }
    let stats = channel.stats();
    assert_eq!((stats.losses, stats.events), (0, 0), "{stats:?}");
    assert!(stats.cursors.iter().all(|cursor| cursor.open_takes == 0 && cursor.in_flight == 0));
    channel.close();
    drop(dir);
}

#[test]
fn p3_p4_p5_many_put_and_many_take_and_all_is_there_once_and_in_order() {
    in_time(|| many_put_and_many_take(SyncClass::Commit, 8 << 20));
}

#[test]
fn p3_p4_p9_many_put_and_many_take_through_a_channel_that_is_always_full() {
    in_time(|| many_put_and_many_take(SyncClass::Commit, 1 << 20));
}

#[test]
fn p3_p4_p5_many_put_and_many_take_in_the_weaker_classes() {
    in_time(|| many_put_and_many_take(SyncClass::Os, 1 << 20));
    in_time(|| many_put_and_many_take(SyncClass::Interval(Duration::from_millis(5)), 1 << 20));
}

#[test]
fn p12_closing_ends_all_waits_at_once() {
    in_time(|| {
        let (_dir, channel) = open(options().bytes_max(1 << 20).put_timeout(DEADLINE * 10));
        fill(&channel);
        channel.add_cursor("idle", forebay_wal::CursorStart::Next).expect("room");
        let waiting = AtomicU64::new(0);
        let ended = AtomicU64::new(0);
        let start = Instant::now();
        thread::scope(|scope| {
            let (waiting, ended) = (&waiting, &ended);
            for index in 0..6 {
                let channel = channel.clone();
                scope.spawn(move || {
                    let mut put = channel.put_transaction();
                    put.put(&[2; 4000]).expect("it fits");
                    waiting.fetch_add(1, Ordering::SeqCst);
                    let outcome =
                        if index % 2 == 0 { put.commit() } else { block_on(put.commit_async()) };
                    assert_eq!(outcome.expect_err("full").kind(), ErrorKind::Closed);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            for index in 0..4 {
                let channel = channel.clone();
                scope.spawn(move || {
                    let mut take = channel.take_transaction("idle").expect("a take");
                    waiting.fetch_add(1, Ordering::SeqCst);
                    let kind = if index % 2 == 0 {
                        take.wait(DEADLINE * 10).expect_err("nothing comes").kind()
                    } else {
                        block_on(take.ready()).expect_err("nothing comes").kind()
                    };
                    assert_eq!(kind, ErrorKind::Closed);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            while waiting.load(Ordering::SeqCst) < 10 {
                thread::yield_now();
            }
            // They are on their way into the line; whoever comes later finds it closed.
            thread::sleep(Duration::from_millis(30));
            channel.close();
        });
        assert_eq!(ended.load(Ordering::SeqCst), 10);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let mut take = channel.take_transaction("main").map_err(|error| error.kind());
        assert!(matches!(&mut take, Err(ErrorKind::Closed)));
    });
}

#[test]
fn p9_a_put_that_waits_goes_on_when_space_returns() {
    in_time(|| {
        for blocking in [true, false] {
            let (_dir, channel) = open(options().bytes_max(1 << 20));
            let count = fill(&channel);
            let came = AtomicBool::new(false);
            thread::scope(|scope| {
                let (other, came) = (channel.clone(), &came);
                let putter = scope.spawn(move || {
                    let mut put = other.put_transaction();
                    put.put(&[2; 4000]).expect("it fits");
                    let outcome =
                        if blocking { put.commit() } else { block_on(put.commit_async()) };
                    came.store(true, Ordering::SeqCst);
                    outcome
                });
                thread::sleep(Duration::from_millis(50));
                assert!(!came.load(Ordering::SeqCst), "there is no space");
                let mut take = channel.take_transaction("main").expect("a take");
                assert_eq!(take.take_many(count, usize::MAX).expect("events").len(), count);
                take.commit().expect("an acknowledgement");
                let start = Instant::now();
                putter.join().expect("no panic").expect("space is back");
                assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
            });
        }
    });
}

#[test]
fn p9_a_put_that_waits_too_long_is_refused_in_time() {
    in_time(|| {
        let wait = Duration::from_millis(200);
        let (_dir, channel) = open(options().bytes_max(1 << 20).put_timeout(wait));
        let start = loop {
            let start = Instant::now();
            let mut put = channel.put_transaction();
            put.put(&[1; 4000]).expect("it fits");
            if let Err(error) = put.commit() {
                assert_eq!(error.kind(), ErrorKind::Full);
                break start;
            }
        };
        assert!(start.elapsed() >= wait && start.elapsed() < wait * 10, "{:?}", start.elapsed());
    });
}

#[test]
fn p1_many_threads_share_their_syncs() {
    in_time(|| {
        let (_dir, channel) = open(options());
        let (threads, rounds) = (64, 20);
        let barrier = Arc::new(Barrier::new(threads));
        thread::scope(|scope| {
            for n in 0..threads {
                let (channel, barrier) = (channel.clone(), barrier.clone());
                scope.spawn(move || {
                    barrier.wait();
                    for round in 0..rounds {
                        let mut put = channel.put_transaction();
                        put.put(&event(n as u64, round)).expect("it fits");
                        put.commit().expect("a commit");
                    }
                });
            }
        });
        let stats = channel.stats();
        assert_eq!(stats.commits, threads as u64 * rounds);
        assert!(stats.syncs < stats.commits, "{} syncs", stats.syncs);
    });
}

#[test]
fn p4_repeats_of_a_producer_from_many_threads_enter_once() {
    in_time(|| {
        let (_dir, channel) = open(options());
        thread::scope(|scope| {
            for _ in 0..8 {
                let channel = channel.clone();
                scope.spawn(move || {
                    for sequence in 1..=200 {
                        let mut put = channel.put_transaction();
                        put.put(&event(0, sequence)).expect("it fits");
                        put.set_producer("p", sequence).expect("room");
                        put.commit().expect("a commit or a repeat");
                    }
                });
            }
        });
        let mut take = channel.take_transaction("main").expect("a take");
        let taken = take.take_many(usize::MAX, usize::MAX).expect("events");
        let seen: Vec<u64> = taken.iter().map(|taken| parse(&taken.bytes).1).collect();
        assert_eq!(seen, (1..=200).collect::<Vec<_>>());
    });
}

#[test]
fn p9_dropped_commits_leave_nothing_behind_that_hangs() {
    in_time(|| {
        let (_dir, channel) = open(options().bytes_max(1 << 20));
        for round in 0..2000_u64 {
            let mut put = channel.put_transaction();
            put.put(&event(1, round)).expect("it fits");
            let commit = put.commit_async();
            if round % 3 == 0 {
                drop(commit);
            } else {
                let mut commit = pin!(commit);
                let mut context = Context::from_waker(Waker::noop());
                let _ = commit.as_mut().poll(&mut context);
            }
            if round % 50 == 0 {
                let mut take = channel.take_transaction("main").expect("a take");
                let taken = take.take_many(usize::MAX, usize::MAX).expect("events");
                assert!(taken.len() <= 2000);
                take.commit().expect("an acknowledgement");
            }
        }
        let mut put = channel.put_transaction();
        put.put(b"last").expect("it fits");
        put.commit().expect("it goes on");
        let mut take = channel.take_transaction("main").expect("a take");
        let taken = take.take_many(usize::MAX, usize::MAX).expect("events");
        assert_eq!(&taken.last().expect("the last").bytes[..], b"last");
    });
}

#[test]
fn p1_p4_p12_closing_under_load_loses_nothing_and_repeats_nothing() {
    in_time(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let acknowledged = Mutex::new(BTreeSet::new());
        let refused = Mutex::new(BTreeSet::new());
        let taken = Mutex::new(BTreeSet::new());
        for round in 0..25_u64 {
            let options = options().bytes_max(1 << 20);
            let channel = Channel::open(dir.path(), options).expect("it opens");
            thread::scope(|scope| {
                for putter in 0..6 {
                    let (channel, acknowledged, refused) =
                        (channel.clone(), &acknowledged, &refused);
                    scope.spawn(move || {
                        for number in round * 100_000.. {
                            let mut put = channel.put_transaction();
                            put.put(&event(putter, number)).expect("it fits");
                            let outcome = if putter % 2 == 0 {
                                put.commit()
                            } else {
                                block_on(put.commit_async())
                            };
                            let book = if outcome.is_ok() { acknowledged } else { refused };
                            book.lock().expect("no panic").insert((putter, number));
                            if let Err(error) = outcome {
                                assert_eq!(error.kind(), ErrorKind::Closed);
                                return;
                            }
                        }
                    });
                }
                for taker in 0..3 {
                    let (channel, taken) = (channel.clone(), &taken);
                    scope.spawn(move || {
                        loop {
                            let Ok(mut take) = channel.take_transaction("main") else { return };
                            let Ok(events) = take.take_many(5 + taker, usize::MAX) else { return };
                            if events.is_empty() && take.wait(DEADLINE).is_err() {
                                return;
                            }
                            let outcome = take.commit();
                            if let Err(error) = outcome {
                                assert_eq!(error.kind(), ErrorKind::Closed);
                                return;
                            }
                            for event in events {
                                let new =
                                    taken.lock().expect("no panic").insert(parse(&event.bytes));
                                assert!(new, "it comes again");
                            }
                        }
                    });
                }
                thread::sleep(Duration::from_millis(5 + round * 3));
                channel.close();
            });
        }
        let channel = Channel::open(dir.path(), options().bytes_max(1 << 20)).expect("it opens");
        let mut take = channel.take_transaction("main").expect("a take");
        let rest = take.take_many(usize::MAX, usize::MAX).expect("events");
        let rest: BTreeSet<_> = rest.iter().map(|taken| parse(&taken.bytes)).collect();
        let (acknowledged, taken) = (acknowledged.into_inner(), taken.into_inner());
        let (acknowledged, taken) = (acknowledged.expect("no panic"), taken.expect("no panic"));
        assert!(taken.is_disjoint(&rest), "it comes again");
        assert_eq!(&taken | &rest, acknowledged);
        assert!(acknowledged.len() > 100);
    });
}
