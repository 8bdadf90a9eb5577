//! What the access log says about a request, noted while it is served.
//!
//! Notes are lent by the thread from the request's head to its line; a service without an access log has none, and pays a
//! look at an empty pointer here and there. Their times are those that the engine has looked up anyway.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use super::client::{Client, Ending, Fixed};
use super::serve::After;
use crate::lb::lease::Lease;
use crate::proxy::course::{Course, Said, Unbegun};
use crate::proxy::error::ProxyError;
use crate::proxy::millis::Millis;
use crate::proxy::states::{self, State};
use crate::telemetry::access::AccessLog;
use crate::telemetry::cells::ErrorCause;

/// Most captured headers of a request, and of an answer; further `capture` lines are not filled.
pub(super) const CAPTURES: usize = 32;

/// Room for text that notes keep for the next request at most, in bytes: a long request line and captures.
const KEPT_TEXT: usize = 4096;

/// Where a captured value stands in the notes' text.
type Captured = Option<Range<usize>>;

/// Notes about one request.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(super) course: Course,
    /// The request line, then captured values.
    text: Vec<u8>,
    /// Of the request line.
    line_len: usize,
    request_captures: Vec<Captured>,
    response_captures: Vec<Captured>,
    /// What the client had been sent before.
    said_before: u64,
    /// Bytes that went to the client through a tunnel.
    pub(super) tunnelled: u64,
}

/// Begins the notes of the request whose head is `head`, as it came.
///
/// Like all that only logged requests need, not to be inlined: it would crowd out what every request needs.
#[inline(never)]
pub(super) fn begin(fixed: &Fixed, client: &Client, log: &AccessLog, head: &[u8]) -> Box<Notes> {
    let mut notes = fixed.local.spares.borrow_mut().take_notes();
    let text = head.trim_ascii_start();
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = text.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    push_words(&mut notes.text, line);
    notes.line_len = notes.text.len();
    let names = log.request_captures.iter().map(|c| &*c.name);
    capture(head, names, (&mut notes.text, &mut notes.request_captures));
    notes.said_before = client.said();
    notes.course.begin(fixed, client.first, head.len() as u64);
    notes.course.is_reused = !client.is_first_request;
    notes
}

