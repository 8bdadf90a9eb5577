//! An answer's head: judged, and made into the one that the client gets.

use httparse::{Header, ParserConfig, Status};

use super::fields::{Connection, Copier, Field, Lines, is_login, is_named, push_line, slots};
use super::framing::{Body, Framing};
use super::{HEAD_BYTES, Upgrade, Version};
use crate::digits;

/// 426 says in `Upgrade` what the client should speak (RFC 9110 15.5.22).
const UPGRADE_REQUIRED: u16 = 426;

/// What the request decides about its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// `HEAD`.
    pub(crate) is_head: bool,
    /// The client's version.
    pub(crate) version: Version,
    /// The version in which the backend was asked.
    pub(crate) sent: Version,
    pub(crate) upgrade: Upgrade,
    /// The client's connection may be kept.
    pub(crate) keep_alive: bool,
    /// How much of the request has come.
    pub(crate) come: Come,
}

/// How much of a request has come when its answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Come {
    All,
    /// Some of its body.
    Part,
    /// Its head.
    Head,
}

/// What happens to the body on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recode {
    /// Passes as it is framed (chunks without their extensions).
    No,
    /// Ends with the backend's connection: into chunks, so that the client's connection can be kept and a cut be seen.
    IntoChunks,
    /// In chunks, which the client does not know: only the data.
    OutOfChunks,
}

/// What is known of an answer once its head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// Bytes of the head as it came.
    pub(crate) len: usize,
    pub(crate) status: u16,
    pub(crate) body: Body,
    pub(crate) recode: Recode,
    /// The backend's connection can serve another request after this answer.
    pub(crate) keep_backend: bool,
    /// The client's connection stays after this answer, and was told so.
    pub(crate) keep_client: bool,
    /// It authenticates the connection that it came over, or asks for that.
    pub(crate) is_login: bool,
    /// The head to be sent was appended to `out`; otherwise it goes as it came.
    pub(crate) is_changed: bool,
}

impl Response {
    /// True for a head that announces another one.
    pub(crate) fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }
}

/// Reads the head at the start of `input`. `None`: more bytes are needed.
///
/// # Errors
/// When no client may see it.
#[inline(always)]
pub(crate) fn read(
    input: &[u8],
    asked: &Asked,
    out: &mut Vec<u8>,
) -> Result<Option<Response>, &'static str> {
    let mut slots = slots();
    let mut parsed = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    // What is beyond must not decide: whether it is there already depends on the packets.
    let head = input.get(..HEAD_BYTES).unwrap_or(input);
    let len = match config.parse_response_with_uninit_headers(&mut parsed, head, &mut slots) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if input.len() <= HEAD_BYTES => return Ok(None),
        Ok(Status::Partial) => return Err("head too large"),
        Err(httparse::Error::TooManyHeaders) => return Err("too many headers"),
        Err(_) => return Err("not an HTTP/1.x answer"),
    };
    let version = Version::of(parsed.version);
    let status = parsed.code.unwrap_or_default();
    let lines = Lines::new(input, parsed.headers, len);
    let head = Judged::new(status, version, asked, parsed.headers)?;
    let start = out.len();
    let mut copier = Copier::new(input, lines.start, out);
    if version != asked.version || lines.start > 0 || !lines.is_first_line_crlf() {
        let out = copier.rewrite(lines.first);
        out.extend_from_slice(b"HTTP/1.");
        out.push(asked.version.digit());
        // Behind "HTTP/1.1": the rest of the line.
        out.extend_from_slice(lines.first_line().get(8..).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
    }
    let is_changed = head.lines(copier, &lines, asked);
    if !is_changed {
        out.truncate(start);
    }
    Ok(Some(Response {
        len,
        status,
        body: head.body,
        recode: head.recode,
        keep_backend: head.keep_backend,
        keep_client: head.keep_client,
        is_login: head.is_login,
        is_changed,
    }))
}

/// What the lines of a head say together.
struct Judged {
    status: u16,
    framing: Framing,
    connection: Connection,
    body: Body,
    recode: Recode,
    keep_backend: bool,
    keep_client: bool,
    is_login: bool,
    has_upgrade: bool,
}

