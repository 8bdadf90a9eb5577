//! What applies when no line says otherwise. The values are haproxy 2.6's (its manual, section 4) unless said.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::balance::Algorithm;
use crate::proxy::{CloseMode, Mode, Redispatch};

/// `mode`. Airbnb's and Yelp's configs set it in each service or in `defaults`.
pub(super) const MODE: Mode = Mode::Tcp;

/// `balance`. 3.3 changed it to `random`; we follow 2.6 to 3.2.
pub(super) const ALGORITHM: Algorithm = Algorithm::RoundRobin;

/// `retries`.
pub(super) const RETRIES: u32 = 3;

/// `option redispatch` is off.
pub(super) const REDISPATCH: Redispatch = Redispatch::Off;

/// `option redispatch` without N: the last retry only.
pub(super) const REDISPATCH_EVERY: i32 = -1;

/// `option http-keep-alive` (since 1.5).
pub(super) const CLOSE_MODE: CloseMode = CloseMode::KeepAlive;

/// `option forwardfor`'s header.
pub(super) const FORWARD_FOR_HEADER: &str = "X-Forwarded-For";

/// `backlog`. haproxy takes the frontend's `maxconn`; ours is the kernel's usual `somaxconn`, which bounds it anyway.
pub(super) const BACKLOG: u32 = 4096;

/// `inter`.
pub(super) const INTER: Duration = Duration::from_secs(2);

/// `rise`.
pub(super) const RISE: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// `fall`.
pub(super) const FALL: NonZeroU32 = NonZeroU32::new(3).unwrap();

/// `option httpchk` without method.
pub(super) const CHECK_METHOD: &str = "OPTIONS";

/// `option httpchk` without URI.
pub(super) const CHECK_URI: &str = "/";

/// `option httpchk` without version.
pub(super) const CHECK_VERSION: &str = "HTTP/1.0";

/// `bind_address` (Synapse 0.18.9).
pub(super) const BIND_ADDRESS: &str = "localhost";

/// Synapse draws `server_order_seed` below this once per process.
pub(super) const RANDOM_SEEDS: u64 = 2_000;

/// `maxconn` of a frontend when neither it nor `global` says one, for `fullconn`: haproxy's built-in number.
pub(super) const MAX_CONNECTIONS: u32 = 2_000;
