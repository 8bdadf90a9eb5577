//! Every dogstatsd metric: name, type, tags. The only place with these literals.
//!
//! Names and tags are the originals'. None has a `:`, `|` or `@`, which their client would have replaced by `_`.

/// What a metric's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Events since the last datagram: `c`.
    Counter,
    /// Milliseconds: `ms`.
    Timing,
    /// What it is now: `g`.
    Gauge,
}

impl Kind {
    /// The letters in the datagram.
    pub fn letters(self) -> &'static str {
        match self {
            Self::Counter => "c",
            Self::Timing => "ms",
            Self::Gauge => "g",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Keys of its tags, in order.
    pub tags: &'static [&'static str],
}

const fn counter(name: &'static str, tags: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Counter, tags }
}

const fn timing(name: &'static str, tags: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Timing, tags }
}

const fn gauge(name: &'static str, tags: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Gauge, tags }
}

/// Defines the constants and the list of all of them together, so that none can be forgotten.
macro_rules! metrics {
    ($($name:ident = $metric:expr;)*) => {
        $(
            #[doc = concat!("See `", stringify!($name), "` in `docs/operations.md`.")]
            pub const $name: Metric = $metric;
        )*

        /// Every metric, in the order of the documentation.
        pub const ALL: &[Metric] = &[$($name),*];
    };
}

/// Tags of what synapse does with an ensemble for a service.
const OF_SERVICE: &[&str] = &["zk_cluster", "service_name"];
/// Tags of a look at a service's path.
const OF_PATH: &[&str] = &["zk_cluster", "zk_path", "service_name"];

metrics! {
    NERVE_START = counter("nerve.start", &[]);
    NERVE_STOP = counter("nerve.stop", &["stop_avenue", "stop_location"]);
    NERVE_CONFIG_UPDATE = counter("nerve.config.update", &[]);
    NERVE_MAIN_LOOP = timing("nerve.main_loop.elapsed_time", &[]);
    NERVE_WATCHER_LAUNCH = counter("nerve.watcher.launch", &["launch_reason", "watcher_name"]);
    NERVE_WATCHER_REAP = counter("nerve.watcher.reap", &["reap_reason", "watcher_name"]);
    NERVE_WATCHER_START = counter("nerve.watcher.start", &["service_name"]);
    NERVE_WATCHER_STOP = counter("nerve.watcher.stop", &["stop_avenue", "stop_location", "service_name"]);
    NERVE_PING = counter("nerve.watcher.status.ping.count", &["ping_result", "service_name", "nerve_version"]);
    NERVE_SERVICE_CHECK = counter("nerve.watcher.status.service_check", &["check_result", "service_name", "check_name"]);
    NERVE_TRANSITION = counter("nerve.watcher.status.transition", &["new_status", "service_name"]);
    NERVE_REPORT = counter("nerve.watcher.status.report.count", &["report_result", "service_name"]);
    NERVE_THROTTLED = counter("nerve.watcher.throttled", &["service_name", "shadow_mode"]);
    NERVE_ZK_CREATED = counter("nerve.reporter.zk.client.created", &["zk_cluster"]);
    NERVE_ZK_REUSED = counter("nerve.reporter.zk.client.reused", &["zk_cluster"]);
    NERVE_ZK_CHILD_BYTES = gauge("nerve.reporter.zk.child.bytes", &["zk_cluster", "zk_path"]);
    NERVE_ZK_CREATE = timing("nerve.reporter.zk.create.elapsed_time", &["zk_cluster", "zk_path"]);
    NERVE_ZK_SAVE = timing("nerve.reporter.zk.save.elapsed_time", &["zk_cluster"]);
    NERVE_ZK_DELETE = timing("nerve.reporter.zk.delete.elapsed_time", &["zk_cluster"]);
    NERVE_ZK_TTL = counter("nerve.reporter.zk.ttl.renew", &["zk_cluster", "result", "reason"]);

    SYNAPSE_START = counter("synapse.start", &[]);
    SYNAPSE_STOP = counter("synapse.stop", &["stop_avenue", "stop_location"]);
    SYNAPSE_WATCHERS_START = timing("synapse.watchers.start.time", &[]);
    SYNAPSE_MAIN_LOOP = timing("synapse.main_loop.elapsed_time", &[]);
    SYNAPSE_WATCHER_START = counter("synapse.watcher.start", &["start_result", "watcher_name"]);
    SYNAPSE_WATCHER_STOP = counter("synapse.watcher.stop", &["stop_avenue", "stop_location", "watcher_name"]);
    SYNAPSE_WATCHER_PING = counter("synapse.watcher.ping.count", &["watcher_name", "ping_result", "synapse_version"]);
    SYNAPSE_CONFIG_UPDATE = counter("synapse.config.update", &[]);
    SYNAPSE_CONFIG_FAILED = counter("synapse.config.update_failed", &["config_name"]);
    SYNAPSE_ZK_CREATED = counter("synapse.watcher.zk.client.created", OF_SERVICE);
    SYNAPSE_ZK_REUSED = counter("synapse.watcher.zk.client.reused", OF_SERVICE);
    SYNAPSE_ZK_EXPIRED = counter("synapse.watcher.zk.session.expired", OF_SERVICE);
    SYNAPSE_ZK_CHILDREN = timing("synapse.watcher.zk.children.elapsed_time", OF_SERVICE);
    SYNAPSE_ZK_CHILDREN_FAILED = counter("synapse.watcher.zk.children.failed", OF_SERVICE);
    SYNAPSE_ZK_GET = timing("synapse.watcher.zk.get.elapsed_time", OF_SERVICE);
    SYNAPSE_ZK_GET_FAILED = counter("synapse.watcher.zk.get_child_failed", &[]);
    SYNAPSE_ZK_PARSE_FAILED = counter("synapse.watcher.zk.parse_child_failed", &[]);
    SYNAPSE_ZK_CONFIG_FAILED = counter("synapse.watcher.zk.get_config_failed", &[]);
    SYNAPSE_ZK_DISCOVERY = counter("synapse.watcher.zk.discovery", OF_PATH);
    SYNAPSE_ZK_DISCOVERY_TIME = timing("synapse.watcher.zk.discovery.elapsed_time", OF_PATH);
}
