//! One suite for every channel: whatever `channel/mod.rs` promises is asked of each of them here.
//!
//! A channel joins by one `contract!` line at the end: a name for its tests and how it is opened;
//! `durable as NAME` adds the tests that open it again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay::channel::{
    Channel, Commit, Error, ErrorKind, FileChannel, FileOptions, MAIN_CURSOR, MemoryChannel,
    MemoryOptions, Receipt, TakeTransaction, Taken,
};
use forebay::event::Event;
use tempfile::TempDir;

/// What a test asks of the channel it gets.
#[derive(Clone)]
struct Setup {
    bytes_max: u64,
    events_max: Option<u64>,
    put_timeout: Duration,
    cursors: Vec<String>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            bytes_max: 4 * 1024 * 1024,
            events_max: None,
            // Beyond the patience of a test: what waits must be ended by what it waits for.
            put_timeout: 4 * LONG,
            cursors: Vec::new(),
        }
    }
}

impl Setup {
    fn events_max(events_max: u64) -> Setup {
        Setup { events_max: Some(events_max), ..Setup::default() }
    }

    fn timeout(mut self, put_timeout: Duration) -> Setup {
        self.put_timeout = put_timeout;
        self
    }

    fn cursors(mut self, cursors: &[&str]) -> Setup {
        self.cursors = cursors.iter().map(|cursor| (*cursor).to_owned()).collect();
        self
    }
}

/// Where one test's channel lives, and how it is opened there, also again.
struct Home {
    directory: TempDir,
    open: fn(&Path, &Setup) -> Arc<dyn Channel>,
}

impl Home {
    fn new(open: fn(&Path, &Setup) -> Arc<dyn Channel>) -> Home {
        Home { directory: tempfile::tempdir().expect("a temporary directory"), open }
    }

    fn open(&self, setup: &Setup) -> Arc<dyn Channel> {
        (self.open)(&self.directory.path().join("channel"), setup)
    }
}

fn memory(_: &Path, setup: &Setup) -> Arc<dyn Channel> {
    Arc::new(MemoryChannel::new(MemoryOptions {
        bytes_max: setup.bytes_max,
        events_max: setup.events_max,
        put_timeout: setup.put_timeout,
        cursors: setup.cursors.clone(),
    }))
}

fn file(path: &Path, setup: &Setup, sync: &str) -> Arc<dyn Channel> {
    let options = FileOptions {
        bytes_max: Some(setup.bytes_max),
        events_max: setup.events_max,
        put_timeout: setup.put_timeout,
        sync: sync.parse().expect("it is a sync class"),
        cursors: setup.cursors.clone(),
        ..FileOptions::default()
    };
    Arc::new(FileChannel::open(path, options).expect("the directory can be used"))
}

/// How long a test waits for what must come, and how long for what must not.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it comes in time")
}

async fn not_yet<T>(future: impl Future<Output = T>) {
    assert!(tokio::time::timeout(SHORT, future).await.is_err(), "it came, and must wait");
}

fn begin_put(channel: &Arc<dyn Channel>, bodies: &[&str]) -> Commit {
    let mut put = channel.put_transaction();
    for body in bodies {
        put.put(&Event::new((*body).to_owned())).expect("the event fits");
    }
    put.commit()
}

async fn put(channel: &Arc<dyn Channel>, bodies: &[&str]) -> Receipt {
    soon(begin_put(channel, bodies)).await.expect("there is space")
}

fn begin_produced(channel: &Arc<dyn Channel>, sequence: u64, body: &str) -> Commit {
    let mut put = channel.put_transaction();
    put.set_producer("p", sequence).expect("the name is short");
    put.put(&Event::new(body.to_owned())).expect("the event fits");
    put.commit()
}

fn begin_take(channel: &Arc<dyn Channel>, cursor: &str) -> Box<dyn TakeTransaction> {
    channel.take_transaction(cursor).expect("the channel is open")
}

async fn take(take: &mut Box<dyn TakeTransaction>, events_max: usize) -> Vec<String> {
    bodies(&soon(take.take(events_max, Duration::ZERO)).await.expect("the channel is open"))
}

fn bodies(taken: &[Taken]) -> Vec<String> {
    taken.iter().map(|taken| String::from_utf8_lossy(&taken.event.body).into_owned()).collect()
}

/// Takes and acknowledges up to so many events.
async fn deliver(channel: &Arc<dyn Channel>, cursor: &str, events_max: usize) -> Vec<String> {
    let mut taking = begin_take(channel, cursor);
    let taken = take(&mut taking, events_max).await;
    soon(taking.commit()).await.expect("the take commits");
    taken
}

