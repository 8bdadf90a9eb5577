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

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

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

async fn serve_http(stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut open = None;
    while let Some(head) = read_head(&mut stream).await? {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if path.starts_with("/ping") {
            let status = state.check_status.load(Ordering::SeqCst);
            answer(&mut stream, &head, status, b"pong").await?;
            continue;
        }
        open.get_or_insert_with(|| Open::new(&state));
        state.saw_request();
        if !respond(&mut stream, &state, &head, &path).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Plays the script for one request; false = the connection ends.
async fn respond(
    stream: &mut BufReader<TcpStream>,
    state: &State,
    head: &str,
    path: &str,
) -> std::io::Result<bool> {
    let name = state.name.as_bytes();
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (action, argument) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let number: u64 = argument.parse().unwrap_or_default();
    match action {
        "echo" => return echo(stream, head).await.map(|()| true),
        "ws" => return websocket(stream).await.map(|()| false),
        "drip" => return drip(stream, &state.name).await,
        "silent" => return Ok(false),
        "garbage" => {
            return stream.write_all(b"220 not http\r\n\r\n").await.map(|()| false);
        }
        "http10" => {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await?;
            return stream.write_all(name).await.map(|()| false);
        }
        _ => {}
    }
    discard_body(stream, head).await?;
    match action {
        "slow" => tokio::time::sleep(Duration::from_millis(number)).await,
        "hold" => {
            state.held.fetch_add(1, Ordering::SeqCst);
            state.gate.acquire().await.expect("never closed").forget();
            state.held.fetch_sub(1, Ordering::SeqCst);
        }
        _ => {}
    }
    match action {
        "head" => answer(stream, head, 200, head.as_bytes()).await?,
        "status" => answer(stream, head, u16::try_from(number).unwrap_or(200), name).await?,
        "sized" => {
            let body = vec![b'x'; usize::try_from(number).unwrap_or_default()];
            answer(stream, head, 200, &body).await?;
        }
        _ => answer(stream, head, 200, name).await?,
    }
    Ok(!head.to_ascii_lowercase().contains("\r\nconnection: close\r\n"))
}

/// Reads up to and with the empty line; `None` when the peer closed.
async fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

async fn answer(
    stream: &mut BufReader<TcpStream>,
    request: &str,
    status: u16,
    body: &[u8],
) -> std::io::Result<()> {
    let mut bytes = format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\nX-Origin: yes\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if !request.starts_with("HEAD ") {
        bytes.extend_from_slice(body);
    }
    stream.write_all(&bytes).await
}

/// A header's value, lower case.
fn header(head: &str, name: &str) -> Option<String> {
    let head = head.to_ascii_lowercase();
    let start = head.find(&format!("\r\n{name}:"))? + name.len() + 3;
    head.get(start..)?.lines().next().map(|v| v.trim().to_owned())
}

/// The next piece of the body, `None` at its end.
struct Body {
    left: usize,
    is_chunked: bool,
}

impl Body {
    fn of(head: &str) -> Self {
        let left = header(head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        let is_chunked = header(head, "transfer-encoding").is_some_and(|v| v.contains("chunked"));
        Self { left, is_chunked }
    }

    async fn next(
        &mut self,
        stream: &mut BufReader<TcpStream>,
    ) -> std::io::Result<Option<Vec<u8>>> {
        if self.is_chunked {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            let mut piece = vec![0; size + 2];
            stream.read_exact(&mut piece).await?;
            piece.truncate(size);
            return Ok((size > 0).then_some(piece));
        }
        if self.left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; self.left.min(16_384)];
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        piece.truncate(read);
        self.left -= read;
        Ok(Some(piece))
    }
}

async fn discard_body(stream: &mut BufReader<TcpStream>, head: &str) -> std::io::Result<()> {
    let mut body = Body::of(head);
    while body.next(stream).await?.is_some() {}
    Ok(())
}

async fn echo(stream: &mut BufReader<TcpStream>, head: &str) -> std::io::Result<()> {
    if header(head, "expect").as_deref() == Some("100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let mut body = Body::of(head);
    while let Some(piece) = body.next(stream).await? {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(&piece).await?;
        stream.write_all(b"\r\n").await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// A download without end.
async fn drip(stream: &mut BufReader<TcpStream>, name: &str) -> std::io::Result<bool> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let chunk = format!("{:x}\r\n{name}\r\n", name.len());
    loop {
        stream.write_all(chunk.as_bytes()).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn websocket(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    // The accept value of RFC 6455's own example key.
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await?;
    let mut bytes = [0; 4096];
    loop {
        let read = stream.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(bytes.get(..read).unwrap_or_default()).await?;
    }
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
