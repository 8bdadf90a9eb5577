//! Every address of a configuration, bound before anything starts: all or nothing.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::process::{identity, raise_descriptor_limit};
use crate::config::synapse::Loaded;
use crate::config::{ProcessSettings, ServiceConfig};
use crate::proxy::listener::{BindError, Held, Listening};
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

/// Why there are no sockets.
#[derive(Debug)]
pub(crate) struct Unbound {
    /// One line for each address that cannot be had, naming the service.
    pub(crate) complaints: Vec<String>,
    /// Somebody else has all of these.
    pub(crate) is_in_use: bool,
}

impl Bound {
    /// Binds all or nothing.
    ///
    /// # Errors
    /// As [`Bound::bind`].
    pub(crate) fn alone(loaded: &Loaded) -> Result<Self, Vec<String>> {
        let config = &loaded.config;
        let admin = config.process.admin_listen;
        let bound = Self::bind(admin, &config.services, &mut Held::default());
        bound.map_err(|unbound| unbound.complaints)
    }

    /// Binds all or nothing, except what is `adopted`: from a former process, or from systemd.
    ///
    /// # Errors
    /// [`Unbound`].
    pub(crate) fn bind(
        admin: SocketAddr,
        configs: &[ServiceConfig],
        adopted: &mut Held,
    ) -> Result<Self, Unbound> {
        let descriptors = raise_descriptor_limit();
        let mut unbound = Unbound { complaints: Vec::new(), is_in_use: true };
        let mut take = |settings: &ListenerSettings, who: &dyn Fn(&str) -> String| {
            let taken = adopted.take(settings);
            taken.unwrap_or_else(|error| {
                unbound.is_in_use &= error.source.kind() == io::ErrorKind::AddrInUse;
                unbound.complaints.push(who(&explain(&error, adopted)));
                Vec::new()
            })
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
            Some(admin) if unbound.complaints.is_empty() => {
                Ok(Self { admin: admin.socket, services, descriptors })
            }
            _ => Err(unbound),
        }
    }

    /// Shows the files of unix sockets where clients look for them if `process` gives up privileges next: what it becomes
    /// may not be able to.
    ///
    /// # Errors
    /// One cannot be renamed.
    pub(crate) fn place_for(&self, process: &ProcessSettings) -> io::Result<()> {
        if identity(process.user.as_deref(), process.group.as_deref()).is_none() {
            return Ok(());
        }
        let mut all = self.services.iter().flatten();
        all.try_for_each(Listening::place).map_err(io::Error::other)
    }
}

/// The refusal in words. The process that hands over listens until this one has everything.
fn explain(refused: &BindError, adopted: &Held) -> String {
    if adopted.is_in_the_way(refused) {
        return format!(
            "{refused}: by a socket that is handed over but is of another interface or overlaps it; remove that from the running synapse first (SIGHUP), or stop it"
        );
    }
    refused.to_string()
}

/// Queue of the admin server; its clients are few.
const ADMIN_BACKLOG: u32 = 128;

fn only(addr: SocketAddr) -> ListenerSettings {
    ListenerSettings { addrs: vec![BindAddr::required(addr)], backlog: ADMIN_BACKLOG }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proxy::SocketOptions;
    use crate::proxy::listener::bind;

    #[test]
    fn a_handed_over_socket_of_another_interface_is_named_as_what_is_in_the_way() {
        let about = |addr: SocketAddr, interface: Option<&str>| {
            let options =
                SocketOptions { interface: interface.map(Into::into), ..SocketOptions::default() };
            let bind = BindAddr { options: Arc::new(options), ..BindAddr::required(addr) };
            ListenerSettings { addrs: vec![bind], backlog: 16 }
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let of_lo = bind(&about(any, Some("lo"))).unwrap().remove(0);
        let addr = of_lo.addr.tcp().unwrap();
        let mut adopted = Held::default();
        adopted.add(of_lo);
        let refused = adopted.take(&about(addr, None)).unwrap_err();
        let text = explain(&refused, &adopted);
        assert!(text.contains("another interface") && text.contains("SIGHUP"), "{text}");
        let other = bind(&about(any, None)).unwrap().remove(0).addr.tcp().unwrap();
        let _taken = TcpListener::bind(other).unwrap();
        let refused = adopted.take(&about(other, None)).unwrap_err();
        assert_eq!(explain(&refused, &adopted), refused.to_string());
    }
}
