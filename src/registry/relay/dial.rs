//! From the ensemble's names to one member that really serves: resolve, dial, hand over the connect request.
//!
//! A TCP accept proves nothing: a hung server's kernel accepts, a server without quorum accepts and closes. So a member
//! counts as found only when it answered the client's `ConnectRequest`. The request is replayed to the next member when
//! one closes, answers nonsense, or stays silent. Nothing but that first request is replayed, and never after an answer.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::RelayTiming;
use super::ensemble::{Ensemble, Member};

/// An answer to a connect request is 37..=41 bytes with today's 16-byte passwords; four times the password is ample.
const ANSWER_MAX_BYTES: usize = 128;

/// How long a failure counts against a member. Long enough to prefer the others during one outage, short enough that
/// clients spread over all members again afterwards.
const SUSPICION: Duration = Duration::from_secs(30);

/// A member that answered.
#[derive(Debug)]
pub(super) struct Found {
    /// The connection.
    pub(super) stream: TcpStream,
    /// What the member has sent so far: the whole connect response.
    pub(super) answer: Vec<u8>,
    /// Who it is.
    pub(super) target: Target,
}

/// One address of one member.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The member as the operator wrote it.
    pub(super) member: Member,
    addr: SocketAddr,
}

/// Finds members. Remembers addresses (for when DNS is down) and who failed lately (tried last).
#[derive(Debug)]
pub(super) struct Dialer {
    ensemble: Ensemble,
    timing: RelayTiming,
    known: HashMap<Member, Vec<SocketAddr>>,
    suspects: HashMap<SocketAddr, Instant>,
    missed: Missed,
}

/// What came of members that accepted but were not found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missed {
    /// Some member read the request and closed without an answer.
    pub(super) turned_away: bool,
    /// Some member did not answer in time.
    pub(super) silent: bool,
}

impl Dialer {
    pub(super) fn new(ensemble: Ensemble, timing: RelayTiming) -> Self {
        Self {
            ensemble,
            timing,
            known: HashMap::new(),
            suspects: HashMap::new(),
            missed: Missed::default(),
        }
    }

    /// One pass over all addresses of all members: dials them with a small stagger, gives `request` to the first that
    /// accepts, and returns the first that answers within `patience` (less when others wait to be tried). `trouble`
    /// hears of each failure, with the member's name.
    pub(super) async fn find(
        &mut self,
        request: &[u8],
        mut patience: Duration,
        mut trouble: impl FnMut(String),
    ) -> Option<Found> {
        let mut waiting = self.targets(&mut trouble).await;
        if waiting.len() > 1 {
            patience = patience.min(self.timing.answer_cap);
        }
        let mut dials = JoinSet::new();
        loop {
            if dials.is_empty() {
                spawn_dial(&mut dials, waiting.pop_front()?, self.timing.dial);
            }
            let dialled = tokio::select! {
                Some(dialled) = dials.join_next() => dialled,
                () = sleep(self.timing.stagger), if !waiting.is_empty() => {
                    if let Some(target) = waiting.pop_front() {
                        spawn_dial(&mut dials, target, self.timing.dial);
                    }
                    continue;
                }
            };
            // A dial task neither panics nor is aborted while its set lives.
            let Ok((target, dialled)) = dialled else {
                continue;
            };
            // Until it answers: the client may give up first, and then this function is dropped.
            self.suspect(&target);
            let answered = match dialled {
                Ok(stream) => timeout(patience, ask(stream, request)).await.unwrap_or_else(|_| {
                    self.missed.silent = true;
                    Err(timed_out("accepts but does not answer"))
                }),
                Err(error) => Err(error),
            };
            match answered {
                Ok((stream, answer)) => {
                    self.suspects.remove(&target.addr);
                    return Some(Found { stream, answer, target });
                }
                Err(error) => {
                    self.missed.turned_away |= error.kind() == io::ErrorKind::UnexpectedEof;
                    trouble(describe(&target, &name_early_end(error)));
                }
            }
        }
    }

    /// What happened since this was last asked.
    pub(super) fn take_missed(&mut self) -> Missed {
        std::mem::take(&mut self.missed)
    }

