//! The native `access_log` of a `proxy` section.

use std::path::PathBuf;
use std::sync::Arc;

use super::haproxy::{FACILITY_NAMES, FRAMINGS, show_target, syslog_server, syslog_socket};
use super::reader::Cursor;
use super::report::Report;
use crate::telemetry::access::{
    AccessLog, Capture, Facility, Format, Framing, Level, MAX_LEN, MAX_RAW_LEN, Place, Tag, Target,
    Targets,
};

/// Keys of `proxy.access_log`.
pub const KEYS: [&str; 12] = [
    "to",
    "format",
    "framing",
    "facility",
    "tag",
    "hostname",
    "max_length",
    "skip_null",
    "skip_normal",
    "separate_errors",
    "request_headers",
    "response_headers",
];

const FORMATS: [(&str, Format); 4] = [
    ("httplog", Format::Http),
    ("tcplog", Format::Tcp),
    ("json", Format::Json),
    ("connect", Format::Connect),
];

/// Bytes of a header's value that are written at most.
const CAPTURED: usize = 256;

/// Shortest `max_length`, as haproxy's.
const MIN_LEN: u64 = 80;

/// What the key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    format: Option<Format>,
    target: Target,
    skip_null: bool,
    skip_normal: bool,
    separate_errors: bool,
    requests: Vec<Capture>,
    responses: Vec<Capture>,
}

/// haproxy's word for a format.
pub fn format_name(format: Format) -> &'static str {
    FORMATS.iter().find(|(_, it)| *it == format).map_or("", |(name, _)| name)
}

/// This host's name, for heads of messages.
///
/// # Errors
/// When the kernel does not tell, or tells something that has no place in a message.
pub fn this_host() -> Result<Arc<str>, String> {
    const NAME: &str = "/proc/sys/kernel/hostname";
    let text = std::fs::read_to_string(NAME).map_err(|error| format!("{NAME}: {error}"))?;
    let name = text.trim();
    let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(name.into()) } else { Err(format!("{name:?} is not the name of a host")) }
}

/// Reads the key: `false`, or a map. The outer `None` is a mistake.
pub fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<Option<LogSettings>> {
    if cursor.value().as_bool() == Some(false) {
        return Some(None);
    }
    let section = cursor.section(&KEYS, report)?;
    let place = section.required("to", report).and_then(|to| place(&to, report));
    let format = section.get("format").and_then(|it| it.choice(&FORMATS, report));
    let framing = section.get("framing").and_then(|it| it.choice(&FRAMINGS, report));
    let facility = section.get("facility").and_then(|it| facility(&it, report));
    let program = section.get("tag").and_then(|it| program(&it, report));
    let host = section.get("hostname").and_then(|it| host(&it, report));
    let max_len = section.get("max_length").and_then(|it| max_len(&it, report));
    let captures = |key: &str, report: &mut Report| {
        section.get(key).map(|it| captures(&it, report)).unwrap_or_default()
    };
    let (requests, responses) =
        (captures("request_headers", report), captures("response_headers", report));
    let (skip_null, skip_normal, separate_errors) = (
        section.flag("skip_null", false, report),
        section.flag("skip_normal", false, report),
        section.flag("separate_errors", false, report),
    );
    let place = place?;
    let is_syslog = matches!(place, Place::Udp(_) | Place::Unix(_));
    let by_place = || match (is_syslog, &host) {
        (false, _) => Framing::Raw,
        (true, Some(_)) => Framing::Rfc3164,
        (true, None) => Framing::Local,
    };
    // A cut object is none.
    let usual_len = if is_syslog && format != Some(Format::Json) { MAX_LEN } else { MAX_RAW_LEN };
    let target = Target {
        place,
        framing: framing.unwrap_or_else(by_place),
        max_len: max_len.unwrap_or(usual_len),
        facility: facility.unwrap_or(Facility::LOCAL0),
        max_level: Level::DEBUG,
        min_level: Level::EMERG,
        tag: Tag { program: program.unwrap_or_else(|| Tag::PROGRAM.into()), host },
    };
    Some(Some(LogSettings {
        format,
        target,
        skip_null,
        skip_normal,
        separate_errors,
        requests,
        responses,
    }))
}

