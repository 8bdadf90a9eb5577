//! The rows: kinds of traffic, which proxies they are for, and what was promised about them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::engine::client::{Client, Task};
use crate::engine::http::{Ask, Exchange};
use crate::engine::origin::{Listener, Work};
use crate::engine::pace::Pace;
use crate::engine::tally::Seen;
use crate::engine::{Peer, World};
use crate::proxies::{BACKENDS, IP, Kind, Logs, Setup};

/// First port of the usual origins.
const ORIGIN_PORT: u16 = 7101;

/// Port of the many origins, each of which has an address of its own.
const MANY_PORT: u16 = 7200;

/// One message of a ping-pong.
const MESSAGE: usize = 64;

/// 16 kB there, 128 bytes back.
pub(crate) const POST_16K: Exchange = Exchange { request: 16 << 10, answer: 128 };

/// Idle connections need room on both sides of a proxy.
const MANY_CONNECTIONS: u32 = 6_000;

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Key in the results.
    pub(crate) name: String,
    /// What the clients do.
    pub(crate) traffic: Traffic,
    /// How many of them.
    pub(crate) clients: usize,
    /// synapse, then what it is compared with.
    pub(crate) entrants: Vec<Entrant>,
    /// synapse's rate, p50 and p99 as multiples of haproxy's.
    pub(crate) goals: Goals,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// One request after the other on each connection.
    KeepAlive(Exchange),
    /// Each request on a connection of its own.
    Close(Exchange),
    /// So many small requests per second, over all connections in turn, whatever became of the ones before.
    Paced(u32),
    /// One small request, then nothing: what counts is the memory.
    Idle,
    /// From an origin that never ends, to a sink.
    Bulk,
    /// A message there and back, again and again.
    PingPong,
}

/// A proxy in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrant {
    /// How it is configured.
    pub(crate) setup: Setup,
    /// CPU of synapse at most so many times that of this one. For synapse itself: its cost, absolutely.
    pub(crate) goal: Option<f64>,
}

/// Bounds of synapse's figures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Goals {
    /// CPU at most so many times haproxy's.
    cost: Option<f64>,
    /// Rate at least so many times haproxy's.
    pub(crate) rate: Option<f64>,
    /// p50 at most so many times haproxy's.
    pub(crate) p50: Option<f64>,
    /// p99 at most so many times haproxy's.
    pub(crate) p99: Option<f64>,
    /// CPU below nginx's.
    is_below_nginx: bool,
}

/// CPU of synapse beside Envoy's: below a third.
const BESIDE_ENVOY: f64 = 0.33;

/// CPU with logs beside CPU without.
const LOGS_COST: f64 = 1.10;

/// CPU of two workers that share two cores with the load beside that of one.
const TWO_WORKERS_COST: f64 = 1.15;

/// Memory of an idle HTTP connection, in kB.
const IDLE_COST: f64 = 2.5;

impl Goals {
    const NONE: Self = Self { cost: None, rate: None, p50: None, p99: None, is_below_nginx: false };

    const fn cost(cost: f64) -> Self {
        Self { cost: Some(cost), ..Self::NONE }
    }

    /// What synapse's CPU may be beside `peer`'s.
    fn beside(&self, peer: Kind) -> Option<f64> {
        match peer {
            Kind::Haproxy => self.cost,
            Kind::Nginx => self.is_below_nginx.then_some(1.0),
            Kind::Envoy => Some(BESIDE_ENVOY),
            Kind::Synapse | Kind::Pingora => None,
        }
    }
}

/// What is promised about HTTP, beside haproxy's CPU: less than nginx's.
const BELOW_NGINX: Goals = Goals { is_below_nginx: true, ..Goals::NONE };

