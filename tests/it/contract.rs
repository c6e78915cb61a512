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

mod closing;
mod many;
mod order;
mod producers;
mod reopened;
mod space;

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
