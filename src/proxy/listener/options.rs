//! What a `bind` line says about its socket. All of it is set on the listening socket, from which the kernel hands it on
//! to what is accepted: it costs nothing per connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, Socket};

use super::Permissions;
use crate::dial::KeepAlive;

/// What is said about one listening socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// `accept-proxy`: every connection begins with a header of the PROXY protocol. Default false.
    pub accept_proxy: bool,
    /// `maxconn`: connections of this socket alone. Default none: the limits of the service and of the process.
    pub max_connections: Option<u32>,
    /// `backlog`. Default that of the service.
    pub backlog: Option<u32>,
    /// `option clitcpka`: clients that are silent are asked whether they are there. Default none.
    pub keep_alive: Option<KeepAlive>,
    /// `tcp-ut`: how long data may stay unacknowledged. Default the kernel's (some 15 minutes).
    pub user_timeout: Option<Duration>,
    /// `mss`: longest segment in bytes. Default the path's.
    pub max_segment: Option<u16>,
    /// `interface`: only what comes in through this device. Default all. Not changed without another socket.
    pub interface: Option<Arc<str>>,
    /// Of a unix socket's file.
    pub permissions: Permissions,
}

/// As words of a `bind` line, but for ids in the place of names.
impl fmt::Display for SocketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.accept_proxy {
            f.write_str(" accept-proxy")?;
        }
        let Permissions { mode, uid, gid } = self.permissions;
        let mode = mode.map(|mode| format!("{mode:o}"));
        let number = |it: Option<u32>| it.map(|it| it.to_string());
        let millis = self.user_timeout.map(|time| format!("{}ms", time.as_millis()));
        for (word, value) in [
            ("maxconn", number(self.max_connections)),
            ("backlog", number(self.backlog)),
            ("tcp-ut", millis),
            ("mss", number(self.max_segment.map(u32::from))),
            ("interface", self.interface.as_deref().map(str::to_owned)),
            ("mode", mode),
            ("uid", number(uid)),
            ("gid", number(gid)),
        ] {
            if let Some(value) = value {
                write!(f, " {word} {value}")?;
            }
        }
        Ok(())
    }
}

impl SocketOptions {
    /// True when two sockets with these may have one address: each is of an interface of its own.
    pub fn is_apart(&self, other: &Self) -> bool {
        let both = self.interface.as_ref().zip(other.interface.as_ref());
        both.is_some_and(|(one, other)| one != other)
    }

    /// Sets what may be different from one configuration to the next, on a TCP socket. `former`: of a socket that somebody
    /// else has made, what was said before; only that is taken back. All is tried.
    ///
    /// # Errors
    /// The first that was refused.
    pub(super) fn set(&self, socket: &Socket, former: Option<&Self>) -> io::Result<()> {
        let is_said = |said: fn(&Self) -> bool| said(self) || former.is_none_or(said);
        let mut done = vec![
            // Accepted sockets inherit it: one system call less per connection.
            socket.set_tcp_nodelay(true),
        ];
        if is_said(|options| options.keep_alive.is_some()) {
            done.push(socket.set_keepalive(self.keep_alive.is_some()));
            done.extend(self.keep_alive.map(|it| it.complete()?.set(&SockRef::from(socket))));
        }
        if is_said(|options| options.user_timeout.is_some()) {
            done.push(socket.set_tcp_user_timeout(self.user_timeout));
        }
        match self.max_segment {
            Some(bytes) => done.push(socket.set_tcp_mss(bytes.into())),
            // 0 forgets what a former configuration said; where that is refused there is nothing to forget.
            None if is_said(|options| options.max_segment.is_some()) => {
                drop(socket.set_tcp_mss(0));
            }
            None => {}
        }
        done.into_iter().collect()
    }
}
