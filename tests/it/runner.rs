//! What lies between connectors and channels: a source's outlet, a sink's runner.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use forebay::Failure;
use forebay::channel::{
    BoxFuture, Channel, Commit, Error, ErrorKind, Limits, MAIN_CURSOR, MemoryChannel,
    MemoryOptions, PutTransaction, Stats, TakeTransaction, Taken,
};
use forebay::event::Event;
use forebay::shutdown::Shutdown;
use forebay::sink::{self, RunnerOptions, Sink, SinkState};
use forebay::source::{Outlet, Placed};

use crate::support::{deliver, soon, until};

/// A memory channel that refuses some commits with an error of a kind.
#[derive(Debug)]
struct Refusing {
    inner: MemoryChannel,
    puts: Arc<Mutex<VecDeque<ErrorKind>>>,
    takes: Arc<Mutex<VecDeque<ErrorKind>>>,
}

impl Refusing {
    fn new(puts: &[ErrorKind], takes: &[ErrorKind]) -> Arc<Refusing> {
        Arc::new(Refusing {
            inner: MemoryChannel::new(MemoryOptions::default()),
            puts: Arc::new(Mutex::new(puts.iter().copied().collect())),
            takes: Arc::new(Mutex::new(takes.iter().copied().collect())),
        })
    }
}

fn refusal(kinds: &Mutex<VecDeque<ErrorKind>>) -> Option<Commit> {
    let kind = kinds.lock().expect("no test panics with it").pop_front()?;
    Some(Commit::new(async move { Err(Error::new(kind, "refused by the test")) }))
}

impl Channel for Refusing {
    fn put_transaction(&self) -> Box<dyn PutTransaction> {
        Box::new(RefusingPut(self.inner.put_transaction(), Arc::clone(&self.puts)))
    }

