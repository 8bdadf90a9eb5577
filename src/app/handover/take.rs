//! The side that starts: asks for the sockets before it binds, takes over once it is ready.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_peercred, socket_type};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{PidfdFlags, Uid, pidfd_open};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::descriptors::receive_descriptors;
use super::protocol::{Greeting, Message, ProtocolError, frame, receive, receive_blocking, send};
use super::state::{Report, State};
use super::{PATIENCE, REPORT_EVERY, SOCKET, door, is_trusted};
use crate::admin::AdminState;
use crate::app::changes::Changes;
use crate::proxy::ListenAddr;
use crate::proxy::listener::Listening;

/// How long a process that does not talk to us any more may take to end: one that stops at once writes out its access log, for
/// 2 s at most.
const EXIT_PATIENCE: Duration = Duration::from_secs(5);

/// The running process, and what it has offered.
#[derive(Debug)]
pub(crate) struct Predecessor {
    stream: BlockingStream,
    /// Tells of its end, where the system lets us see it.
    process: Option<OwnedFd>,
    /// Who it is.
    pub(crate) from: Greeting,
    /// Its listening sockets.
    pub(crate) sockets: Vec<Listening>,
    /// What it knows.
    pub(crate) state: State,
}

/// The process that runs cannot be replaced: this one must not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// It said no.
    #[error("the running synapse does not hand over: {0}")]
    Refused(String),
    /// It says nothing.
    #[error(
        "the running synapse did not answer the hand-over in {PATIENCE:?}; it goes on as it is"
    )]
    Silent,
    /// Somebody else holds the socket.
    #[error("the hand-over socket in state_dir belongs to another user")]
    Stranger,
    /// It says something else.
    #[error("hand-over from the running synapse")]
    Protocol(#[source] ProtocolError),
}

/// What an approach has led to.
#[derive(Debug)]
pub(crate) enum Met {
    /// Nobody is there.
    Nobody,
    /// Somebody was, and has gone meanwhile: its sockets may be closed a moment later.
    Gone,
    /// A process that hands over.
    Willing(Box<Predecessor>),
}

/// Asks the process that runs with the same `state_dir`, for one that began to read its files at `read`.
pub(crate) fn approach(state_dir: &Path, read: Instant) -> Result<Met, TakeError> {
    let stream = match door::knock(state_dir) {
        Ok(Some(stream)) => stream,
        // It is closed last, and stays when a process is killed.
        Ok(None) if state_dir.join(SOCKET).exists() => return Ok(Met::Gone),
        Ok(None) => return Ok(Met::Nobody),
        Err(error) => {
            tracing::warn!(%error, "nobody can be asked for a hand-over");
            return Ok(Met::Nobody);
        }
    };
    let owner = std::fs::metadata(state_dir).ok();
    let owner = owner.map(|meta| Uid::from_raw(meta.uid()));
    if !is_trusted(&stream, owner).unwrap_or(false) {
        return Err(TakeError::Stranger);
    }
    match ask(stream, read) {
        Ok(predecessor) => Ok(Met::Willing(Box::new(predecessor))),
        Err(ProtocolError::Refused(reason)) => Err(TakeError::Refused(reason)),
        Err(ProtocolError::Gone | ProtocolError::Stopping) => {
            tracing::warn!("the running synapse has gone while it was asked: starting alone");
            Ok(Met::Gone)
        }
        Err(ProtocolError::Io(error))
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            Err(TakeError::Silent)
        }
        Err(error) => Err(TakeError::Protocol(error)),
    }
}

fn ask(mut stream: BlockingStream, read: Instant) -> Result<Predecessor, ProtocolError> {
    let process = socket_peercred(&stream)
        .and_then(|peer| pidfd_open(peer.pid, PidfdFlags::empty()))
        .inspect_err(|error| tracing::warn!(%error, "the running synapse's end will not be seen"));
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&frame(&Message::Hello(Greeting::having_read(read)))?)?;
    let said = receive_blocking(&mut stream)?;
    let Message::Offer { from, listeners, foreign, files, state } = said else {
        return Err(said.unexpected());
    };
    let sockets = receive_descriptors(&stream, listeners.len())?
        .into_iter()
        .zip(&listeners)
        .filter_map(|(socket, addr)| {
            match adopt(socket, addr.parse().ok(), foreign.contains(addr)) {
                Ok(socket) => Some(match files.get(addr) {
                    Some(file) => socket.with_file(Some(file.identity()), file.permissions()),
                    None => socket.without_file(),
                }),
                Err(error) => {
                    tracing::warn!(%error, "a descriptor that was handed over cannot be used");
                    None
                }
            }
        })
        .collect();
    Ok(Predecessor { stream, process: process.ok(), from, sockets, state: *state })
}

