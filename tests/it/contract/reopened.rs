//! What a durable channel still knows after it was opened again.

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
