//! Keys that both programs have: `admin.listen`, `state_dir`, `zk_session_timeout`, `log`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::defaults;
use super::origins::effective;
use super::reader::{Cursor, Section};
use super::report::Report;
use super::template::Env;
use super::text::BareNumber;
use super::{Complaint, EffectiveValue, LogFormat};

/// Keys of `log`.
pub const LOG_KEYS: [&str; 1] = ["format"];

/// Where the program runs.
#[derive(Debug)]
pub struct Host<'a> {
    /// The environment.
    pub env: &'a Env,
    /// The program's directory below `/var/lib`.
    pub state_dir: &'a Path,
}

/// A session time-out that a server can keep.
pub fn session_timeout(cursor: &Cursor<'_>, report: &mut Report) -> Option<Duration> {
    let timeout = cursor.duration(BareNumber::Seconds, report)?;
    let range = defaults::SESSION_TIMEOUT_MIN..=defaults::SESSION_TIMEOUT_MAX;
    within(range, timeout, (cursor, report))
}

/// `bulk_lull`.
pub fn bulk_lull(cursor: &Cursor<'_>, report: &mut Report) -> Option<Duration> {
    let lull = cursor.delay(BareNumber::Seconds, report)?;
    within(Duration::ZERO..=defaults::BULK_LULL_MAX, lull, (cursor, report))
}

/// `time`, unless it is out of range, which is complained about.
fn within(
    range: RangeInclusive<Duration>,
    time: Duration,
    (cursor, report): (&Cursor<'_>, &mut Report),
) -> Option<Duration> {
    if !range.contains(&time) {
        let text = format!("{time:?} is not between {:?} and {:?}", range.start(), range.end());
        report.complain(cursor.place(), text);
        return None;
    }
    Some(time)
}

/// `log.format`.
pub fn log_format(top: &Section<'_>, report: &mut Report) -> LogFormat {
    top.get("log")
        .and_then(|c| c.section(&LOG_KEYS, report))
        .and_then(|section| section.get("format"))
        .and_then(|c| c.choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)], report))
        .unwrap_or_default()
}

/// `ADDR:PORT`, `localhost:PORT`, or a port alone (on loopback).
pub fn socket_addr(cursor: &Cursor<'_>, report: &mut Report) -> Option<SocketAddr> {
    let text = cursor.text(report)?;
    let loopback = |port: &str| {
        let port = port.parse().ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    };
    let port_only = text.strip_prefix("localhost:").unwrap_or(&text);
    let addr = text.parse().ok().or_else(|| loopback(port_only));
    if addr.is_none() {
        let text = format!("{text:?} is not ADDRESS:PORT such as \"127.0.0.1:3210\"");
        report.complain(cursor.place(), text);
    }
    addr
}

/// `state_dir` and where it comes from; what is odd about this host goes to `notes`.
pub fn state_dir(
    top: &Section<'_>,
    host: &Host<'_>,
    notes: &mut Vec<Complaint>,
    report: &mut Report,
) -> (Option<PathBuf>, EffectiveValue) {
    let key = top.get("state_dir");
    let dir = match &key {
        Some(cursor) => cursor.word(report).map(PathBuf::from),
        None => default_state_dir(top, host, notes),
    };
    let shown = dir.as_ref().map_or_else(|| "none".to_owned(), |d| d.display().to_string());
    let origin = effective("state_dir", shown, key.as_ref().map(Cursor::place));
    (dir, origin)
}

/// systemd's directory, else the system's if this process can write there. Looks, creates nothing: `check` runs this.
fn default_state_dir(
    top: &Section<'_>,
    host: &Host<'_>,
    notes: &mut Vec<Complaint>,
) -> Option<PathBuf> {
    let from_systemd = host.env.var("STATE_DIRECTORY");
    // systemd joins several directories with `:`.
    let first = from_systemd.as_deref().and_then(|dirs| dirs.split(':').next());
    if let Some(dir) = first.filter(|dir| !dir.is_empty()) {
        return Some(PathBuf::from(dir));
    }
    let dir = host.state_dir;
    let writable =
        |dir: &Path| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok() && dir.is_dir();
    if writable(dir) || (!dir.exists() && dir.parent().is_some_and(writable)) {
        return Some(dir.to_owned());
    }
    let text = format!(
        "not set and {} cannot be written: nothing is remembered across restarts",
        dir.display()
    );
    notes.push(top.place().key("state_dir").complaint(text));
    None
}
