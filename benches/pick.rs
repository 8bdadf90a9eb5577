//! Cost of one pick, by strategy, set size and threads.
//!
//! Weights are mixed (1..=10), and for least-conn nobody is idle: the worst case, a full look at all counters. Targets
//! (one thread, 1,000 backends): round robin 100 ns, least-conn 1 us.

#![expect(clippy::expect_used, reason = "a bench: a broken set-up must stop it")]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use smartstack::endpoint::{Endpoint, Weight};
use smartstack::lb::backend::{Backend, SlotArena};
use smartstack::lb::hash::{Factor, Function, Hashing, Key, Lookup};
use smartstack::lb::lease::Lease;
use smartstack::lb::limits::Limits;
use smartstack::lb::snapshot::{Member, Snapshot};
use smartstack::lb::{BackendId, PickContext, Strategy, balancer};
use smartstack::telemetry::cells::PerWorker;

/// haproxy's default for `random`.
const DRAWS: NonZeroU32 = NonZeroU32::new(2).unwrap();

fn member(arena: &mut SlotArena, n: u16) -> Member {
    let endpoint = Endpoint::new("127.0.0.1", n);
    Member {
        backend: Arc::new(Backend {
            id: BackendId(u64::from(n)),
            server_name: endpoint.server_name().into(),
            endpoint,
            in_flight: arena.take(),
            crowd: Arc::default(),
            ended: smartstack::lb::ending::Mark::default(),
            cells: PerWorker::new(2),
        }),
        number: u32::from(n),
        addr: std::net::SocketAddr::from(([127, 0, 0, 1], n)).into(),
        way: None,
        weight: Weight::saturating(u64::from(n % 10 + 1)),
        max_connections: NonZeroU32::new(10_000),
        protocol: smartstack::lb::Protocol::default(),
        limits: Limits::default(),
    }
}

/// A set in which everybody is busy, and the leases that make it so.
fn busy(strategy: &Strategy, size: u16) -> (Arc<Snapshot>, Vec<Lease>) {
    let mut arena = SlotArena::default();
    let members: Vec<_> = (1..=size).map(|n| member(&mut arena, n)).collect();
    let snapshot = Snapshot {
        revision: 1,
        known: members.len(),
        up: members.len(),
        picker: balancer::build(strategy).build(&members),
        members: members.into(),
    };
    let leases = (0..usize::from(size) * 5)
        .map(|_| snapshot.acquire(PickContext::default()).expect("nobody is full"))
        .collect();
    (Arc::new(snapshot), leases)
}

/// Runs `work` on another thread until dropped.
struct Rival {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Rival {
    fn start(snapshot: &Arc<Snapshot>) -> Self {
        let (snapshot, stop) = (Arc::clone(snapshot), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                drop(black_box(snapshot.acquire(PickContext::default())));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the rival does not panic");
        }
    }
}

fn strategies() -> Vec<(Strategy, String)> {
    let hash = |lookup, factor| {
        let (key, function, avalanche) = (Key::Source, Function::Sdbm, true);
        Strategy::Hash(Arc::new(Hashing { key, function, avalanche, lookup, factor }))
    };
    let random = Strategy::Random { draws: DRAWS, factor: None };
    let named = |strategy: Strategy, more: &str| {
        let name = format!("{}{more}", strategy.name());
        (strategy, name)
    };
    vec![
        named(Strategy::RoundRobin, ""),
        named(Strategy::StaticRr, ""),
        named(Strategy::LeastConn, ""),
        named(Strategy::First, ""),
        named(random, "(2)"),
        named(hash(Lookup::Map, None), ", map-based"),
        named(hash(Lookup::Consistent, None), ", consistent"),
        named(hash(Lookup::Consistent, Factor::new(150)), ", consistent, factor 150"),
    ]
}

fn pick(c: &mut Criterion) {
    for (strategy, name) in strategies() {
        let mut group = c.benchmark_group(format!("pick/{name}"));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        for size in [2, 10, 100, 1000] {
            let (snapshot, _held) = busy(&strategy, size);
            let mut hash = 1_u32;
            group.bench_function(BenchmarkId::new("pick, 1 thread", size), |b| {
                b.iter(|| {
                    hash = hash.wrapping_mul(5).wrapping_add(1);
                    let cx = PickContext { hash: Some(hash), avoid: &[], busy: None };
                    snapshot.picker.pick(black_box(&snapshot.members), cx)
                });
            });
            group.bench_function(BenchmarkId::new("lease, 1 thread", size), |b| {
                b.iter(|| snapshot.acquire(PickContext::default()));
            });
            let rival = Rival::start(&snapshot);
            group.bench_function(BenchmarkId::new("lease, 2 threads", size), |b| {
                b.iter(|| snapshot.acquire(PickContext::default()));
            });
            drop(rival);
        }
    }
}

criterion_group!(benches, pick);
criterion_main!(benches);
