//! The seam between the bounded server and the pages behind it: what is asked, by whom, and how an answer is made.
//!
//! A [`Site`] never meets a connection: the server has read the head (and the body of a command), bounded both, and
//! says who the peer is.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use crate::health::BoxFuture;

use super::pieces::{AnswerBody, Source};

/// An answer: complete in memory, or made as it is read.
pub type Answer = Response<AnswerBody>;

/// The pages of one program.
///
/// To add a program: implement this, hand it to `server::serve`.
pub trait Site: Debug + Send + Sync + 'static {
    /// Counts a request for `path`, under the pattern that it matches.
    fn count(&self, path: &str);

    /// How a request is answered. The server bounds each lane by itself.
    fn lane(&self, method: &Method, path: &str) -> Lane;

    /// The answer to what is asked on the lanes [`Lane::Instant`] and [`Lane::Rendering`]. Changes nothing.
    fn page(&self, asked: &Asked) -> Answer;

    /// Does what is asked on [`Lane::Command`]. Dropped when it takes too long: what was ordered goes on.
    fn act(self: Arc<Self>, asked: Asked) -> BoxFuture<'static, Answer> {
        Box::pin(async move { not_allowed(&asked, "GET, HEAD") })
    }
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// At once, waiting for nobody.
    Instant,
    /// On the thread for pages: the control thread has other work.
    Rendering,
    /// It changes something and may wait; the only lane whose body is read.
    Command,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Over TCP, from this address.
    Tcp(SocketAddr),
    /// Over the unix socket; `None` when the kernel does not say whose process it is.
    Unix {
        /// Effective user of the process when it connected.
        uid: Option<u32>,
    },
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix { uid: Some(uid) } => write!(f, "uid {uid}"),
            Self::Unix { uid: None } => f.write_str("unknown uid"),
        }
    }
}

/// In which form somebody wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Text,
    Html,
}

/// A request that has arrived.
#[derive(Debug)]
pub struct Asked {
    /// Method, path, query, headers.
    pub head: Parts,
    /// The body of a command; empty on the other lanes.
    pub body: Bytes,
    /// Who asks.
    pub peer: Peer,
}

impl Asked {
    /// The path without the query, as it was sent.
    pub(super) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// What stands after `?`; may be empty.
    pub(super) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// Changes nothing: GET or HEAD.
    pub(super) fn only_reads(&self) -> bool {
        self.head.method == Method::GET || self.head.method == Method::HEAD
    }

    /// A header; `None` when it is missing or no text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `?format=…` wins; then `Accept`; the path's own form otherwise.
    pub(super) fn form(&self, default: Form) -> Form {
        let asked = self.query().split('&').find_map(|pair| pair.strip_prefix("format="));
        let accept = self.header(ACCEPT).unwrap_or_default();
        match asked {
            Some("text") => Form::Text,
            Some("json") => Form::Json,
            Some("html") => Form::Html,
            Some(_) | None if accept.contains("application/json") => Form::Json,
            Some(_) | None if accept.contains("text/html") => Form::Html,
            Some(_) | None if accept.contains("text/plain") => Form::Text,
            Some(_) | None => default,
        }
    }
}

/// How many names a 404 offers.
const SHOWN_NEAREST: usize = 5;

/// Names less alike than this are no help.
const LEAST_LIKENESS: f64 = 0.6;

/// Which of `known` may have been meant by `name`, best first.
pub(super) fn nearest<'k>(known: impl Iterator<Item = &'k str>, name: &str) -> Vec<&'k str> {
    let mut nearest: Vec<(f64, &str)> = known
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .collect();
    nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
    nearest.into_iter().take(SHOWN_NEAREST).map(|(_, known)| known).collect()
}

/// 405: `allowed` is what is answered here.
pub(super) fn not_allowed(asked: &Asked, allowed: &'static str) -> Answer {
    let and = allowed.rsplit_once(", ").map(|(first, last)| format!("{first} and {last}"));
    let only = and.as_deref().unwrap_or(allowed);
    let text = format!("{} is not answered here, only {only}\n", asked.head.method);
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// A JSON answer, readable.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_string_pretty(value) {
        Ok(mut text) => {
            text.push('\n');
            body(status, "application/json", text)
        }
        Err(error) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the answer cannot be written as JSON: {error}\n"),
        ),
    }
}

/// A text answer.
pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    body(status, "text/plain; charset=utf-8", text)
}

/// An answer that no cache keeps.
pub(super) fn body(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Answer {
    answer(status, content_type, AnswerBody::whole(text.into()))
}

/// An answer that may be long, made as it is read; no cache keeps it.
pub(super) fn in_pieces(content_type: &'static str, source: Source) -> Answer {
    answer(StatusCode::OK, content_type, AnswerBody::in_pieces(source))
}

fn answer(status: StatusCode, content_type: &'static str, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
