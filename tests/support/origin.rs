//! Scripted backends.
//!
//! What an HTTP origin does is said by the request's path, so the same script works in this process and in a process
//! of its own:
//!
//! | path | answer |
//! |---|---|
//! | `/ping` | the check: 200, or what [`Origin::set_check_status`] says; not counted as a request |
//! | `/head` | the request's head as it arrived |
//! | `/echo` | the body, chunk by chunk as it arrives |
//! | `/ws` | 101, then every byte back |
//! | `/status/N` | that status |
//! | `/slow/MS` | the name, after that long |
//! | `/hold` | the name, once [`Origin::release`] was called |
//! | `/silent` | closes without a byte |
//! | `/garbage` | something that is not HTTP |
//! | `/http10` | a body ended by the close |
//! | `/drip` | the name, chunk by chunk, until the client has gone |
//! | `/sized/N` | N bytes |
//! | anything else | the name |

mod http;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use self::http::serve_http;

/// A backend in this process.
#[derive(Clone)]
pub(crate) struct Origin {
    state: Arc<State>,
}

struct State {
    name: String,
    addr: SocketAddr,
    is_http: bool,
    check_status: AtomicU16,
    requests: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    held: AtomicUsize,
    gate: Semaphore,
    times: Mutex<Times>,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// When requests came, since the last [`Origin::mark`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Times {
    pub(crate) first: Option<Instant>,
    pub(crate) last: Option<Instant>,
}

impl Origin {
    /// An HTTP backend.
    pub(crate) async fn http(name: &str, addr: SocketAddr) -> Self {
        Self::start(name, addr, true).await
    }

    /// An HTTP backend on every address of this host, on a port that is free.
    pub(crate) async fn everywhere(name: &str) -> Self {
        let held = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
        let addr = held.local_addr().expect("its address");
        drop(held);
        Self::http(name, addr).await
    }

    /// A TCP backend: greets with its name and a newline, echoes every byte, and after the client's FIN says
    /// `bye N\n` with the number of bytes it got.
    pub(crate) async fn tcp(name: &str, addr: SocketAddr) -> Self {
        Self::start(name, addr, false).await
    }

    async fn start(name: &str, addr: SocketAddr, is_http: bool) -> Self {
        let state = Arc::new(State {
            name: name.to_owned(),
            addr,
            is_http,
            check_status: AtomicU16::new(200),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            times: Mutex::default(),
            server: Mutex::default(),
        });
        let origin = Self { state };
        origin.revive().await;
        origin
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.state.addr
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.state.addr.port()
    }

    /// Its name, and the body of its answers.
    pub(crate) fn name(&self) -> &str {
        &self.state.name
    }

    /// Requests (HTTP) or connections (TCP) seen, checks not counted.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Connections that carried at least one request.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Such connections open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Requests waiting for [`Origin::release`].
    pub(crate) fn held(&self) -> usize {
        self.state.held.load(Ordering::SeqCst)
    }

    /// Lets `n` held requests go.
    pub(crate) fn release(&self, n: usize) {
        self.state.gate.add_permits(n);
    }

    /// What `/ping` answers from now on.
    pub(crate) fn set_check_status(&self, status: u16) {
        self.state.check_status.store(status, Ordering::SeqCst);
    }

    /// Forgets the times seen so far.
    pub(crate) fn mark(&self) {
        *self.state.times.lock().expect("no panic") = Times::default();
    }

    /// When the first and the last request since [`Origin::mark`] came.
    pub(crate) fn times(&self) -> Times {
        *self.state.times.lock().expect("no panic")
    }

    /// Closes the listener and every connection.
    pub(crate) async fn die(&self) {
        let server = self.state.server.lock().expect("no panic").take();
        if let Some(server) = server {
            server.abort();
            assert!(server.await.is_err(), "an origin ends only when told");
        }
    }

    /// Listens (again).
    pub(crate) async fn revive(&self) {
        let addr = self.state.addr;
        // A process that another test is just starting may hold a copy of the old socket until its exec.
        let listener = super::wait::eventually("the port is free", Duration::from_secs(5), || {
            TcpListener::bind(addr)
        })
        .await;
        let server = tokio::spawn(accept(listener, Arc::clone(&self.state)));
        *self.state.server.lock().expect("no panic") = Some(server);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Dropped with this task: the connections die with the listener.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if state.is_http => {
                    connections.spawn(serve_http(stream, Arc::clone(&state)));
                }
                Ok((stream, _)) => {
                    connections.spawn(serve_tcp(stream, Arc::clone(&state)));
                }
                // A check that was reset before it was accepted.
                Err(error) => eprintln!("origin {}: accept: {error}", state.name),
            },
            Some(ended) = connections.join_next() => drop(ended),
        }
    }
}

impl State {
    fn saw_request(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let now = Instant::now();
        let mut times = self.times.lock().expect("no panic");
        times.first.get_or_insert(now);
        times.last = Some(now);
    }
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<State>);

impl Open {
    fn new(state: &Arc<State>) -> Self {
        state.connections.fetch_add(1, Ordering::SeqCst);
        state.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An error ends the connection: clients of this origin come and go as the test likes.
async fn serve_tcp(stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    state.saw_request();
    let _open = Open::new(&state);
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(format!("{}\n", state.name).as_bytes()).await?;
    let total = tokio::io::copy(&mut reader, &mut writer).await?;
    writer.write_all(format!("bye {total}\n").as_bytes()).await
}

/// Set in the child to the address and name of the origin it is to be.
const CHILD: &str = "SMARTSTACK_TEST_ORIGIN";

/// An HTTP origin in a process of its own: this very test binary, told by [`CHILD`] to run only
/// [`origin_process_child`].
pub(crate) struct OriginProcess {
    addr: SocketAddr,
    child: Child,
}

impl OriginProcess {
    /// Starts the process and waits until it listens.
    pub(crate) async fn start(name: &str, addr: SocketAddr) -> Self {
        let child = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "support::origin::origin_process_child", "--nocapture"])
            .env(CHILD, format!("{addr} {name}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start an origin process");
        super::wait::eventually("origin process listens", Duration::from_secs(20), || {
            super::client::get(addr, "/ping")
        })
        .await;
        Self { addr, child }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// SIGKILL, and waits for the end.
    pub(crate) async fn kill9(&mut self) {
        self.child.kill().await.expect("kill the origin process");
    }
}

/// Not a test: the body of [`OriginProcess`]. Passes at once when run as one.
#[test]
fn origin_process_child() {
    let Ok(order) = std::env::var(CHILD) else {
        return;
    };
    let (addr, name) = order.split_once(' ').expect("address and name");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let _origin = Origin::http(name, addr.parse().expect("an address")).await;
        // The parent holds the other end: when it is gone, so are we.
        let mut nothing = Vec::new();
        drop(tokio::io::stdin().read_to_end(&mut nothing).await);
    });
    std::process::exit(0);
}
