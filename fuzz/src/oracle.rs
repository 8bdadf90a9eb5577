//! llhttp, the parser of Node.js, in its strict mode: a second opinion on where a message ends and what it says.

use std::ffi::{CStr, c_char, c_int, c_void};

/// Which side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A request.
    Request,
    /// An answer; to `HEAD` if so.
    Answer {
        /// It has no body whatever it says.
        to_head: bool,
    },
}

/// A message as the oracle reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Of a request.
    pub method: Vec<u8>,
    /// Of a request.
    pub target: Vec<u8>,
    /// Of an answer.
    pub status: u16,
    /// Names in lower case, values without blanks around them, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The same behind a body in chunks.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// The head has ended.
    pub has_head: bool,
    /// Bytes up to its end, if it has ended.
    pub end: Option<usize>,
}

/// What the parts are called in `oracle.c`, in that order.
mod part {
    pub(super) const METHOD: i32 = 0;
    pub(super) const TARGET: i32 = 1;
    pub(super) const NAME: i32 = 2;
    pub(super) const VALUE: i32 = 4;
    pub(super) const VALUE_END: i32 = 5;
    pub(super) const HEAD_END: i32 = 6;
    pub(super) const DATA: i32 = 7;
    pub(super) const MESSAGE_END: i32 = 8;
}

#[repr(C)]
struct Verdict {
    error: c_int,
    status: c_int,
    consumed: usize,
    why: *const c_char,
}

type Hear = extern "C" fn(*mut c_void, c_int, *const u8, usize);

unsafe extern "C" {
    fn oracle_read(
        is_answer: c_int,
        skips_body: c_int,
        bytes: *const u8,
        length: usize,
        finish: c_int,
        on: Hear,
        who: *mut c_void,
        verdict: *mut Verdict,
    );
}

#[derive(Default)]
struct Listener {
    message: Message,
    name: Vec<u8>,
    value: Vec<u8>,
    has_ended: bool,
}

impl Listener {
    fn hear(&mut self, part: i32, bytes: &[u8]) {
        match part {
            part::METHOD => self.message.method.extend_from_slice(bytes),
            part::TARGET => self.message.target.extend_from_slice(bytes),
            part::NAME => self.name.extend_from_slice(bytes),
            part::VALUE => self.value.extend_from_slice(bytes),
            part::VALUE_END => {
                let name = String::from_utf8_lossy(&self.name).to_ascii_lowercase();
                let value = self.value.trim_ascii().to_vec();
                self.name.clear();
                self.value.clear();
                let message = &mut self.message;
                let lines =
                    if message.has_head { &mut message.trailers } else { &mut message.headers };
                lines.push((name, value));
            }
            part::HEAD_END => self.message.has_head = true,
            part::DATA => self.message.body.extend_from_slice(bytes),
            part::MESSAGE_END => self.has_ended = true,
            _ => {}
        }
    }
}

extern "C" fn hear(who: *mut c_void, part: c_int, at: *const u8, length: usize) {
    // SAFETY: `who` is the listener that `read` passed and keeps until `oracle_read` returns; nobody else uses it then.
    let listener = unsafe { &mut *who.cast::<Listener>() };
    let bytes = if length == 0 {
        &[][..]
    } else {
        // SAFETY: the oracle points into the bytes that `read` passed.
        unsafe { std::slice::from_raw_parts(at, length) }
    };
    listener.hear(part, bytes);
}

/// Reads the message at the start of `bytes`; `is_all` says that the connection ends behind them.
///
/// # Errors
/// What the oracle has against it.
pub fn read(side: Side, bytes: &[u8], is_all: bool) -> Result<Message, String> {
    let (is_answer, to_head) = match side {
        Side::Request => (0, 0),
        Side::Answer { to_head } => (1, c_int::from(to_head)),
    };
    let mut listener = Listener::default();
    let mut verdict = Verdict { error: 0, status: 0, consumed: 0, why: std::ptr::null() };
    // SAFETY: all pointers are to things that outlive the call, with their lengths; the callback gets its listener back.
    unsafe {
        oracle_read(
            is_answer,
            to_head,
            bytes.as_ptr(),
            bytes.len(),
            c_int::from(is_all),
            hear,
            std::ptr::from_mut(&mut listener).cast(),
            &raw mut verdict,
        );
    }
    if verdict.error != 0 {
        let why = if verdict.why.is_null() {
            String::new()
        } else {
            // SAFETY: llhttp's reasons are string literals.
            unsafe { CStr::from_ptr(verdict.why) }.to_string_lossy().into_owned()
        };
        return Err(format!("{why} ({} at {})", verdict.error, verdict.consumed));
    }
    let mut message = listener.message;
    message.status = u16::try_from(verdict.status).unwrap_or_default();
    message.end = listener.has_ended.then_some(verdict.consumed);
    Ok(message)
}

/// What the comparison relies on, tried before it begins.
///
/// # Panics
/// When the oracle is not as it was when this was written.
pub fn check() {
    let read = |side, bytes: &[u8]| read(side, bytes, side != Side::Request);
    let answer = Side::Answer { to_head: false };
    let head = "POST /x HTTP/1.1\r\nHost: a\r\n";
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nSum: 7\r\n\r\n");
    let message = read(Side::Request, format!("{chunked}GET / HT").as_bytes()).expect("chunks");
    assert_eq!((&message.method[..], &message.target[..]), (&b"POST"[..], &b"/x"[..]));
    assert_eq!(message.headers[0], ("host".to_owned(), b"a".to_vec()));
    assert_eq!(message.trailers, [("sum".to_owned(), b"7".to_vec())]);
    assert_eq!((&message.body[..], message.end), (&b"hello"[..], Some(chunked.len())));
    for (message, end) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", true),
        ("GET / HTTP/1.1\r\nHost: a\r\n", false),
    ] {
        let input = if end { format!("{message}GET") } else { message.to_owned() };
        let read = read(Side::Request, input.as_bytes()).expect(message);
        assert_eq!(read.end, end.then_some(message.len()), "{message:?}");
    }
    assert!(read(Side::Request, b"GET / HTTP/1.1\r\nHost: a\n\r\n").is_err(), "a bare LF");
    let open = b"HTTP/1.1 200 OK\r\n\r\nabc";
    let message = read(answer, open).expect("until the connection ends");
    assert_eq!((&message.body[..], message.status), (&b"abc"[..], 200));
    assert_eq!(message.end, Some(open.len()));
    let bodiless = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    let message = read(Side::Answer { to_head: true }, bodiless).expect("an answer to HEAD");
    assert_eq!((&message.body[..], message.end), (&b""[..], Some(bodiless.len())));
}
