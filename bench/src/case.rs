//! What is compared, and one measurement of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::client::{Client, Task};
use crate::engine::origin::{Listener, Work};
use crate::engine::tally::Seen;
use crate::engine::{Peer, World};
use crate::proxies::{IP, Kind, Proxy};
use crate::{Outcome, machine};

/// Origins behind each proxy.
pub(crate) const ORIGINS: u16 = 4;

/// First port of the origins.
const ORIGIN_PORT: u16 = 7101;

/// A proxy below this share of its core was not what limited the run: its rate and its latency say little.
pub(crate) const SATURATED: f64 = 0.9;

/// One kind of traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Key in the results.
    pub(crate) name: &'static str,
    /// `http` or `tcp`.
    pub(crate) mode: &'static str,
    task: Task,
    clients: usize,
    work: Work,
    /// synapse may cost so many times what haproxy costs, as issues 3 (TCP) and 5 (HTTP) have it.
    pub(crate) goal: Option<f64>,
}

/// All that is compared.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http_keepalive_32",
        mode: "http",
        task: Task::KeepAlive,
        clients: 32,
        work: Work::Http,
        goal: Some(0.92),
    },
    Case {
        name: "http_keepalive_256",
        mode: "http",
        task: Task::KeepAlive,
        clients: 256,
        work: Work::Http,
        goal: Some(0.82),
    },
    Case {
        name: "http_close_32",
        mode: "http",
        task: Task::Reconnect,
        clients: 32,
        work: Work::Http,
        goal: Some(1.05),
    },
    Case {
        name: "tcp_bulk_1",
        mode: "tcp",
        task: Task::Sink,
        clients: 1,
        work: Work::Source,
        goal: Some(1.6),
    },
    Case {
        name: "tcp_bulk_8",
        mode: "tcp",
        task: Task::Sink,
        clients: 8,
        work: Work::Source,
        goal: Some(1.6),
    },
    Case {
        name: "tcp_pingpong_32",
        mode: "tcp",
        task: Task::PingPong,
        clients: 32,
        work: Work::Echo,
        goal: None,
    },
];

impl Case {
    /// True when bytes are counted, not exchanges.
    pub(crate) fn is_bulk(&self) -> bool {
        self.task == Task::Sink
    }

    /// Unit of [`Measure::cost`].
    pub(crate) fn cost_unit(&self) -> &'static str {
        if self.is_bulk() { "ms/GB" } else { "us/req" }
    }

    /// Unit of [`Measure::rate`].
    pub(crate) fn rate_unit(&self) -> &'static str {
        if self.is_bulk() { "Gbit/s" } else { "req/s" }
    }

    /// Addresses of the origins.
    pub(crate) fn origins() -> Vec<SocketAddr> {
        (0..ORIGINS).map(|n| SocketAddr::new(IP, ORIGIN_PORT + n)).collect()
    }

    /// A world with the origins.
    pub(crate) fn world(&self) -> Outcome<World> {
        let mut world = World::new(Arc::new(Seen::new(0)))?;
        for addr in Self::origins() {
            world.add(Peer::Listener(Listener::bind(addr, self.work, None)?))?;
        }
        Ok(world)
    }
}

/// How long a measurement takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    /// Until connections and caches are warm.
    pub(crate) warm_up: Duration,
    /// What counts.
    pub(crate) window: Duration,
}

/// What one proxy did in one window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// CPU time of the proxy per request (us) or per GB (ms).
    pub(crate) cost: f64,
    /// Requests, messages or Gbit per second.
    pub(crate) rate: f64,
    /// Half of the exchanges took no longer, in us. 0 for bulk.
    pub(crate) p50: f64,
    /// 99 % of them, in us. 0 for bulk.
    pub(crate) p99: f64,
    /// Share of its core that the proxy used.
    pub(crate) share: f64,
    /// Share of the other core that load and origins used.
    pub(crate) load_share: f64,
    /// Resident memory after the window, in MB.
    pub(crate) rss: f64,
    /// Failed exchanges, warm-up included.
    pub(crate) errors: u64,
}

/// Runs the load against a proxy.
pub(crate) fn measure(
    case: &Case,
    world: &mut World,
    kind: Kind,
    proxy: &Proxy,
    spans: Spans,
) -> Outcome<Measure> {
    for _ in 0..case.clients {
        let client = Client::connect(kind.front(), case.task, Instant::now())?;
        world.add(Peer::Client(client))?;
    }
    let errors = world.shared.tally.errors;
    world.run(Instant::now() + spans.warm_up, None)?;
    world.shared.tally.begin();
    let (cpu, own) = (machine::cpu(proxy.pid())?, machine::own_cpu()?);
    let begun = Instant::now();
    world.run(begun + spans.window, None)?;
    let took = begun.elapsed().as_secs_f64();
    let cpu = (machine::cpu(proxy.pid())? - cpu).as_secs_f64();
    let own = (machine::own_cpu()? - own).as_secs_f64();
    let tally = &mut world.shared.tally;
    let work = if case.is_bulk() { float(tally.bytes) / 1e9 } else { float(tally.done) };
    let measure = Measure {
        cost: cpu / work * if case.is_bulk() { 1e3 } else { 1e6 },
        rate: work / took * if case.is_bulk() { 8.0 } else { 1.0 },
        p50: micros(tally.latency(50.0)),
        p99: micros(tally.latency(99.0)),
        share: cpu / took,
        load_share: own / took,
        rss: float(machine::rss(proxy.pid())?) / 1e6,
        errors: tally.errors - errors,
    };
    if work == 0.0 {
        let why = tally.first_error.clone().unwrap_or_default();
        return Err(format!("{}: {}: nothing got through: {why}", case.name, kind.name()).into());
    }
    world.end_clients();
    // The proxy closes what belonged to them, and the origins notice, before it is the other's turn.
    world.run(Instant::now() + spans.warm_up / 4, None)?;
    Ok(measure)
}

impl Measure {
    /// For the results.
    pub(crate) fn json(&self) -> Value {
        json!({
            "cost": round(self.cost), "rate": round(self.rate), "p50_us": round(self.p50),
            "p99_us": round(self.p99), "proxy_core_share": round(self.share),
            "load_core_share": round(self.load_share), "rss_mb": round(self.rss),
            "errors": self.errors
        })
    }
}

/// Three decimals are more than anything here means.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// For arithmetic with counts.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// For people.
pub(crate) fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
