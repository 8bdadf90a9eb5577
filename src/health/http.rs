//! `option httpchk`: one request, byte for byte as haproxy writes it; 2xx and 3xx pass.
//!
//! By hand instead of hyper, which would add a `host` header and parse leniently: a check must look to the application
//! as it did before, and its answer is one line that matters. The rest of the answer is not read; the connection ends
//! with RST.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::tcp::{Connect, failure};
use super::{BoxFuture, HttpProbeSettings, Probe, ProbeError, ProbePass};
use crate::dial::Address;

/// Longest status line that is looked at; haproxy looks at a buffer of 16 kB, a reason phrase has some 20 bytes.
const MAX_STATUS_LINE: usize = 4096;

/// Bytes of its reason that are kept, as in haproxy.
const MAX_PHRASE: usize = 127;

/// Sends one request and judges the status line.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    request: Arc<[u8]>,
    connect: Connect,
    /// Time to answer once connected; `None`: what the connect left of its bound.
    answer_bound: Option<Duration>,
}

impl HttpProbe {
    /// The bound of `connect`: time for the connect, or for everything when `answer_bound` is unset.
    pub fn new(
        settings: &HttpProbeSettings,
        connect: Connect,
        answer_bound: Option<Duration>,
    ) -> Self {
        Self { request: request(settings).into(), connect, answer_bound }
    }

    async fn run(&self, target: Address) -> Result<ProbePass, ProbeError> {
        let whole = Instant::now() + self.connect.bound;
        let mut stream = self.connect.connect(&target, true).await?;
        let deadline = self.answer_bound.map_or(whole, |bound| Instant::now() + bound);
        match timeout_at(deadline, exchange(&mut stream, &self.request)).await {
            Ok(answer) => answer.and_then(|(status, phrase)| judge(status, &phrase)),
            Err(_) => Err(failure("L7TOUT", "no answer in time".to_owned())),
        }
    }
}

impl Probe for HttpProbe {
    fn probe(&self, target: Address) -> BoxFuture<'_, Result<ProbePass, ProbeError>> {
        Box::pin(self.run(target))
    }
}

/// `OPTIONS / HTTP/1.0`, no header but those configured; 1.1 adds `connection: close`. haproxy writes names in lower
/// case.
fn request(settings: &HttpProbeSettings) -> Vec<u8> {
    let mut text = format!("{} {} {}\r\n", settings.method, settings.uri, settings.version);
    for (name, value) in &settings.headers {
        text.push_str(&name.to_ascii_lowercase());
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    let says =
        |wanted: &str| settings.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if settings.version.eq_ignore_ascii_case("HTTP/1.1") && !says("connection") {
        text.push_str("connection: close\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Writes the request and reads up to the end of the status line.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<(u16, String), ProbeError> {
    // A server may answer and close without reading: what it said counts, not that the write failed.
    let written = stream.write_all(request).await;
    let mut line = Vec::with_capacity(128);
    loop {
        if let Some(end) = line.iter().position(|b| *b == b'\n') {
            return status(line.get(..end).unwrap_or_default());
        }
        if line.len() >= MAX_STATUS_LINE {
            return Err(failure("L7RSP", format!("no status line in {MAX_STATUS_LINE} bytes")));
        }
        match stream.read_buf(&mut line).await {
            Ok(0) => return Err(failure("L7RSP", closed(&line))),
            Ok(_) => {}
            Err(read) => {
                let error = written.err().unwrap_or(read);
                return Err(failure("L7RSP", format!("connection lost: {error}")));
            }
        }
    }
}

fn closed(line: &[u8]) -> String {
    if line.is_empty() {
        "closed without an answer".to_owned()
    } else {
        "closed within the status line".to_owned()
    }
}

/// Status and reason of `HTTP/d.d SP ddd [SP reason]`, strictly; the CR before the LF may be missing.
fn status(line: &[u8]) -> Result<(u16, String), ProbeError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let parsed = match line {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b' ', a, b, c, rest @ ..]
            if [major, minor, a, b, c].iter().all(|d| d.is_ascii_digit())
                && *a != b'0'
                && matches!(rest.first(), None | Some(b' ')) =>
        {
            let status = [a, b, c].iter().fold(0, |n, d| n * 10 + u16::from(**d - b'0'));
            let phrase = rest.trim_ascii_start();
            let shown = phrase.get(..MAX_PHRASE).unwrap_or(phrase);
            Some((status, String::from_utf8_lossy(shown).into_owned()))
        }
        _ => None,
    };
    parsed.ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(line).chars().take(60).collect();
        failure("L7RSP", format!("not an http status line: {shown:?}"))
    })
}

