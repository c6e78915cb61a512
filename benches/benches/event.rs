//! An event becomes bytes and an event again.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay::event::Event;
use forebay_benches::{BODY_BYTES, event};

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64));
    let bytes = Bytes::from(event());
    let decoded = Event::decode(bytes.clone()).expect("it was encoded");
    let mut out = Vec::with_capacity(4096);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            decoded.encode_into(&mut out);
            out.len()
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| Event::decode(bytes.clone()).expect("it was encoded"));
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
