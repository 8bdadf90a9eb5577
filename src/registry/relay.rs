//! Loopback relay between the client crate and the ensemble.
//!
//! The crate knows one address, this relay's; the relay owns resolving, dialling, the choice of the member and the
//! back-off. That makes two defects of the crate harmless (`session` has the evidence):
//!
//! * *B, a loop that never yields* when `connect(2)` fails at once. The crate never dials a member. What it dials is
//!   spelled `127.1:PORT`, which its literal parser does not accept, so that it goes through its resolver pool and pends
//!   even when loopback is down or descriptors have run out.
//! * *C, a reconnect back-off without a cap.* The crate is never refused: an accepted connection is *held* until a
//!   member answers, the relay retries with at most [`RelayTiming::backoff_cap`] between passes.
//!
//! It also keeps lies about sizes from the crate, which would end the process (`guard`).
//!
//! Invariants: one client connection at a time; bytes flow only after a member answered the client's first request;
//! when either side ends, both do. Nothing here knows watches, and of sessions only the handshake ([`SessionKey`]).

pub mod ensemble;

mod connection;
mod dial;
mod guard;
mod key;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info};

use self::connection::{Ended, hold, pump, read_request};
use self::dial::{Dialer, Found, cause};
use self::ensemble::Ensemble;
pub use self::key::SessionKey;
use crate::backoff::Backoff;

/// How often the crate's connect string repeats the relay. The crate pauses only between passes over its list, and
/// doubles that pause each pass (defect C); within a pass of 20 it pauses at most 50 ms * 19.
const REPEATS: usize = 20;

/// Deadlines of one relay. All have defaults that suit any session timeout; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct RelayTiming {
    /// Bound on resolving one name. Default 2 s: a dead name server must not hide the other members for longer.
    pub resolve: Duration,
    /// Bound on one TCP connect. Default 750 ms: a member whose packets were dropped is dialled again with a fresh SYN
    /// before the kernel's own second try (1 s), so that a healed network is used within 1 s.
    pub dial: Duration,
    /// Head start of a member before the next one is dialled too. Default 150 ms.
    pub stagger: Duration,
    /// Bound on the answer to the connect request in the first pass over all members; silence doubles it, so that a slow
    /// server is not asked again and again. The client's own patience ends after 0.4 of the session timeout.
    ///
    /// Default 1 s. A ZooKeeper that is starting accepts connections that it never answers nor closes (3.8.0: every
    /// third one made in its first tenth of a second), and a healed ensemble is to be used within 2 s.
    pub answer: Duration,
    /// Upper bound of that while other members remain to be tried. Default a tenth of the session timeout, 1 to 5 s.
    pub answer_cap: Duration,
    /// Longest pause between the starts of two passes over all members. Default 500 ms.
    pub backoff_cap: Duration,
}

impl RelayTiming {
    /// The defaults for a session timeout.
    pub fn for_session(session_timeout: Duration) -> Self {
        Self {
            resolve: Duration::from_secs(2),
            dial: Duration::from_millis(750),
            stagger: Duration::from_millis(150),
            answer: Duration::from_secs(1),
            answer_cap: (session_timeout / 10)
                .clamp(Duration::from_secs(1), Duration::from_secs(5)),
            backoff_cap: Duration::from_millis(500),
        }
    }
}

/// What the relay does now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// The member that the client talks to; `None` while there is none.
    pub member: Option<Arc<str>>,
    /// The last trouble, one line with the member's name: "zk1:2181: connection refused". Kept after recovery.
    pub trouble: Option<Arc<str>>,
}

/// A bound relay; [`Relay::run`] makes it work. Dropped, it closes the port and the connection.
#[derive(Debug)]
pub struct Relay {
    listener: TcpListener,
    addr: SocketAddr,
    dialer: Dialer,
    timing: RelayTiming,
    backoff: Backoff,
    status: watch::Sender<RelayStatus>,
    key: Arc<SessionKey>,
}

