//! Cost of one change of membership: from the source's word to the published snapshot and view, through the pool task.
//!
//! Each iteration takes one endpoint out or brings it back. Nothing is promised per size, but it has to stay far below
//! the 50 ms from a registration to its first request: 10,000 endpoints must take a few ms.

#![expect(clippy::expect_used, reason = "a bench: a broken set-up must stop it")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use smartstack::discovery::names::{NameCache, NameSettings};
use smartstack::discovery::{Discovered, Membership, MembershipPolicy};
use smartstack::endpoint::{Endpoint, EndpointSet, ServiceName, Weight};
use smartstack::health::runner::CheckRunner;
use smartstack::lb::ending::Removal;
use smartstack::lb::pool::{Pool, PoolInputs};
use smartstack::lb::{
    BackendOrder, PoolSettings, ServerRules, ServerSettings, ShuffleSeed, Strategy,
};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// `weight` by port, no check.
#[derive(Debug)]
struct Plain;

impl ServerRules for Plain {
    fn server(&self, endpoint: &Endpoint) -> ServerSettings {
        ServerSettings {
            weight: Weight::saturating(u64::from(endpoint.port % 3 + 1)),
            ..ServerSettings::default()
        }
    }
}

fn endpoint(n: usize) -> Endpoint {
    let host = format!("10.{}.{}.{}", n / 65_536, n / 256 % 256, n % 256);
    Endpoint { name: Some(format!("i-{n:08}").into()), ..Endpoint::new(host, 8080) }
}

fn known(size: usize) -> Discovered {
    let set: EndpointSet = (0..size).map(endpoint).collect();
    Discovered { membership: Membership::Known(set), ..Discovered::default() }
}

fn rebuild(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = c.benchmark_group("snapshot/one of N joins or leaves");
    group.sample_size(20).warm_up_time(Duration::from_millis(300));
    for strategy in [Strategy::RoundRobin, Strategy::LeastConn] {
        for size in [10, 100, 1000, 10_000] {
            let (all, but_one) = (known(size), known(size - 1));
            let (word, discovered) = watch::channel(Discovered::default());
            let (_commands, commands) = mpsc::channel(1);
            let settings = PoolSettings {
                strategy: strategy.clone(),
                order: BackendOrder::Shuffled(ShuffleSeed(7)),
                membership: MembershipPolicy::default(),
                servers: Arc::new(Plain),
                removal: Removal::default(),
                states: None,
                all_backups: false,
            };
            let inputs = PoolInputs {
                discovered,
                names: NameCache::new(NameSettings::default()),
                commands,
                checks: CheckRunner::default(),
                initial: None,
            };
            let (handle, pool) = Pool::new(ServiceName::new("bench"), settings, 2, inputs);
            let stop = CancellationToken::new();
            let task = runtime.spawn(pool.run(stop.clone()));
            let mut complete = false;
            group.bench_function(BenchmarkId::new(format!("{strategy:?}"), size), |b| {
                b.iter(|| {
                    complete = !complete;
                    let (set, wanted) = if complete { (&all, size) } else { (&but_one, size - 1) };
                    word.send_replace(set.clone());
                    runtime.block_on(handle.until(|view| view.backends.len() == wanted))
                });
            });
            stop.cancel();
            runtime.block_on(task).expect("the pool ends when asked");
        }
    }
}

criterion_group!(benches, rebuild);
criterion_main!(benches);
