//! Put and take transactions of the log engine, and the floor beside them.
//!
//! `FOREBAY_BENCH_DIR` says on which file system; the system's temporary directory unless set.

use std::path::PathBuf;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_benches::{Floor, event};
use forebay_wal::{Channel, Options, SyncClass};
use tempfile::TempDir;

const BATCHES: [usize; 4] = [1, 10, 100, 1000];

fn dir() -> TempDir {
    let parent =
        std::env::var_os("FOREBAY_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    TempDir::new_in(parent).expect("a directory")
}

fn put(channel: &Channel, event: &[u8], events: usize) {
    let mut put = channel.put_transaction();
    for _ in 0..events {
        put.put(event).expect("it fits");
    }
    put.commit().expect("it is committed");
}

/// Takes as much as there is, so that the channel never fills.
fn drain(channel: &Channel) {
    loop {
        let mut take = channel.take_transaction("main").expect("a take");
        let taken = take.take_many(10_000, usize::MAX).expect("events");
        if taken.is_empty() {
            return;
        }
        take.commit().expect("it is committed");
    }
}

fn puts(criterion: &mut Criterion) {
    let event = event();
    for (name, sync) in [("put_commit", SyncClass::Commit), ("put_os", SyncClass::Os)] {
        let mut group = criterion.benchmark_group(name);
        for batch in BATCHES {
            let dir = dir();
            let options = Options::new().bytes_max(4 << 30).sync(sync);
            let channel = Channel::open(dir.path(), options).expect("a channel");
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_with_input(
                BenchmarkId::new("channel", batch),
                &batch,
                |bencher, &batch| {
                    bencher.iter_custom(|rounds| {
                        let mut spent = std::time::Duration::ZERO;
                        let mut waiting = 0;
                        for _ in 0..rounds {
                            let started = std::time::Instant::now();
                            put(&channel, &event, batch);
                            spent += started.elapsed();
                            waiting += batch;
                            if waiting > 1_000_000 {
                                drain(&channel);
                                waiting = 0;
                            }
                        }
                        drain(&channel);
                        spent
                    });
                },
            );
            if sync == SyncClass::Commit {
                let mut floor = Floor::new(dir.path(), 256 << 20).expect("a file");
                let bytes = vec![b'x'; batch * (event.len() + 4)];
                group.bench_with_input(BenchmarkId::new("floor", batch), &batch, |bencher, _| {
                    bencher.iter(|| floor.commit(&bytes).expect("written"));
                });
            }
        }
        group.finish();
    }
}

fn takes(criterion: &mut Criterion) {
    let event = event();
    let mut group = criterion.benchmark_group("take_os");
    let dir = dir();
    let options = Options::new().bytes_max(4 << 30).sync(SyncClass::Os);
    let channel = Channel::open(dir.path(), options).expect("a channel");
    for batch in [100, 1000] {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_with_input(BenchmarkId::new("channel", batch), &batch, |bencher, &batch| {
            bencher.iter_custom(|rounds| {
                let mut spent = std::time::Duration::ZERO;
                for _ in 0..rounds {
                    put(&channel, &event, batch);
                    let started = std::time::Instant::now();
                    let mut take = channel.take_transaction("main").expect("a take");
                    let taken = take.take_many(batch, usize::MAX).expect("events");
                    assert_eq!(taken.len(), batch);
                    take.commit().expect("it is committed");
                    spent += started.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

fn opens(criterion: &mut Criterion) {
    let event = event();
    let dir = dir();
    let options = || Options::new().bytes_max(4 << 30).sync(SyncClass::Commit);
    let channel = Channel::open(dir.path(), options()).expect("a channel");
    for _ in 0..1000 {
        put(&channel, &event, 1000);
    }
    drop(channel);
    let mut group = criterion.benchmark_group("open");
    group.sample_size(20);
    group.bench_function("1_000_000_events", |bencher| {
        bencher.iter(|| Channel::open(dir.path(), options()).expect("a channel"));
    });
    group.finish();
}

criterion_group!(benches, puts, takes, opens);
criterion_main!(benches);