/// Takes and acknowledges all there is.
async fn drain(channel: &Arc<dyn Channel>, cursor: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let some = deliver(channel, cursor, 1000).await;
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

fn kind(outcome: Result<Receipt, Error>) -> ErrorKind {
    outcome.expect_err("it is refused").kind()
}

/// What a closed channel refuses, and what it ends.
mod closing {
    use super::*;

    pub(super) async fn a_closed_channel_refuses_what_begins_or_commits_later(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b"]).await;
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut taking, 1).await, ["a"]);
        let mut putting = channel.put_transaction();
        putting.put(&Event::new("c")).expect("it fits");
        channel.close();
        assert_eq!(kind(soon(putting.commit()).await), ErrorKind::Closed);
        assert_eq!(kind(soon(taking.commit()).await), ErrorKind::Closed);
        assert_eq!(kind(soon(begin_put(&channel, &["d"])).await), ErrorKind::Closed);
        let refused = channel.take_transaction(MAIN_CURSOR).map(drop).expect_err("it is closed");
        assert_eq!(refused.kind(), ErrorKind::Closed);
        channel.close();
    }

    pub(super) async fn closing_ends_a_waiting_take(home: Home) {
        let channel = home.open(&Setup::default());
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        let mut waiting = taking.take(1, Duration::MAX);
        not_yet(&mut waiting).await;
        channel.close();
        let error = soon(waiting).await.expect_err("the channel is closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
    }

    pub(super) async fn closing_refuses_a_waiting_put(home: Home) {
        let channel = home.open(&Setup::events_max(1));
        put(&channel, &["a"]).await;
        let waiting = begin_put(&channel, &["b"]);
        channel.close();
        assert_eq!(kind(soon(waiting).await), ErrorKind::Closed);
    }
}

/// Waiting, waking, and many at once.
mod many {
    use super::*;

    pub(super) async fn a_waiting_take_is_woken_by_a_put(home: Home) {
        let channel = home.open(&Setup::default());
        for round in 0..50 {
            let mut taking = begin_take(&channel, MAIN_CURSOR);
            let waiting = tokio::spawn(async move {
                let taken = taking.take(10, Duration::MAX).await;
                (taken, taking)
            });
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            let body = round.to_string();
            put(&channel, &[&body]).await;
            let (taken, taking) = soon(waiting).await.expect("the task ends");
            assert_eq!(bodies(&taken.expect("the channel is open")), [body]);
            soon(taking.commit()).await.expect("the take commits");
        }
    }

    pub(super) async fn a_waiting_take_is_woken_by_a_rollback(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a"]).await;
        let mut first = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut first, 1).await, ["a"]);
        let mut second = begin_take(&channel, MAIN_CURSOR);
        let mut waiting = second.take(1, Duration::MAX);
        not_yet(&mut waiting).await;
        first.rollback();
        assert_eq!(bodies(&soon(waiting).await.expect("the channel is open")), ["a"]);
    }

    pub(super) async fn a_take_that_stops_waiting_loses_nothing(home: Home) {
        let channel = home.open(&Setup::default());
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        not_yet(taking.take(1, Duration::MAX)).await;
        put(&channel, &["a"]).await;
        assert_eq!(take(&mut taking, 1).await, ["a"]);
    }

    pub(super) async fn a_take_waits_only_as_long_as_asked(home: Home) {
        let channel = home.open(&Setup::default());
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert!(soon(taking.take(1, SHORT)).await.expect("the channel is open").is_empty());
        put(&channel, &["a"]).await;
        // One event is there: it does not wait for ten.
        let taken = soon(taking.take(10, Duration::MAX)).await.expect("the channel is open");
        assert_eq!(bodies(&taken), ["a"]);
    }

    pub(super) async fn many_commits_in_flight_are_acknowledged_in_order(home: Home) {
        let channel = home.open(&Setup::default());
        let bodies: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        let commits: Vec<Commit> = bodies.iter().map(|body| begin_put(&channel, &[body])).collect();
        for (seq, commit) in (1..).zip(commits) {
            let receipt = soon(commit).await.expect("there is space");
            assert_eq!((receipt.first_seq, receipt.events), (seq, 1));
        }
        assert_eq!(drain(&channel, MAIN_CURSOR).await, bodies);
    }

    const PRODUCERS: usize = 4;
    const CONSUMERS: usize = 4;
    const EVENTS_EACH: usize = 400;

    pub(super) async fn four_producers_and_four_consumers_pass_on_each_event_once(home: Home) {
        let channel = home.open(&Setup::events_max(100));
        let left = Arc::new(AtomicUsize::new(PRODUCERS * EVENTS_EACH));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|number| tokio::spawn(produce(Arc::clone(&channel), number)))
            .collect();
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|_| tokio::spawn(consume(Arc::clone(&channel), Arc::clone(&left))))
            .collect();
        for producer in producers {
            soon(producer).await.expect("the producer ends");
        }
        let mut seen = BTreeMap::new();
        for consumer in consumers {
            for (seq, body) in soon(consumer).await.expect("the consumer ends") {
                assert_eq!(seen.insert(seq, body), None, "seq {seq} came twice");
            }
        }
        assert!(seen.keys().copied().eq(1..=(PRODUCERS * EVENTS_EACH) as u64));
        let bodies: BTreeSet<String> = seen.into_values().collect();
        let expected = (0..PRODUCERS).flat_map(|producer| {
            (0..EVENTS_EACH).map(move |event| format!("{producer} {event:05}"))
        });
        assert_eq!(bodies, expected.collect());
    }

    async fn produce(channel: Arc<dyn Channel>, number: usize) {
        let mut events = (0..EVENTS_EACH).map(|event| format!("{number} {event:05}")).peekable();
        let mut size = 1;
        while events.peek().is_some() {
            let bodies: Vec<String> = events.by_ref().take(size).collect();
            let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
            put(&channel, &bodies).await;
            size = size % 7 + 1;
        }
    }

    /// Takes in turns of several sizes until nothing is left; gives every fifth take back.
    async fn consume(channel: Arc<dyn Channel>, left: Arc<AtomicUsize>) -> Vec<(u64, String)> {
        let mut delivered = Vec::new();
        let mut turn = 0;
        while left.load(Ordering::SeqCst) > 0 {
            turn += 1;
            let mut taking = begin_take(&channel, MAIN_CURSOR);
            let taken = soon(taking.take(turn % 9 + 1, SHORT)).await.expect("the channel is open");
            assert!(taken.is_sorted_by(|one, next| one.seq < next.seq), "{taken:?}");
            if turn % 5 == 0 {
                taking.rollback();
                continue;
            }
            soon(taking.commit()).await.expect("the take commits");
            left.fetch_sub(taken.len(), Ordering::SeqCst);
            delivered.extend(taken.iter().map(|taken| taken.seq).zip(bodies(&taken)));
        }
        delivered
    }
}

