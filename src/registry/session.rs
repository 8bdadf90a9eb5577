//! One ZooKeeper session and its successors.
//!
//! # Decision: the crate `zookeeper-client` behind a relay, not a client of our own
//!
//! The crate has three defects. Read in its source (0.11.2) and reproduced; `tests/zookeeper/defects.rs` holds a test
//! for each:
//!
//! * **A, persistent watches are not restored after a reconnect** (`resend_watches`: `index = index.max(index)` stays 0,
//!   so neither the persistent list nor `SetWatches2` is sent). Cure: one-shot watches only. They sit in the three lists
//!   that are sent, and the server fires them for changes made meanwhile.
//! * **B, a loop that never yields.** When the session's deadline has passed, `IterableEndpoints::next` waits
//!   `min(remaining, …)` = 0 and `connect(2)` to a literal address fails in its first poll (`ENETUNREACH`, `EMFILE`); in
//!   the biased `select!` the deadline is never polled, so `Deadline::elapsed` never becomes true. Cure: the crate gets
//!   `127.1:PORT`, no literal for `Ipv4Addr::from_str`, so every attempt crosses its resolver pool and pends; the deadline
//!   is polled and ends the loop. Everything of the ensemble lives on a thread of its own besides.
//! * **C, reconnect back-off without a cap** (0.1 s * 2^pass). Cure: the `relay` accepts always and holds the connection
//!   until a member answers, so the crate is not refused and does not back off; the relay retries at least twice a
//!   second. The list handed to the crate repeats the relay, which keeps the crate's own pauses short even when it cannot
//!   reach the relay (no descriptors).
//!
//! Holding beats closing early: a held attempt ends by the crate's own 0.4 T, and the next one starts at once. So there
//! is no moment in an outage at which a healed member would not be used within a second, and an outage is over for the
//! crate exactly when a member *answered*, not when some kernel accepted. A client of our own (about 1,500 lines) would
//! buy nothing that a reader needs today. What the relay costs: one more copy of every byte on loopback, some 30 us per
//! round trip.
//!
//! # Life of a session
//!
//! `Connecting → Connected ⇄ Disconnected → Expired → Connected …`. The crate declares a session expired by its own clock
//! at 1.4 T; the server may think otherwise (it was down, or had no quorum). So the supervisor first asks to go on with the
//! old session, as often as it takes to reach a member, and opens a fresh one only when a server says that the old one
//! is gone. A new generation is a new session id; watches end with their client either way, and tell so.
//!
//! State: the supervisor alone writes [`Session`](super::Session) and the current client; callers hold a client for one operation only,
//! because the last clone dropped closes the session at the server, which is how a clean shutdown works.
//!
//! To survive a restart of the process (nerve), whoever owns `state_dir` keeps the credentials that the relay read in the
//! handshake and hands them in as [`SessionSettings::heir`]; the process that ends *detaches*: the relay breaks its
//! connections before the last clone of the client is dropped, so that the goodbye cannot reach a server. The crate's own
//! `with_detached` would do the same, but for every end: then nobody could close a session. Two live processes must
//! never have one session: each would throw the other out, for ever.

mod shared;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use zookeeper_client as zk;
use zookeeper_client::{Client, SessionInfo};

pub(super) use self::shared::Shared;
use super::SessionState;
use super::credentials::{Credentials, SessionKeeper};
use super::relay::ensemble::Ensemble;
use super::relay::{Relay, RelayStatus, RelayTiming};
use crate::backoff::Backoff;

/// How long a clean close may take: the server's answer to `closeSession`, milliseconds when it works at all.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// The protocol's field holds 24 days of milliseconds.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A session shorter than this is followed by a pause: a server that opens and ends sessions must not be hammered.
const STABLE: Duration = Duration::from_secs(1);

/// An ensemble that stays away is logged this often, with the latest trouble.
const REMINDER: Duration = Duration::from_secs(30);

/// Pause after refused credentials. They do not get better by themselves, but an operator may repair the server.
const AUTH_PAUSE: Duration = Duration::from_secs(30);

/// What to ask of the ensemble.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// Session timeout to ask for; the server clamps it to 2..=20 of its ticks (4..=40 s by default), see
    /// [`negotiated_timeout`](super::Session::negotiated_timeout)(super::Session::negotiated_timeout). A dead connection is noticed after 0.4 of it, ephemeral nodes of a killed process
    /// vanish after all of it. More than a day is a day; zero is the client crate's default, 6 s.
    ///
    /// Default 30 s (`zk_session_timeout`): the originals' client makes the server grant 36 s and 32 s.
    pub timeout: Duration,
    /// The session to go on with, if a server still knows it; else, and by default, a new one is opened. The process that
    /// had it must have ended, or [detached](super::zookeeper::ZooKeeperRegistry::detach).
    pub heir: Option<Credentials>,
    /// Who remembers each session. Default: nobody.
    pub keeper: Option<Arc<dyn SessionKeeper>>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), heir: None, keeper: None }
    }
}

