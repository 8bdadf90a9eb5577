//! What is done to a socket before it connects, and what is said first.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
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

/// What was said about a way, be it that there is none: whoever knows only the outcome cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Of [`Way::header`].
    pub header: bool,
    /// `check-send-proxy`: checks begin with a header wherever they go. Default: where they go to the traffic's address.
    pub check_header: bool,
    /// Of [`Way::source`].
    pub source: bool,
    /// Of [`Way::device`].
    pub device: bool,
    /// Of [`Way::user_timeout`].
    pub user_timeout: bool,
    /// Of [`Way::keep_alive`].
    pub keep_alive: bool,
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

/// How a silent peer is asked: `srvtcpka-idle`, `srvtcpka-intvl`, `srvtcpka-cnt`, and the same of `clitcpka`. What is unset is
/// the host's (`net.ipv4.tcp_keepalive_…`).
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
/// ports. haproxy, which counts what it uses, tries ten; what is in use is found out here. Of a range that is in use to
/// nine tenths one in 800 finds none.
const PORTS_TRIED: u32 = 64;

/// The places of `count` ports in which one is looked for: each once, from anywhere, far apart, so that a block of used
/// ports is left at once.
fn places(count: u32, start: u32) -> impl Iterator<Item = u32> {
    let gcd = |mut a: u32, mut b: u32| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    // About the golden section, without a common divisor.
    let golden = (count * 5 / 8).max(1);
    let stride = (golden..=count).find(|it| gcd(*it, count) == 1).unwrap_or(1);
    (0..count.min(PORTS_TRIED)).map(move |n| (start % count + n * stride) % count)
}

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

    /// The way of checks: the same, but whether they begin with a header is a question of its own. `is_asked`:
    /// `check-send-proxy`; `is_elsewhere`: they go to another address or port.
    pub(crate) fn of_checks(
        way: Option<&Arc<Self>>,
        is_asked: bool,
        is_elsewhere: bool,
    ) -> Option<Arc<Self>> {
        let form = way.and_then(|way| way.header);
        let header = match is_asked {
            true => Some(form.unwrap_or(Form::V1)),
            false => form.filter(|_| !is_elsewhere),
        };
        if header == form {
            return way.cloned();
        }
        Self { header, ..way.map(|way| Self::clone(way)).unwrap_or_default() }.settled()
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
        for nth in places(count, fastrand::u32(..count)) {
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
        let options = SockRef::from(socket);
        if let Some(device) = &self.device {
            options.bind_device(Some(device.as_bytes()))?;
        }
        // Without these two a connection still does what it is for, as with haproxy.
        if self.user_timeout.is_some()
            && let Err(error) = options.set_tcp_user_timeout(self.user_timeout)
        {
            tracing::debug!(%error, "tcp-ut");
        }
        if let Some(keep_alive) = self.keep_alive
            && let Err(error) = keep_alive.set(&options)
        {
            tracing::debug!(%error, "srvtcpka");
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

/// True when the socket could not be made to go the way it was to go: another attempt would come to the same.
pub(crate) fn is_unsettled(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|it| it.is::<Unsettled>())
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
    /// The same with what is unset as it is on a new socket: for one on which a former configuration may have said more.
    ///
    /// # Errors
    /// No socket could be made, or asked.
    pub fn complete(self) -> io::Result<Self> {
        let new = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), Some(Protocol::TCP))?;
        let idle = self.idle.map_or_else(|| new.tcp_keepalive_time(), Ok)?;
        let interval = self.interval.map_or_else(|| new.tcp_keepalive_interval(), Ok)?;
        let count = match self.count {
            Some(count) => Some(count),
            None => NonZeroU32::new(new.tcp_keepalive_retries()?),
        };
        Ok(Self { idle: Some(idle), interval: Some(interval), count })
    }

    /// Lets the socket's peer be asked.
    ///
    /// # Errors
    /// The system's.
    pub fn set(self, socket: &SockRef<'_>) -> io::Result<()> {
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

#[cfg(test)]
mod tests;