/// What comes out, in which order, and who sees it.
mod order {
    use super::*;

    pub(super) async fn events_come_out_in_commit_order_and_in_put_order_inside_a_transaction(
        home: Home,
    ) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b"]).await;
        // Begun first, committed last: the commit decides.
        let mut early = channel.put_transaction();
        early.put(&Event::new("d")).expect("it fits");
        put(&channel, &["c"]).await;
        soon(early.commit()).await.expect("there is space");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a", "b", "c", "d"]);
    }

    pub(super) async fn headers_and_bodies_of_any_bytes_come_out_as_they_went_in(home: Home) {
        let channel = home.open(&Setup::default());
        let mut event = Event::new(Bytes::from_static(b"\0\xff\n\r\xc3 tail"));
        event.headers.insert("host", "a").expect("it fits");
        event.headers.insert("", "\u{e9}").expect("it fits");
        let mut putting = channel.put_transaction();
        putting.put(&event).expect("it fits");
        putting.put(&Event::default()).expect("it fits");
        let receipt = soon(putting.commit()).await.expect("there is space");
        assert_eq!((receipt.first_seq, receipt.events, receipt.duplicate), (1, 2, false));
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        let taken = soon(taking.take(10, Duration::ZERO)).await.expect("the channel is open");
        let expected = [Taken { seq: 1, event }, Taken { seq: 2, event: Event::default() }];
        assert_eq!(taken, expected);
    }

    pub(super) async fn nothing_is_visible_before_the_commit(home: Home) {
        let channel = home.open(&Setup::default());
        let mut putting = channel.put_transaction();
        putting.put(&Event::new("a")).expect("it fits");
        assert_eq!((putting.len(), putting.is_empty()), (1, false));
        assert!(putting.len_bytes() > 0);
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert!(take(&mut taking, 10).await.is_empty());
        soon(putting.commit()).await.expect("there is space");
        assert_eq!(take(&mut taking, 10).await, ["a"]);
    }

    pub(super) async fn a_rolled_back_or_dropped_put_leaves_nothing(home: Home) {
        let channel = home.open(&Setup::default());
        for rolled_back in [true, false] {
            let mut putting = channel.put_transaction();
            putting.put(&Event::new("gone")).expect("it fits");
            putting.set_position("file", b"7").expect("it fits");
            if rolled_back {
                putting.rollback();
            } else {
                drop(putting);
            }
        }
        put(&channel, &["a"]).await;
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a"]);
        assert_eq!(channel.position("file"), None);
    }

    pub(super) async fn an_event_in_an_open_take_is_invisible_to_others_of_its_cursor(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b", "c"]).await;
        let mut first = begin_take(&channel, MAIN_CURSOR);
        let mut second = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut first, 2).await, ["a", "b"]);
        assert_eq!(take(&mut second, 10).await, ["c"]);
        assert!(take(&mut first, 10).await.is_empty());
        assert_eq!((first.len(), second.len(), second.is_empty()), (2, 1, false));
    }

    pub(super) async fn a_rolled_back_take_comes_out_first_and_in_order(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b", "c", "d", "e"]).await;
        let mut first = begin_take(&channel, MAIN_CURSOR);
        let mut second = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut first, 2).await, ["a", "b"]);
        assert_eq!(take(&mut second, 2).await, ["c", "d"]);
        second.rollback();
        first.rollback();
        assert_eq!(deliver(&channel, MAIN_CURSOR, 3).await, ["a", "b", "c"]);
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["d", "e"]);
    }

    pub(super) async fn a_dropped_take_gives_its_events_back(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b"]).await;
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut taking, 1).await, ["a"]);
        drop(taking);
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a", "b"]);
    }

    pub(super) async fn takes_commit_out_of_order(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b", "c"]).await;
        let mut first = begin_take(&channel, MAIN_CURSOR);
        let mut second = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut first, 1).await, ["a"]);
        assert_eq!(take(&mut second, 1).await, ["b"]);
        let receipt = soon(second.commit()).await.expect("the take commits");
        assert_eq!(receipt.events, 1);
        first.rollback();
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a", "c"]);
    }

    pub(super) async fn two_cursors_read_one_copy_each_for_itself(home: Home) {
        let channel = home.open(&Setup::default().cursors(&["left", "right"]));
        put(&channel, &["a", "b"]).await;
        assert_eq!(drain(&channel, "left").await, ["a", "b"]);
        assert_eq!(channel.stats().events, 2, "the other cursor needs them");
        let mut taking = begin_take(&channel, "right");
        assert_eq!(take(&mut taking, 1).await, ["a"]);
        taking.rollback();
        put(&channel, &["c"]).await;
        assert_eq!(drain(&channel, "left").await, ["c"]);
        assert_eq!(drain(&channel, "right").await, ["a", "b", "c"]);
        assert_eq!(channel.stats().events, 0);
    }

    pub(super) async fn a_cursor_made_late_starts_at_the_oldest_event(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b"]).await;
        drop(begin_take(&channel, "late"));
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a", "b"]);
        put(&channel, &["c"]).await;
        assert_eq!(drain(&channel, "late").await, ["a", "b", "c"]);
    }

    pub(super) async fn an_unnamed_main_cursor_does_not_pin(home: Home) {
        let channel = home.open(&Setup::default().cursors(&["only"]));
        put(&channel, &["a"]).await;
        assert_eq!(drain(&channel, "only").await, ["a"]);
        assert_eq!(channel.stats().events, 0, "nobody else is waited for");
    }

    pub(super) async fn an_empty_commit_is_acknowledged(home: Home) {
        let channel = home.open(&Setup::default());
        let receipt = put(&channel, &[]).await;
        assert_eq!((receipt.first_seq, receipt.events, receipt.duplicate), (0, 0, false));
        let receipt = soon(begin_take(&channel, MAIN_CURSOR).commit()).await.expect("it commits");
        assert_eq!((receipt.first_seq, receipt.events), (0, 0));
        assert_eq!(put(&channel, &["a"]).await.first_seq, 1);
    }

    pub(super) async fn positions_are_what_the_last_commit_left(home: Home) {
        let channel = home.open(&Setup::default());
        for (key, value) in [("x", "1"), ("y", "2"), ("x", "3")] {
            let mut putting = channel.put_transaction();
            putting.set_position(key, value.as_bytes()).expect("it fits");
            let commit = putting.commit();
            soon(commit).await.expect("there is space");
        }
        assert_eq!(channel.position("x").as_deref(), Some(&b"3"[..]));
        assert_eq!(channel.position("y").as_deref(), Some(&b"2"[..]));
        let mut putting = channel.put_transaction();
        putting.set_position("x", b"").expect("it fits");
        soon(putting.commit()).await.expect("there is space");
        assert_eq!(channel.position("x"), None);
    }

    pub(super) async fn a_cursor_state_is_what_the_last_commit_left(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a"]).await;
        assert_eq!(channel.cursor_state(MAIN_CURSOR), None);
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut taking, 1).await, ["a"]);
        taking.set_state(b"one").expect("it fits");
        assert_eq!(channel.cursor_state(MAIN_CURSOR), None, "not before the commit");
        soon(taking.commit()).await.expect("the take commits");
        assert_eq!(channel.cursor_state(MAIN_CURSOR).as_deref(), Some(&b"one"[..]));

        let mut rolled_back = begin_take(&channel, MAIN_CURSOR);
        rolled_back.set_state(b"never").expect("it fits");
        rolled_back.rollback();
        soon(begin_take(&channel, MAIN_CURSOR).commit()).await.expect("the take commits");
        assert_eq!(channel.cursor_state(MAIN_CURSOR).as_deref(), Some(&b"one"[..]));

        let mut empty = begin_take(&channel, MAIN_CURSOR);
        empty.set_state(b"two").expect("it fits");
        soon(empty.commit()).await.expect("the take commits");
        assert_eq!(channel.cursor_state(MAIN_CURSOR).as_deref(), Some(&b"two"[..]));
        assert_eq!(channel.cursor_state("other"), None);
    }

    pub(super) async fn the_figures_follow_the_events(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b", "c"]).await;
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut taking, 2).await, ["a", "b"]);
        let stats = channel.stats();
        assert_eq!((stats.events, stats.events_in_flight, stats.events_put), (3, 2, 3));
        assert_eq!((stats.events_taken, stats.pinned_by.as_deref()), (0, Some(MAIN_CURSOR)));
        assert!(stats.bytes > 0);
        assert!(stats.bytes <= stats.bytes_max);
        soon(taking.commit()).await.expect("the take commits");
        let stats = channel.stats();
        assert_eq!((stats.events, stats.events_in_flight, stats.events_taken), (1, 0, 2));
    }
}

