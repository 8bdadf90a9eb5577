//! The place that the code under test has in the package, with what it uses from there.
//!
//! The code is included by its path and not through the package: see `src/proxy/http/laws/mod.rs` for why. The types here
//! are stand-ins for those of the same names in `src/proxy/mod.rs`; if they differ in what matters, nothing compiles.

use std::net::IpAddr;
use std::sync::Arc;

pub(crate) mod http;
pub(crate) mod proxy_protocol;

/// `option forwardfor`.
#[derive(Clone, Debug)]
pub(crate) struct ForwardFor {
    pub(crate) header: Arc<str>,
    pub(crate) except: Option<IpNet>,
    pub(crate) if_none: bool,
}

/// An address block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpNet {
    pub(crate) addr: IpAddr,
    pub(crate) prefix: u8,
}
