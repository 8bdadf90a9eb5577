//! Every address of a configuration, bound before anything starts: all or nothing.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use super::process::raise_descriptor_limit;
use crate::config::ServiceConfig;
use crate::config::synapse::Loaded;
use crate::proxy::{BindAddr, ListenerSettings, listener};

/// Every socket of a configuration, listening.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) admin: TcpListener,
    /// In the order of the services.
    pub(crate) services: Vec<Vec<TcpListener>>,
    /// The descriptor limit, raised before binding.
    pub(crate) descriptors: u64,
}

/// Sockets that listen already: handed over by a former process or by systemd.
#[derive(Debug, Default)]
pub(crate) struct Adopted(HashMap<SocketAddr, TcpListener>);

impl Adopted {
    /// Adds sockets. Of two with the same address the first is kept; they are one socket.
    pub(crate) fn add(&mut self, sockets: Vec<TcpListener>) {
        for socket in sockets {
            match socket.local_addr() {
                Ok(addr) => {
                    self.0.entry(addr).or_insert(socket);
                }
                Err(error) => tracing::warn!(%error, "a socket without address"),
            }
        }
    }

    /// The sockets of `settings`, adopted ones first; the others are bound.
    fn take(&mut self, settings: &ListenerSettings) -> Result<Vec<TcpListener>, String> {
        let mut fresh = settings.clone();
        fresh.addrs.retain(|addr| !self.0.contains_key(&addr.addr));
        let mut sockets = listener::bind(&fresh).map_err(|error| error.to_string())?;
        for BindAddr { addr, .. } in &settings.addrs {
            if let Some(socket) = self.0.remove(addr) {
                if let Err(error) = prepare(&socket, settings.backlog) {
                    tracing::warn!(%addr, %error, "a socket that was handed over keeps its options");
                }
                sockets.push(socket);
            }
        }
        Ok(sockets)
    }

    /// Closes what nobody has taken and gives the addresses.
    pub(crate) fn close(self) -> Vec<SocketAddr> {
        self.0.into_keys().collect()
    }
}

/// Gives an adopted socket the options of one that we have bound. Listening again changes the backlog and nothing else.
fn prepare(socket: &TcpListener, backlog: u32) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_nodelay(true)?;
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    Ok(rustix::net::listen(socket, backlog)?)
}

impl Bound {
    /// Binds all or nothing.
    ///
    /// # Errors
    /// As [`Bound::bind`].
    pub(crate) fn alone(loaded: &Loaded) -> Result<Self, Vec<String>> {
        let config = &loaded.config;
        let admin = config.process.admin_listen;
        Self::bind(admin, &config.services, &mut Adopted::default())
    }

    /// Binds all or nothing, except what is `adopted`.
    ///
    /// # Errors
    /// One line for each address that cannot be had, naming the service.
    pub(crate) fn bind(
        admin: SocketAddr,
        configs: &[ServiceConfig],
        adopted: &mut Adopted,
    ) -> Result<Self, Vec<String>> {
        let descriptors = raise_descriptor_limit();
        let mut complaints = Vec::new();
        let mut take = |settings: &ListenerSettings, who: &dyn Fn(&str) -> String| {
            adopted.take(settings).map_err(|error| complaints.push(who(&error))).unwrap_or_default()
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
            Some(admin) if complaints.is_empty() => Ok(Self { admin, services, descriptors }),
            _ => Err(complaints),
        }
    }
}

/// Queue of the admin server; its clients are few.
const ADMIN_BACKLOG: u32 = 128;

fn only(addr: SocketAddr) -> ListenerSettings {
    ListenerSettings { addrs: vec![BindAddr { addr, required: true }], backlog: ADMIN_BACKLOG }
}
