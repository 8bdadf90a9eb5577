//! The commands: judged here as far as the request goes, carried out by the desk, logged with who and why.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::admin::percent::percent_decode;
use crate::admin::site::{self, Answer, Asked, Form, plain};
use crate::admin::table::printable;
use crate::config::text::{BareNumber, parse_duration};

use super::NerveSite;
use super::desk::{ACKNOWLEDGED_WITHIN, Desk, DeskError, DownRequest, ServiceStatus};
use super::routes::{Route, find, one, unknown_service};

/// Shortest announced downtime: less is over before anybody has heard of it.
pub const MIN_DOWN: Duration = Duration::from_millis(100);
/// Longest downtime that ends by itself; more is asked for without `for`.
pub const MAX_DOWN: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Shortest life of a pushed service: below, one late renewal would be an outage.
pub const MIN_TTL: Duration = Duration::from_secs(1);
/// Longest life of a pushed service: what nobody renews for a day is forgotten.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Life of a pushed service that does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// Longest reason, bytes: it stands in every status line.
pub const MAX_REASON_BYTES: usize = 256;
/// Longest name of a pushed service, bytes: it is a label in metrics and stands in every table.
pub const MAX_NAME_BYTES: usize = 200;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
enum Command {
    Down(DownRequest),
    Up,
    Put(Value, Duration),
    Delete,
}

impl Command {
    fn word(&self) -> &'static str {
        match self {
            Self::Down(_) => "down",
            Self::Up => "up",
            Self::Put(..) => "put",
            Self::Delete => "delete",
        }
    }

    /// What the log says besides: how long, and why.
    fn details(&self) -> (Option<Duration>, &str) {
        match self {
            Self::Down(request) => (request.lasting, &request.reason),
            Self::Put(_, ttl) => (Some(*ttl), ""),
            Self::Up | Self::Delete => (None, ""),
        }
    }
}

/// Takes a command.
pub(super) async fn act(site: &NerveSite, asked: &Asked) -> Answer {
    let peer = asked.peer;
    if let Err(forbidden) = site.access.allows(asked) {
        let (method, path) = (&asked.head.method, asked.path());
        tracing::info!(%peer, %method, path, reason = %forbidden, "command refused");
        return plain(StatusCode::FORBIDDEN, format!("{forbidden}\n"));
    }
    let (raw, command) = match command(asked) {
        Ok(command) => command,
        Err(complaints) => return bad(&complaints),
    };
    let services = site.desk.services();
    // A new name is what it says; a known one may also stand there unescaped.
    let name = match find(&services, &raw) {
        Some(known) => known.name.to_string(),
        None if matches!(command, Command::Put(..)) => percent_decode(&raw),
        None => return unknown_service(&services, &percent_decode(&raw)),
    };
    let (word, (lasting, reason)) = (command.word(), command.details());
    tracing::info!(service = name, %peer, ?lasting, reason, "command: {word}");
    let done = carry_out(site.desk.as_ref(), &name, command.clone()).await;
    if let Err(error) = &done {
        tracing::info!(service = name, %peer, %error, "command not done: {word}");
    }
    answer(site, asked, &name, done)
}

/// `None`: done, and there is nothing left to show.
async fn carry_out(
    desk: &dyn Desk,
    name: &str,
    command: Command,
) -> Result<Option<ServiceStatus>, DeskError> {
    let doing = async {
        match command {
            Command::Down(request) => desk.down(name, request).await.map(Some),
            Command::Up => desk.up(name).await.map(Some),
            Command::Put(definition, ttl) => desk.put(name, definition, ttl).await.map(Some),
            Command::Delete => desk.delete(name).await.map(|()| None),
        }
    };
    timeout(ACKNOWLEDGED_WITHIN, doing).await.unwrap_or(Err(DeskError::NotAcknowledged))
}

