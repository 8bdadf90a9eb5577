//! The last answer on a connection: to a request that hyper has not seen.

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::Front;
use crate::proxy::course::Unbegun;
use crate::proxy::farewell::swallow;
use crate::proxy::http::Refusal;
use crate::proxy::http::reply::{self, Form};
use crate::proxy::http2::settings::FAREWELL;
use crate::proxy::states::{self, State};
use crate::telemetry::cells::ErrorCause;

/// Why there is an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    status: StatusCode,
    is_head: bool,
    state: State,
    /// What is counted: nothing when there was no request to begin with, and nothing is said then.
    cause: Option<ErrorCause>,
}

impl Last {
    /// A request did not come in time.
    pub(super) const LATE: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        is_head: false,
        state: states::LATE,
        cause: Some(ErrorCause::ClientTimeout),
    };

    /// A request is not fit to go on.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            status: StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST),
            is_head: refusal.is_head,
            state: states::REFUSED,
            cause: Some(ErrorCause::ClientProtocol),
        }
    }
}

impl Front {
    /// For a client that has left before its first request, or within a head: it may have finished sending alone.
    pub(super) fn left(&self) -> Option<Last> {
        let has_left = self.vigil.has_ended() && !self.vigil.is_closing();
        let wait = self.wait.get().filter(|_| has_left)?;
        if self.unread.borrow().as_ref().is_some_and(|upload| !upload.borrow().is_done()) {
            // What broke off is the body of a request that has had its answer.
            return None;
        }
        let is_partial = self.talk.heard() > wait.heard;
        let is_logged = is_partial || self.served.get() == 0;
        let is_ignored =
            !is_partial && self.fixed.listener.service.settings.load().http.ignore_probes;
        (is_logged && !is_ignored).then_some(Last {
            status: StatusCode::BAD_REQUEST,
            is_head: false,
            state: states::LEFT,
            cause: is_partial.then_some(ErrorCause::ClientAbort),
        })
    }

    /// What is said, counted and logged.
    fn last_word(&self, last: Last) -> Vec<u8> {
        let mut page = Vec::new();
        let fixed = &self.fixed;
        if let Some(cause) = last.cause {
            reply::push(&mut page, last.status, Form { keep: false, is_head: last.is_head });
            fixed.cells().error(cause);
            fixed.cells().requests.add(1);
            let heard = self.wait.get().map_or(0, |wait| wait.heard);
            fixed.cells().bytes_in.add(self.talk.heard().saturating_sub(heard));
            fixed.cells().response(last.status.as_u16());
            fixed.cells().bytes_out.add(page.len() as u64);
        }
        if let (Some(log), Some(wait)) =
            (&fixed.listener.service.settings.load().access_log, self.wait.get())
        {
            let now = || self.moved.1.look(self.talk.heard(), &fixed.local.clock);
            let unbegun = Unbegun {
                since: if wait.has_begun { wait.since } else { now() },
                bytes_in: self.talk.heard().saturating_sub(wait.heard),
                bytes_out: page.len() as u64,
                state: last.state,
                status: last.status.as_u16(),
                is_reused: self.served.get() > 0,
            };
            unbegun.write(fixed, log);
        }
        page
    }

    /// Ends the connection, with an answer if there is one to be given.
    pub(super) async fn farewell<S>(&self, mut io: S, last: Option<Last>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let page = last.map(|last| self.last_word(last));
        let farewell = async {
            let Some(page) = page else {
                return io.shutdown().await;
            };
            io.write_all(&page).await?;
            swallow(&mut io, &self.fixed.local).await
        };
        // Whether or not it has heard it: the connection closes.
        drop(self.fixed.timer.within(Some(FAREWELL), farewell).await);
    }
}
