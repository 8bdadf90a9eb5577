//! Every address of a configuration, bound before anything starts: all or nothing.

use std::net::{SocketAddr, TcpListener};

use super::process::raise_descriptor_limit;
use crate::config::synapse::Loaded;
use crate::proxy::{BindAddr, ListenerSettings, listener};

/// Every socket of a configuration, listening.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) admin: TcpListener,
    /// In the order of the services.
    pub(super) services: Vec<Vec<TcpListener>>,
    /// The descriptor limit, raised before binding.
    pub(super) descriptors: u64,
}

impl Bound {
    /// Binds all or nothing.
    ///
    /// # Errors
    /// One line for each address that cannot be had, naming the service.
    pub(super) fn bind(loaded: &Loaded) -> Result<Self, Vec<String>> {
        let descriptors = raise_descriptor_limit();
        let mut complaints = Vec::new();
        let addr = loaded.config.process.admin_listen;
        let admin = listener::bind(&only(addr));
        if let Err(error) = &admin {
            complaints.push(format!(
                "admin.listen: {error}; choose another with `admin: {{listen: ADDRESS:PORT}}`"
            ));
        }
        let mut services = Vec::new();
        for service in &loaded.config.services {
            let bound = service
                .listener
                .as_ref()
                .map_or_else(|| Ok(Vec::new()), listener::bind);
            match bound {
                Ok(sockets) => services.push(sockets),
                Err(error) => complaints.push(format!("services.{}: {error}", service.name)),
            }
        }
        match admin.ok().and_then(|mut sockets| sockets.pop()) {
            Some(admin) if complaints.is_empty() => Ok(Self {
                admin,
                services,
                descriptors,
            }),
            _ => Err(complaints),
        }
    }
}

/// Queue of the admin server; its clients are few.
const ADMIN_BACKLOG: u32 = 128;

fn only(addr: SocketAddr) -> ListenerSettings {
    ListenerSettings {
        addrs: vec![BindAddr {
            addr,
            required: true,
        }],
        backlog: ADMIN_BACKLOG,
    }
}
