//! Every metric: name, type, unit, help. The only place with these literals.
//!
//! Names follow `synapse_<noun>_<unit>_total` (`nerve_…` for nerve); units are base units (seconds, bytes). Labels are bounded: `service`,
//! `backend` (haproxy's server name), `code`, `cause`, `ensemble`, `worker`. To add a metric: a constant here, a place in
//! [`ALL`], a sample where it is collected; the golden `/metrics` test then shows it.

/// Label of every per-service family: the key under `services`.
pub const SERVICE: &str = "service";
/// Label of every per-backend family: haproxy's server name.
pub const BACKEND: &str = "backend";
/// Class of an HTTP status: `1xx` to `5xx`, or `other`.
pub const CODE: &str = "code";
/// Cause of a failure, from `ErrorCause::label`.
pub const CAUSE: &str = "cause";
/// Connect string of a ZooKeeper ensemble.
pub const ENSEMBLE: &str = "ensemble";
/// Index of a data-plane thread.
pub const WORKER: &str = "worker";
/// Version of the program.
pub const VERSION: &str = "version";
/// Kind of a control-plane task: `discovery`, `pool`, …
pub const TASK: &str = "task";
/// Name of one of nerve's checks, as in its configuration.
pub const CHECK: &str = "check";
/// How a pass of nerve's checks ended: `up` or `down`.
pub const RESULT: &str = "result";
/// Which path of the admin server, from a fixed list.
pub const ROUTE: &str = "route";
/// Why something was refused, from a fixed list.
pub const REASON: &str = "reason";

/// Values of [`CODE`], in the order of the cells' classes.
pub const CODES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// How a family behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, until its service or backend goes away.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
}

impl Kind {
    /// The word after `# TYPE NAME`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What the numbers of a family count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Things, or a yes (1) and no (0).
    None,
    /// Seconds; the name says so.
    Seconds,
    /// Bytes; the name says so.
    Bytes,
}

/// One metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Unit of its values.
    pub unit: Unit,
    /// One sentence.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::None, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit: Unit::None, help }
}

impl Metric {
    const fn bytes(self) -> Self {
        Self { unit: Unit::Bytes, ..self }
    }

    const fn seconds(self) -> Self {
        Self { unit: Unit::Seconds, ..self }
    }
}

/// Defines the constants and the list of all of them together, so that none can be forgotten.
macro_rules! metrics {
    ($($name:ident = $metric:expr;)*) => {
        $(
            #[doc = concat!("The family behind `", stringify!($name), "`; its help text says what it counts.")]
            pub const $name: Metric = $metric;
        )*

        /// Every family, in the order of the answer.
        pub const ALL: &[Metric] = &[$($name),*];
    };
}

