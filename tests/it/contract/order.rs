//! What comes out, in which order, and who sees it.

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
