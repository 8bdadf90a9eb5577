//! What happened to one request or session, in values that the data path has at hand.

use std::net::SocketAddr;

/// One request (HTTP) or session (TCP) that has ended. Times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The client's address: `%ci:%cp`. `None` for a client without one (unix socket).
    pub client: Option<SocketAddr>,
    /// The address the client connected to; JSON and the line without `option httplog`.
    pub local: Option<SocketAddr>,
    /// Number of the listening socket within its frontend, from 1 on: what haproxy writes for the port of those who have
    /// none (`unix:1`).
    pub socket: u16,
    /// Unix time in ms: HTTP: when the first byte of the request came (`%tr`); TCP: when the connection was accepted
    /// (`%t`).
    pub begun: u64,
    /// The backend that was asked last: `%s`. `None`: `<NOSRV>`.
    pub server: Option<&'a str>,
    /// See [`Timers`].
    pub timers: Timers,
    /// Bytes sent to the client, head included: `%B`.
    pub bytes_out: u64,
    /// Bytes taken from the client, heads included: JSON, and 0 is what `option dontlognull` leaves out.
    pub bytes_in: u64,
    /// Who ended it: first character of `%ts`.
    pub cause: Cause,
    /// How far it was: second character of `%ts`.
    pub stage: Stage,
    /// See [`Conns`].
    pub conns: Conns,
    /// Connect attempts after the first: `%rc`.
    pub retries: u32,
    /// Another backend was tried than the first: `+` before `%rc`.
    pub redispatched: bool,
    /// Requests queued before this one at the server and at the backend: `%sq/%bq`.
    pub queued: (u32, u32),
    /// HTTP only.
    pub http: Option<Http<'a>>,
}

/// A connection that ended before it was a session: without a good header of the PROXY protocol.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The client, as of [`Record::client`].
    pub client: Option<SocketAddr>,
    /// The listening socket, as of [`Record::socket`].
    pub socket: u16,
    /// Unix time in ms when it was accepted.
    pub begun: u64,
    /// Milliseconds until it ended.
    pub took: u32,
    /// The client had said nothing: `option dontlognull` leaves it out.
    pub is_silent: bool,
    /// What was wrong, in haproxy's words.
    pub text: &'a str,
}

/// What only requests have.
#[derive(Clone, Copy, Debug)]
pub struct Http<'a> {
    /// The request line as the client sent it, without its line end: `%r`. `None`: `<BADREQ>`.
    pub line: Option<&'a [u8]>,
    /// Status sent to the client: `%ST`. `None`: -1.
    pub status: Option<u16>,
    /// Captured request headers in the order of [`super::AccessLog::request_captures`]: `%hr`; whole values, the pen cuts.
    /// Empty: nothing is captured.
    pub request_captures: &'a [Option<&'a [u8]>],
    /// Captured response headers: `%hs`.
    pub response_captures: &'a [Option<&'a [u8]>],
    /// True when the request came on a connection that had served another before.
    pub reused: bool,
}

/// haproxy's timers in ms; `None` is written as -1: never reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// `%TR`: from the first byte of the request to its whole head. HTTP only.
    pub request: Option<u32>,
    /// `%Tw`: in queues, and waiting between connect attempts.
    pub queue: Option<u32>,
    /// `%Tc`: connecting to the backend. 0 over a kept connection.
    pub connect: Option<u32>,
    /// `%Tr`: from the request's last byte sent to the answer's whole head. HTTP only.
    pub response: Option<u32>,
    /// `%Ta` (HTTP: from the request's first byte to the answer's last) or `%Tt` (TCP: from accept to the end).
    pub total: u32,
}

/// Connections open when it ended, this one included: `%ac/%fc/%bc/%sc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conns {
    /// Of the process.
    pub process: u32,
    /// Of the frontend.
    pub frontend: u32,
    /// Of the backend (requests in flight to any of its servers).
    pub backend: u32,
    /// Of the server.
    pub server: u32,
}

/// Who ended it, as haproxy's first character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cause {
    /// `-`: it came to its normal end.
    #[default]
    None,
    /// `C`: the client aborted.
    Client,
    /// `S`: the server aborted, refused, or none was to be had.
    Server,
    /// `P`: the proxy: a limit, or an invalid message.
    Proxy,
    /// `L`: answered by the proxy itself (statistics, monitor).
    Local,
    /// `R`: a resource of the proxy was exhausted.
    Resource,
    /// `I`: an internal error.
    Internal,
    /// `D`: the server went down and its sessions were shut down.
    Down,
    /// `K`: an administrator ended it.
    Killed,
    /// `c`: the client let its time-out pass.
    ClientTimeout,
    /// `s`: the server let its time-out pass (or connect or queue).
    ServerTimeout,
}

/// How far it was, as haproxy's second character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `-`: done.
    #[default]
    Done,
    /// `R`: waiting for a whole request.
    Request,
    /// `Q`: in a queue.
    Queue,
    /// `C`: connecting.
    Connect,
    /// `H`: waiting for the answer's head.
    Headers,
    /// `D`: bodies on their way.
    Data,
    /// `L`: the server has said all, the client has not taken all.
    Last,
    /// `T`: in the tarpit.
    Tarpit,
}

impl Cause {
    /// haproxy's character.
    pub fn letter(self) -> u8 {
        match self {
            Self::None => b'-',
            Self::Client => b'C',
            Self::Server => b'S',
            Self::Proxy => b'P',
            Self::Local => b'L',
            Self::Resource => b'R',
            Self::Internal => b'I',
            Self::Down => b'D',
            Self::Killed => b'K',
            Self::ClientTimeout => b'c',
            Self::ServerTimeout => b's',
        }
    }
}

impl Stage {
    /// haproxy's character.
    pub fn letter(self) -> u8 {
        match self {
            Self::Done => b'-',
            Self::Request => b'R',
            Self::Queue => b'Q',
            Self::Connect => b'C',
            Self::Headers => b'H',
            Self::Data => b'D',
            Self::Last => b'L',
            Self::Tarpit => b'T',
        }
    }
}
