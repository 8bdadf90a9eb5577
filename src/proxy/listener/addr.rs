//! Addresses of listening sockets: TCP's, and those of unix sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustix::net::{SocketAddrUnix, getsockname};

/// How abstract names are written, as haproxy does.
const ABSTRACT: &str = "abns@";

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddr {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A file.
    Unix(Arc<Path>),
    /// A name in Linux's abstract namespace, as long as haproxy makes it: filled up with zeros.
    Abstract(Arc<str>),
}

impl ListenAddr {
    /// The address that the kernel knows.
    pub(super) fn of(socket: &TcpListener) -> io::Result<Self> {
        if let Ok(addr) = socket.local_addr() {
            return Ok(addr.into());
        }
        let unix = SocketAddrUnix::try_from(getsockname(socket)?)?;
        if let Some(name) = unix.abstract_name() {
            let name = String::from_utf8_lossy(name);
            return Ok(Self::Abstract(name.trim_end_matches('\0').into()));
        }
        let path = unix.path_bytes().ok_or_else(|| io::Error::other("a socket without name"))?;
        Ok(Self::Unix(Path::new(std::ffi::OsStr::from_bytes(path)).into()))
    }

    /// The address and port, if it has one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) | Self::Abstract(_) => None,
        }
    }

    /// True for those whose clients have no address.
    pub fn is_unix(&self) -> bool {
        self.tcp().is_none()
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

/// As it can be written on a `bind` line: `127.0.0.1:80`, `/run/x.sock`, `unix@x.sock`, `abns@name`.
impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) if path.is_absolute() => path.display().fmt(f),
            Self::Unix(path) => write!(f, "unix@{}", path.display()),
            Self::Abstract(name) => write!(f, "{ABSTRACT}{name}"),
        }
    }
}

/// What [`ListenAddr`] writes it reads.
impl FromStr for ListenAddr {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            return Ok(Self::Unix(Path::new(text).into()));
        }
        if let Some(path) = text.strip_prefix("unix@") {
            return Ok(Self::Unix(Path::new(path).into()));
        }
        match text.strip_prefix(ABSTRACT) {
            Some(name) => Ok(Self::Abstract(name.into())),
            None => text.parse().map(Self::Tcp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["127.0.0.1:80", "[::1]:80", "/run/x.sock", "unix@x.sock", "abns@name"] {
            let addr: ListenAddr = text.parse().unwrap();
            assert_eq!(addr.to_string(), text);
            assert_eq!(addr.is_unix(), !text.ends_with(":80"), "{text}");
        }
        assert!("nonsense".parse::<ListenAddr>().is_err());
    }
}
