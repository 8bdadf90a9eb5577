//! A small made-up state, built from the real types.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{About, AdminState, RegistryEntry, ServiceEntry};
use crate::discovery::{
    Decode, Discovered, GeneratorSource, Membership, SourceSettings, ZooKeeperSourceSettings,
};
use crate::endpoint::{EndpointSet, ServiceName};
use crate::health::Health;
use crate::lb::handle::{CheckView, PoolView, SetOrigin};
use crate::lb::{Strategy, made_up};
use crate::proxy::{CloseMode, HttpSettings, Mode, ProxySettings, Redispatch, Service, Timeouts};
use crate::readiness::Readiness;
use crate::registry::{Session, SessionState};
use crate::telemetry::cells::{ErrorCause, PerWorker, WorkerId};
use crate::telemetry::cold::ColdMetrics;

fn settings(mode: Mode) -> ProxySettings {
    ProxySettings {
        mode,
        timeouts: Timeouts::default(),
        retries: 3,
        redispatch: Redispatch::Off,
        max_connections: None,
        max_connection_age: None,
        http: HttpSettings {
            close_mode: CloseMode::KeepAlive,
            forward_for: None,
            replay_idempotent: true,
            reuse: crate::proxy::Reuse::Safe,
            abort_on_close: false,
            ignore_probes: false,
            http2: crate::proxy::http2::Http2Settings::default(),
        },
        hash: None,
        access_log: None,
    }
}

fn zookeeper(name: &str) -> SourceSettings {
    SourceSettings::ZooKeeper(ZooKeeperSourceSettings {
        ensemble: "zk1:2181".into(),
        path: format!("/services/{name}").into(),
        decode: Decode::Nerve,
        generator: GeneratorSource::Parent,
        jitter: Duration::ZERO,
    })
}

pub(super) fn entry(name: &str, mode: Mode, view: PoolView) -> ServiceEntry {
    ServiceEntry {
        discovered: watch::Sender::new(view.discovered.clone()).subscribe(),
        service: Arc::new(Service {
            name: ServiceName::new(name),
            settings: ArcSwap::from_pointee(settings(mode)),
            pool: made_up::pool(name, view),
            cells: PerWorker::new(2),
        }),
        listen: vec![std::net::SocketAddr::from(([127, 0, 0, 1], 3213)).into()],
        source: zookeeper(name),
        strategy: Strategy::RoundRobin,
        disabled: false,
        awaited: true,
        generator: None,
        refused: vec![String::from("haproxy.port: 0 is not a port")],
        since: Instant::now(),
    }
}

fn view(discovered: Discovered) -> PoolView {
    PoolView {
        revision: 4,
        origin: SetOrigin::Nothing,
        notes: Vec::new(),
        backends: Vec::new(),
        discovered,
        membership_changes: 0,
        health_changes: 0,
    }
}

/// A service whose source has said `membership` and which has no backend.
pub(super) fn with_membership(name: &str, membership: Membership) -> ServiceEntry {
    let discovered = Discovered { membership, ..Discovered::default() };
    entry(name, Mode::Http, view(discovered))
}

/// A TCP service that was never heard.
pub(super) fn pending(name: &str) -> ServiceEntry {
    let discovered =
        Discovered { trouble: Some("connecting to zk1:2181".into()), ..Discovered::default() };
    entry(name, Mode::Tcp, view(discovered))
}

/// An HTTP service with one backend that was used and one that is down.
pub(super) fn search() -> ServiceEntry {
    let (up, mut down) = (made_up::backend(1), made_up::backend(2));
    down.health = Health::Down;
    down.eligible = false;
    down.reason = String::from("down: L4CON: connection refused");
    Arc::make_mut(&mut down.settings).max_connections = NonZeroU32::new(20);
    down.last_check = Some(CheckView {
        code: "L4CON",
        status: None,
        detail: String::from("connection refused"),
        took: Duration::from_micros(250),
        at: Instant::now(),
        streak: 3,
    });
    for (worker, requests) in [(0, 1), (1, 2)] {
        let cells = up.backend.cells.of(WorkerId(worker));
        cells.requests.add(requests);
        cells.connects.add(1);
        cells.response(200);
        cells.bytes_in.add(100);
        cells.bytes_out.add(1000);
    }
    let set = EndpointSet::new([&up, &down].map(|b| b.backend.endpoint.clone()));
    let discovered = Discovered {
        membership: Membership::Known(set),
        verified: Some(Instant::now()),
        malformed: Arc::from([(String::from("bad_0001"), String::from("no port"))]),
        malformed_total: 3,
        ..Discovered::default()
    };
    let view = PoolView {
        origin: SetOrigin::Discovered,
        notes: vec![String::from("label_filters removed 1 of 3")],
        backends: vec![Arc::new(up), Arc::new(down)],
        membership_changes: 2,
        health_changes: 1,
        ..view(discovered)
    };
    let entry = entry("search", Mode::Http, view);
    let cells = entry.service.cells.of(WorkerId(0));
    cells.connections.add(2);
    cells.connections_closed.add(1);
    cells.requests.add(3);
    cells.response(200);
    cells.response(200);
    cells.response(503);
    cells.error(ErrorCause::NoBackend);
    cells.latency.observe(Duration::from_micros(300));
    cells.latency.observe(Duration::from_millis(2));
    entry
}

/// So many services of twenty backends, each used.
pub(super) fn big(services: usize) -> Vec<ServiceEntry> {
    let service = |n| {
        let backends: Vec<_> = (1..=20).map(made_up::backend).collect();
        for b in &backends {
            b.backend.cells.of(WorkerId(0));
        }
        let mut view = (*search().service.pool.view()).clone();
        view.backends = backends.into_iter().map(Arc::new).collect();
        entry(&format!("service-{n}"), Mode::Http, view)
    };
    (0..services).map(service).collect()
}

/// An ensemble whose session is in `state`.
pub(super) fn registry(state: SessionState) -> RegistryEntry {
    let session = Session {
        state,
        generation: 2,
        since: Instant::now(),
        id: Some(7),
        negotiated_timeout: Some(Duration::from_secs(30)),
        last_error: None,
    };
    RegistryEntry { ensemble: "zk1:2181".into(), session: watch::Sender::new(session).subscribe() }
}

/// `search`, one that was not heard and one with every special character in its name.
pub(super) fn state() -> Arc<AdminState> {
    let about = About {
        version: "0.0.0",
        started_at: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        started: Instant::now(),
        workers: 2,
    };
    let state = AdminState::new(about, Readiness::new(), ColdMetrics::disconnected());
    let odd = with_membership(ODD_NAME, Membership::Known(EndpointSet::default()));
    state.services.store(Arc::new(vec![search(), pending("ads"), odd]));
    state.registries.store(Arc::new(vec![registry(SessionState::Connected)]));
    Arc::new(state)
}

/// A legal name of a service.
pub(super) const ODD_NAME: &str = "a/b.c:d \"e\"\\\nf ä%41";
