//! The plain TCP check: connect, then close with RST.
//!
//! The kernel is asked to hold back the handshake's last ACK, and the reset overtakes it: the application is not even
//! woken by `accept`, as with haproxy. Where the kernel answers at once (or we are late by a delayed ACK, 40 ms) it sees
//! a connection that is reset. Neither side is left with a TIME_WAIT.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{BoxFuture, Probe, ProbeError, ProbePass, SOCKET_ERROR};
use crate::dial::header::{self, Whose};
use crate::dial::{self, Address, Way};

/// How a probe connects.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Time for it.
    pub bound: Duration,
    /// In what way; `None`: the usual one.
    pub way: Option<Arc<Way>>,
}

impl Connect {
    /// The usual way, in `bound`.
    pub fn within(bound: Duration) -> Self {
        Self { bound, way: None }
    }

    /// A connection that begins with the header that is to be sent. It is reset, not closed, when it is dropped.
    /// `follows`: the probe says more.
    pub(super) async fn connect(
        &self,
        target: &Address,
        follows: bool,
    ) -> Result<TcpStream, ProbeError> {
        let way = self.way.as_deref();
        let form = way.and_then(|way| way.header);
        let is_quiet = !follows && form.is_none();
        let connecting = dial::connect_prepared(target, way, |socket| {
            if is_quiet {
                // Without it the check still works; the application sees it.
                rustix::net::sockopt::set_tcp_quickack(socket, false).ok();
            }
        });
        let stream = bounded(self.bound, connecting).await?;
        if let Some(form) = form {
            let ends = stream.local_addr().ok().zip(target.inet());
            let header = header::render(form, ends.map_or(Whose::Unknown, Whose::ours));
            dial::announce(&stream, &header, follows).map_err(|error| connect_error(&error))?;
        }
        Ok(stream)
    }
}

/// Connects within `bound`; the connection is reset, not closed, when it is dropped.
pub(super) async fn connect(target: SocketAddr, bound: Duration) -> Result<TcpStream, ProbeError> {
    bounded(bound, TcpStream::connect(target)).await
}

/// Passes when the target accepts a connection in time.
#[derive(Clone, Debug)]
pub struct TcpProbe {
    connect: Connect,
}

impl TcpProbe {
    /// A probe that connects as `connect` says.
    pub fn new(connect: Connect) -> Self {
        Self { connect }
    }
}

impl Probe for TcpProbe {
    fn probe(&self, target: Address) -> BoxFuture<'_, Result<ProbePass, ProbeError>> {
        Box::pin(async move {
            self.connect.connect(&target, false).await?;
            Ok(ProbePass { code: "L4OK", status: None })
        })
    }
}

async fn bounded(
    bound: Duration,
    connecting: impl Future<Output = io::Result<TcpStream>>,
) -> Result<TcpStream, ProbeError> {
    let stream = match timeout(bound, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(connect_error(&error)),
        Err(_) => return Err(failure("L4TOUT", format!("no connection within {bound:?}"))),
    };
    // Without it the check still works and ends with FIN: nothing to report.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    Ok(stream)
}

/// The code for an error of a socket call.
pub(super) fn connect_error(error: &io::Error) -> ProbeError {
    if is_ours(error) {
        return failure(SOCKET_ERROR, error.to_string());
    }
    let kind = error.kind();
    if kind == io::ErrorKind::TimedOut {
        return failure("L4TOUT", "connection timed out".to_owned());
    }
    let text = error.to_string();
    // The system's words alone: `No route to host (os error 113)`.
    let info = text.split(" (os error").next().unwrap_or_default().to_owned();
    let is_refused = kind == io::ErrorKind::ConnectionRefused;
    let detail = if is_refused { "connection refused".to_owned() } else { text };
    ProbeError { info, ..failure("L4CON", detail) }
}

/// Errors that say something about this host, not about the target. Of a unix socket `EAGAIN` is none of them: the queue of
/// its listener is full. haproxy calls that SOCKERR, but takes the server down as well.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const OURS: [Errno; 6] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
        Errno::AFNOSUPPORT,
    ];
    dial::is_unsettled(error)
        || Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno))
}

pub(super) fn failure(code: &'static str, detail: String) -> ProbeError {
    ProbeError { code, status: None, detail, info: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    const BOUND: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_listener_passes_and_is_not_woken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let target = listener.local_addr().unwrap();
        let pass = ProbePass { code: "L4OK", status: None };
        let mut seen = 0;
        for _ in 0..20 {
            assert_eq!(
                TcpProbe::new(Connect::within(BOUND)).probe(target.into()).await.unwrap(),
                pass
            );
            seen += usize::from(listener.accept().is_ok());
        }
        // A check that is held up for longer than a delayed ACK is seen; not all of them are.
        assert!(seen < 20, "{seen} of 20 checks reached the application");
    }

    #[tokio::test]
    async fn a_connection_for_a_check_ends_with_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        drop(connect(target, BOUND).await.unwrap());
        let (mut seen, _) = listener.accept().await.unwrap();
        let error = seen.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let error = TcpProbe::new(Connect::within(BOUND)).probe(target.into()).await.unwrap_err();
        assert_eq!((error.code, error.detail.as_str()), ("L4CON", "connection refused"));
        assert_eq!(error.info, "Connection refused");
    }

    #[tokio::test]
    async fn a_way_that_cannot_be_gone_says_nothing_about_the_target() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let device = Some(Arc::from("no-such-device"));
        let way = Some(Arc::new(Way { device, ..Way::default() }));
        let connect = Connect { bound: BOUND, way };
        let error = TcpProbe::new(connect).probe(target.into()).await.unwrap_err();
        assert_eq!(error.code, SOCKET_ERROR);
    }

    #[test]
    fn a_lack_of_descriptors_is_our_own_fault() {
        let error = connect_error(&io::Error::from(rustix::io::Errno::MFILE));
        assert_eq!(error.code, SOCKET_ERROR);
        let error = connect_error(&io::Error::from(rustix::io::Errno::HOSTUNREACH));
        assert_eq!((error.code, error.info.as_str()), ("L4CON", "No route to host"));
    }
}