/// Makes sure that a descriptor from elsewhere is what we take it for; see [`Listening::adopted`].
pub(crate) fn adopt(
    socket: OwnedFd,
    addr: Option<ListenAddr>,
    is_foreign: bool,
) -> io::Result<Listening> {
    let domain = socket_domain(&socket)?;
    let is_known =
        [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX].contains(&domain);
    let is_stream = socket_type(&socket)? == SocketType::STREAM;
    if !is_known || !is_stream || !socket_acceptconn(&socket)? {
        return Err(io::Error::other("not a listening TCP or unix socket"));
    }
    let socket = TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    Listening::adopted(socket, addr, is_foreign)
}

impl Predecessor {
    /// Goes on within the runtime. Without a former process there is nothing to take and nothing known.
    pub(crate) fn join(former: Option<Self>) -> io::Result<(Option<Taking>, State)> {
        let Some(former) = former else {
            return Ok((None, State::default()));
        };
        former.stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(former.stream)?;
        let taking = Taking { stream, process: former.process, unused: former.sockets };
        Ok((Some(taking), former.state))
    }
}

/// A hand-over that has begun.
#[derive(Debug)]
pub(crate) struct Taking {
    stream: UnixStream,
    process: Option<OwnedFd>,
    /// Sockets of the former process that are not served here.
    pub(crate) unused: Vec<Listening>,
}

impl Taking {
    /// Says that we accept; the old process answers with its counters and has closed its admin server.
    pub(crate) async fn ready(&mut self) -> Result<Report, ProtocolError> {
        let said = self.say(&Message::Ready).await?;
        let Message::Counters(report) = said else {
            return Err(said.unexpected());
        };
        Ok(*report)
    }

    /// Says that we have everything; the old process drains from now on.
    pub(crate) async fn taken(&mut self) -> Result<(), ProtocolError> {
        self.say(&Message::Taken).await?.must_be(&Message::Draining)
    }

    /// True when `error` leaves us alone: the old process has died, or says that it stops. One that does not talk to us any more
    /// and lives goes on, for all we know.
    pub(crate) async fn is_alone(&self, error: &ProtocolError) -> bool {
        match (error, &self.process) {
            (ProtocolError::Stopping, _) => true,
            (ProtocolError::Gone, Some(process)) => ends(process, EXIT_PATIENCE).await,
            (_, _) => false,
        }
    }

    async fn say(&mut self, message: &Message) -> Result<Message, ProtocolError> {
        match send(&mut self.stream, message, PATIENCE).await {
            // It may have said before why it does not listen.
            Ok(()) | Err(ProtocolError::Gone) => receive(&mut self.stream, PATIENCE).await,
            Err(error) => Err(error),
        }
    }

    /// Adds what the old process still counts, and reloads in its place, until it has gone.
    pub(crate) async fn follow(mut self, admin: Arc<AdminState>, changes: Arc<Changes>) {
        // It reports each second; one that is silent for long is stuck.
        let patience = REPORT_EVERY + PATIENCE;
        let mut is_silent = true;
        loop {
            match receive(&mut self.stream, patience).await {
                Ok(Message::Counters(report)) => {
                    is_silent = false;
                    report.totals.add_to(&admin.services.load_full());
                    if report.reload {
                        tracing::info!("a reload that the former process was asked for comes now");
                        changes.want_reload();
                    }
                }
                Ok(Message::Finished) => {
                    tracing::info!("the former process has drained");
                    return;
                }
                Ok(other) => {
                    tracing::warn!(message = other.kind(), "unexpected from the former process");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the former process has ended without its last counters");
                    if is_silent {
                        // It may have been asked for one.
                        changes.want_reload();
                    }
                    return;
                }
            }
        }
    }
}

/// True when `process` ends in time.
async fn ends(process: &OwnedFd, patience: Duration) -> bool {
    let ended = process.try_clone().map(|process| {
        tokio::task::spawn_blocking(move || {
            let patience = Timespec::try_from(patience).ok();
            poll(&mut [PollFd::new(&process, PollFlags::IN)], patience.as_ref())
        })
    });
    let ended = match ended {
        Ok(ended) => ended.await.map_err(io::Error::other).and_then(|ended| Ok(ended? > 0)),
        Err(error) => Err(error),
    };
    ended.unwrap_or_else(|error| {
        tracing::warn!(%error, "the running synapse's end is not seen");
        false
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, getpid};

    use super::*;

    #[tokio::test]
    async fn who_breaks_off_and_lives_goes_on() {
        let of = |pid: Pid| {
            let process = Some(pidfd_open(pid, PidfdFlags::empty()).unwrap());
            let (stream, _) = UnixStream::pair().unwrap();
            Taking { stream, process, unused: Vec::new() }
        };
        let mut child = tokio::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        let (us, other) = (of(getpid()), of(pid));
        child.kill().await.unwrap();
        assert!(other.is_alone(&ProtocolError::Gone).await, "it has ended");
        let lives = us.process.as_ref().unwrap();
        assert!(!ends(lives, Duration::from_millis(10)).await);
        assert!(us.is_alone(&ProtocolError::Stopping).await, "it says so");
        assert!(!other.is_alone(&ProtocolError::Unexpected("hello")).await);
        let unseen = Taking { process: None, ..us };
        assert!(!unseen.is_alone(&ProtocolError::Gone).await, "nobody knows");
    }
}
