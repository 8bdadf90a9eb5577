//! Every address of a configuration, bound before anything starts: all or nothing.

use std::net::{SocketAddr, TcpListener};

use super::process::raise_descriptor_limit;
use crate::config::ServiceConfig;
use crate::config::synapse::Loaded;
use crate::proxy::listener::{Held, Listening};
use crate::proxy::{BindAddr, ListenerSettings};

/// Every socket of a configuration, listening.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) admin: TcpListener,
    /// In the order of the services.
    pub(crate) services: Vec<Vec<Listening>>,
    /// The descriptor limit, raised before binding.
    pub(crate) descriptors: u64,
}

impl Bound {
    /// Binds all or nothing.
    ///
    /// # Errors
    /// As [`Bound::bind`].
    pub(crate) fn alone(loaded: &Loaded) -> Result<Self, Vec<String>> {
        let config = &loaded.config;
        let admin = config.process.admin_listen;
        Self::bind(admin, &config.services, &mut Held::default())
    }

    /// Binds all or nothing, except what is `adopted`: from a former process, or from systemd.
    ///
    /// # Errors
    /// One line for each address that cannot be had, naming the service.
    pub(crate) fn bind(
        admin: SocketAddr,
        configs: &[ServiceConfig],
        adopted: &mut Held,
    ) -> Result<Self, Vec<String>> {
        let descriptors = raise_descriptor_limit();
        let mut complaints = Vec::new();
        let mut take = |settings: &ListenerSettings, who: &dyn Fn(&str) -> String| {
            let taken = adopted.take(settings);
            taken.map_err(|error| complaints.push(who(&error.to_string()))).unwrap_or_default()
        };
        let admin = take(&only(admin), &|error| {
            format!("admin.listen: {error}; choose another with `admin: {{listen: ADDRESS:PORT}}`")
        });
        let mut services = Vec::with_capacity(configs.len());
        for service in configs {
            services.push(match &service.listener {
                Some(settings) => {
                    take(settings, &|error| format!("services.{}: {error}", service.name))
                }
                None => Vec::new(),
            });
        }
        match admin.into_iter().next() {
            Some(admin) if complaints.is_empty() => {
                Ok(Self { admin: admin.socket, services, descriptors })
            }
            _ => Err(complaints),
        }
    }
}

/// Queue of the admin server; its clients are few.
const ADMIN_BACKLOG: u32 = 128;

fn only(addr: SocketAddr) -> ListenerSettings {
    ListenerSettings { addrs: vec![BindAddr::required(addr)], backlog: ADMIN_BACKLOG }
}
