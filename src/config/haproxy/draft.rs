//! A proxy section while its lines are being applied: every value remembers the line it comes from.

use std::sync::Arc;
use std::time::Duration;

use super::defaults;
use super::log::LogDraft;
use super::server::ServerDraft;
use super::values::show_time;
use super::way::BackWay;
use crate::config::balance::{Algorithm, HashType};
use crate::config::report::Line;
use crate::dial::KeepAlive;
use crate::health::ProbeSettings;
use crate::lb::hash::Factor;
use crate::proxy::{CloseMode, ForwardFor, Mode, Redispatch, Reuse};

/// Where a value comes from, as `synapse check` shows it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// `services.x.haproxy.listen[3] "mode http"`, or `default (haproxy)`.
    pub(super) text: Arc<str>,
    /// What kind of origin it is; decides who wins when two sides differ.
    pub(super) level: Level,
}

/// Kinds of origins, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nobody said anything.
    Default,
    /// `haproxy.defaults`.
    Shared,
    /// The service itself.
    Service,
    /// What is asked anew for every registration: nothing is looked up for it.
    Registration,
}

impl Origin {
    /// The origin of what `line` says.
    pub(super) fn of(line: &Line, level: Level) -> Self {
        Self { text: format!("{} {:?}", line.place.path, line.text.trim()).into(), level }
    }

    fn default_of(whom: &str) -> Self {
        Self { text: format!("default ({whom})").into(), level: Level::Default }
    }
}

/// A value and where it comes from.
#[derive(Clone)]
pub(super) struct Tracked<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// The value alone: a reload compares settings by what they show, and where a value stands is no difference.
impl<T: std::fmt::Debug> std::fmt::Debug for Tracked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> Tracked<T> {
    pub(super) fn new(value: T, origin: &Origin) -> Self {
        Self { value, origin: origin.clone() }
    }

    pub(super) fn set(&mut self, value: T, origin: &Origin) {
        *self = Self::new(value, origin);
    }
}

/// What frontend and backend both have.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) mode: Tracked<Mode>,
    pub(super) close: Tracked<CloseMode>,
    pub(super) forward_for: Tracked<Option<ForwardFor>>,
}

/// `timeout …`; `None` = never.
#[derive(Clone, Debug)]
pub(super) struct TimeoutDraft {
    pub(super) connect: Tracked<Option<Duration>>,
    pub(super) queue: Tracked<Option<Duration>>,
    pub(super) client: Tracked<Option<Duration>>,
    pub(super) server: Tracked<Option<Duration>>,
    pub(super) check: Tracked<Option<Duration>>,
    pub(super) http_request: Tracked<Option<Duration>>,
    pub(super) http_keep_alive: Tracked<Option<Duration>>,
    pub(super) tunnel: Tracked<Option<Duration>>,
    pub(super) client_fin: Tracked<Option<Duration>>,
    pub(super) server_fin: Tracked<Option<Duration>>,
    pub(super) tarpit: Tracked<Option<Duration>>,
}

/// `option clitcpka` and `clitcpka-…`.
#[derive(Clone, Debug)]
pub(super) struct KeepaliveDraft {
    pub(super) is_on: Tracked<bool>,
    pub(super) detail: Tracked<KeepAlive>,
}

impl KeepaliveDraft {
    fn new(origin: &Origin) -> Self {
        let detail = Tracked::new(KeepAlive::default(), origin);
        Self { is_on: Tracked::new(false, origin), detail }
    }

    /// `None`: nobody is asked. The other lines change nothing then, as with haproxy.
    pub(super) fn resolve(&self) -> Option<KeepAlive> {
        self.is_on.value.then_some(self.detail.value)
    }
}

/// As `synapse check` shows it.
impl std::fmt::Display for KeepaliveDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(KeepAlive { idle, interval, count }) = self.resolve() else {
            return f.write_str("off");
        };
        let hosts = || "host's".to_owned();
        let seconds = |time: Option<Duration>| time.map_or_else(hosts, show_time);
        let count = count.map_or_else(hosts, |count| count.to_string());
        write!(f, "idle {}, intvl {}, cnt {count}", seconds(idle), seconds(interval))
    }
}

/// The frontend and backend of a service, or what `defaults` makes of them.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) front: Side,
    pub(super) back: Side,
    pub(super) timeouts: TimeoutDraft,
    pub(super) max_connections: Tracked<Option<u32>>,
    pub(super) full_connections: Tracked<Option<u32>>,
    pub(super) backlog: Tracked<u32>,
    pub(super) keepalive: KeepaliveDraft,
    pub(super) algorithm: Tracked<Algorithm>,
    pub(super) hash_type: Tracked<HashType>,
    pub(super) factor: Tracked<Option<Factor>>,
    pub(super) retries: Tracked<u32>,
    pub(super) redispatch: Tracked<Redispatch>,
    pub(super) reuse: Tracked<Reuse>,
    pub(super) abort_on_close: Tracked<bool>,
    pub(super) ignore_probes: Tracked<bool>,
    pub(super) all_backups: Tracked<bool>,
    pub(super) probe: Tracked<ProbeSettings>,
    pub(super) server: ServerDraft,
    pub(super) way: BackWay,
    pub(super) log: LogDraft,
    /// The same of the backend: where messages about its servers go.
    pub(super) state_log: LogDraft,
}

impl Default for Draft {
    fn default() -> Self {
        let haproxy = Origin::default_of("haproxy");
        let ours = Origin::default_of("synapse");
        let never = Tracked::new(None, &haproxy);
        let side = Side {
            mode: Tracked::new(defaults::MODE, &haproxy),
            close: Tracked::new(defaults::CLOSE_MODE, &haproxy),
            forward_for: Tracked::new(None, &haproxy),
        };
        Self {
            front: side.clone(),
            back: side,
            timeouts: TimeoutDraft {
                connect: never.clone(),
                queue: never.clone(),
                client: never.clone(),
                server: never.clone(),
                check: never.clone(),
                http_request: never.clone(),
                http_keep_alive: never.clone(),
                tunnel: never.clone(),
                client_fin: never.clone(),
                server_fin: never.clone(),
                tarpit: never,
            },
            max_connections: Tracked::new(None, &haproxy),
            full_connections: Tracked::new(None, &haproxy),
            backlog: Tracked::new(defaults::BACKLOG, &ours),
            keepalive: KeepaliveDraft::new(&haproxy),
            algorithm: Tracked::new(defaults::ALGORITHM, &haproxy),
            hash_type: Tracked::new(HashType::default(), &haproxy),
            factor: Tracked::new(None, &haproxy),
            retries: Tracked::new(defaults::RETRIES, &haproxy),
            redispatch: Tracked::new(defaults::REDISPATCH, &haproxy),
            reuse: Tracked::new(Reuse::Safe, &haproxy),
            abort_on_close: Tracked::new(false, &haproxy),
            ignore_probes: Tracked::new(false, &haproxy),
            all_backups: Tracked::new(false, &haproxy),
            probe: Tracked::new(ProbeSettings::Tcp, &haproxy),
            server: ServerDraft::default(),
            way: BackWay::new(&haproxy),
            log: LogDraft::new(&haproxy),
            state_log: LogDraft::new(&haproxy),
        }
    }
}
