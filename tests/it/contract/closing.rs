//! What a closed channel refuses, and what it ends.

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