impl LogSettings {
    /// As the log of a service. Without `format` it is that of requests, of sessions where the mode is TCP.
    pub fn resolve(&self, frontend: &Arc<str>, backend: &Arc<str>) -> AccessLog {
        AccessLog {
            frontend: Arc::clone(frontend),
            backend: Arc::clone(backend),
            format: self.format.unwrap_or(Format::Http),
            targets: Targets::shared(vec![self.target.clone()]),
            skip_null: self.skip_null,
            skip_normal: self.skip_normal,
            separate_errors: self.separate_errors,
            request_captures: self.requests.clone().into(),
            response_captures: self.responses.clone().into(),
        }
    }

    /// What `synapse check` shows.
    pub fn show(&self) -> String {
        show_target(&self.target)
    }
}

/// `stdout`, `stderr`, `/path`, `udp://HOST:PORT` or `unix:/path`.
fn place(cursor: &Cursor<'_>, report: &mut Report) -> Option<Place> {
    let text = cursor.word(report)?;
    let place = match text.as_str() {
        "stdout" => Ok(Place::Stdout),
        "stderr" => Ok(Place::Stderr),
        path if path.starts_with('/') => Ok(Place::File(PathBuf::from(path))),
        text => match (text.strip_prefix("udp://"), text.strip_prefix("unix:")) {
            (Some(server), _) => syslog_server(server).map(Place::Udp),
            (_, Some(path)) if path.starts_with('/') => syslog_socket(path).map(Place::Unix),
            _ => Err(format!(
                "{text:?} is not stdout, stderr, /path/of/a/file, udp://HOST:PORT or unix:/path"
            )),
        },
    };
    place.map_err(|error| report.complain(cursor.place(), error)).ok()
}

fn facility(cursor: &Cursor<'_>, report: &mut Report) -> Option<Facility> {
    let text = cursor.word(report)?;
    let found = FACILITY_NAMES.iter().position(|name| *name == text);
    let number = found.and_then(|at| u8::try_from(at).ok());
    if number.is_none() {
        let names = FACILITY_NAMES.join(", ");
        report.complain(cursor.place(), format!("{text:?} is not one of {names}"));
    }
    number.map(Facility)
}

fn program(cursor: &Cursor<'_>, report: &mut Report) -> Option<Arc<str>> {
    let text = cursor.word(report)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(text.into());
    }
    report.complain(cursor.place(), format!("{text:?} has blanks or other odd characters"));
    None
}

/// `true`: this host's; or a name.
fn host(cursor: &Cursor<'_>, report: &mut Report) -> Option<Arc<str>> {
    match cursor.value().as_bool() {
        Some(true) => {
            let host = this_host();
            host.map_err(|error| report.complain(cursor.place(), error)).ok()
        }
        Some(false) => None,
        None => program(cursor, report),
    }
}

fn max_len(cursor: &Cursor<'_>, report: &mut Report) -> Option<usize> {
    let range = MIN_LEN..=MAX_RAW_LEN as u64;
    let length = cursor.integer(range, "a length of a message in bytes", report)?;
    usize::try_from(length).ok()
}

fn captures(cursor: &Cursor<'_>, report: &mut Report) -> Vec<Capture> {
    let mut captures: Vec<Capture> = Vec::new();
    for item in cursor.items() {
        let Some(name) = item.word(report) else {
            continue;
        };
        if !super::haproxy::is_token(&name) {
            report.complain(item.place(), format!("{name:?} is not a header name"));
        } else if captures.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
            // One key twice in an object of JSON.
            report.complain(item.place(), format!("{name:?} is captured already"));
        } else {
            captures.push(Capture { name: name.into(), max_len: CAPTURED });
        }
    }
    captures
}
