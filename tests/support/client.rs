//! A raw HTTP/1.1 client: sees exactly what is on the wire, never retries, gives up after five seconds.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A request that takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Why a request failed, for the report.
pub(crate) type Failure = String;

/// An answer as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }

    /// True when the server will not take another request on this connection.
    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }
}

/// One connection to a server.
pub(crate) struct Conn {
    stream: BufReader<TcpStream>,
    host: String,
    closed: bool,
}

impl Conn {
    /// Connects.
    pub(crate) async fn open(addr: SocketAddr) -> Result<Self, Failure> {
        let stream = timeout(PATIENCE, TcpStream::connect(addr))
            .await
            .map_err(|_| format!("connect to {addr}: timed out"))?
            .map_err(|e| format!("connect to {addr}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream: BufReader::new(stream), host: addr.to_string(), closed: false })
    }

    /// The address of this end.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().expect("its address")
    }

    /// One GET on this connection.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Response, Failure> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.exchange("GET", request.as_bytes()).await
    }

    /// Sends `request` as it is and reads one final answer.
    pub(crate) async fn exchange(
        &mut self,
        method: &str,
        request: &[u8],
    ) -> Result<Response, Failure> {
        timeout(PATIENCE, async {
            self.send(request).await?;
            self.response(method).await
        })
        .await
        .map_err(|_| format!("no answer within {PATIENCE:?}"))?
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(|e| format!("write: {e}"))
    }

    /// Closes the sending side.
    pub(crate) async fn finish_sending(&mut self) -> Result<(), Failure> {
        self.stream.shutdown().await.map_err(|e| format!("shutdown: {e}"))
    }

    /// Reads one answer with its body; 100s are skipped.
    pub(crate) async fn response(&mut self, method: &str) -> Result<Response, Failure> {
        loop {
            let mut response = self.head().await?;
            if response.status == 100 {
                continue;
            }
            self.closed |= response.closes();
            self.body(method, &mut response).await?;
            return Ok(response);
        }
    }

    /// Reads one head.
    pub(crate) async fn head(&mut self) -> Result<Response, Failure> {
        let status_line = self.line().await?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| format!("status line {status_line:?}"))?;
        let mut response = Response { status, ..Response::default() };
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(response);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| format!("header {line:?}"))?;
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn body(&mut self, method: &str, response: &mut Response) -> Result<(), Failure> {
        if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
            return Ok(());
        }
        if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await? {
                response.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(|e| format!("content-length: {e}"))?;
            response.body = self.exactly(length).await?;
        } else {
            self.closed = true;
            self.read_rest(&mut response.body).await?;
        }
        Ok(())
    }

    /// Reads one chunk of a chunked body; `None` after the last (trailers are dropped).
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let size = self.line().await?;
        let length =
            usize::from_str_radix(&size, 16).map_err(|e| format!("chunk size {size:?}: {e}"))?;
        if length == 0 {
            while !self.line().await?.is_empty() {}
            return Ok(None);
        }
        let chunk = self.exactly(length).await?;
        self.line().await?;
        Ok(Some(chunk))
    }

    /// Reads exactly `length` bytes.
    pub(crate) async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await.map_err(|e| format!("body: {e}"))?;
        Ok(bytes)
    }

    /// Reads until the server closes; how much came.
    pub(crate) async fn read_rest(&mut self, into: &mut Vec<u8>) -> Result<usize, Failure> {
        self.stream.read_to_end(into).await.map_err(|e| format!("body: {e}"))
    }

    /// Reads one line without its end.
    pub(crate) async fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line).await;
        match read.map_err(|e| format!("read: {e}"))? {
            0 => Err("closed without an answer".to_owned()),
            _ => Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// True when another request may be sent: not announced as closing and no FIN seen so far.
    pub(crate) fn is_reusable(&self) -> bool {
        let mut byte = [0];
        !self.closed
            && self.stream.buffer().is_empty()
            && matches!(self.stream.get_ref().try_read(&mut byte),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// One GET on a connection of its own.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Result<Response, Failure> {
    let mut conn = Conn::open(addr).await?;
    let host = addr.to_string();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    conn.exchange("GET", request.as_bytes()).await
}

/// The names of the origins that answer `n` requests, one after the other, each on a connection of its own.
pub(crate) async fn sequence(addr: SocketAddr, n: usize) -> String {
    let mut names = String::new();
    for _ in 0..n {
        let answer = get(addr, "/").await.unwrap_or_else(|e| panic!("{e} after {names:?}"));
        assert_eq!(answer.status, 200, "after {names:?}: {}", answer.text());
        names.push_str(&answer.text());
    }
    names
}