    fn take_transaction(&self, cursor: &str) -> Result<Box<dyn TakeTransaction>, Error> {
        let take = self.inner.take_transaction(cursor)?;
        Ok(Box::new(RefusingTake(take, Arc::clone(&self.takes))))
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn position(&self, key: &str) -> Option<Bytes> {
        self.inner.position(key)
    }

    fn cursor_state(&self, cursor: &str) -> Option<Bytes> {
        self.inner.cursor_state(cursor)
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn close(&self) {
        self.inner.close();
    }
}

struct RefusingPut(Box<dyn PutTransaction>, Arc<Mutex<VecDeque<ErrorKind>>>);

impl PutTransaction for RefusingPut {
    fn put(&mut self, event: &Event) -> Result<(), Error> {
        self.0.put(event)
    }

    fn set_position(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.0.set_position(key, value)
    }

    fn set_producer(&mut self, producer: &str, sequence: u64) -> Result<(), Error> {
        self.0.set_producer(producer, sequence)
    }

    fn set_wait(&mut self, wait: Duration) {
        self.0.set_wait(wait);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn len_bytes(&self) -> usize {
        self.0.len_bytes()
    }

    fn commit(self: Box<Self>) -> Commit {
        refusal(&self.1).unwrap_or_else(|| self.0.commit())
    }

    fn rollback(self: Box<Self>) {}
}

struct RefusingTake(Box<dyn TakeTransaction>, Arc<Mutex<VecDeque<ErrorKind>>>);

impl TakeTransaction for RefusingTake {
    fn take(
        &mut self,
        events_max: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Taken>, Error>> {
        self.0.take(events_max, wait)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn set_state(&mut self, state: &[u8]) -> Result<(), Error> {
        self.0.set_state(state)
    }

    fn commit(self: Box<Self>) -> Commit {
        refusal(&self.1).unwrap_or_else(|| self.0.commit())
    }

    fn rollback(self: Box<Self>) {}
}

fn memory(bytes_max: u64) -> Arc<dyn Channel> {
    Arc::new(MemoryChannel::new(MemoryOptions { bytes_max, ..MemoryOptions::default() }))
}

fn outlet(channels: &[&Arc<dyn Channel>]) -> Outlet {
    let named = channels.iter().enumerate();
    Outlet::new("test", named.map(|(at, channel)| (at.to_string(), Arc::clone(channel))).collect())
}

#[tokio::test]
async fn a_commit_refused_for_want_of_space_is_tried_again_with_the_same_events() {
    let refusing = Refusing::new(&[ErrorKind::Full], &[]);
    let channel: Arc<dyn Channel> = refusing;
    let mut gathering = outlet(&[&channel]).gather();
    for body in ["a", "b"] {
        let placed = gathering.put(Event::new(body)).expect("it fits");
        assert!(matches!(placed, Placed::In));
    }
    assert_eq!(soon(gathering.commit().acknowledged()).await.expect("it is tried again"), 2);
    assert_eq!(deliver(&channel, 2).await, ["a", "b"]);
}

#[tokio::test]
async fn a_commit_refused_for_good_is_not_tried_again() {
    let channel: Arc<dyn Channel> = Refusing::new(&[ErrorKind::InDoubt], &[]);
    let mut gathering = outlet(&[&channel]).gather();
    gathering.put(Event::new("a")).expect("it fits");
    let error = soon(gathering.commit().acknowledged()).await.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::InDoubt);
    assert_eq!(channel.stats().events, 0);
}

#[tokio::test]
async fn an_event_that_one_channel_refuses_is_in_none() {
    let (large, small) = (memory(1 << 20), memory(4096));
    let outlet = outlet(&[&large, &small]);
    assert_eq!(outlet.event_bytes_max(), small.limits().event_bytes);
    let mut gathering = outlet.gather();
    gathering.put(Event::new(vec![b'a'; 600])).expect("it fits");
    let placed = gathering.put(Event::new(vec![b'b'; 600])).expect("it fits into the next");
    let Placed::Next(second) = placed else { panic!("the small channel's transaction is full") };
    let error = gathering.put(Event::new(vec![b'c'; 2000]));
    // Too large alone is told apart from too large for what is left.
    assert_eq!(error.expect_err("it fits nowhere").kind(), ErrorKind::EventTooLarge);
    assert_eq!(soon(gathering.commit().acknowledged()).await.expect("there is space"), 1);
    let mut gathering = outlet.gather();
    gathering.put(second).expect("it fits");
    assert_eq!(soon(gathering.commit().acknowledged()).await.expect("there is space"), 1);
    for channel in [large, small] {
        assert_eq!(deliver(&channel, 2).await, ["a".repeat(600), "b".repeat(600)]);
        assert_eq!(channel.stats().events, 0);
    }
}

/// A sink that remembers what it was asked to do.
struct Remembering {
    log: Arc<Mutex<Vec<String>>>,
    failures: usize,
}

impl Remembering {
    fn note(&self, line: String) {
        self.log.lock().expect("no test panics with it").push(line);
    }
}

impl Sink for Remembering {
    fn open(&mut self, state: Option<Bytes>) -> BoxFuture<'_, Result<SinkState, Failure>> {
        self.note(format!(
            "open {:?}",
            state.map(|state| String::from_utf8_lossy(&state).into_owned())
        ));
        Box::pin(async { Ok(None) })
    }

    fn deliver(&mut self, events: Vec<Taken>) -> BoxFuture<'_, Result<SinkState, Failure>> {
        let bodies: Vec<_> =
            events.iter().map(|taken| String::from_utf8_lossy(&taken.event.body)).collect();
        self.note(bodies.join(" "));
        let failed = self.failures > 0;
        self.failures = self.failures.saturating_sub(1);
        let state = bodies.last().map(|body| body.as_bytes().to_vec());
        Box::pin(async move { if failed { Err(Failure::new("by the test")) } else { Ok(state) } })
    }
}

fn options() -> RunnerOptions {
    RunnerOptions {
        channel: "c".to_owned(),
        cursor: MAIN_CURSOR.to_owned(),
        batch_size: 2,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
    }
}

async fn put(channel: &Arc<dyn Channel>, bodies: &[&'static str]) {
    let mut put = channel.put_transaction();
    for body in bodies {
        put.put(&Event::new(*body)).expect("it fits");
    }
    soon(put.commit()).await.expect("there is space");
}

/// Runs a sink that fails so many times until the channel is drained or it gives up.
async fn drained(
    channel: &Arc<dyn Channel>,
    failures: usize,
) -> (Vec<String>, Result<(), Failure>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = Remembering { log: Arc::clone(&log), failures };
    let (shutdown, drain) = Shutdown::new();
    shutdown.stop();
    let ended =
        soon(sink::run("test", Box::new(sink), Arc::clone(channel), &options(), drain)).await;
    let log = log.lock().expect("no test panics with it").clone();
    (log, ended)
}

#[tokio::test]
async fn a_failed_delivery_opens_the_sink_again_at_the_last_state() {
    let channel = memory(1 << 20);
    put(&channel, &["a", "b", "c"]).await;
    let (log, ended) = drained(&channel, 2).await;
    ended.expect("it went on");
    assert_eq!(log, ["open None", "a b", "open None", "a b", "open None", "a b", "c"]);
    assert_eq!(channel.cursor_state(MAIN_CURSOR).as_deref(), Some(&b"c"[..]));
}

#[tokio::test]
async fn a_refused_take_commit_opens_the_sink_again_at_the_last_state() {
    let channel: Arc<dyn Channel> = Refusing::new(&[], &[ErrorKind::Io]);
    put(&channel, &["a", "b", "c"]).await;
    let (log, ended) = drained(&channel, 0).await;
    ended.expect("it went on");
    assert_eq!(log, ["open None", "a b", "open None", "a b", "c"]);
}

#[tokio::test]
async fn a_take_commit_in_doubt_ends_the_sink_without_undoing_anything() {
    let channel: Arc<dyn Channel> = Refusing::new(&[], &[ErrorKind::InDoubt]);
    put(&channel, &["a"]).await;
    let (log, ended) = drained(&channel, 0).await;
    let failure = ended.expect_err("only a restart can tell");
    assert_eq!(failure.channel_kind(), Some(ErrorKind::InDoubt));
    assert_eq!(log, ["open None", "a"], "it is not opened again, which would undo");
}

#[tokio::test]
async fn a_sink_waits_for_events_and_ends_with_its_channel() {
    let channel = memory(1 << 20);
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = Remembering { log: Arc::clone(&log), failures: 0 };
    let (_shutdown, drain) = Shutdown::new();
    let running = Arc::clone(&channel);
    let task =
        tokio::spawn(
            async move { sink::run("test", Box::new(sink), running, &options(), drain).await },
        );
    put(&channel, &["a"]).await;
    until(|| (channel.stats().events == 0).then_some(())).await;
    put(&channel, &["b"]).await;
    until(|| (channel.stats().events == 0).then_some(())).await;
    channel.close();
    soon(task).await.expect("it ends").expect("a closed channel is no failure");
    assert_eq!(*log.lock().expect("no test panics with it"), ["open None", "a", "b"]);
}