    /// To be tried after the others for a while: a dial failed, or a connection with it ended.
    pub(super) fn suspect(&mut self, target: &Target) {
        self.suspects.insert(target.addr, Instant::now());
    }

    /// Every address once, shuffled; those that failed lately go last, oldest failure first.
    async fn targets(&mut self, trouble: &mut impl FnMut(String)) -> VecDeque<Target> {
        let mut targets = Vec::new();
        for (member, resolved) in self.resolve_all().await {
            match resolved {
                Ok(addresses) => {
                    self.known.insert(member.clone(), addresses);
                }
                Err(error) => trouble(format!("{member}: cannot resolve: {error}")),
            }
            let addresses = self.known.get(&member).into_iter().flatten();
            targets.extend(addresses.map(|addr| Target { member: member.clone(), addr: *addr }));
        }
        self.suspects.retain(|_, since| since.elapsed() < SUSPICION);
        fastrand::shuffle(&mut targets);
        targets.sort_by_key(|target| self.suspects.get(&target.addr).copied());
        targets.into()
    }

    /// Resolves at every attempt, so that a moved name is followed. All names at once: a slow one delays nobody else by
    /// more than its own deadline.
    async fn resolve_all(&self) -> Vec<(Member, io::Result<Vec<SocketAddr>>)> {
        let mut lookups = JoinSet::new();
        for member in self.ensemble.members().iter().cloned() {
            let deadline = self.timing.resolve;
            lookups.spawn(async move {
                let resolved = timeout(deadline, resolve(&member)).await;
                let resolved = resolved.unwrap_or_else(|_| Err(timed_out("no answer from DNS")));
                (member, resolved)
            });
        }
        lookups.join_all().await
    }
}

fn spawn_dial(
    dials: &mut JoinSet<(Target, io::Result<TcpStream>)>,
    target: Target,
    deadline: Duration,
) {
    dials.spawn(async move {
        let dialled = timeout(deadline, connect(target.addr))
            .await
            .unwrap_or_else(|_| Err(timed_out("connect timed out")));
        (target, dialled)
    });
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn resolve(member: &Member) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = tokio::net::lookup_host((&*member.host, member.port)).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no address"));
    }
    Ok(addresses)
}

/// Sends the connect request and waits for the whole response.
async fn ask(mut stream: TcpStream, request: &[u8]) -> io::Result<(TcpStream, Vec<u8>)> {
    stream.write_all(request).await?;
    let answer = read_answer(&mut stream).await?;
    Ok((stream, answer))
}

/// Reads the connect response: length, protocol version 0, the rest. Anything else is not a ZooKeeper server.
async fn read_answer(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0_u8; 8];
    stream.read_exact(&mut head).await?;
    let (length, version) = head.split_at(4);
    let length = usize::try_from(be_u32(length)).unwrap_or(usize::MAX);
    if !(4..=ANSWER_MAX_BYTES).contains(&length) || be_u32(version) != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a ZooKeeper server"));
    }
    let mut body = vec![0_u8; length - 4];
    stream.read_exact(&mut body).await?;
    Ok([&head, body.as_slice()].concat())
}

/// Big endian, as jute writes numbers.
pub(super) fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

fn timed_out(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// A member that closes at once: whether that is an end, a reset or a broken pipe to us, and whether connecting or reading
/// tells us, depends on who was faster.
fn name_early_end(error: io::Error) -> io::Error {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    if !matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) {
        return error;
    }
    io::Error::new(
        error.kind(),
        "accepts and closes at once (no quorum, too many connections, or its data is older than ours)",
    )
}

/// `zk1:2181: connection refused`, with the address when the member is a name.
fn describe(target: &Target, error: &io::Error) -> String {
    let cause = cause(error);
    debug!(member = %target.member, addr = %target.addr, %cause, "ensemble member not usable");
    let member = target.member.to_string();
    let addr = target.addr.to_string();
    if member == addr {
        format!("{member}: {cause}")
    } else {
        format!("{member} ({addr}): {cause}")
    }
}

/// The system's text without its number, in our style.
pub(super) fn cause(error: &io::Error) -> Arc<str> {
    if error.raw_os_error().is_none() {
        return error.to_string().into();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase().into()
}