/// Name, clients, traffic, goals. The goals are those of issues 3 (TCP) and 5 (HTTP).
type Row = (&'static str, usize, Traffic, Goals);

const ROWS: &[Row] = &[
    ("http_keepalive_1", 1, Traffic::KeepAlive(Exchange::SMALL), BELOW_NGINX),
    (
        "http_keepalive_32",
        32,
        Traffic::KeepAlive(Exchange::SMALL),
        Goals { cost: Some(0.92), rate: Some(1.05), ..BELOW_NGINX },
    ),
    (
        "http_keepalive_256",
        256,
        Traffic::KeepAlive(Exchange::SMALL),
        Goals { cost: Some(0.82), rate: Some(1.20), ..BELOW_NGINX },
    ),
    ("http_close_32", 32, Traffic::Close(Exchange::SMALL), Goals::cost(1.05)),
    ("http_post_16k", 32, Traffic::KeepAlive(POST_16K), Goals { cost: Some(0.50), ..BELOW_NGINX }),
    (
        "http_body_16k",
        32,
        Traffic::KeepAlive(Exchange::get(16 << 10)),
        Goals { cost: Some(0.90), ..BELOW_NGINX },
    ),
    (
        "http_body_256k",
        32,
        Traffic::KeepAlive(Exchange::get(256 << 10)),
        Goals { cost: Some(0.75), ..BELOW_NGINX },
    ),
    (
        "http_paced_4000",
        32,
        Traffic::Paced(4_000),
        Goals { p50: Some(1.10), p99: Some(1.25), ..BELOW_NGINX },
    ),
    ("tcp_bulk_1", 1, Traffic::Bulk, Goals::cost(1.6)),
    ("tcp_bulk_8", 8, Traffic::Bulk, Goals::cost(1.6)),
    ("tcp_pingpong_32", 32, Traffic::PingPong, Goals::NONE),
];

/// All rows, beside these peers; with logs, each HTTP row once more for each kind of log.
pub(crate) fn cases(peers: &[Kind], logs: &[Logs]) -> Vec<Case> {
    let mut cases: Vec<Case> = ROWS.iter().map(|row| case(row, peers)).collect();
    let http = || ROWS.iter().filter(|(_, _, traffic, _)| traffic.mode() == "http");
    cases.extend(special(peers));
    for logs in logs {
        cases.extend(http().map(|row| logged(row, *logs, peers)));
    }
    cases
}

/// A row with everything as usual.
fn case(&(name, clients, traffic, goals): &Row, peers: &[Kind]) -> Case {
    let mut case = Case {
        name: name.to_owned(),
        traffic,
        clients,
        entrants: vec![Entrant { setup: Setup::of(Kind::Synapse), goal: None }],
        goals,
    };
    let peers = peers.iter().filter(|kind| kind.can(traffic.mode()));
    case.entrants
        .extend(peers.map(|kind| Entrant { setup: Setup::of(*kind), goal: goals.beside(*kind) }));
    case
}

/// The same with access logs, and what they cost. Only haproxy logs as we do.
fn logged(row: &Row, logs: Logs, peers: &[Kind]) -> Case {
    let mut case = case(row, peers);
    case.name.push_str(logs.suffix());
    case.entrants.retain(|e| matches!(e.setup.kind, Kind::Synapse | Kind::Haproxy));
    for entrant in &mut case.entrants {
        entrant.setup.logs = logs;
    }
    // At a low rate a wake-up more or less decides, not the log.
    let goal = case.is_saturating().then_some(LOGS_COST);
    case.entrants.push(Entrant { setup: Setup::of(Kind::Synapse), goal });
    case
}

/// The rows that are about something else than traffic.
fn special(peers: &[Kind]) -> Vec<Case> {
    let small = |name, clients, traffic| (name, clients, traffic, Goals::NONE);
    let keep_alive = Traffic::KeepAlive(Exchange::SMALL);
    let mut idle = case(&small("idle_5000", 5_000, Traffic::Idle), peers);
    for entrant in &mut idle.entrants {
        entrant.goal = (entrant.setup.kind == Kind::Synapse).then_some(IDLE_COST);
        entrant.setup.max_connections = MANY_CONNECTIONS;
    }
    let mut many = case(&small("many_backends_1000", 32, keep_alive), peers);
    let usual = many.entrants.clone();
    for entrant in &mut many.entrants {
        entrant.setup.backends = 1_000;
    }
    let ours = |e: &&Entrant| matches!(e.setup.kind, Kind::Synapse | Kind::Haproxy);
    many.entrants.extend(usual.iter().filter(ours).map(|e| Entrant { goal: None, ..*e }));
    for entrant in &mut many.entrants {
        entrant.goal = None;
    }
    let mut two = case(&small("two_workers_32", 32, keep_alive), &[]);
    let free = Setup { is_pinned: false, ..Setup::of(Kind::Synapse) };
    two.entrants = vec![
        Entrant { setup: Setup { workers: 2, ..free }, goal: None },
        Entrant { setup: free, goal: Some(TWO_WORKERS_COST) },
    ];
    vec![idle, many, two]
}

impl Traffic {
    /// `http` or `tcp`.
    fn mode(self) -> &'static str {
        match self {
            Self::KeepAlive(_) | Self::Close(_) | Self::Paced(_) | Self::Idle => "http",
            Self::Bulk | Self::PingPong => "tcp",
        }
    }

    fn work(self) -> Work {
        match self {
            Self::KeepAlive(exchange) | Self::Close(exchange) => Work::Http(exchange),
            Self::Paced(_) | Self::Idle => Work::Http(Exchange::SMALL),
            Self::Bulk => Work::Source,
            Self::PingPong => Work::Echo,
        }
    }
}

