//! The `http` check: GET, judged by status and, with `expect`, by the body.
//!
//! What is asked is what the original asks, in meaning: `Host`, `User-Agent`, `Accept: */*`, `Connection: close`, names
//! written like `X-Some-Name`, and the file's headers in place of ours. Left out on purpose: `Accept-Encoding` (a
//! compressed body would hide what `expect` looks for), proxies from the environment, and the silent second request.
//! Redirects are not followed; they pass.

use std::error::Error;
use std::pin::pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{LocalHttp, ProbeResult, Target, answered_by, connect};
use crate::health::ProbeError;
use crate::health::http::judge;
use crate::health::tcp::failure;

/// Most of a body that is looked at, bytes. A health page has some hundred; what a check reads twice a second must end
/// somewhere. The original has no bound.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Room for the head of the answer, bytes: as much as our proxy's own limit on heads, and hyper's smallest is 8192.
const MAX_HEAD_BYTES: usize = 16 << 10;

pub(super) async fn probe(http: &LocalHttp, deadline: Instant) -> ProbeResult {
    let request = request(http)?;
    let opened_by = Instant::now().checked_add(http.connect_timeout).unwrap_or(deadline);
    let stream = connect::connect(&http.target, opened_by.min(deadline)).await?;
    answered_by(deadline, exchange(stream, request, http.expect.as_deref())).await
}

fn request(http: &LocalHttp) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = target_of(&http.uri)?;
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(authority(&http.target));
    let host = host.map_err(|_| failure("L7RSP", "the host is no header value".to_owned()))?;
    headers.insert(HOST, host);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    let agent = concat!("nerve/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &http.headers {
        let pair = (HeaderName::try_from(&**name), HeaderValue::try_from(&**value));
        let (Ok(name), Ok(value)) = pair else {
            return Err(failure("L7RSP", format!("not a header: {name:?}: {value:?}")));
        };
        headers.insert(name, value);
    }
    Ok(request)
}

/// `uri` as a request target. What may not stand in one is escaped, and a missing slash is added: the original sends it
/// as it is, and the server refuses it.
fn target_of(uri: &str) -> Result<Uri, ProbeError> {
    let mut text = String::with_capacity(uri.len() + 1);
    if !uri.starts_with('/') && !uri.contains("://") {
        text.push('/');
    }
    for byte in uri.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text.parse().map_err(|_| failure("L7RSP", format!("not a uri: {uri:?}")))
}

fn authority(target: &Target) -> String {
    let Target { host, port } = target;
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Sends the request, and reads the answer to its end while the connection is driven.
async fn exchange(
    stream: TcpStream,
    request: Request<Empty<Bytes>>,
    expect: Option<&str>,
) -> ProbeResult {
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let pass = judge(response.status().as_u16(), "")?;
        let has_it = look_through(response.into_body(), expect.unwrap_or_default()).await;
        has_it.map_err(|error| ProbeError { status: pass.status, ..error })?;
        Ok(pass)
    });
    tokio::select! {
        biased;
        result = &mut answer => result,
        // Its end, good or bad, reaches the answer through what it has received until then.
        _ = &mut connection => answer.await,
    }
}

/// Reads the body to its end, or to our bound, and looks for `expect` in it. Keeps only what a match may begin in.
async fn look_through(mut body: Incoming, expect: &str) -> Result<(), ProbeError> {
    let wanted = expect.as_bytes();
    let mut found = wanted.is_empty();
    let mut seen: Vec<u8> = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if !found {
            seen.extend_from_slice(data);
            found = seen.windows(wanted.len()).any(|part| part == wanted);
            seen.drain(..seen.len().saturating_sub(wanted.len() - 1));
        }
        if length > MAX_BODY_BYTES {
            break;
        }
    }
    match found {
        true => Ok(()),
        false if length > MAX_BODY_BYTES => {
            let text = format!("{expect:?} is not in the first {MAX_BODY_BYTES} bytes of the body");
            Err(failure("L7RSP", text))
        }
        false => Err(failure("L7RSP", format!("{expect:?} is not in the body"))),
    }
}

