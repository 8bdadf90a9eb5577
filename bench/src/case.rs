//! One row: a kind of traffic, the proxies that get it, and what was promised about them.

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
use crate::proxies::{BACKENDS, IP, Setup};

/// First port of the usual origins.
const ORIGIN_PORT: u16 = 7101;

/// Port of the many origins, each of which has an address of its own.
const MANY_PORT: u16 = 7200;

/// First port of the origins that speak HTTP/2.
const HTTP2_PORT: u16 = 7151;

/// Bytes of a header of the PROXY protocol, version 2, with two IPv4 addresses.
const PROXY_V2: usize = 28;

/// One message of a ping-pong.
const MESSAGE: usize = 64;

/// So many times shorter, and more, are rounds where latency counts.
const SHORTER: u32 = 4;

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
    /// The load never sleeps.
    pub(crate) is_awake: bool,
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
    /// HTTP/2 from `h2load`: so many small requests at a time on each connection.
    Streams(u16),
    /// The same, and the servers speak HTTP/2, too.
    Streams2(u16),
    /// One small request, then nothing: what counts is the memory.
    Idle,
    /// Nothing at all: what counts is the memory after the start.
    Start,
    /// From an origin that never ends, to a sink.
    Bulk,
    /// A message there and back, again and again.
    PingPong,
    /// A message there and back on each connection.
    Session,
    /// The same behind a PROXY header, as text to the proxy and in binary to the origin.
    Headed,
    /// A message there and back, then nothing: what counts is the memory.
    Parked,
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
    pub(crate) cost: Option<f64>,
    /// Rate at least so many times haproxy's.
    pub(crate) rate: Option<f64>,
    /// p50 at most so many times haproxy's.
    pub(crate) p50: Option<f64>,
    /// p99 at most so many times haproxy's.
    pub(crate) p99: Option<f64>,
    /// CPU below nginx's, and below a third of Envoy's.
    pub(crate) is_below_nginx: bool,
}

impl Traffic {
    /// `http` or `tcp`.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Self::KeepAlive(_)
            | Self::Close(_)
            | Self::Paced(_)
            | Self::Streams(_)
            | Self::Streams2(_)
            | Self::Idle
            | Self::Start => "http",
            Self::Bulk | Self::PingPong | Self::Session | Self::Headed | Self::Parked => "tcp",
        }
    }

    fn work(self) -> Work {
        match self {
            Self::KeepAlive(exchange) | Self::Close(exchange) => Work::Http(exchange),
            Self::Paced(_) | Self::Streams(_) | Self::Streams2(_) | Self::Idle | Self::Start => {
                Work::Http(Exchange::SMALL)
            }
            Self::Bulk => Work::Source,
            Self::PingPong | Self::Session | Self::Parked => Work::Echo(0),
            Self::Headed => Work::Echo(PROXY_V2),
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
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.traffic, Traffic::Idle | Traffic::Parked | Traffic::Start)
    }

    /// True when the proxy is given as much as it can take.
    pub(crate) fn is_saturating(&self) -> bool {
        !matches!(self.traffic, Traffic::Paced(_)) && !self.is_memory() && self.clients > 1
    }

    /// Rounds and their length, where others have these. When latency is what counts, many short ones: a stall of the
    /// machine of 30 ms is 1 % of three seconds, so it would decide a long round's p99.
    pub(crate) fn rounds(&self, rounds: usize, spans: Spans) -> (usize, Spans) {
        let Traffic::Paced(_) = self.traffic else {
            return (rounds, spans);
        };
        let Spans { warm_up, window } = spans;
        let spans = Spans { warm_up: warm_up / SHORTER, window: window / SHORTER };
        (rounds * SHORTER as usize, spans)
    }

    /// What the cost is.
    pub(crate) fn cost_name(&self) -> &'static str {
        if self.is_memory() { "memory" } else { "CPU" }
    }

    /// Unit of the cost.
    pub(crate) fn cost_unit(&self) -> &'static str {
        match self.traffic {
            Traffic::Start => "MB",
            Traffic::Idle | Traffic::Parked => "kB/conn",
            Traffic::Bulk => "ms/GB",
            Traffic::KeepAlive(_)
            | Traffic::Close(_)
            | Traffic::Paced(_)
            | Traffic::Streams(_)
            | Traffic::Streams2(_)
            | Traffic::PingPong
            | Traffic::Session
            | Traffic::Headed => "us/req",
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

    /// True when its servers speak HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.traffic, Traffic::Streams2(_))
    }

    /// The servers of a proxy.
    pub(crate) fn servers(&self, setup: &Setup) -> Vec<SocketAddr> {
        if self.is_http2() { http2_origins() } else { origins(setup.backends) }
    }

    /// Connects the clients.
    pub(crate) fn begin(&self, world: &mut World, to: SocketAddr) -> Outcome<()> {
        let (task, ask) = match self.traffic {
            Traffic::KeepAlive(exchange) => (Task::KeepAlive, exchange.ask(false)),
            Traffic::Close(exchange) => (Task::Reconnect, exchange.ask(true)),
            Traffic::Paced(_)
            | Traffic::Streams(_)
            | Traffic::Streams2(_)
            | Traffic::Idle
            | Traffic::Start => (Task::Kept, Exchange::SMALL.ask(false)),
            Traffic::Bulk => (Task::Sink, Ask { bytes: Arc::default(), expects: 0 }),
            Traffic::PingPong => (Task::PingPong, message()),
            Traffic::Session => (Task::Session, message()),
            Traffic::Headed => (Task::Session, headed()),
            Traffic::Parked => (Task::Parked, message()),
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
            | Traffic::Streams(_)
            | Traffic::Streams2(_)
            | Traffic::Idle
            | Traffic::Start
            | Traffic::Bulk
            | Traffic::PingPong
            | Traffic::Session
            | Traffic::Headed
            | Traffic::Parked => None,
        }
    }
}

/// What is sent and comes back.
fn message() -> Ask {
    Ask { bytes: Arc::new([b'm'; MESSAGE]), expects: MESSAGE }
}

/// The same behind a header of the PROXY protocol, which nobody sends back.
fn headed() -> Ask {
    let mut bytes = b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 80\r\n".to_vec();
    bytes.extend([b'm'; MESSAGE]);
    Ask { bytes: bytes.into(), expects: MESSAGE }
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

/// Addresses of the origins that speak HTTP/2.
pub(crate) fn http2_origins() -> Vec<SocketAddr> {
    (0..BACKENDS).map(|n| SocketAddr::new(IP, HTTP2_PORT + n)).collect()
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
mod tests;