impl Case {
    /// `http` or `tcp`.
    pub(crate) fn mode(&self) -> &'static str {
        self.traffic.mode()
    }

    /// True when bytes are counted, not exchanges.
    pub(crate) fn is_bulk(&self) -> bool {
        self.traffic == Traffic::Bulk
    }

    /// True when memory is counted.
    pub(crate) fn is_idle(&self) -> bool {
        self.traffic == Traffic::Idle
    }

    /// True when the proxy is given as much as it can take.
    pub(crate) fn is_saturating(&self) -> bool {
        !matches!(self.traffic, Traffic::Paced(_) | Traffic::Idle) && self.clients > 1
    }

    /// What the cost is.
    pub(crate) fn cost_name(&self) -> &'static str {
        if self.is_idle() { "memory" } else { "CPU" }
    }

    /// Unit of the cost.
    pub(crate) fn cost_unit(&self) -> &'static str {
        if self.is_idle() {
            "kB/conn"
        } else if self.is_bulk() {
            "ms/GB"
        } else {
            "us/req"
        }
    }

    /// Unit of the rate.
    pub(crate) fn rate_unit(&self) -> &'static str {
        if self.is_bulk() { "Gbit/s" } else { "req/s" }
    }

    /// A world with the origins that the entrants need.
    pub(crate) fn world(&self) -> Outcome<World> {
        let mut world = World::new(Arc::new(Seen::new(0)))?;
        let mut numbers: Vec<u16> = self.entrants.iter().map(|e| e.setup.backends).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for addr in numbers.into_iter().flat_map(origins) {
            world.add(Peer::Listener(Listener::bind(addr, self.traffic.work(), None)?))?;
        }
        Ok(world)
    }

    /// Connects the clients.
    pub(crate) fn begin(&self, world: &mut World, to: SocketAddr) -> Outcome<()> {
        let (task, ask) = match self.traffic {
            Traffic::KeepAlive(exchange) => (Task::KeepAlive, exchange.ask(false)),
            Traffic::Close(exchange) => (Task::Reconnect, exchange.ask(true)),
            Traffic::Paced(_) | Traffic::Idle => (Task::Kept, Exchange::SMALL.ask(false)),
            Traffic::Bulk => (Task::Sink, Ask { bytes: Arc::default(), expects: 0 }),
            Traffic::PingPong => {
                (Task::PingPong, Ask { bytes: Arc::new([b'm'; MESSAGE]), expects: MESSAGE })
            }
        };
        for _ in 0..self.clients {
            let client = Client::connect(to, task, ask.clone(), Instant::now())?;
            world.add(Peer::Client(client))?;
        }
        Ok(())
    }

    /// When its requests are due, if there is a schedule.
    pub(crate) fn pace(&self, to: SocketAddr) -> Option<Pace> {
        match self.traffic {
            Traffic::Paced(per_second) => Some(Pace::over_clients(to, per_second)),
            Traffic::KeepAlive(_)
            | Traffic::Close(_)
            | Traffic::Idle
            | Traffic::Bulk
            | Traffic::PingPong => None,
        }
    }
}

/// Addresses of so many origins: the usual ones have ports, of many each has an address.
pub(crate) fn origins(number: u16) -> Vec<SocketAddr> {
    let one = |n: u16| {
        if number == BACKENDS {
            return SocketAddr::new(IP, ORIGIN_PORT + n);
        }
        let [net, host] = [n / 250, n % 250].map(|part| u8::try_from(part).unwrap_or(u8::MAX));
        let addr = Ipv4Addr::new(127, 83, 10_u8.saturating_add(net), host.saturating_add(1));
        SocketAddr::new(IpAddr::V4(addr), MANY_PORT)
    };
    (0..number).map(one).collect()
}

/// How long a measurement takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    /// Until connections and caches are warm.
    pub(crate) warm_up: Duration,
    /// What counts.
    pub(crate) window: Duration,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_begins_with_synapse() {
        let all = cases(&[Kind::Haproxy, Kind::Nginx], &[Logs::Udp, Logs::Stdout]);
        let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for case in &all {
            assert_eq!(case.entrants[0].setup.kind, Kind::Synapse, "{}", case.name);
            let names: BTreeSet<_> = case.entrants.iter().map(|e| e.setup.name()).collect();
            assert_eq!(names.len(), case.entrants.len(), "{names:?}");
        }
    }

    #[test]
    fn origins_never_share_an_address() {
        let all: BTreeSet<SocketAddr> = [4, 1_000].into_iter().flat_map(origins).collect();
        assert_eq!(all.len(), 1_004);
    }
}