impl Relay {
    /// Binds a port of its own on 127.0.0.1. Needs a tokio runtime.
    ///
    /// # Errors
    /// When no socket can be made (descriptors, loopback down).
    pub async fn bind(ensemble: Ensemble, timing: RelayTiming) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            addr: listener.local_addr()?,
            listener,
            dialer: Dialer::new(ensemble, timing),
            timing,
            backoff: Backoff::new(Duration::from_millis(50), timing.backoff_cap),
            status: watch::Sender::default(),
            key: Arc::default(),
        })
    }

    /// Carries the session of `key`.
    #[must_use]
    pub fn with_key(self, key: Arc<SessionKey>) -> Self {
        Self { key, ..self }
    }

    /// Where the relay listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What the client crate is told to connect to: the relay, in the form that makes defects B and C harmless.
    pub fn connect_string(&self, chroot: &str) -> String {
        connect_string(self.addr.port(), chroot)
    }

    /// The relay's state; changes are published at once.
    pub fn status(&self) -> watch::Receiver<RelayStatus> {
        self.status.subscribe()
    }

    /// Serves one client connection after the other until dropped.
    pub async fn run(mut self) {
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => self.serve(client).await,
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// EMFILE and its like: the connection stays in the backlog and `accept` would fail at once again.
    async fn pause(&self, error: &io::Error) {
        self.note(format!("relay: accept: {}", cause(error)));
        sleep(Duration::from_millis(100)).await;
    }

    async fn serve(&mut self, mut client: TcpStream) {
        // Else an event waits for the acknowledgement of the answer before it, which the client delays by 40 ms.
        if let Err(error) = client.set_nodelay(true) {
            debug!(%error, "relay: events may be late");
        }
        let request = match read_request(&mut client).await {
            Ok(mut request) => {
                self.key.put_into(&mut request);
                request
            }
            Err(error) => {
                debug!(%error, "relay: no connect request from the client");
                return;
            }
        };
        let mut held = Vec::new();
        let found = tokio::select! {
            found = self.search(&request) => found,
            () = hold(&mut client, &mut held) => return,
        };
        self.key.learn_from(&found.answer);
        self.backoff.reset();
        let target = found.target.clone();
        let member: Arc<str> = target.member.to_string().into();
        self.status.send_modify(|status| status.member = Some(Arc::clone(&member)));
        info!(%member, "connected to a member of the ensemble");
        let ended = pump(client, &held, found).await;
        // Not the same member again at once: it may hang, be short of descriptors, or shut down.
        self.dialer.suspect(&target);
        if let Ended::Member(reason) = ended {
            self.note(format!("{member}: {reason}"));
        }
        self.status.send_modify(|status| status.member = None);
    }

    /// Passes over all members until one answers. A member whose data is older than what the client has seen turns it
    /// away; when nobody else is there (the ensemble was wiped, or restored from a backup) the next pass does not
    /// mention what was seen: the session is then found to be over at once instead of after 1.4 of its timeout. A member
    /// that merely lags tells the changes when it catches up, because the client's watches name what they have seen.
    ///
    /// The pause counts from the start of a pass: time spent waiting for
    /// black holes is pause enough.
    async fn search(&mut self, request: &[u8]) -> Found {
        let mut request = request.to_vec();
        let mut patience = self.timing.answer;
        loop {
            let started = Instant::now();
            let status = &self.status;
            let trouble = |text| note(status, text);
            if let Some(found) = self.dialer.find(&request, patience, trouble).await {
                return found;
            }
            let missed = self.dialer.take_missed();
            if missed.turned_away {
                forget_seen(&mut request);
            }
            // A member that refuses meanwhile was started anew: nothing is left of its slowness.
            patience = if missed.silent { patience.saturating_mul(2) } else { self.timing.answer };
            sleep_until(started + self.backoff.next_delay()).await;
        }
    }

    fn note(&self, text: String) {
        note(&self.status, text);
    }
}

/// Clears the last zxid seen in a connect request: length, protocol version, zxid.
fn forget_seen(request: &mut [u8]) {
    if let Some(zxid) = request.get_mut(8..16) {
        zxid.fill(0);
    }
}

/// Publishes a trouble; a repeated one wakes nobody and is logged once.
fn note(status: &watch::Sender<RelayStatus>, text: String) {
    status.send_if_modified(|status| {
        if status.trouble.as_deref() == Some(text.as_str()) {
            return false;
        }
        debug!(trouble = %text, "relay");
        status.trouble = Some(text.into());
        true
    });
}

fn connect_string(port: u16, chroot: &str) -> String {
    let one = format!("127.1:{port}");
    let mut text = vec![one; REPEATS].join(",");
    text.push_str(chroot);
    text
}

#[cfg(test)]
mod tests;
