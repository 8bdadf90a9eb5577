//! The world that a reporter waits for: the wish and the session.

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::Wanted;
use super::setback::one_line;
use crate::registry::{Session, SessionState};

/// The session in one moment of its life: differs whenever something has to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) state: SessionState,
    since: Instant,
    pub(super) id: Option<i64>,
}

impl Moment {
    pub(super) fn of(session: &Session) -> Self {
        Self { state: session.state, since: session.since, id: session.id }
    }
}

/// For ever, when nobody can wish any more.
pub(super) async fn another_wish(wanted: &mut watch::Receiver<Wanted>, wish: Wanted) {
    if wanted.wait_for(|wanted| *wanted != wish).await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(super) async fn another_moment(sessions: &mut watch::Receiver<Session>, moment: Moment) {
    if sessions.wait_for(|session| Moment::of(session) != moment).await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(super) fn waiting(session: &Session) -> String {
    let state = match session.state {
        SessionState::Connecting => "no session yet",
        // A session without an id is a contradiction; it is waited out.
        SessionState::Disconnected | SessionState::Connected => "the connection is lost",
        SessionState::Expired => "the session expired",
        SessionState::AuthFailed => "our credentials are refused",
    };
    match &session.last_error {
        Some(error) => one_line(&format!("waiting for ZooKeeper: {state} ({error})")),
        None => format!("waiting for ZooKeeper: {state}"),
    }
}
