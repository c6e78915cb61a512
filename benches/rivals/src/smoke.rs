//! Each rival does the same work: what is put comes out, once and in order, also after it was
//! opened again, and what was taken stays taken.

use std::path::Path;
use std::time::Duration;

use forebay::event::Event;

use crate::event::{Order, Pool};
use crate::flume::Flume;
use crate::stores::{Kind, Shape, Store};
use crate::work::{Bench, Figure, Load, Work};

fn store(kind: Kind, dir: &Path) -> Box<dyn Store> {
    kind.open(dir, Shape::Backlog(1000)).expect("a store")
}

fn put(store: &dyn Store, events: &[Event]) {
    store.producer().expect("a producer").put(events).expect("put");
}

fn take(store: &dyn Store, events_max: usize) -> Vec<Event> {
    let mut taken = Vec::new();
    store.taker().expect("a taker").take(events_max, &mut taken).expect("taken");
    taken
}

fn a_queue_gives_back_what_it_was_given(kind: Kind) {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("store");
    let pool = Pool::new();
    let events = pool.batch(0, 40);
    let first = store(kind, &dir);
    put(first.as_ref(), &events[..1]);
    put(first.as_ref(), &events[1..21]);
    put(first.as_ref(), &events[21..30]);
    assert_eq!(take(first.as_ref(), 5), &events[..5], "across two puts");
    assert_eq!(take(first.as_ref(), 7), &events[5..12], "inside of one");
    drop(first);

    let again = store(kind, &dir);
    put(again.as_ref(), &events[30..]);
    assert_eq!(take(again.as_ref(), 20), &events[12..32], "what was taken stays taken");
    assert_eq!(take(again.as_ref(), 100), &events[32..], "no more than there are");
    assert_eq!(take(again.as_ref(), 100), []);
    again.settle().expect("settled");
    drop(again);

    let empty = store(kind, &dir);
    assert_eq!(take(empty.as_ref(), 1), [], "an empty queue stays empty");
    put(empty.as_ref(), &events[..2]);
    assert_eq!(take(empty.as_ref(), 1), &events[..1]);
    drop(empty);
    assert_eq!(take(store(kind, &dir).as_ref(), 9), &events[1..2]);
}

/// Taken events that are still there at an opening are removed later, beyond newer ones: the next
/// number must not follow from what is left.
fn numbers_go_on_behind_what_was_removed(kind: Kind) {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("store");
    let pool = Pool::new();
    let first = store(kind, &dir);
    put(first.as_ref(), pool.batch(0, 10));
    assert_eq!(take(first.as_ref(), 10), pool.batch(0, 10));
    drop(first);
    for _ in 0..2 {
        let again = store(kind, &dir);
        for _ in 0..8 {
            put(again.as_ref(), pool.batch(7, 1024));
        }
        for _ in 0..8 {
            assert_eq!(take(again.as_ref(), 1024), pool.batch(7, 1024));
        }
        assert_eq!(take(again.as_ref(), 1), []);
    }
    let last = store(kind, &dir);
    put(last.as_ref(), pool.batch(3, 1));
    assert_eq!(take(last.as_ref(), 9), pool.batch(3, 1));
}

/// All works in turn, with the checks that are in them, and nothing left over.
fn every_work_is_done(kind: Kind) {
    let dir = tempfile::tempdir().expect("a directory");
    let pool = Pool::new();
    let store = store(kind, &dir.path().join("store"));
    let mut total = 0;
    let mut bench = Bench { store: store.as_ref(), pool: &pool, put: &mut total, waiting: 0 };
    let works = [(Work::Put, 1), (Work::Put, 4), (Work::Take, 1), (Work::Both, 1)];
    for (work, producers) in works {
        let load = Load {
            work,
            producers,
            batch: 10,
            seconds: Duration::from_millis(100),
            warm: Duration::ZERO,
            backlog: 500,
            marked_commits: None,
        };
        let figure = bench.run(&load).expect("done");
        assert!(figure.commits > 0, "{work:?}");
        assert_eq!(figure.events, 10 * figure.commits, "{work:?}");
        assert!(figure.seconds >= 0.1, "{work:?}: {figure:?}");
        assert_eq!(bench.waiting, 0, "{work:?}");
    }
    assert!(total >= 500);
    assert_eq!(take(store.as_ref(), 1), []);
}

macro_rules! rivals {
    ($($name:ident: $kind:expr,)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn what_is_put_comes_out_once_and_in_order_across_openings() {
                a_queue_gives_back_what_it_was_given($kind);
            }

            #[test]
            fn numbers_go_on_where_all_that_is_newer_was_removed() {
                numbers_go_on_behind_what_was_removed($kind);
            }

            #[test]
            fn every_work_is_done_and_leaves_nothing() {
                every_work_is_done($kind);
            }
        }
    )*};
}

rivals! {
    forebay_channel: Kind::Forebay,
    okaywal: Kind::Okaywal,
    fjall: Kind::Fjall,
    redb: Kind::Redb,
    sqlite: Kind::Sqlite,
    yaque: Kind::Yaque,
}

#[cfg(feature = "rocksdb")]
rivals! {
    rocksdb: Kind::Rocksdb,
}

#[test]
fn flume_puts_and_takes_the_same_events_in_order() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../flume/target");
    let flume = Flume { target, heap: "512m".to_owned() };
    if let Some(missing) = flume.missing() {
        println!("{missing}");
        return;
    }
    // The class checks what comes out as `Order` does, and fails if it is not what was put.
    for (work, producers) in [(Work::Put, 4), (Work::Take, 1), (Work::Both, 1)] {
        let dir = tempfile::tempdir().expect("a directory");
        let load = Load {
            work,
            producers,
            batch: 10,
            seconds: Duration::ZERO,
            warm: Duration::ZERO,
            backlog: 20_000,
            marked_commits: Some(20),
        };
        let figure: Figure = flume.measure(dir.path(), &load).expect("measured");
        assert_eq!((figure.events, figure.commits), (200, 20), "{work:?}");
    }
}

#[test]
fn an_order_that_is_broken_is_seen() {
    let pool = Pool::new();
    let events = pool.batch(0, 3);
    let mut order = Order::from_the_first();
    order.check(&events[..1]).expect("the first one");
    order.check(&events[2..]).expect_err("the second one is missing");
    let mut changed = events[0].clone();
    changed.body = changed.body.slice(..100);
    Order::from_the_first().check(&[changed]).expect_err("a part of it is missing");
}
