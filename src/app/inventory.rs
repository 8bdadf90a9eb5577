//! The listening sockets of a process while its configuration changes hands.
//!
//! An address that both the old and the new configuration name keeps its socket, whichever service has it: a connection
//! that waits in its queue is served, and nothing is refused. Everything else is bound before anything is closed.

use super::service::ServiceRuntime;
use crate::config::ServiceConfig;
use crate::proxy::ListenerSettings;
use crate::proxy::listener::{BindError, Held, Listening};

/// Sockets that are bound and whose service may give them away.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    free: Held,
}

impl Inventory {
    /// Adds shared copies of `sockets`. One that cannot be copied (out of descriptors) is not offered: whoever wants its
    /// address will be told that it is in use.
    pub(super) fn offer(&mut self, sockets: &[Listening]) {
        for socket in sockets {
            match socket.try_clone() {
                Ok(socket) => self.free.add(socket),
                Err(error) => tracing::warn!(%error, "a listening socket cannot be passed on"),
            }
        }
    }

    /// Sockets for a new configuration of `service`, which has offered its own; `None` when nothing about them changes.
    ///
    /// # Errors
    /// As [`Inventory::take`].
    pub(super) fn take_for(
        &mut self,
        service: &ServiceRuntime,
        config: &ServiceConfig,
    ) -> Result<Option<Vec<Listening>>, BindError> {
        if config.listener == service.current().listener && service.is_served() {
            return Ok(None);
        }
        match &config.listener {
            Some(settings) => self.take(settings).map(Some),
            None => Ok(Some(Vec::new())),
        }
    }

    /// Sockets for `settings`, offered ones first; each is given once.
    ///
    /// # Errors
    /// The first address that cannot be had. Nothing is taken then.
    pub(super) fn take(
        &mut self,
        settings: &ListenerSettings,
    ) -> Result<Vec<Listening>, BindError> {
        self.free.take(settings)
    }

    /// True when an offered socket is in the way; see [`Held::is_in_the_way`].
    pub(super) fn overlaps(&self, refused: &BindError) -> bool {
        self.free.is_in_the_way(refused)
    }

    /// The refusal in words, for a reload: it does not close anything before it has everything.
    pub(super) fn explain(&self, refused: &BindError) -> String {
        if self.overlaps(refused) {
            return format!(
                "{refused}: an address of this process overlaps it; remove that in a reload of its own first, or restart"
            );
        }
        refused.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::BindAddr;
    use std::net::SocketAddr;

    fn settings(addrs: &[SocketAddr]) -> ListenerSettings {
        let addrs = addrs.iter().map(|addr| BindAddr::required(*addr));
        ListenerSettings { addrs: addrs.collect(), backlog: 16 }
    }

    fn bound() -> (Listening, SocketAddr) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        (Listening::adopted(socket, None, false).unwrap(), addr)
    }

    #[test]
    fn an_offered_address_keeps_its_socket_and_is_given_once() {
        let (socket, addr) = bound();
        let waiting = std::net::TcpStream::connect(addr).unwrap();
        let mut inventory = Inventory::default();
        inventory.offer(&[socket]);
        let taken = inventory.take(&settings(&[addr])).unwrap();
        let (_, peer) = taken[0].socket.accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        let error = inventory.take(&settings(&[addr])).unwrap_err();
        assert_eq!(error.to_string(), format!("{addr}: address already in use"));
    }

    #[test]
    fn a_failure_takes_nothing() {
        let ((mine, kept), (_held, taken)) = (bound(), bound());
        let mut inventory = Inventory::default();
        inventory.offer(&[mine]);
        inventory.take(&settings(&[kept, taken])).unwrap_err();
        assert_eq!(inventory.take(&settings(&[kept])).unwrap().len(), 1);
    }

    #[test]
    fn overlapping_addresses_are_explained() {
        let (mine, addr) = bound();
        let mut inventory = Inventory::default();
        inventory.offer(&[mine]);
        let all = SocketAddr::from(([0, 0, 0, 0], addr.port()));
        let error = inventory.take(&settings(&[all])).unwrap_err();
        assert!(inventory.explain(&error).contains("overlaps"), "{error}");
    }
}