/// Idempotent producers, and the order of their sequences.
mod producers {
    use super::*;

    pub(super) async fn a_repeated_sequence_adds_nothing(home: Home) {
        let channel = home.open(&Setup::default());
        let first = soon(begin_produced(&channel, 5, "a")).await.expect("there is space");
        assert!(!first.duplicate);
        for sequence in [5, 4] {
            let again =
                soon(begin_produced(&channel, sequence, "again")).await.expect("it is a no-op");
            assert!(again.duplicate, "sequence {sequence}");
        }
        let next = soon(begin_produced(&channel, 9, "b")).await.expect("there is space");
        assert!(!next.duplicate, "gaps are allowed");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a", "b"]);
    }

    pub(super) async fn a_repeat_of_a_pending_commit_shares_its_fate(home: Home) {
        let channel = home.open(&Setup::events_max(1));
        put(&channel, &["filler"]).await;
        let first = begin_produced(&channel, 1, "a");
        let repeat = begin_produced(&channel, 1, "a");
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["filler"]);
        assert!(!soon(first).await.expect("space came").duplicate);
        assert!(soon(repeat).await.expect("space came").duplicate);
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a"]);
    }

    pub(super) async fn sequences_behind_a_refused_one_are_refused_until_it_commits(home: Home) {
        let channel = home.open(&Setup::events_max(1).timeout(SHORT));
        put(&channel, &["filler"]).await;
        assert_eq!(kind(soon(begin_produced(&channel, 1, "a")).await), ErrorKind::Full);
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["filler"]);
        let refused = soon(begin_produced(&channel, 2, "b")).await;
        assert_eq!(
            kind(refused),
            ErrorKind::OutOfSequence,
            "there is space, and it is not its turn"
        );
        soon(begin_produced(&channel, 1, "a")).await.expect("there is space");
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["a"]);
        soon(begin_produced(&channel, 2, "b")).await.expect("it is its turn");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["b"]);
    }

    pub(super) async fn sequences_waiting_behind_a_refused_one_are_refused_with_it(home: Home) {
        let channel = home.open(&Setup::events_max(1));
        put(&channel, &["filler"]).await;
        let mut first = channel.put_transaction();
        first.set_producer("p", 1).expect("the name is short");
        first.put(&Event::new("a")).expect("it fits");
        first.set_wait(SHORT);
        let first = first.commit();
        let second = begin_produced(&channel, 2, "b");
        let other = begin_put(&channel, &["other"]);
        assert_eq!(kind(soon(first).await), ErrorKind::Full);
        assert_eq!(kind(soon(second).await), ErrorKind::OutOfSequence);
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["filler"]);
        soon(other).await.expect("another's commit is not concerned");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["other"]);
    }

    pub(super) async fn sequences_waiting_behind_a_dropped_one_are_refused_with_it(home: Home) {
        let channel = home.open(&Setup::events_max(1));
        put(&channel, &["filler"]).await;
        let first = begin_produced(&channel, 1, "a");
        let second = begin_produced(&channel, 2, "b");
        drop(first);
        assert_eq!(kind(soon(second).await), ErrorKind::OutOfSequence);
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["filler"]);
        soon(begin_produced(&channel, 1, "a")).await.expect("there is space");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a"]);
    }
}

