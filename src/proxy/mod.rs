//! The life of a client connection, and what is promised about it.
//!
//! A worker thread accepts, takes a lease on a backend from the service's current snapshot, and moves bytes. It never
//! touches discovery, checks or the registry. Settings are read once per connection (TCP) or request (HTTP) from an
//! `ArcSwap`, so a change never interrupts what is under way.
//!
//! Promises: a connection that cannot be made is tried elsewhere (`retries`, `redispatch`) before a byte was sent; an
//! idempotent request without body whose backend dies before the first byte of the answer is replayed once; anything
//! else is never sent twice.

pub mod accept;
mod age;
mod buffer;
pub mod connect;
mod counters;
mod course;
mod creep;
mod direction;
mod door;
pub mod error;
mod every;
mod evidence;
mod farewell;
mod gate;
mod give_way;
pub mod http;
pub mod http2;
mod keeper;
mod leaving;
pub mod listener;
mod local;
pub mod lull;
mod millis;
mod pace;
mod peer;
pub mod pipe;
mod proxied;
pub mod proxy_protocol;
pub mod pulse;
pub mod rate;
pub mod relay;
mod shared;
mod side;
mod slot;
mod states;
pub mod tcp;
mod thread;
mod timer;
mod trail;
mod waiting;
mod wheel;
pub mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::listener::{BindAddr, ListenAddr, ListenerSettings, SocketOptions};
use self::millis::Millis;
use crate::telemetry::access::AccessLog;

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Bytes. haproxy's default.
    Tcp,
    /// HTTP/1.x requests.
    Http,
}

/// How a service's connections are treated. Replaced whole by a change of configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// `mode`.
    pub mode: Mode,
    /// `timeout …`.
    pub timeouts: Timeouts,
    /// `retries`: connect attempts after the first. Default 3.
    pub retries: u32,
    /// `option redispatch`.
    pub redispatch: Redispatch,
    /// Frontend `maxconn`: concurrent client connections of this service. Unset: only the global limit.
    pub max_connections: Option<u32>,
    /// A connection of a client ends at about this age (each at its own, within 10 %): TCP then, HTTP after the answer
    /// that it is waiting for or the next, HTTP/2 after its streams. Default none: never. Native key `proxy.max_connection_age`.
    pub max_connection_age: Option<Duration>,
    /// HTTP only.
    pub http: HttpSettings,
    /// What is hashed for the balancer. `None`: nothing. Goes with [`Strategy::Hash`](crate::lb::Strategy::Hash) of the
    /// service's pool, which reads it; while one is replaced before the other, requests are balanced in turn.
    pub hash: Option<Arc<crate::lb::hash::Hashing>>,
    /// How requests (sessions) are logged. `None`: not at all. Default none.
    pub access_log: Option<Arc<AccessLog>>,
}

/// `timeout …`; `None` = never, as haproxy without the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// `timeout connect`: one attempt to connect to a backend.
    pub connect: Option<Duration>,
    /// `timeout queue`: waiting for a backend while all are at their `maxconn`. Falls back to `connect`, as haproxy's.
    pub queue: Option<Duration>,
    /// `timeout client`: inactivity of the client.
    pub client: Option<Duration>,
    /// `timeout server`: inactivity of the backend.
    pub server: Option<Duration>,
    /// `timeout http-request`: the whole request head. HTTP/1: within it `client` holds as well. Falls back to `client`.
    pub http_request: Option<Duration>,
    /// `timeout http-keep-alive`: waiting for the next request. Falls back to `http_request`, then `client`. HTTP/1: at
    /// most `client`.
    pub http_keep_alive: Option<Duration>,
    /// `timeout tunnel`: replaces client and server once a connection is a tunnel (TCP, upgraded).
    pub tunnel: Option<Duration>,
    /// `timeout client-fin`: replaces the others once the client of a tunnel has been told that no more comes.
    pub client_fin: Option<Duration>,
    /// `timeout server-fin`: the same for the backend.
    pub server_fin: Option<Duration>,
    /// `timeout tarpit`: how long a request caught by a tarpit waits for its 500. Falls back to `connect`. No rule
    /// catches one yet.
    pub tarpit: Option<Duration>,
}

