//! What the access log says about a request that came or went over HTTP/2.

use std::ops::Range;
use std::sync::Arc;

use hyper::http::{request, response};
use hyper::{HeaderMap, Method, Uri, Version};

use crate::lb::lease::Lease;
use crate::proxy::course::{Course, Said};
use crate::proxy::error::ProxyError;
use crate::proxy::http::client::Fixed;
use crate::proxy::http::{Outcome, Phase};
use crate::proxy::millis::Millis;
use crate::proxy::states;
use crate::telemetry::access::AccessLog;

/// A captured value's place in the text.
type Captured = Option<Range<usize>>;

/// Notes about one request; there are none without an access log.
#[derive(Debug)]
pub(super) struct Notes {
    pub(super) course: Course,
    log: Arc<AccessLog>,
    /// The request line, then captured values.
    text: Vec<u8>,
    line: Range<usize>,
    request_captures: Vec<Captured>,
    response_captures: Vec<Captured>,
    pub(super) bytes_out: u64,
}

impl Notes {
    /// Of a request that has come. `is_reused`: its connection has served another.
    pub(super) fn begin(
        fixed: &Fixed,
        log: &Arc<AccessLog>,
        parts: &request::Parts,
        is_reused: bool,
    ) -> Box<Self> {
        let mut text = Vec::new();
        let version = match parts.version {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        // haproxy shows the whole target of HTTP/2: scheme, host and path.
        text.extend_from_slice(format!("{} {} {version}", parts.method, parts.uri).as_bytes());
        let line = 0..text.len();
        let names = log.request_captures.iter().map(|capture| &*capture.name);
        let request_captures = capture(&parts.headers, names, &mut text);
        let bytes_in = request_bytes(&parts.method, &parts.uri, &parts.headers);
        // A head comes whole.
        let mut course = Course::default();
        course.begin(fixed, fixed.now(), bytes_in);
        course.is_reused = is_reused;
        Box::new(Self {
            course,
            log: Arc::clone(log),
            text,
            line,
            request_captures,
            response_captures: Vec::new(),
            bytes_out: 0,
        })
    }

    /// A line to a backend stands.
    pub(super) fn attempt(&mut self, lease: &Lease, now: Millis) {
        self.course.attempt(lease, now);
    }

    /// The answer's head has come.
    pub(super) fn answer(&mut self, head: &response::Parts, now: Millis) {
        self.course.answer(head.status.as_u16(), now);
        self.bytes_out += head_bytes(&head.headers);
        let log = Arc::clone(&self.log);
        let names = log.response_captures.iter().map(|capture| &*capture.name);
        self.response_captures = capture(&head.headers, names, &mut self.text);
    }

    /// No backend's answer will come.
    pub(super) fn fail(&mut self, error: &ProxyError, is_sent: bool) {
        let course = &mut self.course;
        let is_abort = matches!(error, ProxyError::ClientAbort | ProxyError::GivenUp);
        if is_abort && course.is_connected() && !course.trail.is_queued {
            course.state = Some(states::attempt(&Outcome::Aborted, Phase::Head, is_sent));
        } else {
            course.fail(error);
        }
    }

    /// Writes the line.
    pub(super) fn write(mut self: Box<Self>, fixed: &Fixed) {
        let at = |captured: &Captured| captured.clone().and_then(|range| self.text.get(range));
        let request: Vec<_> = self.request_captures.iter().map(at).collect();
        let response: Vec<_> = self.response_captures.iter().map(at).collect();
        let said = Said {
            line: self.text.get(self.line.clone()),
            request_captures: &request,
            response_captures: &response,
            bytes_out: self.bytes_out,
        };
        self.course.write(fixed, &self.log, (said, fixed.tick()));
    }
}

/// Bytes of a request's head in HTTP/1.
pub(super) fn request_bytes(method: &Method, uri: &Uri, headers: &HeaderMap) -> u64 {
    // An URI is short, and has no length of its own.
    let uri = uri.path_and_query().map_or(0, |path| path.as_str().len())
        + uri.authority().map_or(0, |authority| authority.as_str().len() + 1)
        + uri.scheme_str().map_or(0, |scheme| scheme.len() + 2);
    let line = method.as_str().len() + uri + " HTTP/1.1\r\n\r\n".len() + 1;
    head_bytes(headers) + line as u64
}

/// Bytes of lines in HTTP/1, which is what haproxy counts.
pub(super) fn head_bytes(headers: &HeaderMap) -> u64 {
    let line = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        name.as_str().len() + value.len() + 4
    };
    headers.iter().map(line).sum::<usize>() as u64
}

/// The last value of each of `names`.
fn capture<'n>(
    headers: &HeaderMap,
    names: impl Iterator<Item = &'n str>,
    text: &mut Vec<u8>,
) -> Vec<Captured> {
    let mut place = |name: &str| {
        let value = headers.get_all(name).iter().next_back()?;
        let start = text.len();
        text.extend_from_slice(value.as_bytes());
        Some(start..text.len())
    };
    names.map(&mut place).collect()
}
