//! What two processes say to each other: JSON messages behind a length, and descriptors in chunks.
//!
//! ```text
//! new                                  old
//!  │ Hello ────────────────────────────▶│ who may ask? busy? then Refused
//!  │◀──────────── Offer, descriptors ───│ goes on serving
//!  │ (binds the rest, starts, is ready) │
//!  │ Ready ────────────────────────────▶│ closes its admin server
//!  │◀───────────────────────── Counters │
//!  │ (serves admin)                     │
//!  │ Taken ────────────────────────────▶│
//!  │◀───────────────────────── Draining │ accepts no more; exits when its connections have ended
//!  │◀────────────── Counters … Finished │ and whether it was asked for a reload meanwhile
//! ```
//!
//! An old process that gives the conversation up says why, whatever is due: it goes on (Refused), and the new one ends; or it
//! stops (Stopping), and the new one serves alone with the sockets that it has been given. So it does if the old one has died.
//! A broken connection alone does not say that: two would serve.
//!
//! From the offer on the old one changes nothing any more. A reload that it is asked for waits: it obeys when the hand-over comes
//! to nothing; otherwise the new one is told with the next Counters, and reads its file again. So does one that has been left
//! alone before it could be told.
//!
//! Unknown fields are ignored, so that versions may differ; what cannot be understood ends the conversation, and the old
//! process goes on.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::net::UnixStream as BlockingStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::state::{Report, State};
use super::wire::{WireFile, millis};

/// Version of this protocol. Raised when a message changes its meaning.
pub(crate) const VERSION: u32 = 1;

/// Longest message. The state of ten thousand backends takes some 5 MB.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// A message, either way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The new process asks.
    Hello(Greeting),
    /// The old one offers; the descriptors of `listeners` follow in this order.
    Offer {
        /// Who offers.
        from: Greeting,
        /// Addresses of the sockets, as a `bind` line names them.
        listeners: Vec<String>,
        /// Those whose files are nobody's to remove: systemd has made them.
        #[serde(default)]
        foreign: Vec<String>,
        /// Files of unix sockets, by address; those that clients do not find any more are left out.
        #[serde(default)]
        files: BTreeMap<String, WireFile>,
        /// What it knows.
        state: Box<State>,
    },
    /// The old one does not hand over, and goes on serving.
    Refused {
        /// Why, one line.
        reason: String,
    },
    /// The old one does not hand over any more, and stops.
    Stopping,
    /// The new one accepts connections.
    Ready,
    /// What the old one has to report.
    Counters(Box<Report>),
    /// The new one has everything and serves the admin address.
    Taken,
    /// The old one accepts no more.
    Draining,
    /// The old one has reported everything and exits.
    Finished,
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// [`VERSION`].
    pub(crate) protocol: u32,
    /// Version of the program.
    pub(crate) program: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// How long ago it began to read its files; earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) read_ms: Option<u64>,
}

impl Greeting {
    /// This process.
    pub(crate) fn own() -> Self {
        Self {
            protocol: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            read_ms: None,
        }
    }

    /// This process, which began to read its files at `read`.
    pub(crate) fn having_read(read: Instant) -> Self {
        let read_ms = millis(read.elapsed());
        // Rounded up: rather too long ago.
        Self { read_ms: Some(read_ms.saturating_add(1)), ..Self::own() }
    }
}

/// Why a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// The system refuses.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The other side has gone, whatever we were about.
    #[error("the other process has gone")]
    Gone,
    /// Nothing came.
    #[error("nothing heard for {0:?}")]
    Silent(Duration),
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// Not one of ours.
    #[error("not understood")]
    Malformed(#[from] serde_json::Error),
    /// Not what is due now.
    #[error("unexpected message: {0}")]
    Unexpected(&'static str),
    /// The other side speaks another version.
    #[error("it speaks version {VERSION} of the hand-over, not {0}; stop it first")]
    Version(u32),
    /// The other side said no.
    #[error("{0}")]
    Refused(String),
    /// The other side stops.
    #[error("the other process stops")]
    Stopping,
    /// We are about something that cannot be handed over half done.
    #[error("a change of configuration is under way, and not done after {0:?}")]
    Changing(Duration),
    /// Fewer descriptors than announced.
    #[error("{got} of {wanted} descriptors came")]
    Descriptors {
        /// Announced.
        wanted: usize,
        /// Received.
        got: usize,
    },
}

impl From<io::Error> for ProtocolError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) {
            return Self::Gone;
        }
        Self::Io(error)
    }
}

impl Message {
    /// Its kind, for errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Offer { .. } => "offer",
            Self::Refused { .. } => "refused",
            Self::Stopping => "stopping",
            Self::Ready => "ready",
            Self::Counters(_) => "counters",
            Self::Taken => "taken",
            Self::Draining => "draining",
            Self::Finished => "finished",
        }
    }

    /// Nothing else is due now.
    pub(crate) fn must_be(self, due: &Self) -> Result<(), ProtocolError> {
        if self == *due {
            return Ok(());
        }
        Err(self.unexpected())
    }

    /// What it means that this came instead of what was due.
    pub(crate) fn unexpected(self) -> ProtocolError {
        match self {
            Self::Refused { reason } => ProtocolError::Refused(reason),
            Self::Stopping => ProtocolError::Stopping,
            other @ (Self::Hello(_)
            | Self::Offer { .. }
            | Self::Ready
            | Self::Counters(_)
            | Self::Taken
            | Self::Draining
            | Self::Finished) => ProtocolError::Unexpected(other.kind()),
        }
    }
}

/// The bytes of a message: four of length, big-endian, then JSON.
pub(crate) fn frame(message: &Message) -> Result<Vec<u8>, ProtocolError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    let header = u32::try_from(length)
        .ok()
        .filter(|_| length <= MAX_MESSAGE_BYTES)
        .ok_or(ProtocolError::TooLong(length))?;
    for (place, byte) in bytes.iter_mut().zip(header.to_be_bytes()) {
        *place = byte;
    }
    Ok(bytes)
}

/// The length in a header.
pub(crate) fn body_length(header: [u8; 4]) -> Result<usize, ProtocolError> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE_BYTES {
        return Err(ProtocolError::TooLong(length));
    }
    Ok(length)
}

/// A message without its header.
pub(crate) fn parse(body: &[u8]) -> Result<Message, ProtocolError> {
    Ok(serde_json::from_slice(body)?)
}

/// Sends a message.
pub(crate) async fn send(
    stream: &mut UnixStream,
    message: &Message,
    patience: Duration,
) -> Result<(), ProtocolError> {
    let bytes = frame(message)?;
    timeout(patience, stream.write_all(&bytes))
        .await
        .map_err(|_elapsed| ProtocolError::Silent(patience))??;
    Ok(())
}

/// Receives a message.
pub(crate) async fn receive(
    stream: &mut UnixStream,
    patience: Duration,
) -> Result<Message, ProtocolError> {
    let read = async {
        let mut header = [0; 4];
        stream.read_exact(&mut header).await?;
        let mut body = vec![0; body_length(header)?];
        stream.read_exact(&mut body).await?;
        parse(&body)
    };
    timeout(patience, read).await.map_err(|_elapsed| ProtocolError::Silent(patience))?
}

/// Receives a message before there is a runtime; the stream's own read timeout bounds it.
pub(crate) fn receive_blocking(stream: &mut BlockingStream) -> Result<Message, ProtocolError> {
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let mut body = vec![0; body_length(header)?];
    stream.read_exact(&mut body)?;
    parse(&body)
}

#[cfg(test)]
mod tests;
