//! Cost of one line of the access log, by format: rendering and its share of a batch, on the worker's side.
//!
//! Target: 0.4 us for `httplog` (issue 5: full logging costs at most 10 % of the 13 us of a request, the writer's share
//! included). The writer runs beside, into `/dev/null`.

#![expect(clippy::expect_used, reason = "a bench: a broken set-up must stop it")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use smartstack::telemetry::access::{
    AccessLog, Cause, Conns, Format, Http, Loss, Pen, Place, Record, Stage, Timers, written,
};

/// Lines between two posts, so that the writer keeps up and no line is dropped.
const LINES: u64 = 200;

fn record(begun: u64) -> Record<'static> {
    Record {
        client: Some("10.20.30.40:45678".parse().expect("an address")),
        socket: 1,
        local: Some("127.0.0.1:3301".parse().expect("an address")),
        begun,
        server: Some("search-12_10.20.0.5:8081"),
        timers: Timers {
            request: Some(0),
            queue: Some(0),
            connect: Some(0),
            response: Some(12),
            total: 13,
        },
        bytes_out: 1234,
        bytes_in: 321,
        cause: Cause::None,
        stage: Stage::Done,
        conns: Conns { process: 120, frontend: 31, backend: 31, server: 5 },
        retries: 0,
        redispatched: false,
        queued: (0, 0),
        http: Some(Http {
            line: Some(b"GET /search/v1/listings?location=Berlin&guests=2 HTTP/1.1"),
            status: Some(200),
            request_captures: &[],
            response_captures: &[],
            reused: true,
        }),
    }
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("access_log");
    group.throughput(criterion::Throughput::Elements(LINES));
    for (name, format) in
        [("httplog", Format::Http), ("tcplog", Format::Tcp), ("json", Format::Json)]
    {
        let log = Arc::new(AccessLog::plain("search", format, Place::File("/dev/null".into())));
        let mut pen = Pen::default();
        let mut begun = 1_795_641_092_809;
        group.bench_function(name, |b| {
            b.iter(|| {
                for _ in 0..LINES {
                    // A thousand requests a second.
                    begun += 1;
                    pen.write(black_box(&log), black_box(&record(begun)));
                }
            });
        });
    }
    group.finish();
    // Otherwise what was measured is the way to drop a line. One pass (`--test`) may be over before the writer is awake.
    let is_one_pass = std::env::args().any(|arg| arg == "--test");
    assert!(is_one_pass || Loss::Queue.total() < written() / 10, "the writer does not keep up");
}

criterion_group!(benches, lines);
criterion_main!(benches);