/// Keeps a session with one ensemble until told to stop. Runs on the registry thread.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) ensemble: Ensemble,
    pub(super) settings: SessionSettings,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: CancellationToken,
}

/// How an attempt to have a session ended.
enum Opened {
    Client(Client),
    /// The server does not know the old session any more.
    Gone,
    AuthFailed,
    NotYet,
}

/// Why a client is done.
enum Ended {
    /// By its own verdict, or because its task died: go on with its session if the server lets us.
    Lost(SessionInfo),
    AuthFailed,
    Stopped,
    /// Stopped, but its session is to be left alone.
    Detached(Client),
}

impl Supervisor {
    /// Runs until stopped. A panic of the client crate (a lying server can cause one) costs this attempt, not the thread.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let mut attempt = JoinSet::new();
            attempt.spawn(Arc::clone(&self).attempt());
            match attempt.join_next().await {
                Some(Err(panic)) => {
                    error!(ensemble = %self.ensemble.text(), %panic, "the client crate panicked, a new session is opened");
                    self.shared.enter(SessionState::Expired);
                    if self.stopped_within(Duration::from_secs(1)).await {
                        return;
                    }
                }
                Some(Ok(())) | None => return,
            }
        }
    }

    async fn attempt(self: Arc<Self>) {
        let Some(relay) = self.bind_relay().await else {
            return;
        };
        let connect_string = relay.connect_string(self.ensemble.chroot());
        // Dropped, and thereby ended, with this function.
        let mut helpers = JoinSet::new();
        helpers.spawn(forward_trouble(relay.status(), Arc::clone(&self)));
        helpers.spawn(relay.run());
        if let Some(client) = self.sessions(&connect_string).await {
            // In this order: the client says goodbye when it is dropped.
            helpers.shutdown().await;
            drop(client);
        }
    }

    async fn bind_relay(&self) -> Option<Relay> {
        let timing = RelayTiming::for_session(self.settings.timeout);
        let mut backoff = attempts();
        loop {
            match Relay::bind(self.ensemble.clone(), timing).await {
                Ok(relay) => return Some(relay.with_key(Arc::clone(self.shared.key()))),
                Err(error) => self.shared.note(&format!("relay: {error}").into()),
            }
            if self.stopped_within(backoff.next_delay()).await {
                return None;
            }
        }
    }

    /// One session after the other. Gives the client that must not say goodbye, if there is one.
    async fn sessions(&self, connect_string: &str) -> Option<Client> {
        let mut heir = None;
        let mut backoff = attempts();
        loop {
            let opened = tokio::select! {
                () = self.stop.cancelled() => return None,
                opened = self.open(connect_string, heir.clone()) => opened,
            };
            let opened_at = Instant::now();
            let ended = match opened {
                Opened::Client(client) => self.follow(client).await,
                Opened::Gone => {
                    heir = None;
                    continue;
                }
                Opened::AuthFailed => self.refused(),
                Opened::NotYet => {
                    if self.stopped_within(backoff.next_delay()).await {
                        return None;
                    }
                    continue;
                }
            };
            let is_short = opened_at.elapsed() < STABLE;
            if !is_short {
                backoff.reset();
            }
            match ended {
                Ended::Lost(session) => {
                    heir = Some(session);
                    // None after a session that lasted; then reconnecting is not to be delayed.
                    if is_short && self.stopped_within(backoff.next_delay()).await {
                        return None;
                    }
                }
                Ended::AuthFailed => {
                    heir = None;
                    self.shared.key().forget();
                    if self.stopped_within(AUTH_PAUSE).await {
                        return None;
                    }
                }
                Ended::Stopped => return None,
                Ended::Detached(client) => return Some(client),
            }
        }
    }

    /// Asks for a session: the old one, if there is one to go on with. Lasts up to 1.8 T when no member answers.
    async fn open(&self, connect_string: &str, heir: Option<SessionInfo>) -> Opened {
        // A client that brings no session of its own is given the one that the relay holds.
        let former = heir.as_ref().map(|heir| heir.id().0).or_else(|| self.shared.key().held_id());
        let mut connector =
            Client::connector().with_session_timeout(self.settings.timeout.min(TIMEOUT_MAX));
        if let Some(heir) = heir {
            connector = connector.with_session(heir);
        }
        match connector.connect(connect_string).await {
            Ok(client) => {
                info!(
                    ensemble = %self.ensemble.text(), session = %client.session_id(), timeout = ?client.session_timeout(),
                    "{}", if former == Some(client.session_id().0) { "session re-attached" } else { "session opened" }
                );
                Opened::Client(client)
            }
            Err(zk::Error::AuthFailed) => Opened::AuthFailed,
            Err(zk::Error::SessionExpired) if former.is_some() => Opened::Gone,
            Err(error) => {
                debug!(ensemble = %self.ensemble.text(), %error, "no session yet");
                Opened::NotYet
            }
        }
    }

    /// Publishes what becomes of a client until it is done.
    async fn follow(&self, client: Client) -> Ended {
        self.shared.forget_server();
        let mut states = client.state_watcher();
        let mut state = client.state();
        loop {
            if let Some(ended) = self.publish(state, &client) {
                return ended;
            }
            tokio::select! {
                () = self.stop.cancelled() => {
                    if self.shared.is_detached() {
                        self.shared.enter(SessionState::Disconnected);
                        return Ended::Detached(client);
                    }
                    self.close(client).await;
                    return Ended::Stopped;
                }
                next = states.changed() => state = next,
                () = self.shared.suspected() => {
                    if is_dead(&client).await {
                        error!(ensemble = %self.ensemble.text(), "the client's task died, it is replaced");
                        self.shared.enter(SessionState::Expired);
                        return Ended::Lost(client.into_session());
                    }
                }
            }
        }
    }

    fn publish(&self, state: zk::SessionState, client: &Client) -> Option<Ended> {
        let ensemble = self.ensemble.text();
        let session = client.session_id();
        match state {
            zk::SessionState::SyncConnected | zk::SessionState::ConnectedReadOnly => {
                debug!(%ensemble, %session, "connected");
                self.keep();
                self.shared.enter_connected(client);
                None
            }
            zk::SessionState::Disconnected => {
                let cause = self.shared.session().borrow().last_error.clone();
                let cause = cause.as_deref().unwrap_or("no answer");
                warn!(%ensemble, %session, cause, "disconnected");
                self.shared.enter(SessionState::Disconnected);
                None
            }
            zk::SessionState::AuthFailed => Some(self.refused()),
            zk::SessionState::Expired | zk::SessionState::Closed => {
                warn!(%ensemble, %session, "session expired");
                self.shared.enter(SessionState::Expired);
                Some(Ended::Lost(client.session().clone()))
            }
        }
    }

    /// Has the session remembered.
    fn keep(&self) {
        let session = self.shared.key().granted().borrow().clone();
        if let Some((keeper, session)) = self.settings.keeper.as_ref().zip(session) {
            keeper.keep(self.ensemble.text(), &session);
        }
    }

    fn refused(&self) -> Ended {
        error!(ensemble = %self.ensemble.text(), "the ensemble refuses our credentials");
        self.shared.enter(SessionState::AuthFailed);
        Ended::AuthFailed
    }

    /// Drops the clones that we own and waits for the goodbye. Operations under way hold clones too; they watch the same
    /// token.
    async fn close(&self, client: Client) {
        let mut states = client.state_watcher();
        self.shared.enter(SessionState::Disconnected);
        drop(client);
        let closed = async {
            while !states.state().is_terminated() {
                states.changed().await;
            }
        };
        if timeout(CLOSE_DEADLINE, closed).await.is_err() {
            info!(ensemble = %self.ensemble.text(), "the session could not be closed in time, it will expire");
        }
    }

    async fn stopped_within(&self, pause: Duration) -> bool {
        timeout(pause, self.stop.cancelled()).await.is_ok()
    }
}

fn attempts() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(1))
}

/// The crate answers this way, without asking a server, when the task that serves the session is gone.
async fn is_dead(client: &Client) -> bool {
    let probe = timeout(Duration::from_secs(1), client.check_stat("/")).await;
    matches!(probe, Ok(Err(zk::Error::UnexpectedError(_))))
}

/// Publishes the relay's troubles, at most one a second: with several members down they alternate, and every reader of
/// the session wakes up each time.
async fn forward_trouble(mut status: watch::Receiver<RelayStatus>, supervisor: Arc<Supervisor>) {
    let mut logged: Option<Instant> = None;
    loop {
        let trouble = status.borrow_and_update().trouble.clone();
        if let Some(trouble) = trouble {
            supervisor.shared.note(&trouble);
            let is_due = logged.is_none_or(|logged| logged.elapsed() >= REMINDER);
            if is_due && !supervisor.shared.is_connected() {
                warn!(ensemble = %supervisor.ensemble.text(), %trouble, "no session");
                logged = Some(Instant::now());
            }
            sleep(Duration::from_secs(1)).await;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
