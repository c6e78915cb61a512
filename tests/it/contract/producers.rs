//! Idempotent producers, and the order of their sequences.

use super::*;

pub(super) async fn a_repeated_sequence_adds_nothing(home: Home) {
    let channel = home.open(&Setup::default());
    let first = soon(begin_produced(&channel, 5, "a")).await.expect("there is space");
    assert!(!first.duplicate);
    for sequence in [5, 4] {
        let again = soon(begin_produced(&channel, sequence, "again")).await.expect("it is a no-op");
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
    assert_eq!(kind(refused), ErrorKind::OutOfSequence, "there is space, and it is not its turn");
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