fn answer(
    site: &NerveSite,
    asked: &Asked,
    name: &str,
    done: Result<Option<ServiceStatus>, DeskError>,
) -> Answer {
    match done {
        Ok(Some(service)) => one(StatusCode::OK, &service, asked.form(Form::Json)),
        Ok(None) if asked.form(Form::Json) == Form::Text => {
            plain(StatusCode::OK, format!("{}: deregistered\n", printable(name)))
        }
        Ok(None) => site::json(StatusCode::OK, &json!({"name": name, "deleted": true})),
        Err(DeskError::Unknown(name)) => unknown_service(&site.desk.services(), &name),
        Err(DeskError::Refused(complaints)) => {
            bad(&complaints.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
        Err(error @ DeskError::Conflict(_)) => {
            plain(StatusCode::CONFLICT, format!("{}\n", printable(&error.to_string())))
        }
        Err(error @ DeskError::NotAcknowledged) => {
            plain(StatusCode::GATEWAY_TIMEOUT, format!("{error}\n"))
        }
    }
}

fn bad(complaints: &[String]) -> Answer {
    let lines: String = complaints.iter().map(|line| format!("{}\n", printable(line))).collect();
    plain(StatusCode::BAD_REQUEST, lines)
}

/// The name in the path and what is to be done, or everything that is wrong with the request.
fn command(asked: &Asked) -> Result<(String, Command), Vec<String>> {
    let mut complaints = Vec::new();
    let named = match Route::of(asked.path()) {
        Route::Down(raw) => {
            no_body(asked, &mut complaints);
            Some((raw, Command::Down(down(asked.query(), &mut complaints))))
        }
        Route::Up(raw) => {
            no_body(asked, &mut complaints);
            parameters(asked.query(), &[], &mut complaints);
            Some((raw, Command::Up))
        }
        Route::Service(raw) if asked.head.method == Method::DELETE => {
            parameters(asked.query(), &[], &mut complaints);
            Some((raw, Command::Delete))
        }
        Route::Service(raw) => {
            let command = put(&raw, asked, &mut complaints);
            Some((raw, command))
        }
        Route::Index
        | Route::Live
        | Route::Ready
        | Route::Metrics
        | Route::Services
        | Route::Unknown => None,
    };
    match named {
        Some(command) if complaints.is_empty() => Ok(command),
        Some(_) => Err(complaints),
        None => Err(vec![String::from("no command")]),
    }
}

/// `curl -d for=30s` would otherwise announce a downtime without an end.
fn no_body(asked: &Asked, complaints: &mut Vec<String>) {
    if !asked.body.is_empty() {
        complaints.push(String::from("no body is read here: parameters stand in the query"));
    }
}

fn down(query: &str, complaints: &mut Vec<String>) -> DownRequest {
    let mut request = DownRequest { lasting: None, reason: String::new() };
    for (key, value) in parameters(query, &["for", "reason"], complaints) {
        if key == "for" {
            request.lasting = duration("for", &value, MIN_DOWN..=MAX_DOWN, complaints);
        } else if value.len() > MAX_REASON_BYTES {
            let text = format!("reason: {} bytes, at most {MAX_REASON_BYTES}", value.len());
            complaints.push(text);
        } else {
            request.reason = value;
        }
    }
    request
}

fn put(raw: &str, asked: &Asked, complaints: &mut Vec<String>) -> Command {
    let name = percent_decode(raw);
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let length = name.len();
        complaints.push(format!("a name has 1 to {MAX_NAME_BYTES} bytes, not {length}"));
    }
    if name.chars().any(char::is_control) {
        complaints.push(format!("{name:?}: a name has no control characters"));
    }
    let mut ttl = DEFAULT_TTL;
    for (_, value) in parameters(asked.query(), &["ttl"], complaints) {
        ttl = duration("ttl", &value, MIN_TTL..=MAX_TTL, complaints).unwrap_or(ttl);
    }
    let definition = match serde_json::from_slice::<Value>(&asked.body) {
        Ok(definition @ Value::Object(_)) => definition,
        Ok(_) => {
            complaints.push(String::from("the body is no JSON object: a service as in the file"));
            Value::Null
        }
        Err(error) => {
            complaints.push(format!("the body is no JSON: {error}"));
            Value::Null
        }
    };
    Command::Put(definition, ttl)
}

/// The parameters of a query, each of `known` once at most. `format` is known everywhere.
fn parameters(
    query: &str,
    known: &[&'static str],
    complaints: &mut Vec<String>,
) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key == "format" {
            continue;
        }
        let Some(key) = known.iter().find(|k| **k == key) else {
            let there = if known.is_empty() { "none" } else { &known.join(", ") };
            complaints.push(format!("{key:?} is no parameter here; there is {there}"));
            continue;
        };
        if found.iter().any(|(k, _)| k == key) {
            complaints.push(format!("{key} is given twice"));
        } else {
            found.push((key, percent_decode(&value.replace('+', " "))));
        }
    }
    found
}

fn duration(
    key: &str,
    text: &str,
    bounds: std::ops::RangeInclusive<Duration>,
    complaints: &mut Vec<String>,
) -> Option<Duration> {
    match parse_duration(text, BareNumber::Seconds) {
        Some(duration) if bounds.contains(&duration) => Some(duration),
        Some(_) => {
            let (least, most) = (bounds.start(), bounds.end());
            complaints.push(format!("{key}: {text} is not between {least:?} and {most:?}"));
            None
        }
        None => {
            complaints.push(format!("{key}: {text:?} is no duration such as 30s or 5m"));
            None
        }
    }
}
