//! Binding.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::file::{self, SocketFile};
use super::{BindAddr, ListenAddr, ListenerSettings, Listening, SocketOptions};

/// Why an address could not be bound: `127.0.0.1:3301: address already in use`.
#[derive(Debug, thiserror::Error)]
#[error("{addr}: {}", reason(.addr, .source))]
pub struct BindError {
    /// The address.
    pub addr: ListenAddr,
    /// The system's answer.
    pub source: io::Error,
}

fn reason(addr: &ListenAddr, source: &io::Error) -> String {
    let known = [
        (io::ErrorKind::AddrInUse, "address already in use"),
        (io::ErrorKind::AddrNotAvailable, "no such address on this host"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
    ];
    if addr.is_unix() && source.kind() == io::ErrorKind::NotFound {
        return "its directory does not exist".to_owned();
    }
    let text = known.iter().find(|(kind, _)| *kind == source.kind());
    text.map_or_else(|| source.to_string(), |(_, text)| (*text).to_owned())
}

/// Binds and listens on every address of `settings`; addresses that are not `required` are left out when the host
/// lacks the family or address. Sockets are non-blocking and hand their options on to what they accept. Those of unix
/// are where clients look for them.
///
/// # Errors
/// The first address that cannot be had; the ones bound before it are closed again.
pub fn bind(settings: &ListenerSettings) -> Result<Vec<Listening>, BindError> {
    let one = |wanted: &BindAddr| bind_one(wanted, settings.backlog).transpose();
    let all = settings.addrs.iter().filter_map(one).collect::<Result<Vec<_>, _>>()?;
    all.iter().try_for_each(Listening::place)?;
    Ok(all)
}

/// Binds one address, still out of sight if it is a file's; `None` when it may be left out and the host lacks it.
pub(super) fn bind_one(wanted: &BindAddr, backlog: u32) -> Result<Option<Listening>, BindError> {
    let BindAddr { addr, required, options } = wanted;
    let backlog = backlog_of(options, backlog);
    let bound = match addr {
        ListenAddr::Tcp(addr) => tcp(*addr, options, backlog).map(|socket| (socket, None)),
        ListenAddr::Unix(path) => unix(path, options, backlog),
        ListenAddr::Abstract(name) => hidden(name, backlog).map(|socket| (socket, None)),
    };
    let listening = |(socket, file): (Socket, Option<SocketFile>)| {
        let socket = std::net::TcpListener::from(socket);
        let addr = if addr.is_unix() { addr.clone() } else { ListenAddr::of(&socket)? };
        let (options, file) = (Arc::clone(options), file.map(Arc::new));
        Ok(Listening { addr, socket, options, file, is_foreign: false, unset: None })
    };
    match bound.and_then(listening) {
        Ok(listening) => Ok(Some(listening)),
        Err(source) if !required && is_absent(&source) => {
            tracing::debug!(%addr, error = %source, "optional address left out");
            Ok(None)
        }
        Err(source) => Err(BindError { addr: addr.clone(), source }),
    }
}

/// The length of the queue as the kernel takes it.
pub(super) fn backlog_of(options: &SocketOptions, of_service: u32) -> i32 {
    i32::try_from(options.backlog.unwrap_or(of_service)).unwrap_or(i32::MAX)
}

fn tcp(addr: SocketAddr, options: &SocketOptions, backlog: i32) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(interface) = &options.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(|error| {
            io::Error::new(error.kind(), format!("interface {interface:?}: {error}"))
        })?;
    }
    options.set(&socket, None)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn unix(
    path: &Path,
    options: &SocketOptions,
    backlog: i32,
) -> io::Result<(Socket, Option<SocketFile>)> {
    let socket = unix_socket()?;
    let bind = |path: &Path| socket.bind(&SockAddr::unix(path)?);
    let file = file::draft(path, options.permissions, bind, || socket.listen(backlog))?;
    Ok((socket, Some(file)))
}

fn hidden(name: &str, backlog: i32) -> io::Result<Socket> {
    let socket = unix_socket()?;
    rustix::net::bind(&socket, &file::abstract_addr(name)?)?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn unix_socket() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)
}

/// True when the host has no such address or no such family.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}