/// What a durable channel still knows after it was opened again.
mod reopened {
    use super::*;

    fn reopen(home: &Home, channel: Arc<dyn Channel>) -> Arc<dyn Channel> {
        channel.close();
        drop(channel);
        home.open(&Setup::default())
    }

    pub(super) async fn what_was_committed_is_there_in_order(home: Home) {
        let mut channel = home.open(&Setup::default());
        let mut expected = Vec::new();
        for round in 0..5 {
            for number in 0..20 {
                let body = format!("{round} {number}");
                put(&channel, &[&body]).await;
                expected.push(body);
            }
            channel = reopen(&home, channel);
        }
        assert_eq!(drain(&channel, MAIN_CURSOR).await, expected);
        let channel = reopen(&home, channel);
        assert!(drain(&channel, MAIN_CURSOR).await.is_empty());
    }

    pub(super) async fn without_close_it_is_the_same(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b"]).await;
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["a"]);
        drop(channel);
        let channel = home.open(&Setup::default());
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["b"]);
    }

    pub(super) async fn open_takes_come_back_first(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b", "c"]).await;
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut taking, 2).await, ["a", "b"]);
        drop(taking);
        let channel = reopen(&home, channel);
        put(&channel, &["d"]).await;
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a", "b", "c", "d"]);
    }

    pub(super) async fn out_of_order_acknowledgements_stay(home: Home) {
        let channel = home.open(&Setup::default());
        put(&channel, &["a", "b", "c"]).await;
        let mut first = begin_take(&channel, MAIN_CURSOR);
        let mut second = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut first, 1).await, ["a"]);
        assert_eq!(take(&mut second, 1).await, ["b"]);
        soon(second.commit()).await.expect("the take commits");
        drop(first);
        let channel = reopen(&home, channel);
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a", "c"]);
    }

    pub(super) async fn each_cursor_stays_where_it_was(home: Home) {
        let channel = home.open(&Setup::default().cursors(&["left", "right"]));
        put(&channel, &["a", "b", "c"]).await;
        assert_eq!(deliver(&channel, "left", 2).await, ["a", "b"]);
        assert_eq!(deliver(&channel, "right", 1).await, ["a"]);
        channel.close();
        drop(channel);
        let channel = home.open(&Setup::default().cursors(&["left", "right"]));
        assert_eq!(drain(&channel, "left").await, ["c"]);
        assert_eq!(drain(&channel, "right").await, ["b", "c"]);
    }

    pub(super) async fn positions_producers_and_states_stay(home: Home) {
        let channel = home.open(&Setup::default());
        let mut putting = channel.put_transaction();
        putting.set_position("file", b"120").expect("it fits");
        putting.put(&Event::new("a")).expect("it fits");
        soon(putting.commit()).await.expect("there is space");
        soon(begin_produced(&channel, 7, "b")).await.expect("there is space");
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut taking, 1).await, ["a"]);
        taking.set_state(b"file 1, 2 bytes").expect("it fits");
        soon(taking.commit()).await.expect("the take commits");

        let channel = reopen(&home, channel);
        assert_eq!(channel.position("file").as_deref(), Some(&b"120"[..]));
        assert_eq!(channel.cursor_state(MAIN_CURSOR).as_deref(), Some(&b"file 1, 2 bytes"[..]));
        assert!(soon(begin_produced(&channel, 7, "b")).await.expect("it is a no-op").duplicate);
        assert!(!soon(begin_produced(&channel, 8, "c")).await.expect("there is space").duplicate);
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["b", "c"]);
    }

    pub(super) async fn numbers_are_never_reused(home: Home) {
        let channel = home.open(&Setup::default());
        let last = put(&channel, &["a", "b"]).await.first_seq + 1;
        assert_eq!(drain(&channel, MAIN_CURSOR).await.len(), 2);
        let channel = reopen(&home, channel);
        assert!(put(&channel, &["c"]).await.first_seq > last);
    }

    pub(super) async fn a_put_that_was_not_committed_is_gone(home: Home) {
        let channel = home.open(&Setup::default());
        let mut putting = channel.put_transaction();
        putting.put(&Event::new("gone")).expect("it fits");
        put(&channel, &["a"]).await;
        drop(putting);
        let channel = reopen(&home, channel);
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a"]);
    }
}

