//! Pools without a task, for tests of what looks at pools.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::backend::{Backend, SlotArena};
use super::ending::Mark;
use super::handle::{BackendView, CheckView, PoolHandle, PoolView};
use super::lease::Lease;
use super::limits::{Limits, Ramp};
use super::snapshot::{Member, Picker, Snapshot};
use super::{BackendId, PickContext};
use crate::endpoint::{Endpoint, ServiceName, Weight};
use crate::health::Health;
use crate::telemetry::cells::PerWorker;

/// Always the first.
#[derive(Debug)]
struct First;

impl Picker for First {
    fn pick(&self, members: &[Member], _cx: PickContext<'_>) -> Option<usize> {
        (!members.is_empty()).then_some(0)
    }
}

/// A handle that shows `view` and picks the first of its eligible backends.
pub(crate) fn pool(name: &str, view: PoolView) -> PoolHandle {
    let members: Box<[Member]> = view
        .backends
        .iter()
        .filter(|b| b.eligible)
        .filter_map(|b| {
            Some(Member {
                backend: Arc::clone(&b.backend),
                number: u32::try_from(b.backend.id.0).unwrap(),
                addr: b.addr.clone()?,
                way: None,
                weight: Weight::default(),
                max_connections: None,
                protocol: super::Protocol::default(),
                limits: Limits::default(),
            })
        })
        .collect();
    let snapshot = Snapshot {
        revision: view.revision,
        known: view.backends.len(),
        up: view.backends.iter().filter(|b| b.health != Health::Down).count(),
        members,
        picker: Box::new(First),
    };
    PoolHandle {
        name: ServiceName::new(name),
        http2: Arc::new(AtomicBool::new(snapshot.has_http2())),
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        queue: Arc::default(),
        view: Arc::new(ArcSwap::from_pointee(view)),
        views: watch::channel(0).1,
        ends: watch::channel(0).1,
        outcomes: mpsc::channel(1).0,
        exports: mpsc::channel(1).0,
        outcomes_dropped: Arc::new(AtomicU64::new(0)),
    }
}

/// A backend at 10.0.0.`n`:9000 that is up and eligible.
pub(crate) fn backend(n: u8) -> BackendView {
    let endpoint = Endpoint {
        name: Some(format!("i-{n}").into()),
        ..Endpoint::new(format!("10.0.0.{n}"), 9000)
    };
    let server_name = endpoint.server_name().into();
    BackendView {
        backend: Arc::new(Backend {
            id: BackendId(u64::from(n)),
            endpoint,
            server_name,
            in_flight: SlotArena::default().take(),
            crowd: Arc::default(),
            ended: Mark::default(),
            cells: PerWorker::new(2),
        }),
        addr: Some(SocketAddr::from(([10, 0, 0, n], 9000)).into()),
        settings: Arc::default(),
        health: Health::Up,
        eligible: true,
        reason: String::from("up"),
        ramp: Ramp::FULL,
        since: Instant::now(),
        last_check: Some(CheckView {
            code: "L4OK",
            status: None,
            detail: String::from("connected"),
            took: std::time::Duration::from_micros(1500),
            at: Instant::now(),
            streak: 7,
        }),
    }
}

/// A use of the first eligible backend of `pool`.
pub(crate) fn lease(pool: &PoolHandle) -> Lease {
    pool.acquire(PickContext::default()).unwrap()
}
