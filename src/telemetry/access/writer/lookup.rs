//! The address of a syslog server. A name is looked up by a thread of its own: the resolver of the system blocks, for
//! half a minute when its servers are dead, and the writer serves other targets.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long the writer waits for a name: resolvers that work answer within this time, and then no line is lost.
const WAIT: Duration = Duration::from_millis(200);

/// What is known about one target's address. At most one lookup runs at a time.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    running: Option<Receiver<io::Result<SocketAddr>>>,
}

impl Lookup {
    /// The address of `place`, `HOST:PORT`. [`ErrorKind::TimedOut`] while a lookup takes longer: ask again later.
    pub(super) fn address(&mut self, place: &str) -> io::Result<SocketAddr> {
        if let Ok(addr) = place.parse() {
            return Ok(addr);
        }
        let place = place.to_owned();
        self.wait(move || {
            place.to_socket_addrs()?.next().ok_or_else(|| ErrorKind::AddrNotAvailable.into())
        })
    }

    /// What a lookup that [`Lookup::address`] has not waited for has found by now.
    pub(super) fn finished(&mut self) -> Option<io::Result<SocketAddr>> {
        let found = self.running.as_ref()?.try_recv().ok()?;
        self.running = None;
        Some(found)
    }

    fn wait(
        &mut self,
        resolve: impl FnOnce() -> io::Result<SocketAddr> + Send + 'static,
    ) -> io::Result<SocketAddr> {
        let running = match self.running.take() {
            Some(running) => running,
            None => start(resolve)?,
        };
        match running.recv_timeout(WAIT) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                self.running = Some(running);
                Err(io::Error::new(ErrorKind::TimedOut, "its name is still being looked up"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the lookup panicked")),
        }
    }
}

fn start(
    resolve: impl FnOnce() -> io::Result<SocketAddr> + Send + 'static,
) -> io::Result<Receiver<io::Result<SocketAddr>>> {
    let (answer, running) = channel();
    let thread = std::thread::Builder::new().name("log-lookup".to_owned());
    // Ends by itself; who asked may be gone by then.
    thread.spawn(move || drop(answer.send(resolve())))?;
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_found() {
        let mut lookup = Lookup::default();
        assert_eq!(lookup.address("[::1]:514").unwrap(), "[::1]:514".parse().unwrap());
        let addr = lookup.address("localhost:514").unwrap();
        assert!(addr.ip().is_loopback() && addr.port() == 514, "{addr}");
        assert!(lookup.address("nobody.invalid:514").is_err());
    }

    #[test]
    fn a_slow_lookup_is_waited_for_in_turns_and_made_once() {
        let mut lookup = Lookup::default();
        let (go, gone) = channel::<()>();
        let slow = move || {
            gone.recv().unwrap();
            Ok(([127, 0, 0, 1], 514).into())
        };
        let error = lookup.wait(slow).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let never = || unreachable!("one lookup runs already");
        assert_eq!(lookup.wait(never).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(lookup.finished().is_none());
        go.send(()).unwrap();
        assert_eq!(lookup.wait(never).unwrap(), ([127, 0, 0, 1], 514).into());
    }
}
