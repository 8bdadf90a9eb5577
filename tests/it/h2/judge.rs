//! Cases of the strict kind: something is said on a fresh connection, and something must come of it.

use std::net::SocketAddr;

use super::raw::{
    ACK, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, ask, fields, frame, request,
};
use super::web::web;
use crate::support::lab::Lab;

pub(super) const PROTOCOL: u32 = 1;
pub(super) const FLOW: u32 = 3;
pub(super) const CLOSED: u32 = 5;
pub(super) const SIZE: u32 = 6;
pub(super) const REFUSED: u32 = 7;
pub(super) const COMPRESSION: u32 = 9;

/// What must come of it. As with h2spec, the end of a connection without a word is an end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Must {
    /// The connection ends, with one of these codes if it says why.
    End(&'static [u32]),
    /// The stream ends with one of these codes, or the connection does.
    Reset(&'static [u32]),
    /// The stream is refused, or answered with a status of the client's fault.
    Refuse,
    /// It is answered with 200.
    Serve,
    /// A PING is answered: nothing has happened.
    Live,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    End(Option<u32>),
    Reset(u32),
    /// `None`: a status that HPACK has no place for.
    Status(Option<u16>),
    Pong,
}

impl Must {
    pub(super) fn allows(self, came: Came) -> bool {
        let names =
            |codes: &[u32], code: Option<u32>| code.is_none_or(|code| codes.contains(&code));
        match (self, came) {
            (Self::End(codes) | Self::Reset(codes), Came::End(code)) => names(codes, code),
            (Self::Reset(codes), Came::Reset(code)) => codes.contains(&code),
            (Self::Refuse, Came::Reset(code)) => code == PROTOCOL,
            (Self::Refuse, Came::Status(status)) => status.is_none_or(|status| status == 400),
            (Self::Refuse, Came::End(code)) => names(&[PROTOCOL], code),
            (Self::Serve, Came::Status(status)) => status == Some(200),
            (Self::Live, Came::Pong) => true,
            _other => false,
        }
    }
}

pub(super) struct Case {
    name: &'static str,
    say: Vec<u8>,
    /// Said when an answer has ended.
    then: Option<Vec<u8>>,
    must: Must,
}

impl Case {
    /// The same; `more` is said when the first has been answered to its end, and decides.
    pub(super) fn then(self, more: &[Vec<u8>]) -> Self {
        Self { then: Some(more.concat()), ..self }
    }
}

pub(super) fn case(name: &'static str, say: &[Vec<u8>], must: Must) -> Case {
    Case { name, say: say.concat(), then: None, must }
}

/// GET with one more field.
pub(super) fn with(name: &'static str, value: &'static [u8]) -> Vec<u8> {
    let mut all = request("GET");
    all.push((name, value));
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&all))
}

/// GET without one of its fields.
pub(super) fn without(name: &str) -> Vec<u8> {
    let all: Vec<_> = request("GET").into_iter().filter(|field| field.0 != name).collect();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&all))
}

/// GET with another value.
pub(super) fn but(name: &str, value: &'static [u8]) -> Vec<u8> {
    let change =
        |(own, old): (&'static str, &'static [u8])| (own, if own == name { value } else { old });
    let all: Vec<_> = request("GET").into_iter().map(change).collect();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&all))
}

pub(super) fn setting(id: u16, value: u32) -> Vec<u8> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
    frame(SETTINGS, 0, 0, &payload)
}

pub(super) fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"12345678")
}

pub(super) fn get() -> Vec<u8> {
    ask("GET", END_STREAM, 1)
}

pub(super) fn block() -> Vec<u8> {
    fields(&request("GET"))
}

pub(super) fn rst(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

pub(super) fn grow(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// What the first frames that decide say.
pub(super) async fn outcome(raw: &mut Raw) -> Came {
    let mut refused = None;
    while let Some(frame) = raw.next().await {
        let came = match frame.kind {
            GOAWAY => Came::End(Some(frame.number(4))),
            RST_STREAM => Came::Reset(frame.number(0)),
            HEADERS => Came::Status(status(&frame)),
            PING if frame.flags & ACK != 0 => Came::Pong,
            _other => continue,
        };
        // A frame that is wrong only after an answer was begun: what follows decides.
        if !matches!(came, Came::Status(Some(200))) {
            return came;
        }
        refused = Some(came);
        if frame.flags & END_STREAM != 0 {
            break;
        }
        let end = raw.next().await;
        if let Some(end) = end {
            match end.kind {
                GOAWAY => return Came::End(Some(end.number(4))),
                RST_STREAM => return Came::Reset(end.number(0)),
                _other => break,
            }
        }
    }
    refused.unwrap_or(Came::End(None))
}

/// From the first byte of a head: `:status` has places for seven of them.
fn status(frame: &Frame) -> Option<u16> {
    let known = [200, 204, 206, 304, 400, 404, 500];
    let first = *frame.payload.first()?;
    known.get(usize::from(first.checked_sub(0x88)?)).copied()
}

/// Tries all of them on a proxy before one HTTP/1 server, and fails with those that did not come out as they must, one line each.
pub(super) async fn hold_all<const N: usize>(cases: [Vec<Case>; N]) {
    let lab = Lab::new().await;
    let web = web(&lab).await;
    let mut all = Vec::new();
    for case in cases.iter().flatten() {
        all.extend(wrong(web.front, case).await);
    }
    assert!(all.is_empty(), "{} wrong:\n{}", all.len(), all.join("\n"));
}

async fn wrong(addr: SocketAddr, case: &Case) -> Option<String> {
    let mut raw = Raw::open(addr).await;
    // Whether it still reads shows in what it says.
    raw.send(&case.say).await;
    if let Some(then) = &case.then {
        loop {
            match raw.next().await {
                Some(frame) if frame.stream != 0 && frame.flags & END_STREAM != 0 => break,
                Some(_) => {}
                None => return Some(format!("{}: no answer before", case.name)),
            }
        }
        raw.send(then).await;
    }
    let came = outcome(&mut raw).await;
    (!case.must.allows(came)).then(|| format!("{}: {came:?}, must {:?}", case.name, case.must))
}
