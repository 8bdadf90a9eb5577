//! One look-up: an address that is spelled out, or the system's resolver.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use crate::health::BoxFuture;

/// Resolves a name; the first address is taken, unless the one in use is among them.
pub type Lookup =
    Arc<dyn Fn(Arc<str>) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The address in `host`, if it is one: `10.0.0.1`, `::1` or `[::1]`.
pub fn literal(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

pub(super) async fn system_lookup(name: Arc<str>) -> io::Result<Vec<IpAddr>> {
    let addrs = tokio::net::lookup_host((&*name, 0)).await?;
    Ok(addrs.map(|addr| addr.ip()).collect())
}
