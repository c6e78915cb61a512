//! Limits, and what waits for space.

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
