//! Connections without sockets: bytes through the judging functions, in packets, as the engine feeds them.

use super::super::inbound::Inbound;
use super::super::message::chunked::{Decoder, Keep, Malformed, Ranges, push_chunk};
use super::super::message::framing::Body;
use super::super::message::request::{self, Request, Rules};
use super::super::message::response::{self, Asked, Come, Recode};
use super::super::message::{Upgrade, Version};
use super::CLIENT;

/// What of the bytes of one side reaches the other, of the first message among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Bytes of the input that are this message.
    pub(crate) taken: usize,
    /// Those that are its head.
    pub(crate) came: usize,
    /// What is sent on instead.
    pub(crate) sent: Vec<u8>,
    /// Bytes of `sent` that are its head.
    pub(crate) head: usize,
    /// The message ended within the input; until the end of a connection counts as ended.
    pub(crate) is_whole: bool,
}

/// Who asked for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    /// With `HEAD`.
    pub(crate) is_head: bool,
    /// With HTTP/1.0.
    pub(crate) is_old: bool,
    /// For another protocol: 0 none, 1 websocket, 2 another.
    pub(crate) upgrade: u8,
    /// And wants to ask again.
    pub(crate) keeps: bool,
}

impl Asking {
    /// Every kind that makes a difference.
    pub(crate) const ALL: [Self; 6] = [
        Self { is_head: false, is_old: false, upgrade: 0, keeps: true },
        Self { is_head: true, is_old: false, upgrade: 0, keeps: true },
        Self { is_head: false, is_old: true, upgrade: 0, keeps: true },
        Self { is_head: false, is_old: false, upgrade: 1, keeps: true },
        Self { is_head: false, is_old: false, upgrade: 2, keeps: true },
        Self { is_head: false, is_old: false, upgrade: 0, keeps: false },
    ];

    pub(super) fn asked(self) -> Asked {
        Asked {
            come: Come::All,
            is_head: self.is_head,
            version: if self.is_old { Version::V10 } else { Version::V11 },
            sent: Version::V11,
            upgrade: match self.upgrade {
                0 => Upgrade::No,
                1 => Upgrade::WebSocket,
                _ => Upgrade::Other,
            },
            keep_alive: self.keeps,
        }
    }
}

/// What a backend gets of the request at the start of `input`; `None` when it is refused, or its head is not whole.
pub(crate) fn pass_request(input: &[u8]) -> Option<Passed> {
    let rules = Rules { forward_for: None, client: CLIENT, close: false };
    let mut sent = Vec::new();
    let request = request::read(input, &rules, &mut sent).ok()??;
    let head = sent.len();
    let rest = input.get(request.len..).unwrap_or_default();
    let mut body = Inbound::new(request.body, Keep::Framed);
    let consumed = pass_body(&mut body, rest, Recode::No, &mut sent).ok()?;
    Some(Passed {
        taken: request.len + consumed,
        came: request.len,
        sent,
        head,
        is_whole: body.is_done(),
    })
}

/// What a client gets of the answer at the start of `input`; `None` when that is none, or its head is not whole.
pub(crate) fn pass_response(input: &[u8], asking: Asking) -> Option<Passed> {
    let mut sent = Vec::new();
    let response = response::read(input, &asking.asked(), &mut sent).ok()??;
    let (head, rest) = input.split_at_checked(response.len)?;
    if !response.is_changed {
        sent.extend_from_slice(head);
    }
    let head = sent.len();
    let keep = if response.recode == Recode::No { Keep::Framed } else { Keep::Data };
    let mut body = Inbound::new(response.body, keep);
    let consumed = pass_body(&mut body, rest, response.recode, &mut sent).ok()?;
    let is_closed = response.body == Body::UntilClose;
    if response.recode == Recode::IntoChunks {
        sent.extend_from_slice(b"0\r\n\r\n");
    }
    let is_whole = is_closed || body.is_done();
    Some(Passed { taken: response.len + consumed, came: response.len, sent, head, is_whole })
}

fn pass_body(
    body: &mut Inbound,
    bytes: &[u8],
    recode: Recode,
    sent: &mut Vec<u8>,
) -> Result<usize, Malformed> {
    let mut ranges = Ranges::default();
    let fed = body.take(bytes, &mut ranges)?;
    for range in ranges.0 {
        let part = bytes.get(range).unwrap_or_default();
        match recode {
            Recode::No | Recode::OutOfChunks => sent.extend_from_slice(part),
            Recode::IntoChunks => push_chunk(sent, part),
        }
    }
    sent.extend_from_slice(body.tail());
    Ok(fed.consumed)
}