/// The request line as it goes on: one blank between its words.
fn push_words(text: &mut Vec<u8>, line: &[u8]) {
    if memchr::memchr_iter(b' ', line).count() == 2 {
        // Three words, as usual.
        text.extend_from_slice(line);
        return;
    }
    for word in line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        if !text.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

impl Notes {
    /// A connection to a backend stands.
    #[inline(never)]
    pub(super) fn attempt(&mut self, lease: &Lease, now: Millis) {
        self.course.attempt(lease, now);
    }

    /// The answer's head has come.
    #[inline(never)]
    pub(super) fn answer(&mut self, log: &AccessLog, now: Millis, (status, head): (u16, &[u8])) {
        self.course.answer(status, now);
        let names = log.response_captures.iter().map(|c| &*c.name);
        capture(head, names, (&mut self.text, &mut self.response_captures));
    }

    /// No backend's answer will come.
    #[inline(never)]
    pub(super) fn fail(&mut self, error: &ProxyError) {
        self.course.fail(error);
    }

    /// Empty again, with its buffers.
    pub(super) fn clear(&mut self) {
        let Self {
            course,
            text,
            line_len,
            request_captures,
            response_captures,
            said_before,
            tunnelled,
        } = self;
        course.clear();
        text.clear();
        if text.capacity() > KEPT_TEXT {
            *text = Vec::new();
        }
        request_captures.clear();
        response_captures.clear();
        (*line_len, *said_before, *tunnelled) = Default::default();
    }
}

/// Writes the line, unless it has to wait: for the client to take the rest of the answer ([`settle_later`]), or for the
/// end of a tunnel, which takes the notes along.
#[inline(never)]
pub(super) fn settle(
    fixed: &Fixed,
    client: &Client,
    notes: Box<Notes>,
    after: &mut After,
) -> Option<Box<Notes>> {
    match after {
        After::Tunnel(tunnel) => tunnel.notes = Some(notes),
        After::Next | After::End(_) if !client.is_flushed() => return Some(notes),
        After::Next | After::End(_) => write(fixed, client, notes),
    }
    None
}

/// Writes the line when the client has all of the answer, or will not get it.
pub(super) async fn settle_later(
    fixed: &Fixed,
    client: &mut Client,
    mut notes: Box<Notes>,
    after: After,
) -> After {
    if matches!(after, After::End(Ending::Cut(_))) {
        write(fixed, client, notes);
        return after;
    }
    let (state, ending) = flushed(fixed, client).await;
    fixed.tick();
    if ending.is_some() {
        notes.course.state = Some(state);
    }
    write(fixed, client, notes);
    match (after, ending) {
        (After::Next, Some(ending)) => After::End(ending),
        (after, _) => after,
    }
}

/// Waits until all is sent, as the next request would; with an ending when it cannot be.
async fn flushed(fixed: &Fixed, client: &mut Client) -> (State, Option<Ending>) {
    poll_fn(|cx| match client.poll_flush(fixed, cx) {
        Poll::Ready(Ok(())) => Poll::Ready((states::DONE, None)),
        Poll::Ready(Err(_)) if client.socket.is_lost() => {
            let ending = Ending::Cut(ErrorCause::Resource);
            Poll::Ready((states::LOST_DATA, Some(ending)))
        }
        Poll::Ready(Err(_)) => Poll::Ready((states::UNREAD, Some(Ending::Silent))),
        Poll::Pending => client.poll_slow_reader(fixed).map(|end: Result<(), _>| {
            let ending = end.err();
            (states::UNTAKEN, ending)
        }),
    })
    .await
}

/// Writes the line of a request, and gives the notes back.
pub(super) fn write(fixed: &Fixed, client: &Client, mut notes: Box<Notes>) {
    if let Some(log) = &client.settings.access_log {
        let bytes_out = client.said().wrapping_sub(notes.said_before) + notes.tunnelled;
        if notes.request_captures.is_empty() && notes.response_captures.is_empty() {
            let line = notes.text.get(..notes.line_len);
            let said = Said { line, bytes_out, ..Said::default() };
            notes.course.write(fixed, log, (said, fixed.now()));
        } else {
            write_captured(fixed, log, &mut notes, bytes_out);
        }
    }
    fixed.local.spares.borrow_mut().give_notes(notes);
}

/// The line of a request that headers were captured of.
#[inline(never)]
fn write_captured(fixed: &Fixed, log: &Arc<AccessLog>, notes: &mut Notes, bytes_out: u64) {
    let at = |range: &Range<usize>| notes.text.get(range.clone());
    let mut request = [None; CAPTURES];
    let mut response = [None; CAPTURES];
    let said = Said {
        line: at(&(0..notes.line_len)),
        request_captures: values(&notes.request_captures, at, &mut request),
        response_captures: values(&notes.response_captures, at, &mut response),
        bytes_out,
    };
    notes.course.write(fixed, log, (said, fixed.now()));
}

fn values<'t, 'v>(
    captured: &[Captured],
    at: impl Fn(&Range<usize>) -> Option<&'t [u8]>,
    values: &'v mut [Option<&'t [u8]>],
) -> &'v [Option<&'t [u8]>] {
    for (value, captured) in values.iter_mut().zip(captured) {
        *value = captured.as_ref().and_then(&at);
    }
    values.get(..captured.len()).unwrap_or_default()
}

/// Writes the line of what never became a request. Nothing has been sent but what waits.
pub(super) fn unbegun(fixed: &Fixed, client: &Client, state: State, status: u16) {
    let Some(log) = &client.settings.access_log else {
        return;
    };
    let unbegun = Unbegun {
        since: client.since,
        bytes_in: client.inbox.len().saturating_sub(client.used) as u64,
        bytes_out: client.waiting(),
        state,
        status,
        is_reused: !client.is_first_request,
    };
    unbegun.write(fixed, log);
}

/// Finds the last value of each of `names` in a head that has been judged, so that its lines are as they should be.
fn capture<'n>(
    head: &[u8],
    names: impl Iterator<Item = &'n str>,
    (text, captured): (&mut Vec<u8>, &mut Vec<Captured>),
) {
    for name in names.take(CAPTURES) {
        let lines = head.split(|b| *b == b'\n').rev();
        let value = lines.filter_map(|line| {
            let (own, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            own.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        });
        let found = value.take(1).next();
        captured.push(found.map(|value| {
            let start = text.len();
            text.extend_from_slice(value);
            start..text.len()
        }));
    }
}
