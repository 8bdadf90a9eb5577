//! Listening sockets: bound all before any serves, so that a bad address stops the start and not the traffic.
//!
//! What a `bind` line says about its socket ([`SocketOptions`]) goes wherever the socket goes: to every worker, through a
//! reload, to a successor of this process. A unix socket's descriptor is carried by the same types as TCP's, which costs
//! the data path nothing; only who accepts has to know ([`ListenAddr::is_unix`]), because its clients have no address.

mod addr;
mod bind;
mod file;
mod held;
mod options;

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

pub use self::addr::ListenAddr;
pub use self::bind::{BindError, bind};
use self::file::SocketFile;
pub use self::file::{Identity, MAX_ABSTRACT_BYTES, MAX_PATH_BYTES, Permissions};
pub use self::held::Held;
use self::held::Unset;
pub use self::options::SocketOptions;

/// Where a service listens. Changing it means other sockets; everything else is [`ProxySettings`](super::ProxySettings).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Addresses to bind; `localhost` has become 127.0.0.1 (required) and ::1 (where IPv6 is up).
    pub addrs: Vec<BindAddr>,
    /// Queue of connections not yet accepted, bounded by the kernel's `somaxconn`. Default 4096. A socket may have its own.
    pub backlog: u32,
}

/// One address to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddr {
    /// The address.
    pub addr: ListenAddr,
    /// False: quietly go without when the host has no such address family (::1 for `localhost`).
    pub required: bool,
    /// What is said about its socket.
    pub options: Arc<SocketOptions>,
}

impl BindAddr {
    /// An address that must be had, about which nothing else is said.
    pub fn required(addr: impl Into<ListenAddr>) -> Self {
        Self { addr: addr.into(), required: true, options: Arc::default() }
    }
}

/// As a `bind` line says it.
impl fmt::Display for BindAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.addr, self.options)
    }
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listening {
    /// Where: of port 0 the one that the kernel has chosen.
    pub addr: ListenAddr,
    /// The socket, non-blocking; of a unix socket, too.
    pub socket: TcpListener,
    /// What is said about it.
    pub options: Arc<SocketOptions>,
    /// Its file, which goes with the last duplicate.
    file: Option<Arc<SocketFile>>,
    /// Neither ours nor another synapse's: its file is never removed, and what is not said about it stays as it is.
    is_foreign: bool,
    /// Options that wait for [`Listening::settle`].
    unset: Option<Unset>,
}

impl Listening {
    /// A socket that somebody else has bound, before anything is known to be said about it. `addr`: for a unix socket,
    /// whose file may have been renamed since. `is_foreign`: its file is never ours to remove.
    ///
    /// # Errors
    /// When the kernel does not tell its address.
    pub fn adopted(
        socket: TcpListener,
        addr: Option<ListenAddr>,
        is_foreign: bool,
    ) -> io::Result<Self> {
        let own = ListenAddr::of(&socket)?;
        let addr = addr.filter(|addr| addr.is_unix() && own.is_unix()).unwrap_or(own);
        let adopted =
            Self { addr, socket, options: Arc::default(), file: None, is_foreign, unset: None };
        Ok(adopted.with_file(None, Permissions::default()))
    }

    /// With the file that whoever has bound it has made; `identity`: what is at its path, if that is not known.
    #[must_use]
    pub fn with_file(mut self, identity: Option<Identity>, permissions: Permissions) -> Self {
        if let ListenAddr::Unix(path) = &self.addr {
            self.file = SocketFile::adopted(path, identity, permissions).map(Arc::new);
        }
        self
    }

    /// Its file, and what that was given; `None`: it has none, or that is gone or another's by now.
    pub fn file(&self) -> Option<(Identity, Permissions)> {
        let file = self.file.as_ref().filter(|file| file.is_there())?;
        Some((file.identity(), file.permissions()))
    }

    /// The same without a file: nobody can come to it.
    #[must_use]
    pub fn without_file(self) -> Self {
        Self { file: None, ..self }
    }

    /// A duplicate of the descriptor; the socket is the same. To settle is not the duplicate's.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            addr: self.addr.clone(),
            socket: self.socket.try_clone()?,
            options: Arc::clone(&self.options),
            file: self.file.clone(),
            is_foreign: self.is_foreign,
            unset: None,
        })
    }

    /// True when neither this process nor another synapse has made it.
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// From now on its file is ours to remove, or another process's. One that is foreign stays so.
    pub fn own_file(&self, is_ours: bool) {
        if let Some(file) = &self.file {
            file.own(is_ours && !self.is_foreign);
        }
    }
}
