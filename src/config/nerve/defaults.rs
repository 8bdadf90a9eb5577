//! Every default of the Nerve file: unit, reason, source.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

/// `admin.listen`: loopback, because it needs no password; the port after synapse's.
pub(super) const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3211);

/// `state_dir` of a system service: the Filesystem Hierarchy Standard's place for state.
pub(super) const STATE_DIR: &str = "/var/lib/nerve";

/// `drain_delay`: none, as the original.
pub(super) const DRAIN_DELAY: Duration = Duration::ZERO;

/// `stop_timeout`: ten times what a busy ensemble takes for a delete; supervisors kill after 10 s (Docker) or more.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// `check_interval`: nerve's.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Least `ttl_seconds`: every renewal of every service is a write to the whole ensemble.
pub(super) const MIN_TTL: Duration = Duration::from_secs(1);

/// A check's `timeout`: nerve's.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_millis(100);

/// `open_timeout` of an http check: nerve's.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_millis(200);

/// A check's `rise` and `fall`: nerve's.
pub(super) const RISE_FALL: NonZeroU32 = NonZeroU32::MIN;

/// `username` and `password` of a rabbitmq check: RabbitMQ's account for connections of this host (nerve).
pub(super) const RABBITMQ_GUEST: &str = "guest";
