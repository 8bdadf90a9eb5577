//! Sockets that listen already, for whoever wants their addresses: nothing is refused while they change hands.

use std::collections::HashMap;
use std::io;

use socket2::SockRef;

use super::bind::{backlog_of, bind_one};
use super::{BindAddr, BindError, ListenAddr, ListenerSettings, Listening};

/// Sockets by their address.
#[derive(Debug, Default)]
pub struct Held(HashMap<ListenAddr, Listening>);

impl Held {
    /// Holds `socket`. Of two with the same address the first is kept; they are one socket.
    pub fn add(&mut self, socket: Listening) {
        self.0.entry(socket.addr.clone()).or_insert(socket);
    }

    /// The addresses.
    pub fn addrs(&self) -> impl Iterator<Item = &ListenAddr> {
        self.0.keys()
    }

    /// Sockets for `settings` in their order, held ones if there are; each is given once.
    ///
    /// # Errors
    /// The first address that cannot be had. Nothing is taken then.
    pub fn take(&mut self, settings: &ListenerSettings) -> Result<Vec<Listening>, BindError> {
        let mut taken = Vec::with_capacity(settings.addrs.len());
        let mut refused = None;
        for wanted in &settings.addrs {
            match self.0.remove(&wanted.addr) {
                Some(held) if held.serves_for(wanted) => taken.push((held, Some(wanted))),
                other => {
                    self.0.extend(other.map(|held| (held.addr.clone(), held)));
                    match bind_one(wanted, settings.backlog) {
                        Ok(fresh) => taken.extend(fresh.map(|fresh| (fresh, None))),
                        Err(error) => {
                            refused = Some(error);
                            break;
                        }
                    }
                }
            }
        }
        if let Some(error) = refused {
            for (socket, was_held) in taken {
                if was_held.is_some() {
                    self.add(socket);
                }
            }
            return Err(error);
        }
        let prepared = |(mut socket, held_for): (Listening, Option<&BindAddr>)| {
            if let Some(wanted) = held_for {
                socket.prepare(wanted, settings.backlog);
            }
            socket
        };
        Ok(taken.into_iter().map(prepared).collect())
    }
}

impl Listening {
    /// True when it can be used for `wanted`: a bound socket keeps its device, and one without its file is lost.
    fn serves_for(&self, wanted: &BindAddr) -> bool {
        if self.addr.is_unix() {
            return self.file.as_ref().is_none_or(|file| file.is_there());
        }
        let device = SockRef::from(&self.socket).device().ok().flatten();
        device.as_deref() == wanted.options.interface.as_deref().map(str::as_bytes)
    }

    /// Gives a held socket the options of one that we have bound. What cannot be changed stays.
    fn prepare(&mut self, wanted: &BindAddr, backlog: u32) {
        self.options = std::sync::Arc::clone(&wanted.options);
        if let Err(error) = self.set(backlog) {
            tracing::warn!(addr = %self.addr, %error, "a socket that was handed over keeps its options");
        }
    }

    /// Listening again changes the length of the queue and nothing else.
    fn set(&self, backlog: u32) -> io::Result<()> {
        match &self.addr {
            ListenAddr::Tcp(_) => self.options.set(&SockRef::from(&self.socket))?,
            ListenAddr::Unix(path) => self.options.permissions.give(path)?,
            ListenAddr::Abstract(_) => {}
        }
        Ok(rustix::net::listen(&self.socket, backlog_of(&self.options, backlog))?)
    }
}