impl Judged {
    #[inline(always)]
    fn new(
        status: u16,
        version: Version,
        asked: &Asked,
        headers: &[Header<'_>],
    ) -> Result<Self, &'static str> {
        if !(100..=999).contains(&status) {
            return Err("status");
        }
        let mut framing = Framing::default();
        let mut connection = Connection::default();
        let (mut accepts, mut logs_in, mut has_upgrade) = (false, false, false);
        for header in headers {
            match Field::of(header.name) {
                Field::ContentLength => framing.add_length(header.value).map_err(|e| e.0)?,
                Field::TransferEncoding => framing.add_coding(header.value).map_err(|e| e.0)?,
                Field::Connection => connection.add(header.value),
                Field::WebSocketAccept => accepts = true,
                Field::Upgrade => has_upgrade = true,
                Field::Plain | Field::Host | Field::OldHop | Field::Te | Field::WebSocketKey => {}
                Field::Login => logs_in |= is_login(header.value),
            }
        }
        if status == 101 {
            may_switch(asked.upgrade, (connection.upgrade, accepts))?;
        }
        let body = framed(status, asked, &framing);
        let recode = match (body, asked.version) {
            (Body::UntilClose, Version::V11) => Recode::IntoChunks,
            (Body::Chunked, Version::V10) => Recode::OutOfChunks,
            (Body::Empty | Body::Length(_) | Body::Chunked | Body::UntilClose, _) => Recode::No,
        };
        // Who was asked in HTTP/1.0 says so when it stays, and has no chunks, whatever it speaks.
        let version = version.min(asked.sent);
        let is_kept = match version {
            Version::V11 => !connection.close,
            Version::V10 => connection.keep_alive && !connection.close,
        };
        // Both framings, or one that HTTP/1.0 has not: whoever wrote that may mean another end than we read.
        let is_old = version == Version::V10;
        let is_contradiction = framing.chunked && (is_old || framing.length.is_some());
        // A body where none can be (RFC 9110 8.6, 9112 6.1): it may follow, and be taken for the next answer.
        let is_surplus = status == 204 && (framing.chunked || framing.length > Some(0));
        let ends_by_close =
            asked.version == Version::V10 && matches!(body, Body::Chunked | Body::UntilClose);
        let keep_backend = is_kept && !is_contradiction && !is_surplus && body != Body::UntilClose;
        let is_rest_wanted = match asked.come {
            Come::All => true,
            Come::Part => keep_backend || accepts_request(status),
            Come::Head => keep_backend,
        };
        Ok(Self {
            status,
            framing,
            connection,
            body,
            recode,
            keep_backend,
            keep_client: asked.keep_alive && !ends_by_close && is_rest_wanted,
            is_login: logs_in,
            has_upgrade,
        })
    }

    /// Copies the lines that stay, then adds ours. False when the head may go as it came.
    #[inline(always)]
    fn lines(&self, mut copier: Copier<'_, '_>, lines: &Lines<'_, '_>, asked: &Asked) -> bool {
        let switches = self.status == 101;
        let is_interim = self.status < 200;
        // What a HEAD is told is what a GET would be; a 304 says what a 200 would (RFC 9110 9.3.2, 9112 6.1).
        let may_frame = !is_interim && self.status != 204;
        let has_length = may_frame && !self.framing.chunked;
        let has_coding = may_frame && self.recode == Recode::No && asked.version == Version::V11;
        for (header, line) in lines.each() {
            let field = Field::of(header.name);
            let stays = match field {
                Field::Plain
                | Field::Host
                | Field::Te
                | Field::WebSocketKey
                | Field::WebSocketAccept
                | Field::Login => {
                    !(self.connection.names_others && is_named(lines.headers, header.name))
                }
                Field::ContentLength => has_length && self.framing.is_length_plain,
                Field::TransferEncoding => has_coding,
                Field::Connection | Field::OldHop => false,
                Field::Upgrade => switches || self.status == UPGRADE_REQUIRED,
            };
            if stays { copier.keep(field, header, line) } else { copier.skip(line) }
        }
        let (out, is_changed) = copier.finish(lines);
        let before = out.len();
        if let (Some(length), true) = (self.framing.length, has_length)
            && !self.framing.is_length_plain
        {
            out.extend_from_slice(b"content-length: ");
            digits::number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        if self.recode == Recode::IntoChunks {
            push_line(out, "transfer-encoding", b"chunked");
        }
        let names_upgrade = self.status == UPGRADE_REQUIRED && self.has_upgrade;
        match (switches || names_upgrade, is_interim, self.keep_client, asked.version) {
            (true, false, false, _) => push_line(out, "connection", b"upgrade, close"),
            (true, ..) => push_line(out, "connection", b"upgrade"),
            (false, true, ..) | (false, false, true, Version::V11) => {}
            (false, false, false, _) => push_line(out, "connection", b"close"),
            (false, false, true, Version::V10) => push_line(out, "connection", b"keep-alive"),
        }
        let is_changed = is_changed || out.len() > before || !lines.is_blank_crlf();
        out.extend_from_slice(b"\r\n");
        is_changed
    }
}

/// True for an answer that is no refusal: what is still to come of its request is wanted.
pub(crate) fn accepts_request(status: u16) -> bool {
    status < 400
}

/// `upgrades`: the answer says `Connection: upgrade`, which is what haproxy wants; `accepts`: it proves that it has understood a websocket's request.
fn may_switch(wanted: Upgrade, (upgrades, accepts): (bool, bool)) -> Result<(), &'static str> {
    match wanted {
        Upgrade::No => Err("protocol switched unasked"),
        _ if !upgrades => Err("protocol switched without connection: upgrade"),
        Upgrade::WebSocket if !accepts => Err("switched to websocket without sec-websocket-accept"),
        Upgrade::WebSocket | Upgrade::Other => Ok(()),
    }
}

/// The one decision about where the answer ends.
fn framed(status: u16, asked: &Asked, framing: &Framing) -> Body {
    if status < 200 || matches!(status, 204 | 304) || asked.is_head {
        return Body::Empty;
    }
    match (framing.chunked, framing.length) {
        (true, _) => Body::Chunked,
        (false, Some(0)) => Body::Empty,
        (false, Some(length)) => Body::Length(length),
        (false, None) => Body::UntilClose,
    }
}
