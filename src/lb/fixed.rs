//! A pool without a pool task: a set that only its owner changes. For tests and benches of the data path.
//!
//! Not for production: no discovery, no checks, no weights. Picks in turn, skips the full and the avoided.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::backend::{Backend, SlotArena};
use super::crowd::Crowd;
use super::ending::{Mark, Reason};
use super::handle::{PoolHandle, PoolView, SetOrigin};
use super::limits::Limits;
use super::queue::{self, Queue};
use super::snapshot::{Member, Picker, Snapshot};
use super::{BackendId, Outcome, PickContext, Protocol};
use crate::discovery::Discovered;
use crate::endpoint::{Endpoint, ServiceName, Weight};
use crate::telemetry::cells::PerWorker;

/// Room for outcomes nobody reads yet.
const OUTCOMES: usize = 1024;

/// Owner of a fixed set.
#[derive(Debug)]
pub struct FixedPool {
    /// What workers hold.
    pub handle: PoolHandle,
    /// What workers report.
    pub outcomes: mpsc::Receiver<Outcome>,
    /// The backends in the order given.
    pub backends: Vec<Arc<Backend>>,
    ends: watch::Sender<u64>,
}

impl FixedPool {
    /// Ends the sessions of a backend, as a pool task does.
    pub fn end_sessions(&self, index: usize, reason: Reason) {
        if let Some(backend) = self.backends.get(index) {
            backend.ended.raise(reason);
        }
        self.ends.send_modify(|n| *n += 1);
    }
}

/// A pool over `addrs`, each with the same `maxconn`; `workers` sizes the counters.
#[doc(hidden)]
pub fn fixed(
    name: &str,
    addrs: &[SocketAddr],
    max_connections: Option<NonZeroU32>,
    workers: usize,
) -> FixedPool {
    let picker = Box::new(InTurn::default());
    fixed_with(name, addrs, max_connections, workers, picker)
}

/// The same with a picker of the caller's.
#[doc(hidden)]
pub fn fixed_with(
    name: &str,
    addrs: &[SocketAddr],
    max_connections: Option<NonZeroU32>,
    workers: usize,
    picker: Box<dyn Picker>,
) -> FixedPool {
    let queue = Arc::new(Queue::default());
    let mut slots = SlotArena::new(Arc::clone(&queue));
    let members: Vec<Member> = (1..)
        .zip(addrs)
        .map(|(id, addr)| {
            let endpoint = Endpoint::new(addr.ip().to_string(), addr.port());
            let crowd = Arc::<Crowd>::default();
            crowd.set_max(max_connections);
            Member {
                backend: Arc::new(Backend {
                    id: BackendId(id),
                    server_name: endpoint.server_name().into(),
                    endpoint,
                    in_flight: slots.take(),
                    crowd,
                    ended: Mark::default(),
                    cells: PerWorker::new(workers),
                }),
                number: u32::try_from(id).unwrap_or(u32::MAX),
                addr: (*addr).into(),
                way: None,
                weight: Weight::default(),
                max_connections,
                protocol: Protocol::default(),
                limits: Limits::default(),
            }
        })
        .collect();
    let backends = members.iter().map(|m| Arc::clone(&m.backend)).collect();
    let (ends, ended) = watch::channel(0);
    let (sender, outcomes) = mpsc::channel(OUTCOMES);
    let (known, up) = (members.len(), members.len());
    let first = Snapshot { revision: 1, known, up, members: members.into(), picker };
    let handle = PoolHandle {
        name: ServiceName::new(name),
        http2: Arc::new(AtomicBool::new(first.has_http2())),
        snapshot: queue::first(&queue, first),
        queue,
        view: Arc::new(ArcSwap::from_pointee(empty_view())),
        outcomes: sender,
        // Nobody answers: there is no pool.
        exports: mpsc::channel(1).0,
        outcomes_dropped: Arc::new(AtomicU64::new(0)),
        views: watch::channel(1).1,
        ends: ended,
    };
    FixedPool { handle, outcomes, backends, ends }
}

fn empty_view() -> PoolView {
    PoolView {
        revision: 1,
        origin: SetOrigin::Nothing,
        notes: Vec::new(),
        backends: Vec::new(),
        discovered: Discovered::default(),
        membership_changes: 0,
        health_changes: 0,
    }
}

/// One after the other, whatever the weights.
#[derive(Debug, Default)]
struct InTurn(AtomicUsize);

impl Picker for InTurn {
    fn pick(&self, members: &[Member], cx: PickContext<'_>) -> Option<usize> {
        let start = self.0.fetch_add(1, Ordering::Relaxed);
        (0..members.len()).map(|step| start.wrapping_add(step) % members.len()).find(|index| {
            members.get(*index).is_some_and(|member| {
                let full = member
                    .max_connections
                    .is_some_and(|max| member.backend.in_flight.get() >= max.get());
                !full && !cx.avoid.contains(&member.backend.id)
            })
        })
    }
}
