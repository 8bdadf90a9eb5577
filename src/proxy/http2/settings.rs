//! What can be said about HTTP/2, and limits that nobody needs to say.

use std::time::Duration;

/// `tune.h2.max-concurrent-streams`: requests at the same time on one connection, of a client's and to a backend. haproxy's
/// default; a client with more waits, to a backend another connection is opened.
pub const MAX_STREAMS: u32 = 100;

/// `tune.h2.initial-window-size`: bytes of one body that wait at most for whoever does not read. haproxy's default.
pub const WINDOW_BYTES: u32 = 65_535;

/// `tune.h2.max-frame-size`: haproxy's default, its buffer, which is also the least that the protocol allows.
pub const FRAME_BYTES: u32 = 16_384;

/// `tune.h2.header-table-size`: memory for header compression per connection. haproxy's default.
pub const HEADER_TABLE_BYTES: u32 = 4096;

/// Bytes of one answer that wait in our memory for a client's socket; the rest stays with the backend.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of a request's body that are kept until its answer begins, to be sent again if a backend refuses the stream or goes
/// away without having looked at it: haproxy's buffer (`tune.bufsize`), and more than most gRPC messages.
pub const REPLAY_BYTES: usize = 16 * 1024;

/// How long an unused connection to an HTTP/2 backend is kept. Longer than one over HTTP/1 (`http::pool::IDLE`): a backend
/// that closes says so (GOAWAY), and nothing is lost. Below the 60 s after which common balancers and firewalls forget it.
pub const IDLE: Duration = Duration::from_secs(30);

/// Streams that a client has reset again before they were looked at (they came in one packet): the `h2` crate's default, its
/// answer to CVE-2023-44487. With more the connection ends (ENHANCE_YOUR_CALM).
pub const PENDING_RESETS: usize = 20;

/// Streams that had to be reset because the client broke the protocol on them, as many as the `h2` crate tolerates by default.
pub const LOCAL_RESETS: usize = 1024;

/// Streams given up that a connection to a backend remembers for a second, so that what is still under way for them is passed
/// over without a word: ten times [`MAX_STREAMS`]. The `h2` crate's default of 50 is half of what one client may give up at once.
pub const RESETS_KEPT: usize = 1000;

/// What small DATA frames of a backend may take up while their clients do not read them, 256 bytes each: 256,000 on one
/// connection. The `h2` crate's default is a fiftieth, which two clients that stand still would use up for all others.
pub const BACKEND_FRAMES_BYTES: usize = 64 * 1024 * 1024;

/// The same for a client's frames that no backend reads: 65,000 on one connection, as many as 20 calls send that stream messages
/// of 20 bytes until their windows are full. The `h2` crate's default, half of the window, ends the connection of four.
pub const CLIENT_FRAMES_BYTES: usize = 16 * 1024 * 1024;

/// A client that has reset so many streams within [`EARLY`] and before their answer began, and most of all it opened, is sent away
/// (ENHANCE_YOUR_CALM). Envoy's threshold is 500; a person who scrolls on resets a few dozen.
pub const EARLY_RESETS: u32 = 200;

/// A reset after so long is a client's own time-out, not an attack: Envoy's minimal lifetime of a stream that counts.
pub const EARLY: Duration = Duration::from_secs(1);

/// Bytes of frames that carry nothing (PING, SETTINGS, PRIORITY, RST_STREAM, WINDOW_UPDATE, empty DATA) that a client may
/// send beyond [`FUTILE_SHARE`] of what it and we have said: nginx's rule and number. 60,000 PINGs.
pub const FUTILE_BYTES: u64 = 1024 * 1024;

/// See [`FUTILE_BYTES`]: eight times as many bytes about the connection as over it, nginx's ratio.
pub const FUTILE_SHARE: u64 = 8;

/// How long a connection that ends may take to be told, and to read what is left of it.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FrontProtocol {
    /// HTTP/1, or HTTP/2 if the connection begins with its preface. haproxy's default.
    #[default]
    Auto,
    /// `proto h1` on all `bind` lines.
    Http1,
    /// `proto h2` on all `bind` lines.
    Http2,
}

/// Settings of HTTP/2. haproxy's `tune.h2.…` hold for the process, `proto` for a `bind` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    /// What clients speak. Default both.
    pub front: FrontProtocol,
    /// See [`MAX_STREAMS`].
    pub max_streams: u32,
    /// See [`WINDOW_BYTES`]. 0..=2^31-1.
    pub window_bytes: u32,
    /// See [`FRAME_BYTES`]. 16,384..=16,777,215.
    pub frame_bytes: u32,
    /// See [`HEADER_TABLE_BYTES`].
    pub header_table_bytes: u32,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            front: FrontProtocol::Auto,
            max_streams: MAX_STREAMS,
            window_bytes: WINDOW_BYTES,
            frame_bytes: FRAME_BYTES,
            header_table_bytes: HEADER_TABLE_BYTES,
        }
    }
}

impl Http2Settings {
    /// Bytes of all bodies of a connection that wait at most: as many as its streams may have, so that no stream that stands
    /// still can stop the others.
    pub(super) fn connection_window(&self) -> u32 {
        // 2^31-1 is the protocol's end.
        self.window_bytes
            .saturating_mul(self.max_streams)
            .clamp(WINDOW_BYTES, i32::MAX.unsigned_abs())
    }
}
