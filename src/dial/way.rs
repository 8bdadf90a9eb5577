//! What is done to a socket before it connects, and what is said first.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpSocket, TcpStream};

use super::header::Form;

/// How connections to a server are opened where that is not the usual way. The default is the usual way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Way {
    /// `send-proxy` and its like: the connection begins with a header that says whose it is. Such a connection carries
    /// nobody else's. Default none.
    pub header: Option<Form>,
    /// `source`: from where. Default: what the kernel chooses.
    pub source: Option<Source>,
    /// `interface`: over which device alone (`SO_BINDTODEVICE`). Default any.
    pub device: Option<Arc<str>>,
    /// `tcp-ut`: how long sent bytes may stay unacknowledged. Default: the kernel's, about a quarter of an hour.
    pub user_timeout: Option<Duration>,
    /// `option srvtcpka`: whether the kernel asks if the other end of an idle connection is still there. Default no.
    pub keep_alive: Option<KeepAlive>,
}

/// `source ADDR[:PORT[-PORT]]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The address. Unspecified: any, which is of use with ports only.
    pub ip: IpAddr,
    /// From these ports alone, so many connections at most to one server. `None`: the kernel chooses when it connects,
    /// so that one port can serve connections to many servers.
    pub ports: Option<RangeInclusive<u16>>,
}

/// `srvtcpka-idle`, `srvtcpka-intvl`, `srvtcpka-cnt`; what is unset is the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeepAlive {
    /// After so long without a byte it is asked for the first time. In seconds, rounded down.
    pub idle: Option<Duration>,
    /// So long after a question without an answer follows the next one. In seconds, rounded down.
    pub interval: Option<Duration>,
    /// After so many questions without an answer the connection is broken.
    pub count: Option<NonZeroU32>,
}

/// How many ports are tried for one connection: a range in which none is free must not cost a system call for each of its
/// ports. haproxy, which counts what it uses, tries ten; what is in use is found out here.
const PORTS_TRIED: u32 = 32;

/// Of all ranges of the process: neighbours in time get neighbouring ports, and one that was just closed rests longest.
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

impl Way {
    /// True when nothing is to be done.
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The same, any address and any port being no source; `None`: nothing is to be done.
    pub fn settled(mut self) -> Option<Arc<Self>> {
        let is_one = |it: &Source| !it.ip.is_unspecified() || it.ports.is_some();
        self.source = self.source.filter(is_one);
        (!self.is_usual()).then(|| Arc::new(self))
    }

    /// Connects to `to` over a socket that `prepare` has seen.
    ///
    /// # Errors
    /// The system's, of whatever had to be done. [`Errno::ADDRNOTAVAIL`] when no port of the source is free.
    pub(super) async fn connect(
        &self,
        to: SocketAddr,
        prepare: impl Fn(&TcpSocket),
    ) -> io::Result<TcpStream> {
        let ports = self.source.as_ref().and_then(|source| source.ports.clone());
        let Some(ports) = ports else {
            return self.socket(to, None, prepare)?.connect(to).await;
        };
        let count = u32::from(ports.end().saturating_sub(*ports.start())) + 1;
        for _ in 0..count.min(PORTS_TRIED) {
            let nth = NEXT_PORT.fetch_add(1, Ordering::Relaxed) % count;
            let port = u16::try_from(nth).unwrap_or(0).saturating_add(*ports.start());
            let connected = match self.socket(to, Some(port), &prepare) {
                Ok(socket) => socket.connect(to).await,
                Err(error) => Err(error),
            };
            match connected {
                Err(error) if is_taken(&error) => {}
                other => return other,
            }
        }
        Err(Errno::ADDRNOTAVAIL.into())
    }

    /// A socket towards `to`, bound to `port` of the source.
    fn socket(
        &self,
        to: SocketAddr,
        port: Option<u16>,
        prepare: impl Fn(&TcpSocket),
    ) -> io::Result<TcpSocket> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        prepare(&socket);
        match self.settle(&socket, port) {
            Ok(()) => Ok(socket),
            Err(error) if port.is_some() && is_taken(&error) => Err(error),
            Err(source) => Err(io::Error::other(Unsettled { way: self.clone(), source })),
        }
    }

    fn settle(&self, socket: &TcpSocket, port: Option<u16>) -> io::Result<()> {
        let options = socket2::SockRef::from(socket);
        if let Some(device) = &self.device {
            options.bind_device(Some(device.as_bytes()))?;
        }
        if self.user_timeout.is_some() {
            options.set_tcp_user_timeout(self.user_timeout)?;
        }
        if let Some(keep_alive) = self.keep_alive {
            keep_alive.set(&options)?;
        }
        if let Some(source) = &self.source {
            match port {
                // One in TIME_WAIT is no obstacle.
                Some(_) => socket.set_reuseaddr(true)?,
                // Else the kernel gives a port to the address alone, and after 28,000 connections, to whomever, has none.
                None => nix::sys::socket::setsockopt(
                    socket,
                    nix::sys::socket::sockopt::IpBindAddressNoPort,
                    &true,
                )?,
            }
            socket.bind(SocketAddr::new(source.ip, port.unwrap_or(0)))?;
        }
        Ok(())
    }
}

/// A socket could not be made to go this way: nothing was sent, and nothing is said about the server. Not the system's error
/// itself, which means other things when a connect says it.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
struct Unsettled {
    way: Way,
    source: io::Error,
}

impl Unsettled {
    fn text(&self) -> String {
        let device = self.way.device.as_ref().map(|it| format!("interface {it}"));
        let source = self.way.source.as_ref().map(|it| format!("source {it}"));
        let what: Vec<String> = device.into_iter().chain(source).collect();
        let what = if what.is_empty() { "socket options".to_owned() } else { what.join(", ") };
        format!("{what} cannot be had")
    }
}

/// True when another connection has the port.
fn is_taken(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL))
}

impl KeepAlive {
    fn set(self, socket: &socket2::SockRef<'_>) -> io::Result<()> {
        let mut says = socket2::TcpKeepalive::new();
        if let Some(idle) = self.idle {
            says = says.with_time(idle);
        }
        if let Some(interval) = self.interval {
            says = says.with_interval(interval);
        }
        if let Some(count) = self.count {
            says = says.with_retries(count.get());
        }
        // Sets SO_KEEPALIVE, too.
        socket.set_tcp_keepalive(&says)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.ports, self.ip) {
            (None, ip) => ip.fmt(f),
            (Some(ports), ip) if ports.start() == ports.end() => {
                SocketAddr::new(ip, *ports.start()).fmt(f)
            }
            (Some(ports), ip) => {
                write!(f, "{}-{}", SocketAddr::new(ip, *ports.start()), ports.end())
            }
        }
    }
}

impl fmt::Display for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |it: Option<Duration>| it.map_or(0, |it| it.as_secs());
        let said = [
            ("idle", seconds(self.idle), "s"),
            ("intvl", seconds(self.interval), "s"),
            ("cnt", self.count.map_or(0, |count| u64::from(count.get())), ""),
        ];
        f.write_str("on")?;
        for (name, number, unit) in said.iter().filter(|(_, number, _)| *number > 0) {
            write!(f, ", {name} {number}{unit}")?;
        }
        Ok(())
    }
}
