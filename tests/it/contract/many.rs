//! Waiting, waking, and many at once.

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
    let producers: Vec<_> =
        (0..PRODUCERS).map(|number| tokio::spawn(produce(Arc::clone(&channel), number))).collect();
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
    let expected = (0..PRODUCERS)
        .flat_map(|producer| (0..EVENTS_EACH).map(move |event| format!("{producer} {event:05}")));
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
