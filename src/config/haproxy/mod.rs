//! The haproxy dialect: lines to settings through one table of directives.
//!
//! Placeholder with the agreed signatures, so that the loader compiles; the real module replaces this file whole.

use std::net::SocketAddr;
use std::sync::Arc;

use super::EffectiveValue;
use super::report::{Line, Place, Report};
use crate::endpoint::{Endpoint, ServiceName};
use crate::lb::{BackendOrder, ServerRules, ServerSettings, ShuffleSeed, Strategy};
use crate::proxy::{
    BindAddr, CloseMode, HttpSettings, ListenerSettings, Mode, ProxySettings, Redispatch, Timeouts,
};

/// The top-level `haproxy:` section as read from the document: shape only.
#[derive(Clone, Debug, Default)]
pub struct TopSection {
    /// `global` lines.
    pub global: Vec<Line>,
    /// `defaults` lines.
    pub defaults: Vec<Line>,
    /// `extra_sections`: title and lines.
    pub extra_sections: Vec<(Line, Vec<Line>)>,
    /// `shared_frontend` lines.
    pub shared_frontend: Vec<Line>,
    /// `bind_address`.
    pub bind_address: Option<(String, Place)>,
    /// `use_nerve_weights`.
    pub use_nerve_weights: bool,
    /// Absolute value of `server_order_seed`.
    pub server_order_seed: Option<u128>,
}

/// `port` of a service's section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKey {
    /// No such key: backend only.
    Omitted,
    /// `port: null`: the bind address stands alone (a socket path).
    Null,
    /// A port.
    Number(u16),
}

/// A service's `haproxy:` section: shape only.
#[derive(Clone, Debug)]
pub struct ServiceSection {
    /// Where it stands.
    pub place: Place,
    /// `disabled`.
    pub disabled: bool,
    /// `port`.
    pub port: PortKey,
    /// `bind_address`.
    pub bind_address: Option<(String, Place)>,
    /// `bind_options`.
    pub bind_options: Option<Line>,
    /// `server_options`.
    pub server_options: Option<Line>,
    /// `frontend` lines.
    pub frontend: Vec<Line>,
    /// `backend` lines.
    pub backend: Vec<Line>,
    /// `listen` lines.
    pub listen: Vec<Line>,
    /// `backend_name`.
    pub backend_name: Option<String>,
    /// `backend_order`.
    pub backend_order: Option<(String, Place)>,
    /// `cookie_value_method`.
    pub cookie_value_method: Option<String>,
    /// `shared_frontend` lines.
    pub shared_frontend: Vec<Line>,
}

/// What `global` says about the process.
#[derive(Clone, Debug, Default)]
pub struct GlobalSettings {
    /// `maxconn`.
    pub max_connections: Option<u32>,
    /// `spread-checks`.
    pub spread_percent: u8,
    /// `user`.
    pub user: Option<String>,
    /// `group`.
    pub group: Option<String>,
}

/// `global` and `defaults`, resolved once.
#[derive(Clone, Debug)]
pub struct Top {
    /// `global`.
    pub global: GlobalSettings,
    /// Addresses that `extra_sections` and `shared_frontend` bind, with the section's title.
    pub extra_binds: Vec<(SocketAddr, String, Place)>,
}

/// One service, resolved.
#[derive(Clone, Debug)]
pub struct ServiceParts {
    /// Where it listens.
    pub listener: Option<ListenerSettings>,
    /// How connections are treated.
    pub proxy: ProxySettings,
    /// `balance`.
    pub strategy: Strategy,
    /// `backend_order`.
    pub order: BackendOrder,
    /// `option allbackups`.
    pub all_backups: bool,
    /// Server lines.
    pub rules: Arc<dyn ServerRules>,
    /// Origins.
    pub origins: Vec<EffectiveValue>,
}

/// Resolves `global` and `defaults`.
pub fn resolve_top(_top: &TopSection, _report: &mut Report) -> Top {
    Top {
        global: GlobalSettings::default(),
        extra_binds: Vec::new(),
    }
}

/// Resolves one service.
pub fn resolve_service(
    _name: &ServiceName,
    section: &ServiceSection,
    _top: &Top,
    _report: &mut Report,
) -> ServiceParts {
    let listener = match section.port {
        PortKey::Number(port) if !section.disabled => Some(ListenerSettings {
            addrs: vec![BindAddr {
                addr: SocketAddr::from(([127, 0, 0, 1], port)),
                required: true,
            }],
            backlog: 4096,
        }),
        PortKey::Number(_) | PortKey::Null | PortKey::Omitted => None,
    };
    ServiceParts {
        listener,
        proxy: ProxySettings {
            mode: Mode::Tcp,
            timeouts: Timeouts::default(),
            retries: 3,
            redispatch: Redispatch::Off,
            max_connections: None,
            http: HttpSettings {
                close_mode: CloseMode::KeepAlive,
                forward_for: None,
                replay_idempotent: true,
            },
        },
        strategy: Strategy::RoundRobin,
        order: BackendOrder::Shuffled(ShuffleSeed(0)),
        all_backups: false,
        rules: Arc::new(Plain),
        origins: Vec::new(),
    }
}

#[derive(Debug)]
struct Plain;

impl ServerRules for Plain {
    fn server(&self, _endpoint: &Endpoint) -> ServerSettings {
        ServerSettings::default()
    }
}
