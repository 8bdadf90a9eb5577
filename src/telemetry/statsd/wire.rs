//! The thread that sends: names to addresses, lines to datagrams.
//!
//! Everything that may take time happens here and nowhere else. The address is looked up before the first line, again
//! every minute, and again soon after trouble; what cannot be sent meanwhile is lost and counted.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cadence::MetricSink;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Program;
use crate::telemetry::cold;

/// Age of an address at which its name is looked up again: agents move with their hosts, and a datagram to nobody is not
/// always answered.
const REFRESH: Duration = Duration::from_secs(60);

/// Time between two look-ups after one that brought nothing, or after a datagram that could not be sent.
const RETRY: Duration = Duration::from_secs(5);

/// Gives the addresses of the agent; may block.
pub(super) type Resolve = Box<dyn FnMut() -> io::Result<Vec<SocketAddr>> + Send>;

/// By the system's resolver.
pub(super) fn resolver(host: &str, port: u16) -> Resolve {
    let host = host.to_owned();
    Box::new(move || Ok((host.as_str(), port).to_socket_addrs()?.collect()))
}

/// Sends each line as a datagram of its own, as the originals do.
#[derive(Debug)]
pub(super) struct Wire {
    program: Program,
    /// Used by the queue's thread only.
    agent: Mutex<Agent>,
    /// Lines that were sent or lost. Only counts, so a panic leaves nothing half done.
    done: AssertUnwindSafe<watch::Sender<u64>>,
}

impl Wire {
    /// And the count of lines that are done with.
    pub(super) fn new(program: Program, resolve: Resolve) -> (Self, watch::Receiver<u64>) {
        let (done, count) = watch::channel(0);
        let agent = Mutex::new(Agent { resolve, connected: None, look: None });
        (Self { program, agent, done: AssertUnwindSafe(done) }, count)
    }
}

impl MetricSink for Wire {
    fn emit(&self, line: &str) -> io::Result<usize> {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = agent.send(line.as_bytes(), Instant::now());
        if let Err(lost) = sent {
            cold::statsd_lost(self.program, lost.reason());
        }
        self.done.send_modify(|done| *done += 1);
        Ok(line.len())
    }
}

/// Why a line is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The agent's name has no address.
    Name,
    /// The system did not take the datagram, or the agent was not there for the one before.
    Send,
}

impl Lost {
    /// Its value of the counter's label.
    fn reason(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Send => "send",
        }
    }
}

/// Where the agent is.
struct Agent {
    resolve: Resolve,
    connected: Option<(SocketAddr, UdpSocket)>,
    /// When to look its name up; `None`: now.
    look: Option<Instant>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("connected", &self.connected).finish_non_exhaustive()
    }
}

impl Agent {
    fn send(&mut self, line: &[u8], now: Instant) -> Result<(), Lost> {
        if self.look.is_none_or(|at| at <= now) {
            self.look_up(now);
        }
        let Some((_, socket)) = &self.connected else {
            return Err(Lost::Name);
        };
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let sent = match socket.send(line) {
            // That is the answer to an earlier datagram, and this one was not tried.
            Err(error) if refused(&error) => socket.send(line).and(Err(error)),
            sent => sent.map(drop),
        };
        sent.map_err(|_error| {
            self.look = self.look.map(|at| at.min(now + RETRY));
            Lost::Send
        })
    }

    /// A name that cannot be resolved now leaves the address that it had.
    fn look_up(&mut self, now: Instant) {
        let found = (self.resolve)().and_then(|addresses| {
            let address = preferred(&addresses).ok_or(io::ErrorKind::NotFound)?;
            match &self.connected {
                Some((known, _)) if *known == address => Ok(()),
                Some(_) | None => {
                    self.connected = Some((address, connect(address)?));
                    Ok(())
                }
            }
        });
        if let Err(error) = &found {
            tracing::warn!(%error, "statsd.host cannot be used now");
        }
        self.look = Some(now + if found.is_ok() { REFRESH } else { RETRY });
    }
}

/// The originals' client knows IPv4 only, so an agent that served them may listen there alone.
fn preferred(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first()).copied()
}

fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    // A full buffer loses the datagram.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn listener() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn received(socket: &UdpSocket) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// An agent whose name has these addresses, one answer a look-up, the last one for ever.
    fn agent(answers: Vec<io::Result<Vec<SocketAddr>>>) -> (Agent, Arc<AtomicUsize>) {
        let looks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&looks);
        let resolve: Resolve = Box::new(move || {
            let at = counter.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            answers[at].as_ref().map(Clone::clone).map_err(|error| error.kind().into())
        });
        (Agent { resolve, connected: None, look: None }, looks)
    }

    #[test]
    fn a_name_without_an_address_is_looked_up_again_later_and_not_for_every_line() {
        let (socket, address) = listener();
        let (mut agent, looks) =
            agent(vec![Err(io::ErrorKind::NotFound.into()), Ok(Vec::new()), Ok(vec![address])]);
        let start = Instant::now();
        assert_eq!(agent.send(b"1", start), Err(Lost::Name));
        assert_eq!(agent.send(b"2", start + RETRY / 2), Err(Lost::Name));
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        assert_eq!(agent.send(b"3", start + RETRY), Err(Lost::Name));
        assert_eq!(agent.send(b"4", start + 2 * RETRY), Ok(()));
        assert_eq!(received(&socket), "4");
        assert_eq!(looks.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn an_agent_that_moves_is_followed_and_a_silent_name_server_changes_nothing() {
        let ((first, here), (second, there)) = (listener(), listener());
        let silent = || Err(io::ErrorKind::TimedOut.into());
        let (mut agent, _) = agent(vec![Ok(vec![here]), silent(), Ok(vec![there])]);
        let start = Instant::now();
        for (line, at) in [("1", start), ("2", start + REFRESH), ("3", start + REFRESH + RETRY)] {
            assert_eq!(agent.send(line.as_bytes(), at), Ok(()));
        }
        assert_eq!([received(&first), received(&first)], ["1", "2"]);
        assert_eq!(received(&second), "3");
    }

    #[test]
    fn an_agent_that_comes_back_misses_nothing_from_then_on() {
        let (socket, address) = listener();
        drop(socket);
        let (mut agent, looks) = agent(vec![Ok(vec![address])]);
        let start = Instant::now();
        assert_eq!(agent.send(b"1", start), Ok(()), "nobody says no yet");
        assert_eq!(agent.send(b"2", start), Err(Lost::Send), "the answer to the first");
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // Counts the second as lost, and is sent all the same.
        assert_eq!(agent.send(b"3", start + RETRY), Err(Lost::Send));
        assert_eq!(agent.send(b"4", start + RETRY), Ok(()));
        assert_eq!([received(&socket), received(&socket)], ["3", "4"]);
        assert_eq!(looks.load(Ordering::SeqCst), 2, "looked up again after the trouble");
    }

    #[test]
    fn ipv4_is_preferred() {
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 1));
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        assert_eq!(preferred(&[v6, v4]), Some(v4));
        assert_eq!(preferred(&[v6]), Some(v6));
        assert_eq!(preferred(&[]), None);
    }
}
