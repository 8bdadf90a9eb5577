//! Sockets that listen already, for whoever wants their addresses: nothing is refused while they change hands.
//!
//! Taking changes nothing that others see: options of a shared socket and the names of unix sockets are set by
//! [`Listening::settle`], when nothing can be refused any more.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use socket2::SockRef;

use super::bind::{backlog_of, bind_one};
use super::file::SocketFile;
use super::{BindAddr, BindError, ListenAddr, ListenerSettings, Listening, SocketOptions};

/// Sockets by their address, and the interface that they are bound to.
#[derive(Debug, Default)]
pub struct Held(HashMap<(ListenAddr, Option<Vec<u8>>), Listening>);

/// What a socket was told before, and the queue that it shall have.
#[derive(Debug)]
pub(super) struct Unset {
    former: Arc<SocketOptions>,
    backlog: u32,
}

impl Held {
    /// Holds `socket`. Of two with the same address and interface the first is kept; they are one socket.
    pub fn add(&mut self, socket: Listening) {
        let device = match socket.addr {
            ListenAddr::Tcp(_) => SockRef::from(&socket.socket).device().ok().flatten(),
            ListenAddr::Unix(_) | ListenAddr::Abstract(_) => None,
        };
        self.0.entry((socket.addr.clone(), device)).or_insert(socket);
    }

    /// The addresses.
    pub fn addrs(&self) -> impl Iterator<Item = &ListenAddr> {
        self.0.keys().map(|(addr, _)| addr)
    }

    /// What nobody has taken.
    pub fn into_rest(self) -> Vec<Listening> {
        self.0.into_values().collect()
    }

    /// True when a held socket is in the way: `127.0.0.1:80` and `0.0.0.0:80` exclude each other, as do one of an
    /// interface and one of all.
    pub fn is_in_the_way(&self, refused: &BindError) -> bool {
        let port = |addr: &ListenAddr| addr.tcp().map(|addr| addr.port());
        let wanted = port(&refused.addr);
        let is_in_use = refused.source.kind() == io::ErrorKind::AddrInUse;
        is_in_use && wanted.is_some() && self.addrs().any(|held| port(held) == wanted)
    }

    /// Sockets for `settings` in their order, held ones if there are; each is given once. To be settled.
    ///
    /// # Errors
    /// The first address that cannot be had. Nothing is taken then.
    pub fn take(&mut self, settings: &ListenerSettings) -> Result<Vec<Listening>, BindError> {
        let mut taken = Vec::with_capacity(settings.addrs.len());
        let mut refused = None;
        for wanted in &settings.addrs {
            let interface = wanted.options.interface.as_ref().map(|name| name.as_bytes().to_vec());
            match self.0.remove(&(wanted.addr.clone(), interface)) {
                Some(held) if held.serves_for(wanted) => taken.push((held, Some(wanted))),
                other => {
                    other.into_iter().for_each(|held| self.add(held));
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
                let former = std::mem::replace(&mut socket.options, Arc::clone(&wanted.options));
                socket.unset = Some(Unset { former, backlog: settings.backlog });
            }
            socket
        };
        Ok(taken.into_iter().map(prepared).collect())
    }
}

impl Listening {
    /// True when it can be used for `wanted`, which is of the same address and interface. A file keeps its owner and mode:
    /// giving it others could be refused when it is too late, and could not be taken back. One from systemd is as its unit
    /// says.
    fn serves_for(&self, wanted: &BindAddr) -> bool {
        match &self.addr {
            ListenAddr::Unix(_) => self.file.as_ref().is_some_and(|file| {
                let is_as_wanted = file.permissions() == wanted.options.permissions;
                file.is_there() && (self.is_foreign || is_as_wanted)
            }),
            ListenAddr::Tcp(_) | ListenAddr::Abstract(_) => true,
        }
    }

    /// True when nobody can come to it: its file has been removed or replaced, or could not be placed.
    pub fn is_lost(&self) -> bool {
        let is_found = |file: &SocketFile| file.is_placed() && file.is_there();
        matches!(self.addr, ListenAddr::Unix(_)) && !self.file.as_deref().is_some_and(is_found)
    }

    /// Puts in force what taking it has left open. Options that cannot be set stay, which is logged.
    ///
    /// # Errors
    /// Its file cannot be renamed to its path.
    pub fn settle(&mut self) -> Result<(), BindError> {
        if let Some(unset) = self.unset.take()
            && let Err(error) = self.set(&unset)
        {
            tracing::warn!(addr = %self.addr, %error, "a socket that is shared keeps former options");
        }
        self.place()
    }

    /// Shows its file where clients look for it; once.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn place(&self) -> Result<(), BindError> {
        let placed = self.file.as_ref().map_or(Ok(()), |file| file.place());
        placed.map_err(|source| BindError { addr: self.addr.clone(), source })
    }

    /// Listening again changes the length of the queue and nothing else.
    fn set(&self, unset: &Unset) -> io::Result<()> {
        let former = self.is_foreign.then_some(&*unset.former);
        let set = match &self.addr {
            ListenAddr::Tcp(_) => self.options.set(&SockRef::from(&self.socket), former),
            ListenAddr::Unix(_) | ListenAddr::Abstract(_) => Ok(()),
        };
        let backlog = backlog_of(&self.options, unset.backlog);
        let listening = rustix::net::listen(&self.socket, backlog);
        set?;
        Ok(listening?)
    }
}
