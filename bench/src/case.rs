//! What is compared: kinds of traffic, and what was promised about them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::engine::client::{Client, Task};
use crate::engine::http::{Ask, Exchange};
use crate::engine::origin::{Listener, Work};
use crate::engine::tally::Seen;
use crate::engine::{Peer, World};
use crate::proxies::{IP, Kind};

/// Origins behind each proxy.
pub(crate) const ORIGINS: u16 = 4;

/// First port of the origins.
const ORIGIN_PORT: u16 = 7101;

/// One message of a ping-pong.
const MESSAGE: usize = 64;

/// One kind of traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Key in the results.
    pub(crate) name: &'static str,
    /// What the clients do.
    pub(crate) traffic: Traffic,
    clients: usize,
    /// What issues 3 (TCP) and 5 (HTTP) promise.
    pub(crate) goals: Goals,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// One request after the other on each connection.
    KeepAlive(Exchange),
    /// Each request on a connection of its own.
    Close(Exchange),
    /// From an origin that never ends, to a sink.
    Bulk,
    /// A message there and back, again and again.
    PingPong,
}

/// Bounds of synapse's figures, as multiples of the other proxy's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Goals {
    /// CPU at most so many times haproxy's.
    pub(crate) cost: Option<f64>,
    /// Rate at least so many times haproxy's.
    pub(crate) rate: Option<f64>,
    /// CPU below nginx's.
    pub(crate) below_nginx: bool,
}

impl Goals {
    /// CPU of so many times haproxy's, and less than nginx's.
    const fn http(cost: f64) -> Self {
        Self { cost: Some(cost), rate: None, below_nginx: true }
    }

    const fn rate(self, rate: f64) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// CPU of so many times haproxy's.
    const fn cost(cost: f64) -> Self {
        Self { cost: Some(cost), rate: None, below_nginx: false }
    }

    const NONE: Self = Self { cost: None, rate: None, below_nginx: false };

    /// CPU of synapse at most so many times that of `peer`.
    pub(crate) fn cost_beside(&self, peer: Kind) -> Option<f64> {
        match peer {
            Kind::Haproxy => self.cost,
            Kind::Nginx => self.below_nginx.then_some(1.0),
            Kind::Synapse => None,
        }
    }
}

const fn case(name: &'static str, clients: usize, traffic: Traffic, goals: Goals) -> Case {
    Case { name, traffic, clients, goals }
}

/// All that is compared.
pub(crate) const CASES: &[Case] = &[
    case(
        "http_keepalive_32",
        32,
        Traffic::KeepAlive(Exchange::SMALL),
        Goals::http(0.92).rate(1.05),
    ),
    case(
        "http_keepalive_256",
        256,
        Traffic::KeepAlive(Exchange::SMALL),
        Goals::http(0.82).rate(1.20),
    ),
    case("http_close_32", 32, Traffic::Close(Exchange::SMALL), Goals::cost(1.05)),
    case("http_post_16k", 32, Traffic::KeepAlive(POST_16K), Goals::http(0.50)),
    case("http_body_16k", 32, Traffic::KeepAlive(Exchange::get(16 << 10)), Goals::http(0.90)),
    case("http_body_256k", 32, Traffic::KeepAlive(Exchange::get(256 << 10)), Goals::http(0.75)),
    case("tcp_bulk_1", 1, Traffic::Bulk, Goals::cost(1.6)),
    case("tcp_bulk_8", 8, Traffic::Bulk, Goals::cost(1.6)),
    case("tcp_pingpong_32", 32, Traffic::PingPong, Goals::NONE),
];

/// 16 kB there, 128 bytes back.
const POST_16K: Exchange = Exchange { request: 16 << 10, answer: 128 };

impl Case {
    /// `http` or `tcp`.
    pub(crate) fn mode(&self) -> &'static str {
        match self.traffic {
            Traffic::KeepAlive(_) | Traffic::Close(_) => "http",
            Traffic::Bulk | Traffic::PingPong => "tcp",
        }
    }

    /// True when bytes are counted, not exchanges.
    pub(crate) fn is_bulk(&self) -> bool {
        self.traffic == Traffic::Bulk
    }

    /// Unit of the CPU time.
    pub(crate) fn cost_unit(&self) -> &'static str {
        if self.is_bulk() { "ms/GB" } else { "us/req" }
    }

    /// Unit of the rate.
    pub(crate) fn rate_unit(&self) -> &'static str {
        if self.is_bulk() { "Gbit/s" } else { "req/s" }
    }

    /// Addresses of the origins.
    pub(crate) fn origins() -> Vec<SocketAddr> {
        (0..ORIGINS).map(|n| SocketAddr::new(IP, ORIGIN_PORT + n)).collect()
    }

    /// A world with the origins.
    pub(crate) fn world(&self) -> Outcome<World> {
        let work = match self.traffic {
            Traffic::KeepAlive(exchange) | Traffic::Close(exchange) => Work::Http(exchange),
            Traffic::Bulk => Work::Source,
            Traffic::PingPong => Work::Echo,
        };
        let mut world = World::new(Arc::new(Seen::new(0)))?;
        for addr in Self::origins() {
            world.add(Peer::Listener(Listener::bind(addr, work, None)?))?;
        }
        Ok(world)
    }

    /// Connects the clients.
    pub(crate) fn begin(&self, world: &mut World, to: SocketAddr) -> Outcome<()> {
        let (task, ask) = match self.traffic {
            Traffic::KeepAlive(exchange) => (Task::KeepAlive, exchange.ask(false)),
            Traffic::Close(exchange) => (Task::Reconnect, exchange.ask(true)),
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
}

/// How long a measurement takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    /// Until connections and caches are warm.
    pub(crate) warm_up: Duration,
    /// What counts.
    pub(crate) window: Duration,
}