/// Limits, and what waits for space.
mod space {
    use super::*;

    fn event_of(bytes: usize) -> Event {
        Event::new(vec![b'x'; bytes])
    }

    pub(super) async fn an_event_over_the_limit_is_refused_alone(home: Home) {
        let channel = home.open(&Setup::default());
        let limits = channel.limits();
        let limit = limits.event_bytes;
        let mut putting = channel.put_transaction();
        putting.put(&Event::new("a")).expect("it fits");
        let error = putting.put(&event_of(limit)).expect_err("its encoding is over the limit");
        assert_eq!(error.kind(), ErrorKind::EventTooLarge);
        let figures = [limit, limits.transaction_bytes].map(|figure| figure.to_string());
        assert!(figures.iter().any(|figure| error.to_string().contains(figure)), "{error}");
        putting.put(&Event::new("b")).expect("it fits");
        soon(putting.commit()).await.expect("there is space");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["a", "b"]);

        let largest = event_of(limit - Event::default().encoded_len());
        let mut putting = channel.put_transaction();
        putting.put(&largest).expect("it is exactly at the limit");
        soon(putting.commit()).await.expect("there is space");
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        let taken = soon(taking.take(1, LONG)).await.expect("the channel is open");
        assert_eq!(taken[0].event, largest);
    }

    pub(super) async fn a_transaction_over_its_limit_refuses_the_event_and_keeps_the_others(
        home: Home,
    ) {
        let channel = home.open(&Setup::default());
        let limits = channel.limits();
        let event = event_of(limits.event_bytes.min(limits.transaction_bytes) / 8);
        let mut putting = channel.put_transaction();
        let error = loop {
            assert!(putting.len() <= limits.transaction_events);
            if let Err(error) = putting.put(&event) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TransactionTooLarge);
        let held = putting.len();
        assert!(held >= 1);
        assert!(putting.len_bytes() <= limits.transaction_bytes);
        soon(putting.commit()).await.expect("there is space");
        assert_eq!(drain(&channel, MAIN_CURSOR).await.len(), held);
    }

    pub(super) async fn a_full_channel_refuses_after_the_timeout_and_says_why(home: Home) {
        let setup = Setup::events_max(3).timeout(SHORT).cursors(&["done", "behind"]);
        let channel = home.open(&setup);
        put(&channel, &["a", "b", "c"]).await;
        assert_eq!(drain(&channel, "done").await.len(), 3);
        let error = soon(begin_put(&channel, &["d"])).await.expect_err("the channel is full");
        assert_eq!(error.kind(), ErrorKind::Full);
        let text = error.to_string();
        assert!(text.contains('3') && text.contains("behind"), "{text}");
        assert!(!text.contains("done"), "{text}");
        assert_eq!(drain(&channel, "behind").await, ["a", "b", "c"]);
        put(&channel, &["e"]).await;
        assert_eq!(drain(&channel, "behind").await, ["e"]);
    }

    pub(super) async fn a_channel_full_of_bytes_goes_on_when_they_are_taken(home: Home) {
        let channel = home.open(&Setup::default().timeout(SHORT));
        let event = event_of(channel.limits().event_bytes / 2);
        let mut entered = 0;
        let error = loop {
            let mut putting = channel.put_transaction();
            putting.put(&event).expect("it fits");
            match soon(putting.commit()).await {
                Ok(_) => entered += 1,
                Err(error) => break error,
            }
            let stats = channel.stats();
            assert!(stats.bytes <= stats.bytes_max);
        };
        assert_eq!(error.kind(), ErrorKind::Full);
        let mut putting = channel.put_transaction();
        putting.put(&event).expect("it fits");
        putting.set_wait(LONG);
        let waiting = putting.commit();
        // What waited may enter while the rest is taken.
        let taken = drain(&channel, MAIN_CURSOR).await.len();
        soon(waiting).await.expect("space came");
        assert_eq!(taken + drain(&channel, MAIN_CURSOR).await.len(), entered + 1);
    }

    pub(super) async fn a_wait_of_its_own_replaces_the_timeout(home: Home) {
        let channel = home.open(&Setup::events_max(1).timeout(Duration::ZERO));
        put(&channel, &["a"]).await;
        assert_eq!(kind(soon(begin_put(&channel, &["no"])).await), ErrorKind::Full);
        let mut putting = channel.put_transaction();
        putting.put(&Event::new("b")).expect("it fits");
        putting.set_wait(Duration::MAX);
        let mut waiting = putting.commit();
        not_yet(&mut waiting).await;
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["a"]);
        soon(waiting).await.expect("space came");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["b"]);
    }

    pub(super) async fn a_waiting_put_resumes_by_itself(home: Home) {
        let channel = home.open(&Setup::events_max(2));
        put(&channel, &["a", "b"]).await;
        let mut waiting = begin_put(&channel, &["c"]);
        not_yet(&mut waiting).await;
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        assert_eq!(take(&mut taking, 10).await, ["a", "b"], "what waits is invisible");
        not_yet(&mut waiting).await;
        soon(taking.commit()).await.expect("the take commits");
        // It enters without being polled: the take sees it first.
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        let taken = soon(taking.take(1, LONG)).await.expect("the channel is open");
        assert_eq!(bodies(&taken), ["c"]);
        soon(waiting).await.expect("space came");
    }

    pub(super) async fn waiting_puts_enter_first_come_first_served(home: Home) {
        let channel = home.open(&Setup::events_max(2));
        put(&channel, &["1", "2"]).await;
        let large = begin_put(&channel, &["a", "b"]);
        let small = begin_put(&channel, &["c"]);
        let smaller = begin_put(&channel, &[]);
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["1"]);
        assert_eq!(channel.stats().events, 1, "the small one does not overtake");
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["2"]);
        soon(large).await.expect("space came");
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["a"]);
        soon(small).await.expect("space came");
        soon(smaller).await.expect("its turn came");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["b", "c"]);
    }

    pub(super) async fn a_waiting_commit_that_is_dropped_is_rolled_back(home: Home) {
        let channel = home.open(&Setup::events_max(1));
        put(&channel, &["a"]).await;
        let dropped = begin_put(&channel, &["never"]);
        let mut polled = begin_put(&channel, &["nor this"]);
        let kept = begin_put(&channel, &["b"]);
        not_yet(&mut polled).await;
        drop(dropped);
        drop(polled);
        assert_eq!(deliver(&channel, MAIN_CURSOR, 1).await, ["a"]);
        soon(kept).await.expect("space came");
        assert_eq!(drain(&channel, MAIN_CURSOR).await, ["b"]);
    }

    pub(super) async fn a_commit_that_has_entered_goes_on_when_dropped(home: Home) {
        let channel = home.open(&Setup::default());
        drop(begin_put(&channel, &["a"]));
        let mut taking = begin_take(&channel, MAIN_CURSOR);
        let taken = soon(taking.take(1, LONG)).await.expect("the channel is open");
        assert_eq!(bodies(&taken), ["a"]);
    }

    pub(super) async fn the_slowest_cursor_holds_the_space(home: Home) {
        let channel = home.open(&Setup::events_max(1).cursors(&["fast", "slow"]));
        put(&channel, &["a"]).await;
        let mut waiting = begin_put(&channel, &["b"]);
        assert_eq!(deliver(&channel, "fast", 1).await, ["a"]);
        not_yet(&mut waiting).await;
        assert_eq!(deliver(&channel, "slow", 1).await, ["a"]);
        soon(waiting).await.expect("space came");
    }
}