fn broken(error: &hyper::Error) -> ProbeError {
    let text = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    failure("L7RSP", text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::health::local::LocalProbe;
    use crate::health::local::testing::{Behaviour, closed, probe_now, recorded, scripted};

    fn http(target: Target, expect: Option<&str>) -> LocalHttp {
        LocalHttp {
            target,
            uri: "/health".into(),
            headers: Vec::new(),
            expect: expect.map(Arc::from),
            connect_timeout: Duration::from_secs(1),
        }
    }

    async fn outcome(behaviour: Behaviour, expect: Option<&str>) -> String {
        let target = scripted(behaviour).await;
        match probe_now(LocalProbe::Http(http(target, expect))).await {
            Ok(pass) => format!("{} {}", pass.code, pass.status.unwrap()),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn the_request_means_what_the_originals_means() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (target, mut asked) = recorded(Behaviour::Say(answer)).await;
        let port = target.port;
        probe_now(LocalProbe::Http(http(target.clone(), None))).await.unwrap();
        let agent = concat!("nerve/", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            asked.recv().await.unwrap(),
            format!(
                "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nUser-Agent: {agent}\r\n\
                 Connection: close\r\n\r\n"
            )
        );
        let mut own = http(target, None);
        own.uri = "x y?a=b|c".into();
        own.headers = vec![
            ("host".into(), "thrift.local".into()),
            ("x-smartstack-target-identity".into(), "geocoder.main".into()),
        ];
        probe_now(LocalProbe::Http(own)).await.unwrap();
        let seen = asked.recv().await.unwrap();
        assert!(
            seen.starts_with("GET /x%20y?a=b%7Cc HTTP/1.1\r\nHost: thrift.local\r\n"),
            "{seen}"
        );
        assert!(seen.contains("\r\nX-Smartstack-Target-Identity: geocoder.main\r\n"), "{seen}");
    }

    #[tokio::test]
    async fn two_and_three_hundreds_pass_others_fail_with_the_status() {
        for (answer, said) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"[..], "L7OK 200"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "L7OK 204"),
            (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "L7OK 302"),
            (
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                "L7OK 200",
            ),
            (b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", "L7STS: status 503"),
            (b"HTTP/1.1 404 \r\n\r\n", "L7STS: status 404"),
        ] {
            assert_eq!(outcome(Behaviour::Say(answer), None).await, said);
            assert_eq!(outcome(Behaviour::Drip(answer), None).await, said);
        }
    }

    #[tokio::test]
    async fn the_text_is_found_in_every_framing() {
        for answer in [
            &b"HTTP/1.0 200 OK\r\n\r\nall is OK."[..],
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall is OK.",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nall is OK.",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nall is O\r\n2\r\nK.\r\n0\r\n\r\n",
        ] {
            for expect in ["OK", "all is OK.", ""] {
                assert_eq!(outcome(Behaviour::Say(answer), Some(expect)).await, "L7OK 200");
                assert_eq!(outcome(Behaviour::Drip(answer), Some(expect)).await, "L7OK 200");
            }
            let missing = outcome(Behaviour::Say(answer), Some("ok")).await;
            assert_eq!(missing, "L7RSP: \"ok\" is not in the body");
        }
    }

    #[tokio::test]
    async fn garbage_and_early_close_are_no_answer() {
        for answer in [
            &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
            b"HTTP/1.1 2",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let said = outcome(Behaviour::Say(answer), None).await;
            assert!(said.starts_with("L7RSP: "), "{said}");
        }
        let said = outcome(Behaviour::Close, None).await;
        assert!(said.starts_with("L7RSP: "), "{said}");
    }

    #[tokio::test]
    async fn silence_and_an_endless_drip_end_at_the_deadline() {
        for behaviour in [
            Behaviour::Hang,
            Behaviour::Endless(b"HTTP/1.1 200 OK\r\nX-Long: "),
            Behaviour::Endless(b"HTTP/1.1 200 OK\r\n\r\n"),
        ] {
            assert_eq!(outcome(behaviour, Some("OK")).await, "L7TOUT: no answer in time");
        }
    }

    #[tokio::test]
    async fn a_huge_body_is_looked_at_up_to_the_bound() {
        let mut answer = b"HTTP/1.0 200 OK\r\n\r\nhere".to_vec();
        answer.resize(3 * MAX_BODY_BYTES, b'.');
        answer.extend_from_slice(b"there");
        let answer: &'static [u8] = answer.leak();
        assert_eq!(outcome(Behaviour::Say(answer), Some("here")).await, "L7OK 200");
        assert_eq!(outcome(Behaviour::Say(answer), None).await, "L7OK 200");
        assert_eq!(
            outcome(Behaviour::Say(answer), Some("there")).await,
            "L7RSP: \"there\" is not in the first 1048576 bytes of the body"
        );
    }

    #[tokio::test]
    async fn a_closed_port_and_a_bad_header_fail() {
        let target = closed().await;
        let mut own = http(target.clone(), None);
        let error = probe_now(LocalProbe::Http(own.clone())).await.unwrap_err();
        assert_eq!(error.to_string(), "L4CON: connection refused");
        own.headers = vec![("a b".into(), "c".into())];
        let error = probe_now(LocalProbe::Http(own)).await.unwrap_err();
        assert_eq!(error.to_string(), "L7RSP: not a header: \"a b\": \"c\"");
    }
}
