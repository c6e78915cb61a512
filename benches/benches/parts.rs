//! The parts of the log, each alone as far as it can be: encoding, checksums, blocks, cursors, group
//! commit, replay.
//!
//! `FOREBAY_BENCH_DIR` says on which file system; the system's temporary directory unless set. With
//! `-- --quick` it takes half a minute.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_benches::{BODY_BYTES, event};
use forebay_wal::doors::{self, CursorAlone};
use forebay_wal::{Channel, Inspection, Options, SyncClass};
use tempfile::TempDir;

const BATCHES: [usize; 4] = [1, 10, 100, 1000];

fn dir() -> TempDir {
    let parent =
        std::env::var_os("FOREBAY_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    TempDir::new_in(parent).expect("a directory")
}

fn channel(dir: &TempDir, sync: SyncClass) -> Channel {
    let options = Options::new().bytes_max(2 << 30).sync(sync);
    Channel::open(dir.path(), options).expect("a channel")
}

/// About as many bytes as so many events take in a put.
fn events(count: usize) -> Bytes {
    event().repeat(count).into()
}

/// Events gathered in a transaction that is never committed: encoding, and its checksum.
fn encode(criterion: &mut Criterion) {
    let (dir, event) = (dir(), event());
    let channel = channel(&dir, SyncClass::Os);
    let mut group = criterion.benchmark_group("encode");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_with_input(BenchmarkId::new("put", batch), &batch, |bencher, &batch| {
            bencher.iter(|| {
                let mut put = channel.put_transaction();
                for _ in 0..batch {
                    put.put(black_box(&event)).expect("it fits");
                }
            });
        });
    }
    group.finish();
}

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for len in [64, BODY_BYTES, 4 << 10, 64 << 10, 1 << 20] {
        let bytes = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::new("whole", len), &bytes, |bencher, bytes| {
            bencher.iter(|| doors::checksum(black_box(bytes)));
        });
        group.bench_with_input(BenchmarkId::new("joined", len), &bytes, |bencher, bytes| {
            let (one, other) = bytes.split_at(len / 2);
            bencher.iter(|| doors::checksum_joined(black_box(one), black_box(other)));
        });
    }
    group.finish();
}

/// What a put of that many events, on the disk, begins and ends with.
fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block");
    for batch in BATCHES {
        let events = events(batch);
        group.throughput(Throughput::Bytes(events.len() as u64));
        group.bench_with_input(BenchmarkId::new("encode", batch), &events, |bencher, events| {
            bencher.iter(|| doors::encode_block(batch as u32, black_box(events)));
        });
        let block = block_of(batch);
        group.bench_with_input(BenchmarkId::new("decode", batch), &block, |bencher, block| {
            bencher.iter(|| doors::decode_block(black_box(block)).expect("it is whole"));
        });
    }
    group.finish();
}

/// The block of a put, as a channel has written it.
fn block_of(batch: usize) -> Bytes {
    let (dir, event) = (dir(), event());
    let options = Options::new().bytes_max(64 << 20).sync(SyncClass::Os);
    let channel = Channel::open(dir.path(), options).expect("a channel");
    put(&channel, &event, batch);
    drop(channel);
    let files = std::fs::read_dir(dir.path()).expect("it is there");
    let blocks = files.filter_map(|file| {
        let bytes = Bytes::from(std::fs::read(file.expect("it is listed").path()).ok()?);
        let slots = (0..bytes.len()).step_by(4096).map(|at| bytes.slice(at..));
        let mut puts = slots.filter(|block| {
            block.len() > event.len()
                && block[..block.len().min(1024)].windows(64).any(|window| window == [b'x'; 64])
                && doors::decode_block(block).is_some()
        });
        puts.next()
    });
    blocks.last().expect("its put stands there")
}

fn cursors(criterion: &mut Criterion) {
    const EVENTS: u64 = 1 << 40;
    let mut group = criterion.benchmark_group("cursor");
    for (name, acknowledges) in [("reserve_and_ack", true), ("reserve_and_return", false)] {
        for batch in BATCHES {
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_with_input(BenchmarkId::new(name, batch), &batch, |bencher, &batch| {
                let mut cursor = CursorAlone::new(EVENTS);
                bencher.iter(|| assert_eq!(cursor.take(batch, acknowledges), batch as u64));
            });
        }
    }
    group.finish();
}

fn put(channel: &Channel, event: &[u8], events: usize) {
    let mut put = channel.put_transaction();
    for _ in 0..events {
        put.put(event).expect("it fits");
    }
    put.commit().expect("it is committed");
}

fn drain(channel: &Channel) {
    loop {
        let mut take = channel.take_transaction("main").expect("a take");
        if take.take_many(10_000, usize::MAX).expect("events").is_empty() {
            return;
        }
        take.commit().expect("it is committed");
    }
}

/// Several producers and no disk to wait for: what handing over, leading and waking cost.
fn group_commit(criterion: &mut Criterion) {
    const COMMITS_A_ROUND: u64 = 20_000;
    let (dir, event) = (dir(), event());
    let channel = channel(&dir, SyncClass::Os);
    let mut group = criterion.benchmark_group("group_commit_os");
    group.throughput(Throughput::Elements(1));
    for producers in [1, 2, 4, 16] {
        let id = BenchmarkId::new("producers", producers);
        group.bench_with_input(id, &producers, |bencher, &producers| {
            bencher.iter_custom(|commits| {
                let (mut spent, mut left) = (Duration::ZERO, commits);
                while left > 0 {
                    let now = left.min(COMMITS_A_ROUND);
                    spent += commit_from(&channel, &event, producers, now);
                    drain(&channel);
                    left -= now;
                }
                spent
            });
        });
    }
    group.finish();
}

/// How long so many commits of one event take, by so many threads together.
fn commit_from(channel: &Channel, event: &[u8], producers: u64, commits: u64) -> Duration {
    let begin = Barrier::new(producers as usize + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..producers)
            .map(|number| {
                let mine = commits / producers + u64::from(number < commits % producers);
                let begin = &begin;
                scope.spawn(move || {
                    begin.wait();
                    (0..mine).for_each(|_| put(channel, event, 1));
                })
            })
            .collect();
        begin.wait();
        let started = Instant::now();
        threads.into_iter().for_each(|thread| thread.join().expect("it commits"));
        started.elapsed()
    })
}

/// Replay of a log of 32 MiB from its State, without a checkpoint and without writing; and an open.
fn replay(criterion: &mut Criterion) {
    let (dir, event) = (dir(), event());
    let opened = channel(&dir, SyncClass::Os);
    for _ in 0..600 {
        put(&opened, &event, 100);
    }
    drop(opened);
    let mut group = criterion.benchmark_group("replay");
    group.sample_size(10);
    group.bench_function("open", |bencher| {
        bencher.iter_batched(|| (), |()| channel(&dir, SyncClass::Os), BatchSize::PerIteration);
    });
    for name in ["checkpoint.a", "checkpoint.b"] {
        std::fs::remove_file(dir.path().join(name)).expect("it is there");
    }
    group.bench_function("whole_log", |bencher| {
        bencher.iter(|| {
            let inspection = Inspection::read(dir.path()).expect("a channel");
            assert!(!inspection.from_checkpoint);
            inspection.events
        });
    });
    group.finish();
}

criterion_group!(benches, encode, checksum, blocks, cursors, group_commit, replay);
criterion_main!(benches);
