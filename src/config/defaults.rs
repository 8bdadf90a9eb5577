//! Every default of the loader: unit, reason, source. Defaults of haproxy lines stand in [`super::haproxy`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

/// `admin.listen`: loopback, because it needs no password; the port is the one Airbnb's cookbook gives synapse.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3210);

/// `state_dir` of a system service: the Filesystem Hierarchy Standard's place for state.
pub const STATE_DIR: &str = "/var/lib/synapse";

/// `haproxy.state_file_ttl`: a day, as the original.
pub const STATE_FILE_TTL: Duration = Duration::from_secs(86_400);

/// `zk_session_timeout`. The original asks for 18 s (smaller: more expiries on a busy host; larger: registrations of a
/// dead host live longer, which readers do not have any). Servers clamp it to 2..20 ticks.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

/// Least `zk_session_timeout`: below, one garbage collection of the server expires every session.
pub const SESSION_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Largest `zk_session_timeout`: 20 ticks of a slow (30 s) server.
pub const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// `hard_stop_after`: see [`ProcessSettings`](super::ProcessSettings).
pub const HARD_STOP_AFTER: Duration = Duration::from_secs(30);

/// `give_way`: with clients and backends on the same cores two workers cost a third less per request.
pub const GIVE_WAY: bool = true;

/// `bulk_lull`. Measured (CPU ms per GB of one stream on loopback): none 135 to 150, 80 us 97 to 112; in a trial that slept in
/// the thread 30 us came to 116, 100 us to 120. `rx-usecs` of network cards is as long.
pub const BULK_LULL: Duration = Duration::from_micros(80);

/// Largest `bulk_lull`: in a millisecond a stream of 40 Gbit/s fills its socket (`net.ipv4.tcp_rmem`), and is slowed down.
pub const BULK_LULL_MAX: Duration = Duration::from_millis(1);

/// Most data-plane threads that `workers` may ask for; a typing error should not start a million.
pub const WORKERS_MAX: u64 = 1024;

/// `discovery.poll_interval` of the `file` source: a stat four times a second costs nothing and nobody waits.
pub const FILE_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// `discovery_jitter`: upper bound in seconds, as the original.
pub const DISCOVERY_JITTER_MAX: f64 = 120.0;

/// Port of a ZooKeeper host that is written without one: ZooKeeper's client port.
pub const ZOOKEEPER_PORT: u16 = 2181;

/// `use_previous_backends`: true, as the original.
pub const USE_PREVIOUS_BACKENDS: bool = true;

/// `load_test_concurrency`: most copies of a service.
pub const LOAD_TEST_MAX: u64 = 10_000;

/// `proxy.check.interval`: haproxy's `inter`.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// `proxy.check.rise`: haproxy's.
pub const CHECK_RISE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// `proxy.check.fall`: haproxy's.
pub const CHECK_FALL: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
