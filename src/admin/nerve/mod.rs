//! nerve's pages and its push API: `/live`, `/ready`, `/metrics`, `/v1/services`, and commands about one service.
//!
//! Nothing here owns state or talks to a registry: everything is asked of a [`Desk`], which `app` implements. Reading is
//! open to whoever can connect. Commands (`access`) are taken over the unix socket from root and from the user that
//! nerve runs as, and over TCP only when the configuration says so, from this host, and never from a browser.
//!
//! | path | answer |
//! |---|---|
//! | `/` | everything at a glance, for people |
//! | `/live` | 200 while the control thread runs |
//! | `/ready` | 200, or 503 with what is missing |
//! | `/metrics` | Prometheus text format |
//! | `GET /v1/services` | every service: JSON, or a table with `?format=text` |
//! | `GET /v1/services/NAME` | one |
//! | `POST /v1/services/NAME/down?for=30s&reason=…` | deregisters at once; answers when that is acknowledged |
//! | `POST /v1/services/NAME/up` | ends an announced downtime |
//! | `PUT /v1/services/NAME?ttl=60s` | registers a service that is not in the file; repeat to renew |
//! | `DELETE /v1/services/NAME` | takes that back |
//!
//! `docs/nerve.md` describes them for users.

mod access;
pub mod desk;
mod diagnosis;
mod metrics;
mod page;
pub mod push;
mod routes;
pub mod shape;
pub mod table;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hyper::Method;

use crate::health::BoxFuture;
use crate::telemetry::cold::{self, ColdMetrics};

use self::access::Access;
use self::desk::Desk;
use self::routes::Route;
use super::site::{Answer, Asked, Lane, Site};

/// Mode of the unix socket: everybody may connect and read, as on the TCP address; who may command is decided by the
/// peer's credentials.
pub const SOCKET_MODE: u32 = 0o666;

/// nerve's pages, on any number of listeners.
#[derive(Debug)]
pub struct NerveSite {
    desk: Arc<dyn Desk>,
    access: Access,
    cold: ColdMetrics,
    /// Written by whoever opens the listener.
    admin: ArcSwapOption<AdminAddress>,
}

/// The listener of the admin address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddress {
    /// Where it is, or should be.
    pub addr: SocketAddr,
    /// Why nothing answers there; one line.
    pub trouble: Option<String>,
}

impl NerveSite {
    /// `push`: commands are taken over TCP, too (`admin.push`). `cold`: counters of rare events, shown in `/metrics`.
    pub fn new(desk: Arc<dyn Desk>, push: bool, cold: ColdMetrics) -> Self {
        let admin = ArcSwapOption::empty();
        Self { desk, access: Access::new(push), cold, admin }
    }

    /// Says how it is with the admin address: trouble is told by `/ready`, and on a loopback address the pages are read
    /// under loopback names only. Until then: no trouble, any name.
    pub fn set_admin(&self, admin: AdminAddress) {
        self.admin.store(Some(Arc::new(admin)));
    }

    fn is_local(&self) -> bool {
        self.admin.load().as_ref().is_some_and(|admin| admin.addr.ip().to_canonical().is_loopback())
    }

    /// Why the admin address does not answer, as `/ready` tells it.
    fn admin_trouble(&self) -> Option<String> {
        let admin = self.admin.load_full()?;
        let trouble = admin.trouble.as_ref()?;
        Some(format!("admin address {}: {trouble}", admin.addr))
    }
}

impl Site for NerveSite {
    fn count(&self, path: &str) {
        cold::nerve_admin_request(Route::of(path).label());
    }

    fn lane(&self, method: &Method, path: &str) -> Lane {
        match Route::of(path) {
            Route::Live => Lane::Instant,
            Route::Service(_) if method == Method::PUT || method == Method::DELETE => Lane::Command,
            Route::Down(_) | Route::Up(_) if method == Method::POST => Lane::Command,
            Route::Index
            | Route::Ready
            | Route::Metrics
            | Route::Services
            | Route::Service(_)
            | Route::Down(_)
            | Route::Up(_)
            | Route::Unknown => Lane::Rendering,
        }
    }

    fn page(&self, asked: &Asked) -> Answer {
        routes::page(self, asked)
    }

    fn act(self: Arc<Self>, asked: Asked) -> BoxFuture<'static, Answer> {
        Box::pin(async move { push::act(&self, &asked).await })
    }
}