/// The pieces of `input` that end at `cuts`, which are in order.
fn pieces<'a>(input: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([input.len()]);
    starts.zip(ends).map(|(start, end)| input.get(start..end).unwrap_or_default())
}

/// What became of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) out: Vec<u8>,
    pub(super) consumed: usize,
    pub(super) data: usize,
    pub(super) is_done: bool,
}

/// Decodes `input`, fed in pieces that end at `cuts`.
pub(super) fn decode(input: &[u8], keep: Keep, cuts: &[usize]) -> Result<Decoded, Malformed> {
    let mut decoder = Decoder::new(keep);
    let mut decoded = Decoded { out: Vec::new(), consumed: 0, data: 0, is_done: false };
    for piece in pieces(input, cuts) {
        let mut ranges = Ranges::default();
        let fed = decoder.feed(piece, &mut ranges)?;
        for range in ranges.0 {
            let part = piece.get(range).unwrap_or_else(|| panic!("a range outside its input"));
            decoded.out.extend_from_slice(part);
        }
        decoded.consumed += fed.consumed;
        decoded.data += fed.data;
        decoded.is_done = fed.done;
        assert_eq!(fed.done, decoder.is_done());
        if fed.done {
            decoded.out.extend_from_slice(decoder.tail());
            break;
        }
        assert_eq!(fed.consumed, piece.len(), "bytes are left over within a body");
    }
    Ok(decoded)
}

/// What happens on a client's connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Began(Request),
    /// After so many bytes of its body.
    Ended(usize),
    /// With this status.
    Refused(u16),
    Malformed,
    /// The client's last request was that.
    Closed,
}

#[derive(Debug)]
enum Phase {
    Head,
    Body(Inbound, usize),
    Over,
}

/// A client's connection: what it says, and what of it backends get.
#[derive(Debug)]
pub(super) struct Conversation {
    waiting: Vec<u8>,
    phase: Phase,
    pub(super) events: Vec<Event>,
    pub(super) sent: Vec<u8>,
    /// Bytes of `sent` up to the end of a request.
    settled: usize,
}

impl Conversation {
    /// All of `input`, in pieces that end at `cuts`.
    pub(super) fn of(input: &[u8], cuts: &[usize]) -> Self {
        let mut conversation = Self {
            waiting: Vec::new(),
            phase: Phase::Head,
            events: Vec::new(),
            sent: Vec::new(),
            settled: 0,
        };
        for piece in pieces(input, cuts) {
            conversation.waiting.extend_from_slice(piece);
            while conversation.step() {}
        }
        conversation
    }

    /// What backends got of requests that were sent whole.
    pub(super) fn settled(&self) -> &[u8] {
        self.sent.get(..self.settled).unwrap_or_default()
    }

    pub(super) fn is_malformed(&self) -> bool {
        self.events.last() == Some(&Event::Malformed)
    }

    /// Judges what waits; true when there may be more to judge.
    fn step(&mut self) -> bool {
        match &mut self.phase {
            Phase::Over => false,
            Phase::Head => {
                let rules = Rules { forward_for: None, client: CLIENT, close: false };
                let mut head = Vec::new();
                match request::read(&self.waiting, &rules, &mut head) {
                    Ok(None) => false,
                    Ok(Some(request)) => {
                        self.waiting.drain(..request.len);
                        self.sent.append(&mut head);
                        self.phase = Phase::Body(Inbound::new(request.body, Keep::Framed), 0);
                        self.events.push(Event::Began(request));
                        true
                    }
                    Err(refusal) => self.over(Event::Refused(refusal.status)),
                }
            }
            Phase::Body(body, data) => {
                let mut ranges = Ranges::default();
                let Ok(fed) = body.take(&self.waiting, &mut ranges) else {
                    return self.over(Event::Malformed);
                };
                for range in ranges.0 {
                    self.sent.extend_from_slice(self.waiting.get(range).unwrap_or_default());
                }
                self.waiting.drain(..fed.consumed);
                *data += fed.data;
                if !fed.done {
                    return false;
                }
                self.sent.extend_from_slice(body.tail());
                self.settled = self.sent.len();
                self.events.push(Event::Ended(*data));
                self.phase = Phase::Head;
                let keeps = |e: &Event| matches!(e, Event::Began(request) if request.keep_alive);
                let request = self.events.iter().rfind(|e| matches!(e, Event::Began(_)));
                request.is_some_and(keeps) || self.over(Event::Closed)
            }
        }
    }

    fn over(&mut self, event: Event) -> bool {
        self.events.push(event);
        self.phase = Phase::Over;
        false
    }
}