metrics! {
    BUILD_INFO = gauge("synapse_build_info", "Version of the running program; always 1.");
    PROCESS_START = gauge("process_start_time_seconds", "Start of the process since the Unix epoch in seconds.").seconds();
    PROCESS_CPU = counter("process_cpu_seconds_total", "User and system CPU time spent, in seconds.").seconds();
    PROCESS_RSS = gauge("process_resident_memory_bytes", "Resident memory in bytes.").bytes();
    PROCESS_OPEN_FDS = gauge("process_open_fds", "Open file descriptors.");
    PROCESS_MAX_FDS = gauge("process_max_fds", "Limit of open file descriptors.");
    READY = gauge("synapse_ready", "1 when /ready answers 200.");
    CONFIG_WARNINGS = gauge("synapse_config_warnings", "Remarks about the configuration in use.");
    CONFIG_ON_DISK_DIFFERS = gauge("synapse_config_on_disk_differs", "1 when the file was refused at the last reload, or holds values that need a restart.");
    SERVICES = gauge("synapse_services", "Services in the configuration.");
    WORKER_CONNECTIONS = gauge("synapse_worker_connections", "Client connections open on a data-plane thread.");

    WORKER_SILENT = gauge("synapse_worker_silent_seconds", "Time since a data-plane thread last showed life; it does so every second.").seconds();
    CONTROL_SILENT = gauge("synapse_control_silent_seconds", "Time since the control thread last showed life; it does so every second.").seconds();
    CONTROL_STALLS = counter("synapse_control_stalls_total", "Times that the data plane found the control thread silent for more than 5 s.");
    CONNECTION_PANICS = counter("synapse_connection_panics_total", "Connection tasks that panicked; each ended its own connection only.");
    ACCESS_LOG_LINES = counter("synapse_access_log_lines_total", "Lines of the access log that were written, once for each target.");
    ACCESS_LOG_LOST = counter("synapse_access_log_lost_lines_total", "Lines of the access log that were lost, by reason: queue (the writer did not keep up), receiver (a syslog server refuses, does not read or is not there) or file (cannot be opened or written).");
    ACCEPT_PAUSES = counter("synapse_accept_pauses_total", "Times that accepting paused because the process or the host had no descriptor left.");

    REGISTRY_CONNECTED = gauge("synapse_registry_connected", "1 while the session with the ensemble is usable.");
    REGISTRY_SESSIONS = counter("synapse_registry_sessions_total", "Sessions opened with the ensemble.");
    REGISTRY_STATE_AGE = gauge("synapse_registry_state_age_seconds", "Time since the session entered its present state.").seconds();

    CONNECTIONS = counter("synapse_connections_total", "Client connections accepted.");
    CONNECTIONS_OPEN = gauge("synapse_connections_open", "Client connections open.");
    CONNECTIONS_REFUSED = counter("synapse_connections_refused_total", "Client connections refused at maxconn or for want of descriptors.");
    RECEIVED_BYTES = counter("synapse_received_bytes_total", "Bytes received from clients, heads of requests included.").bytes();
    SENT_BYTES = counter("synapse_sent_bytes_total", "Bytes sent to clients, heads of answers included.").bytes();
    HTTP_REQUESTS = counter("synapse_http_requests_total", "Requests from clients.");
    HTTP_RESPONSES = counter("synapse_http_responses_total", "Answers to clients by status class, made by a backend or by the proxy.");
    HTTP_REPLAYS = counter("synapse_http_replays_total", "Idempotent requests sent again because the backend died before the first byte.");
    HTTP_DURATION = Metric {
        name: "synapse_http_request_duration_seconds",
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        help: "Time from the head of a request to the end of its answer.",
    };
    ERRORS = counter("synapse_errors_total", "Failed requests (HTTP) or connections (TCP) by cause.");
    RETRIES = counter("synapse_retries_total", "Attempts repeated on the same backend.");
    REDISPATCHES = counter("synapse_redispatches_total", "Attempts moved to another backend.");
    QUEUE_LENGTH = gauge("synapse_queue_length", "Requests (HTTP) or connections (TCP) that wait because all backends are at their maxconn.");
    QUEUE_MOST = gauge("synapse_queue_length_max", "Most that have waited at a time for whichever backend has room first.");
    QUEUED = counter("synapse_queued_total", "Requests (HTTP) or connections (TCP) that had to wait for a backend.");
    QUEUE_SERVED = counter("synapse_queue_served_total", "Those that got a backend after they had waited; the others left, or waited too long.");
    QUEUE_WAIT = counter("synapse_queue_wait_seconds_total", "Time that all of them have waited together.").seconds();
    OUTCOMES_DROPPED = counter("synapse_outcomes_dropped_total", "Observations of live traffic lost because the pool was busy; no request is lost with them.");

    MEMBERSHIP_CHANGES = counter("synapse_membership_changes_total", "Changes of the set of backends.");
    HEALTH_CHANGES = counter("synapse_health_changes_total", "Changes of a backend's verdict.");
    BACKENDS_KNOWN = gauge("synapse_backends_known", "Backends in the set in use.");
    BACKENDS_UP = gauge("synapse_backends_up", "Backends that are up or not checked.");
    BACKENDS_ELIGIBLE = gauge("synapse_backends_eligible", "Backends that new traffic may go to.");
    SERVICE_DISABLED = gauge("synapse_service_disabled", "1 when the service is disabled in the configuration.");

    DISCOVERY_MALFORMED = gauge("synapse_discovery_malformed_members", "Registrations that cannot be used now.");
    DISCOVERY_AGE = gauge("synapse_discovery_last_verified_age_seconds", "Time since discovery last confirmed the set; since the start of the service while it never has.").seconds();
    DISCOVERY_TROUBLE = gauge("synapse_discovery_trouble", "1 while the source of the service is in trouble; its last word stays in use.");
    DISCOVERY_PENDING = gauge("synapse_discovery_pending", "1 while discovery has not been heard at all.");
    DISCOVERY_STALE = gauge("synapse_discovery_stale", "1 while the set in use is the last known one from before the start, not confirmed since.");
    DISCOVERY_STALE_AGE = gauge("synapse_discovery_stale_age_seconds", "Time since discovery last confirmed the last known set in use; 0 when it is not stale.").seconds();

    BACKEND_UP = gauge("synapse_backend_up", "1 when the backend is up or not checked, 0 when it is down, disabled or without an address.");
    BACKEND_ELIGIBLE = gauge("synapse_backend_eligible", "1 when new traffic may go to the backend.");
    BACKEND_IN_FLIGHT = gauge("synapse_backend_in_flight", "Requests (HTTP) or connections (TCP) in progress.");
    BACKEND_QUEUE_LENGTH = gauge("synapse_backend_queue_length", "Requests that wait for this backend and no other.");
    BACKEND_QUEUE_MOST = gauge("synapse_backend_queue_length_max", "Most that have waited for this backend at a time.");
    BACKEND_REQUESTS = counter("synapse_backend_requests_total", "Requests (HTTP) or connections (TCP) given to the backend, retries included.");
    BACKEND_RESPONSES = counter("synapse_backend_http_responses_total", "Answers of the backend by status class.");
    BACKEND_CONNECTS = counter("synapse_backend_connections_total", "Connections opened to the backend.");
    BACKEND_REUSES = counter("synapse_backend_connection_reuses_total", "Requests sent over a connection that was already open.");
    BACKEND_CONNECT_ERRORS = counter("synapse_backend_connect_errors_total", "Connections to the backend that could not be opened.");
    BACKEND_RESPONSE_ERRORS = counter("synapse_backend_response_errors_total", "Answers that were cut, late or not HTTP.");
    BACKEND_RETRIES = counter("synapse_backend_retries_total", "Attempts repeated on the backend after it failed.");
    BACKEND_REDISPATCHES = counter("synapse_backend_redispatches_total", "Attempts moved away from the backend after it failed.");
    BACKEND_RECEIVED_BYTES = counter("synapse_backend_received_bytes_total", "Bytes received from the backend.").bytes();
    BACKEND_SENT_BYTES = counter("synapse_backend_sent_bytes_total", "Bytes sent to the backend.").bytes();

    ADMIN_REQUESTS = counter("synapse_admin_requests_total", "Requests to the admin server by route.");
    CONFIG_RELOADS = counter("synapse_config_reloads_total", "Configurations taken into use after the first.");
    CONFIG_REJECTED = counter("synapse_config_rejected_total", "Changed configurations that were refused; the former stayed in use.");
    LAST_KNOWN_SAVES = counter("synapse_last_known_saves_total", "Files of last known backends written.");
    LAST_KNOWN_SAVE_ERRORS = counter("synapse_last_known_save_errors_total", "Files of last known backends that could not be written.");
    LAST_KNOWN_REFUSED = counter("synapse_last_known_refused_total", "Files of last known backends that were not used, by reason.");
    TASK_RESTARTS = counter("synapse_task_restarts_total", "Tasks that ended when they should not have and were started again, by kind.");
    STATSD_LOST = counter("synapse_statsd_lost_total", "Statsd events that were not sent, by reason: queue (full), name (statsd.host has no address) or send.");
    TASKS_LOST = counter("synapse_tasks_lost_total", "Tasks that ended when they should not have and cannot be started again.");

    NERVE_BUILD_INFO = gauge("nerve_build_info", "Version of the running program; always 1.");
    NERVE_READY = gauge("nerve_ready", "1 when /ready answers 200.");
    NERVE_CONFIG_WARNINGS = gauge("nerve_config_warnings", "Remarks about the configuration in use.");
    NERVE_CONFIG_REFUSED = gauge("nerve_config_refused_services", "Services of the configuration that cannot work here and are left out.");
    NERVE_CONFIG_ON_DISK_DIFFERS = gauge("nerve_config_on_disk_differs", "1 when the file was refused at the last reload, or holds values that need a restart.");
    NERVE_SERVICES = gauge("nerve_services", "Services that are watched, pushed ones included.");
    NERVE_REGISTRY_CONNECTED = gauge("nerve_registry_connected", "1 while the session with the ensemble is usable.");
    NERVE_REGISTRY_SESSIONS = counter("nerve_registry_sessions_total", "Sessions opened with the ensemble.");
    NERVE_REGISTRY_STATE_AGE = gauge("nerve_registry_state_age_seconds", "Time since the session entered its present state.").seconds();
    NERVE_SERVICE_UP = gauge("nerve_service_up", "1 when the checks of the service pass, 0 when not; absent before the first verdict.");
    NERVE_SERVICE_REGISTERED = gauge("nerve_service_registered", "1 when the service stands in the registry as far as is known.");
    NERVE_SERVICE_SETTLED = gauge("nerve_service_settled", "1 when the registry has acknowledged what is wanted of it.");
    NERVE_SERVICE_DOWN_ANNOUNCED = gauge("nerve_service_down_announced", "1 while a downtime is announced.");
    NERVE_SERVICE_SUPPRESSED = gauge("nerve_service_suppressed", "1 while a return is held back by flap damping.");
    NERVE_SERVICE_PUSHED = gauge("nerve_service_pushed", "1 for a service that was registered over the push API.");
    NERVE_FLAP_PENALTY = gauge("nerve_flap_penalty", "Flap penalty now; it halves every half-life.");
    NERVE_SERVICE_TRANSITIONS = counter("nerve_service_transitions_total", "Changes of the verdict, the first one included.");
    NERVE_SERVICE_THROTTLED = counter("nerve_service_throttled_total", "Changes that the rate limit held back, or would have in shadow mode.");
    NERVE_CHECK_RESULTS = counter("nerve_check_results_total", "Passes through the checks of the service, by how they ended.");
    NERVE_CHECK_UP = gauge("nerve_check_up", "1 when the check passes, 0 when not; absent before its first result.");
    NERVE_CHECK_DURATION = gauge("nerve_check_duration_seconds", "Time that the last attempt took.").seconds();
    NERVE_REGISTRY_WRITES = counter("nerve_registry_writes_total", "Writes for the service that the registry acknowledged.");
    NERVE_STATSD_LOST = counter("nerve_statsd_lost_total", "Statsd events that were not sent, by reason: queue (full), name (statsd.host has no address) or send.");
    NERVE_ADMIN_REQUESTS = counter("nerve_admin_requests_total", "Requests to nerve's pages by route.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_follow_the_rules() {
        let mut seen = HashSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(
                metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{}",
                metric.name
            );
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            for reserved in ["_sum", "_count", "_bucket", "_info_total"] {
                assert!(!metric.name.ends_with(reserved), "{}", metric.name);
            }
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(!metric.help.contains(['\n', '\\']), "{}", metric.name);
        }
    }

    #[test]
    fn the_unit_stands_in_the_name() {
        for metric in ALL {
            let stem = metric.name.trim_end_matches("_total");
            assert_eq!(metric.unit == Unit::Seconds, stem.ends_with("_seconds"));
            assert_eq!(metric.unit == Unit::Bytes, stem.ends_with("_bytes"));
        }
    }
}
