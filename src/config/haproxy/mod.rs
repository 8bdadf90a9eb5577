//! The haproxy line dialect: what the lines in a Synapse config mean for the in-process proxy.
//!
//! A line goes one way: *words* (quoting), *statement* (its row in the one [table](directives) of directives), *class*
//! (supported, harmless, not yet, refused), and, if it is supported, into a draft in which every value remembers its
//! line. Drafts become the settings types of `lb`, `proxy` and `health`. `defaults` come first, then the service's
//! lines as Synapse routes them; later lines win.
//!
//! Nothing is ignored in silence except what is harmless, and nothing stops at the first mistake. Registrations are
//! outside input: their bad words are skipped and named, never fatal.
//!
//! haproxy 2.6 is imitated, with the spellings of 1.5 to 1.8 that Synapse configs still use.

mod apply;
mod bind;
mod bind_options;
mod defaults;
mod draft;
pub(super) mod httpchk;
mod listener;
mod log;
mod log_target;
mod origins;
mod routing;
mod server;
mod server_rules;
mod service;
mod source;
mod statement;
mod table;
mod template;
mod top;
mod treatment;
mod values;
mod way;
mod words;

#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod status;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

pub(super) use self::httpchk::is_token;
pub(super) use self::log::show as show_target;
pub(super) use self::log_target::{
    FACILITIES as FACILITY_NAMES, FRAMINGS, server as syslog_server, socket as syslog_socket,
};
pub use self::server_rules::judge_server_options;
pub use self::service::resolve_service;
pub(super) use self::source::{device, source};
pub use self::table::{Class, Directive, Sections, directives};
pub use self::top::resolve_top;
pub(super) use self::values::{MAX_KEEPALIVE_COUNT, MAX_KEEPALIVE_SECONDS};
pub(super) use self::way::mismatch;
use super::EffectiveValue;
use super::report::{Line, Place};
use crate::config::balance::Balancing;
use crate::lb::ending::Removal;
use crate::lb::{BackendOrder, ServerRules};
use crate::proxy::{ListenerSettings, ProxySettings};
use crate::telemetry::access::StateLog;

/// The top-level `haproxy:` section as shaped from the file.
#[derive(Clone, Debug, Default)]
pub struct TopSection {
    /// `global`.
    pub global: Vec<Line>,
    /// `defaults`.
    pub defaults: Vec<Line>,
    /// `extra_sections`: title and lines.
    pub extra_sections: Vec<(Line, Vec<Line>)>,
    /// `shared_frontend`.
    pub shared_frontend: Vec<Line>,
    /// `bind_address`. Default `localhost`.
    pub bind_address: Option<(String, Place)>,
    /// `use_nerve_weights`. Default false.
    pub use_nerve_weights: bool,
    /// Absolute value of `server_order_seed`. Unset: drawn once per process, below 2000, as the original.
    pub server_order_seed: Option<u128>,
}

/// What `global` says about the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalSettings {
    /// `maxconn`: client connections of the whole process. Unset or 0: what the descriptor limit allows.
    pub max_connections: Option<u32>,
    /// `maxpipes`: pipes that bulk TCP may use over all workers; `nosplice`: 0. Unset: see
    /// [`WorkerSettings`](crate::proxy::worker::WorkerSettings).
    pub max_pipes: Option<u32>,
    /// `spread-checks`: random part of each check interval in percent, 0..=50. Default 0.
    pub spread_percent: u8,
    /// `user`.
    pub user: Option<String>,
    /// `group`.
    pub group: Option<String>,
    /// `hard-stop-after`: bound of a soft stop. Unset or 0: the process's own default.
    pub hard_stop_after: Option<std::time::Duration>,
    /// `tune.h2.…`; its `front` is each service's own.
    pub http2: crate::proxy::http2::Http2Settings,
}

/// `unix-bind`: what is said about the files of all unix sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct UnixBind {
    /// Goes before every path.
    prefix: String,
    /// Unless a `bind` line says otherwise.
    permissions: crate::proxy::listener::Permissions,
}

/// The resolved top-level section, the base of every service.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// `global`.
    pub global: GlobalSettings,
    /// Addresses that `extra_sections` would bind (the statistics page): not bound yet, but not free either. With the
    /// section's name and the place.
    pub extra_binds: Vec<(SocketAddr, String, Place)>,
    unix_bind: UnixBind,
    spread_origin: Option<draft::Origin>,
    log: log::GlobalLog,
    draft: draft::Draft,
    bind_address: Option<(String, Place)>,
    use_nerve_weights: bool,
    server_order_seed: Option<u128>,
}

/// `port` of a service: left out, null and a number mean three things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKey {
    /// No key: the service has no frontend.
    Omitted,
    /// `null`: `bind_address` is the whole address.
    Null,
    /// A port to listen on.
    Number(u16),
    /// Something else, which has been complained about: the rest of the section is judged as if it were a port.
    Invalid,
}

/// A service's `haproxy:` section as shaped from the file.
#[derive(Clone, Debug)]
pub struct ServiceSection {
    /// Where the section stands.
    pub place: Place,
    /// `disabled`: mistakes in it become warnings.
    pub disabled: bool,
    /// `port`.
    pub port: PortKey,
    /// `bind_address`. Default: the top-level one.
    pub bind_address: Option<(String, Place)>,
    /// `bind_options`.
    pub bind_options: Option<Line>,
    /// `server_options`, a template.
    pub server_options: Option<Line>,
    /// `listen` of the native `proxy` section: words as of `bind` lines.
    pub sockets: Vec<(Vec<String>, Place)>,
    /// `frontend`.
    pub frontend: Vec<Line>,
    /// `backend`.
    pub backend: Vec<Line>,
    /// `listen`.
    pub listen: Vec<Line>,
    /// `backend_name`. Default: the service's name.
    pub backend_name: Option<String>,
    /// `backend_order`: `asc`, `desc`, `no_shuffle`, anything else shuffles.
    pub backend_order: Option<(String, Place)>,
    /// `cookie_value_method`. Without effect as long as `cookie` is refused.
    pub cookie_value_method: Option<String>,
    /// `shared_frontend`.
    pub shared_frontend: Vec<Line>,
}

impl ServiceSection {
    /// False for a service whose backends are discovered and checked, and that nobody can reach.
    pub fn serves(&self) -> bool {
        self.port != PortKey::Omitted || !self.sockets.is_empty()
    }
}

/// What a service's `haproxy:` section comes to.
#[derive(Clone, Debug)]
pub struct ServiceParts {
    /// Where it listens; `None` without `port`, when disabled, and when nothing in it can be bound.
    pub listener: Option<ListenerSettings>,
    /// How its connections are treated.
    pub proxy: ProxySettings,
    /// `balance`, `hash-type`, `hash-balance-factor`.
    pub balancing: Balancing,
    /// `backend_order`.
    pub order: BackendOrder,
    /// `option allbackups`.
    pub all_backups: bool,
    /// What becomes of sessions of removed servers.
    pub removal: Removal,
    /// Where messages about its servers go.
    pub states: Option<StateLog>,
    /// Turns endpoints into server settings.
    pub rules: Arc<dyn ServerRules>,
    /// Names of frontend and backend, as haproxy's file has them.
    pub names: (Arc<str>, Arc<str>),
    /// Every effective value with its origin.
    pub origins: Vec<EffectiveValue>,
}