impl Timeouts {
    /// Until when an HTTP/1 client must have begun its next request: at rest since then, it took something last of the answer
    /// before.
    pub(crate) fn rest(&self, since: Millis, last: Millis) -> Millis {
        let rest = self.http_keep_alive.or(self.http_request);
        since.after_or_never(rest).min(since.max(last).after_or_never(self.client))
    }

    /// Until when an HTTP/1 client must have sent a head whole that it has begun then, and said some of last.
    pub(crate) fn head(&self, begun: Millis, last: Millis) -> Millis {
        begun.after_or_never(self.http_request).min(begun.max(last).after_or_never(self.client))
    }
}

/// `option redispatch [N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redispatch {
    /// All retries go to the same backend.
    Off,
    /// Retries may go elsewhere. With more than one usable backend haproxy moves at once, whatever N; N matters only
    /// where requests belong to a backend ([`Strategy::Hash`](crate::lb::Strategy::Hash)).
    On {
        /// haproxy's N: -1 = the last retry, 1 = each, k = each k-th.
        every: i32,
    },
}

/// HTTP settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Who keeps connections open.
    pub close_mode: CloseMode,
    /// `option forwardfor`.
    pub forward_for: Option<ForwardFor>,
    /// Replay idempotent requests without body when the backend dies before its first byte. Default true; haproxy does
    /// not (it closes the client's connection). Native key `proxy.replay_idempotent`.
    pub replay_idempotent: bool,
    /// `http-reuse`.
    pub reuse: Reuse,
    /// `option abortonclose`: a client that closes its sending side while it waits has given up; it is told 400. Default
    /// false: it is still answered (haproxy before 3.3).
    pub abort_on_close: bool,
    /// `option http-ignore-probes`: a connection that has brought no byte, as browsers and load balancers open them, ends
    /// without an answer and without a line in the access log. Default false (haproxy).
    pub ignore_probes: bool,
    /// HTTP/2: which listeners speak it, and its limits.
    pub http2: http2::Http2Settings,
}

/// `http-reuse`: when a request may go over a connection that another client's request has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reuse {
    /// Never: the connections that a client's requests have opened are kept for that client.
    Never,
    /// Not the first request of a client's connection, unless it can be repeated when the connection turns out dead: a
    /// client that sees its very first request fail may not try again. haproxy's default.
    #[default]
    Safe,
    /// The first request only over a connection that has been reused before.
    Aggressive,
    /// Always.
    Always,
}

/// `option http-keep-alive | http-server-close | httpclose | forceclose`; the stricter of frontend and backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseMode {
    /// Both sides stay open. haproxy's default.
    KeepAlive,
    /// The backend side is closed after each answer.
    ServerClose,
    /// Both sides are closed after each answer.
    Close,
}

/// `option forwardfor [except NET] [header H] [if-none]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardFor {
    /// Header to append. Default `X-Forwarded-For`, sent in lower case.
    pub header: Arc<str>,
    /// Clients in this network get no header.
    pub except: Option<IpNet>,
    /// Only when the request has none.
    pub if_none: bool,
}

/// An address block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    /// Any address in it.
    pub addr: std::net::IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

/// What a worker needs to know about a service. Shared by all workers; lives until its last connection ends.
#[derive(Debug)]
pub struct Service {
    /// The service.
    pub name: crate::endpoint::ServiceName,
    /// How connections are treated. Written by the control plane, read per connection or request.
    pub settings: arc_swap::ArcSwap<ProxySettings>,
    /// Who answers.
    pub pool: crate::lb::handle::PoolHandle,
    /// Counters, one set per worker.
    pub cells: crate::telemetry::cells::PerWorker<crate::telemetry::cells::ServiceCells>,
}