/// 2xx and 3xx pass. `phrase`: what the server calls it.
pub(super) fn judge(status: u16, phrase: &str) -> Result<ProbePass, ProbeError> {
    if (200..400).contains(&status) {
        return Ok(ProbePass { code: "L7OK", status: Some(status) });
    }
    let detail = format!("status {status}");
    Err(ProbeError { code: "L7STS", status: Some(status), detail, info: phrase.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    fn settings(version: &str, headers: &[(&str, &str)]) -> HttpProbeSettings {
        HttpProbeSettings {
            method: "OPTIONS".into(),
            uri: "/".into(),
            version: version.into(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        }
    }

    /// Accepts once, says `answer`, returns what it was asked and how the connection ended.
    async fn origin(
        answer: &'static [u8],
        hang: bool,
    ) -> (SocketAddr, JoinHandle<(Vec<u8>, std::io::Result<usize>)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut asked).await.unwrap() == 0 {
                    break;
                }
            }
            stream.write_all(answer).await.unwrap();
            if !hang {
                stream.shutdown().await.unwrap();
            }
            let end = stream.read(&mut [0; 8]).await;
            (asked, end)
        });
        (addr, task)
    }

    fn probe(bound: Duration) -> HttpProbe {
        HttpProbe::new(&settings("HTTP/1.0", &[]), Connect::within(LONG), Some(bound))
    }

    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn the_request_is_haproxys() {
        assert_eq!(request(&settings("HTTP/1.0", &[])), b"OPTIONS / HTTP/1.0\r\n\r\n");
        let eleven = request(&settings("HTTP/1.1", &[("Host", "a.example"), ("X-K", "v w")]));
        assert_eq!(
            String::from_utf8(eleven).unwrap(),
            "OPTIONS / HTTP/1.1\r\nhost: a.example\r\nx-k: v w\r\nconnection: close\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn two_and_three_hundreds_pass_and_the_connection_is_reset() {
        for (answer, status) in [
            (&b"HTTP/1.0 200 OK\r\n\r\n"[..], 200),
            (b"HTTP/1.1 204\r\n\r\n", 204),
            (b"HTTP/1.1 302 Found\nLocation: /x\n\n", 302),
        ] {
            let (addr, task) = origin(answer, true).await;
            let pass = probe(LONG).probe(addr.into()).await.unwrap();
            assert_eq!(pass, ProbePass { code: "L7OK", status: Some(status) });
            let (asked, end) = task.await.unwrap();
            assert_eq!(asked, b"OPTIONS / HTTP/1.0\r\n\r\n");
            assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn other_statuses_fail_with_the_status() {
        for (answer, status, phrase) in [
            (&b"HTTP/1.1 503 X Y\r\n\r\n"[..], 503, "X Y"),
            (b"HTTP/1.1 404 \r\n", 404, ""),
            (b"HTTP/1.1 500\n", 500, ""),
            (b"HTTP/1.1 100 Continue\r\n", 100, "Continue"),
        ] {
            let (addr, _task) = origin(answer, true).await;
            let error = probe(LONG).probe(addr.into()).await.unwrap_err();
            assert_eq!((error.code, error.status), ("L7STS", Some(status)));
            assert_eq!((error.detail, error.info), (format!("status {status}"), phrase.to_owned()));
        }
    }

    #[tokio::test]
    async fn garbage_silence_and_early_close_are_invalid_answers() {
        for (answer, detail) in [
            (&b"SSH-2.0-OpenSSH\r\n"[..], "not an http status line"),
            (b"HTTP/1.1 2000 OK\r\n", "not an http status line"),
            (b"HTTP/1.1 099 OK\r\n", "not an http status line"),
            (b"", "closed without an answer"),
            (b"HTTP/1.1 200", "closed within the status line"),
        ] {
            let (addr, _task) = origin(answer, false).await;
            let error = probe(LONG).probe(addr.into()).await.unwrap_err();
            assert_eq!(error.code, "L7RSP");
            assert!(error.detail.starts_with(detail), "{}", error.detail);
        }
    }

    #[tokio::test]
    async fn an_endless_status_line_is_cut() {
        static LINE: [u8; 3 * MAX_STATUS_LINE] = [b'x'; 3 * MAX_STATUS_LINE];
        let (addr, _task) = origin(&LINE, true).await;
        let error = probe(LONG).probe(addr.into()).await.unwrap_err();
        assert_eq!(error.code, "L7RSP");
        assert!(error.detail.starts_with("no status line in"), "{}", error.detail);
    }

    #[tokio::test]
    async fn no_answer_in_time_is_a_layer_seven_timeout() {
        let (addr, _task) = origin(b"HTTP/1.1 2", true).await;
        let error = probe(Duration::from_millis(30)).probe(addr.into()).await.unwrap_err();
        assert_eq!(error.code, "L7TOUT");
    }

    proptest! {
        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((status, _)) = status(&line) {
                prop_assert!((100..1000).contains(&status));
            }
        }
    }
}
