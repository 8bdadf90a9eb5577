//! Lines of a head: what their names mean to a proxy, and copying a head without some of them.

use httparse::Header;

use super::{HEADERS, Refusal};

/// Fields that a proxy must understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Passes as it is.
    Plain,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    /// `Keep-Alive`, `Proxy-Connection`: hop-by-hop of old.
    OldHop,
    Te,
    Upgrade,
    WebSocketKey,
    WebSocketAccept,
    /// `Authorization`, `WWW-Authenticate` and their like for proxies: see [`is_login`].
    Login,
}

impl Field {
    /// By name, of which most differ in length already.
    pub(crate) fn of(name: &str) -> Self {
        let (known, field) = match name.len() {
            2 => ("te", Self::Te),
            4 => ("host", Self::Host),
            7 => ("upgrade", Self::Upgrade),
            10 if name.as_bytes().first().is_some_and(|b| b | 0x20 == b'k') => {
                ("keep-alive", Self::OldHop)
            }
            10 => ("connection", Self::Connection),
            13 if name.as_bytes().first().is_some_and(|b| b | 0x20 == b'a') => {
                ("authorization", Self::Login)
            }
            14 => ("content-length", Self::ContentLength),
            16 if name.as_bytes().first().is_some_and(|b| b | 0x20 == b'w') => {
                ("www-authenticate", Self::Login)
            }
            16 => ("proxy-connection", Self::OldHop),
            17 if name.as_bytes().first().is_some_and(|b| b | 0x20 == b's') => {
                ("sec-websocket-key", Self::WebSocketKey)
            }
            17 => ("transfer-encoding", Self::TransferEncoding),
            18 => ("proxy-authenticate", Self::Login),
            19 => ("proxy-authorization", Self::Login),
            20 => ("sec-websocket-accept", Self::WebSocketAccept),
            _ => return Self::Plain,
        };
        if name.eq_ignore_ascii_case(known) { field } else { Self::Plain }
    }
}

/// The comma-separated words of a value.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

/// True when `value` has `word` among its tokens.
pub(crate) fn has_token(value: &[u8], word: &str) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(word.as_bytes()))
}

/// True when credentials or challenges in `value` are of a scheme that authenticates the connection, not the request: who
/// else uses it is taken for the same user. NTLM, Negotiate and their variants, known as haproxy knows them.
pub(crate) fn is_login(value: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 2] = [b"ntlm", b"nego"];
    tokens(value).any(|token| {
        let begins =
            |known: &&[u8]| token.get(..4).is_some_and(|it| it.eq_ignore_ascii_case(known));
        BEGINNINGS.iter().any(begins)
    })
}

/// What `Connection` says, over all its lines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// Names other headers, which then belong to this hop.
    pub(crate) names_others: bool,
}

impl Connection {
    pub(crate) fn add(&mut self, value: &[u8]) {
        for token in tokens(value) {
            let is = |word: &str| token.eq_ignore_ascii_case(word.as_bytes());
            if is("close") {
                self.close = true;
            } else if is("keep-alive") {
                self.keep_alive = true;
            } else if is("upgrade") {
                self.upgrade = true;
            } else {
                self.names_others = true;
            }
        }
    }
}

/// True when a `Connection` line among `headers` names `name`. Framing and `Host` are never asked about: naming them must
/// not remove them, or a client could change where a message ends.
pub(crate) fn is_named(headers: &[Header<'_>], name: &str) -> bool {
    let lines = headers.iter().filter(|h| Field::of(h.name) == Field::Connection);
    lines.flat_map(|h| tokens(h.value)).any(|t| t.eq_ignore_ascii_case(name.as_bytes()))
}

/// Room for the headers of one head, on the stack, untouched until used.
pub(crate) type Slots<'b> = [std::mem::MaybeUninit<Header<'b>>; HEADERS];

/// An empty [`Slots`].
pub(crate) const fn slots<'b>() -> Slots<'b> {
    [const { std::mem::MaybeUninit::uninit() }; HEADERS]
}

/// Where `part` begins in `whole`, of which it is a part.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().saturating_sub(whole.as_ptr().addr())
}

/// A parsed head with the places of its lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a, 'b> {
    pub(crate) input: &'b [u8],
    pub(crate) headers: &'a [Header<'b>],
    /// Where the first line begins: empty lines before it are skipped.
    pub(crate) start: usize,
    /// Where the first header begins.
    pub(crate) first: usize,
    /// Where the empty line begins.
    blank: usize,
}