macro_rules! tests {
    ($open:expr; $($module:ident: $($test:ident)*;)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$module::$test(super::Home::new($open)).await;
            }
        )*)*
    };
}

macro_rules! contract {
    ($channel:ident, $open:expr) => {
        mod $channel {
            tests! { $open;
                order:
                    events_come_out_in_commit_order_and_in_put_order_inside_a_transaction
                    headers_and_bodies_of_any_bytes_come_out_as_they_went_in
                    nothing_is_visible_before_the_commit
                    a_rolled_back_or_dropped_put_leaves_nothing
                    an_event_in_an_open_take_is_invisible_to_others_of_its_cursor
                    a_rolled_back_take_comes_out_first_and_in_order
                    a_dropped_take_gives_its_events_back
                    takes_commit_out_of_order
                    two_cursors_read_one_copy_each_for_itself
                    a_cursor_made_late_starts_at_the_oldest_event
                    an_unnamed_main_cursor_does_not_pin
                    an_empty_commit_is_acknowledged
                    positions_are_what_the_last_commit_left
                    a_cursor_state_is_what_the_last_commit_left
                    the_figures_follow_the_events;
                producers:
                    a_repeated_sequence_adds_nothing
                    a_repeat_of_a_pending_commit_shares_its_fate
                    sequences_behind_a_refused_one_are_refused_until_it_commits
                    sequences_waiting_behind_a_refused_one_are_refused_with_it
                    sequences_waiting_behind_a_dropped_one_are_refused_with_it;
                space:
                    an_event_over_the_limit_is_refused_alone
                    a_transaction_over_its_limit_refuses_the_event_and_keeps_the_others
                    a_full_channel_refuses_after_the_timeout_and_says_why
                    a_channel_full_of_bytes_goes_on_when_they_are_taken
                    a_wait_of_its_own_replaces_the_timeout
                    a_waiting_put_resumes_by_itself
                    waiting_puts_enter_first_come_first_served
                    a_waiting_commit_that_is_dropped_is_rolled_back
                    a_commit_that_has_entered_goes_on_when_dropped
                    the_slowest_cursor_holds_the_space;
                closing:
                    a_closed_channel_refuses_what_begins_or_commits_later
                    closing_ends_a_waiting_take
                    closing_refuses_a_waiting_put;
                many:
                    a_waiting_take_is_woken_by_a_put
                    a_waiting_take_is_woken_by_a_rollback
                    a_take_that_stops_waiting_loses_nothing
                    a_take_waits_only_as_long_as_asked
                    many_commits_in_flight_are_acknowledged_in_order
                    four_producers_and_four_consumers_pass_on_each_event_once;
            }
        }
    };
    ($channel:ident, $open:expr, durable as $reopened:ident) => {
        contract!($channel, $open);

        mod $reopened {
            tests! { $open;
                reopened:
                    what_was_committed_is_there_in_order
                    without_close_it_is_the_same
                    open_takes_come_back_first
                    out_of_order_acknowledgements_stay
                    each_cursor_stays_where_it_was
                    positions_producers_and_states_stay
                    numbers_are_never_reused
                    a_put_that_was_not_committed_is_gone;
            }
        }
    };
}

contract!(memory_channel, super::memory);
contract!(
    file_commit,
    |path, setup| super::file(path, setup, "commit"),
    durable as file_commit_reopened
);
contract!(
    file_interval,
    |path, setup| super::file(path, setup, "interval:20ms"),
    durable as file_interval_reopened
);
contract!(file_os, |path, setup| super::file(path, setup, "os"), durable as file_os_reopened);
