//! The script of an HTTP origin, played on one connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Open, State};

pub(super) async fn serve_http(stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
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
