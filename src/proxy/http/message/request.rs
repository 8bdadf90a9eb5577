//! A request's head: judged, and made into the one that the backend gets.

use std::net::IpAddr;

use httparse::{Header, ParserConfig, Status};

use super::fields::{
    Connection, Copier, Field, Lines, has_first_line, has_token, is_login, is_named, push_line,
    refusal, slots, too_large,
};
use super::framing::{Body, Framing, is_only_trailers};
use super::target::{self, Target};
use super::{HEAD_BYTES, Refusal, Upgrade, Version, forwarded};
use crate::digits;
use crate::proxy::ForwardFor;

/// What is known of a request once its head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Bytes of the head as it came.
    pub(crate) len: usize,
    /// The client's version. The two hops are kept open independently.
    pub(crate) version: Version,
    /// The backend's: 1.1, but for a request of 1.0 that says no host. None is right for it: 1.1 wants one, and servers refuse
    /// an empty one.
    pub(crate) sent: Version,
    /// `HEAD`: the answer has no body.
    pub(crate) is_head: bool,
    /// May be sent twice without doing anything twice (RFC 9110 9.2.2).
    pub(crate) is_idempotent: bool,
    pub(crate) body: Body,
    /// The client keeps its connection for another request.
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: Upgrade,
    /// Its credentials are for the connection that it goes over.
    pub(crate) is_login: bool,
}

/// What the proxy adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) forward_for: Option<&'a ForwardFor>,
    pub(crate) client: Option<IpAddr>,
    /// The backend is to close after its answer.
    pub(crate) close: bool,
}

/// Reads the head at the start of `input`; appends the backend's to `out`. `None`: more bytes are needed.
///
/// # Errors
/// When it must not be forwarded. `out` may hold a part then.
#[inline(always)]
pub(crate) fn read(
    input: &[u8],
    rules: &Rules<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Request>, Refusal> {
    let mut slots = slots();
    let mut parsed = httparse::Request::new(&mut []);
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_request_line_delimiters(true);
    // What is beyond must not decide: whether it is there already depends on the packets.
    let head = input.get(..HEAD_BYTES).unwrap_or(input);
    let is_all = input.len() > HEAD_BYTES;
    let len = match config.parse_request_with_uninit_headers(&mut parsed, head, &mut slots) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if !is_all => return Ok(None),
        Ok(Status::Partial) => return Err(too_large(head)),
        // Another version, or none: the whole line says.
        Err(httparse::Error::Version) if !is_all && !has_first_line(head) => return Ok(None),
        Err(error) => return Err(refusal(error, head)),
    };
    let lines = Lines::new(input, parsed.headers, len);
    let (method, raw) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let target = target::target(method, raw)?;
    let head = Judged::new(Version::of(parsed.version), method, &target, parsed.headers)?;
    let mut copier = Copier::new(input, lines.start, out);
    first_line(&mut copier, &lines, (head.version, head.sent), method, &target);
    head.lines(copier, &lines, rules, &target);
    Ok(Some(head.summary(len, method)))
}

/// The request line is copied when it is in the one form that everybody reads alike.
#[inline(always)]
fn first_line(
    copier: &mut Copier<'_, '_>,
    lines: &Lines<'_, '_>,
    (version, sent): (Version, Version),
    method: &str,
    target: &Target<'_>,
) {
    // "GET / HTTP/1.1": two spaces and eight bytes of version.
    let plain = method.len() + target.path.len() + 10;
    let line = lines.first_line();
    let is_plain = version == sent
        && target.site.is_none()
        && line.len() == plain
        && lines.is_first_line_crlf();
    if is_plain {
        return;
    }
    let out = copier.rewrite(lines.first);
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    target.push(out, method);
    out.extend_from_slice(b" HTTP/1.");
    out.push(sent.digit());
    out.extend_from_slice(b"\r\n");
}

/// What the lines of a head say together.
struct Judged<'b> {
    version: Version,
    sent: Version,
    framing: Framing,
    body: Body,
    connection: Connection,
    host: Option<&'b [u8]>,
    upgrade: Upgrade,
    rewrites_te: bool,
    takes_trailers: bool,
    is_login: bool,
}