impl<'a, 'b> Lines<'a, 'b> {
    /// Of a head of `len` bytes.
    pub(crate) fn new(input: &'b [u8], headers: &'a [Header<'b>], len: usize) -> Self {
        let head = input.get(..len).unwrap_or(input);
        let start = head.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let blank = if head.ends_with(b"\r\n") { len - 2 } else { len.saturating_sub(1) };
        let first = headers.first().map_or(blank, |h| offset(input, h.name.as_bytes()));
        Self { input, headers, start, first, blank }
    }

    /// The first line without its end.
    pub(crate) fn first_line(&self) -> &'b [u8] {
        let line = self.input.get(self.start..self.first).unwrap_or_default();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// True when the first line ends in CRLF.
    pub(crate) fn is_first_line_crlf(&self) -> bool {
        self.input.get(..self.first).is_some_and(|line| line.ends_with(b"\r\n"))
    }

    /// True when the empty line ends in CRLF.
    pub(crate) fn is_blank_crlf(&self) -> bool {
        self.input.get(self.blank..).is_some_and(|line| line.starts_with(b"\r\n"))
    }

    /// Each header with the place of its line.
    pub(crate) fn each(self) -> impl Iterator<Item = (&'a Header<'b>, std::ops::Range<usize>)> {
        self.headers.iter().enumerate().map(move |(index, header)| {
            let start = offset(self.input, header.name.as_bytes());
            let next = self.headers.get(index + 1);
            let end = next.map_or(self.blank, |h| offset(self.input, h.name.as_bytes()));
            (header, start..end)
        })
    }
}

/// Copies a head, in runs as long as nothing changes.
#[derive(Debug)]
pub(crate) struct Copier<'b, 'o> {
    input: &'b [u8],
    from: usize,
    out: &'o mut Vec<u8>,
    /// Something was left out or rewritten.
    pub(crate) is_changed: bool,
}

impl<'b, 'o> Copier<'b, 'o> {
    /// Copies from `from` on.
    pub(crate) fn new(input: &'b [u8], from: usize, out: &'o mut Vec<u8>) -> Self {
        Self { input, from, out, is_changed: false }
    }

    /// What is written instead of everything up to `until`.
    pub(crate) fn rewrite(&mut self, until: usize) -> &mut Vec<u8> {
        self.is_changed = true;
        self.from = until;
        self.out
    }

    /// Keeps a line, with a proper end; one about framing in the one form that everybody reads alike: who takes a tab for a
    /// part of the value would see another end.
    pub(crate) fn keep(&mut self, field: Field, header: &Header<'_>, line: std::ops::Range<usize>) {
        let behind = self.input.get(line.start + header.name.len()..line.end).unwrap_or_default();
        let is_tight = match field {
            // ": " and CRLF.
            Field::ContentLength | Field::TransferEncoding => {
                behind.len() == header.value.len() + 4 && behind.starts_with(b": ")
            }
            Field::Plain
            | Field::Host
            | Field::Connection
            | Field::OldHop
            | Field::Te
            | Field::Upgrade
            | Field::WebSocketKey
            | Field::WebSocketAccept
            | Field::Login => true,
        };
        if is_tight && behind.ends_with(b"\r\n") {
            return;
        }
        self.skip(line);
        self.line(header.name, header.value);
    }

    /// Leaves a line out.
    pub(crate) fn skip(&mut self, line: std::ops::Range<usize>) {
        self.is_changed = true;
        self.flush(line.start);
        self.from = line.end;
    }

    /// Adds a line at this place.
    pub(crate) fn line(&mut self, name: &str, value: &[u8]) {
        self.is_changed = true;
        push_line(self.out, name, value);
    }

    fn flush(&mut self, until: usize) {
        self.out.extend_from_slice(self.input.get(self.from..until).unwrap_or_default());
    }

    /// Copies what is left of the lines; further ones and the empty line may be added then.
    pub(crate) fn finish(mut self, lines: &Lines<'_, '_>) -> (&'o mut Vec<u8>, bool) {
        self.flush(lines.blank);
        (self.out, self.is_changed)
    }
}

/// Writes one header line.
pub(crate) fn push_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What httparse found wrong in a request.
pub(crate) fn refusal(error: httparse::Error, input: &[u8]) -> Refusal {
    use httparse::Error as E;
    match error {
        E::TooManyHeaders => Refusal::new(431, "too many headers"),
        E::Version if is_other_version(input) => {
            Refusal::new(505, "a version other than HTTP/1.0 and HTTP/1.1")
        }
        E::Version => Refusal::bad("not HTTP/1.x"),
        E::HeaderName => Refusal::bad("header name"),
        E::HeaderValue => Refusal::bad("header value"),
        E::NewLine => Refusal::bad("line end"),
        E::Token => Refusal::bad("request line"),
        E::Status => Refusal::bad("status"),
    }
}

/// True when the request line ends in a version that is well formed but none of ours.
fn is_other_version(input: &[u8]) -> bool {
    let input = input.trim_ascii_start();
    let line = input.split(|b| *b == b'\n').next().unwrap_or_default();
    let word = line.trim_ascii_end().rsplit(|b| *b == b' ').next().unwrap_or_default();
    matches!(word.strip_prefix(b"HTTP/"), Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// No end within [`HEAD_BYTES`](super::HEAD_BYTES): of the target, if not even the first line has ended.
pub(crate) fn too_large(head: &[u8]) -> Refusal {
    if has_first_line(head) {
        Refusal::new(431, "head too large")
    } else {
        Refusal::new(414, "request line too long")
    }
}

/// True when the first line has ended.
pub(crate) fn has_first_line(head: &[u8]) -> bool {
    head.trim_ascii_start().contains(&b'\n')
}
