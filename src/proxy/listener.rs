//! Listening sockets: bound all before any serves, so that a bad address stops the start and not the traffic.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::{BindAddr, ListenerSettings};

/// Why an address could not be bound: `127.0.0.1:3301: address already in use`.
#[derive(Debug, thiserror::Error)]
#[error("{addr}: {}", reason(.source))]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// The system's answer.
    pub source: io::Error,
}

fn reason(source: &io::Error) -> String {
    let known = [
        (io::ErrorKind::AddrInUse, "address already in use"),
        (io::ErrorKind::AddrNotAvailable, "no such address on this host"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
    ];
    let text = known.iter().find(|(kind, _)| *kind == source.kind());
    text.map_or_else(|| source.to_string(), |(_, text)| (*text).to_owned())
}

/// Binds and listens on every address of `settings`; addresses that are not `required` are left out when the host
/// lacks the family or address. Sockets are non-blocking and hand `TCP_NODELAY` on to what they accept.
///
/// # Errors
/// The first address that cannot be had; the ones bound before it are closed again.
pub fn bind(settings: &ListenerSettings) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners = Vec::with_capacity(settings.addrs.len());
    for BindAddr { addr, required } in &settings.addrs {
        match listen(*addr, settings.backlog) {
            Ok(listener) => listeners.push(listener),
            Err(source) if !required && is_absent(&source) => {
                tracing::debug!(%addr, error = %source, "optional address left out");
            }
            Err(source) => {
                return Err(BindError { addr: *addr, source });
            }
        }
    }
    Ok(listeners)
}

fn listen(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it: one system call less per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// True when the host has no such address or no such family.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(addrs: &[(&str, bool)]) -> ListenerSettings {
        ListenerSettings {
            addrs: addrs
                .iter()
                .map(|(addr, required)| BindAddr {
                    addr: addr.parse().unwrap(),
                    required: *required,
                })
                .collect(),
            backlog: 16,
        }
    }

    #[test]
    fn accepted_sockets_inherit_nodelay() {
        let listener = bind(&settings(&[("127.0.0.1:0", true)])).unwrap().remove(0);
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn a_taken_address_is_named_even_when_optional() {
        let held = bind(&settings(&[("127.0.0.1:0", true)])).unwrap().remove(0);
        let addr = held.local_addr().unwrap().to_string();
        let error = bind(&settings(&[(&addr, false)])).unwrap_err();
        assert_eq!(error.to_string(), format!("{addr}: address already in use"));
    }

    #[test]
    fn an_optional_address_the_host_lacks_is_left_out() {
        // TEST-NET-1 is on no interface.
        let bound = bind(&settings(&[("127.0.0.1:0", true), ("192.0.2.1:0", false)])).unwrap();
        assert_eq!(bound.len(), 1);
        let error = bind(&settings(&[("192.0.2.1:0", true)])).unwrap_err();
        assert_eq!(error.to_string(), "192.0.2.1:0: no such address on this host");
    }
}