impl<'b> Judged<'b> {
    #[inline(always)]
    fn new(
        version: Version,
        method: &str,
        target: &Target<'b>,
        headers: &[Header<'b>],
    ) -> Result<Self, Refusal> {
        let mut head = Self {
            version,
            sent: Version::V11,
            framing: Framing::default(),
            body: Body::Empty,
            connection: Connection::default(),
            host: None,
            upgrade: Upgrade::No,
            rewrites_te: false,
            takes_trailers: false,
            is_login: false,
        };
        let mut asks = Asks::default();
        for header in headers {
            head.take(header, &mut asks)?;
        }
        head.body = head.framed(method)?;
        head.upgrade = head.upgraded(&asks)?;
        match (target.site, head.host) {
            (Some(site), Some(host)) if !site.is_at(host) => {
                Err(Refusal::bad("host differs from the target's"))
            }
            (None, None) if version == Version::V11 => Err(Refusal::bad("no host")),
            (None, None) => Ok(Self { sent: version, ..head }),
            (Some(_) | None, _) => Ok(head),
        }
    }

    fn take(&mut self, header: &Header<'b>, asks: &mut Asks) -> Result<(), Refusal> {
        let value = header.value;
        match Field::of(header.name) {
            Field::Plain | Field::OldHop | Field::WebSocketAccept => {}
            Field::Host if self.host.is_some_and(|host| host != value) => {
                return Err(Refusal::bad("two different hosts"));
            }
            Field::Host if !target::is_host(value) => {
                return Err(Refusal::bad("host is not a host"));
            }
            Field::Host => self.host = Some(value),
            Field::ContentLength => {
                self.framing.add_length(value).map_err(|e| Refusal::bad(e.0))?
            }
            Field::TransferEncoding => {
                self.framing.add_coding(value).map_err(|e| Refusal::bad(e.0))?;
            }
            Field::Connection => self.connection.add(value),
            Field::Te => {
                // Two lines, or more than `trailers`: written anew.
                self.rewrites_te |= self.takes_trailers || !is_only_trailers(value);
                self.takes_trailers |= has_token(value, "trailers");
            }
            Field::Upgrade => {
                asks.any = true;
                asks.websocket |= has_token(value, "websocket");
                asks.h2c |= has_token(value, "h2c");
            }
            Field::WebSocketKey => asks.key |= !value.is_empty(),
            Field::Login => self.is_login |= is_login(value),
        }
        Ok(())
    }

    /// The one decision about where the request ends.
    fn framed(&self, method: &str) -> Result<Body, Refusal> {
        let old = self.version == Version::V10;
        match (self.framing.chunked, self.framing.length) {
            (true, Some(_)) => Err(Refusal::bad("content-length and transfer-encoding")),
            (true, None) if old => Err(Refusal::bad("transfer-encoding in HTTP/1.0")),
            (true, None) => Ok(Body::Chunked),
            (false, None | Some(0)) => Ok(Body::Empty),
            // Servers of that age may take it for the next request.
            (false, Some(_)) if old && ["GET", "HEAD", "DELETE"].contains(&method) => {
                Err(Refusal::new(413, "body of an HTTP/1.0 request without one"))
            }
            (false, Some(length)) => Ok(Body::Length(length)),
        }
    }

    fn upgraded(&self, asks: &Asks) -> Result<Upgrade, Refusal> {
        // h2c would hand the backend's HTTP/2 to the client unseen.
        let is_asked = asks.any && self.connection.upgrade && !asks.h2c;
        match (is_asked && self.version == Version::V11, asks.websocket) {
            (false, _) => Ok(Upgrade::No),
            (true, false) => Ok(Upgrade::Other),
            (true, true) if asks.key => Ok(Upgrade::WebSocket),
            (true, true) => Err(Refusal::bad("websocket without sec-websocket-key")),
        }
    }

    /// Copies the lines that stay, then adds ours.
    #[inline(always)]
    fn lines(
        &self,
        mut copier: Copier<'_, '_>,
        lines: &Lines<'_, '_>,
        rules: &Rules<'_>,
        target: &Target<'_>,
    ) {
        let mut has_host = false;
        for (header, line) in lines.each() {
            let field = Field::of(header.name);
            let stays = match field {
                Field::Plain | Field::WebSocketKey | Field::WebSocketAccept | Field::Login => {
                    !(self.connection.names_others && is_named(lines.headers, header.name))
                }
                Field::Host => !std::mem::replace(&mut has_host, true),
                Field::ContentLength => self.framing.is_length_plain,
                Field::TransferEncoding => true,
                Field::Connection | Field::OldHop => false,
                Field::Te => self.takes_trailers && !self.rewrites_te,
                Field::Upgrade => self.upgrade != Upgrade::No,
            };
            if stays { copier.keep(field, header, line) } else { copier.skip(line) }
        }
        let (out, _) = copier.finish(lines);
        if let (false, Some(site)) = (has_host, target.site) {
            push_line(out, "host", site.authority.as_bytes());
        }
        if let (Some(length), false) = (self.framing.length, self.framing.is_length_plain) {
            out.extend_from_slice(b"content-length: ");
            digits::number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        if self.takes_trailers && self.rewrites_te {
            push_line(out, "te", b"trailers");
        }
        if self.upgrade != Upgrade::No {
            push_line(out, "connection", b"upgrade");
        } else if rules.close {
            push_line(out, "connection", b"close");
        } else if self.sent == Version::V10 {
            push_line(out, "connection", b"keep-alive");
        }
        if let (Some(rule), Some(client)) = (rules.forward_for, rules.client) {
            forwarded::append(out, rule, client, lines.headers);
        }
        out.extend_from_slice(b"\r\n");
    }

    #[inline(always)]
    fn summary(&self, len: usize, method: &str) -> Request {
        const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
        let is_asked = self.version == Version::V11 || self.connection.keep_alive;
        Request {
            len,
            version: self.version,
            sent: self.sent,
            is_head: method == "HEAD",
            is_idempotent: IDEMPOTENT.contains(&method),
            body: self.body,
            keep_alive: is_asked && !self.connection.close,
            upgrade: self.upgrade,
            is_login: self.is_login,
        }
    }
}

/// What stands in `Upgrade` and with it.
#[derive(Clone, Copy, Debug, Default)]
struct Asks {
    any: bool,
    websocket: bool,
    h2c: bool,
    key: bool,
}
