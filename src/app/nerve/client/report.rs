//! What the replies of all nerves come to: done or not, as a table or as JSON.

use std::path::Path;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::ClientCommand;
use super::call::Reply;
use crate::admin::nerve::shape::ServiceShape;
use crate::admin::nerve::table::{detail_text, status_table};
use crate::admin::table::printable;

impl Reply {
    /// The body of a success.
    fn success(&self) -> Option<&str> {
        match &self.said {
            Ok((status, body)) if status.is_success() => Some(body),
            Ok(_) | Err(_) => None,
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(&self.said, Ok((status, _)) if *status == StatusCode::NOT_FOUND)
    }

    /// What went wrong, the lines of the server's text joined.
    fn failure(&self) -> Option<String> {
        match &self.said {
            Ok((status, _)) if status.is_success() => None,
            Ok((_, body)) => {
                let lines: Vec<_> = body.lines().map(printable).collect();
                Some(lines.join("\n  "))
            }
            Err(error) => Some(printable(&error.line())),
        }
    }
}

/// At least one has done it, and nobody who knows the service has not.
pub(super) fn is_done(replies: &[Reply]) -> bool {
    let one_did = replies.iter().any(|reply| reply.success().is_some());
    one_did && replies.iter().all(|reply| reply.success().is_some() || reply.is_unknown())
}

/// What went wrong, one line for each nerve; that one of several does not know the service is no failure.
pub(super) fn failures(replies: &[Reply]) -> Vec<String> {
    let one_did = replies.iter().any(|reply| reply.success().is_some());
    let mut lines: Vec<String> = Vec::new();
    for reply in replies.iter().filter(|reply| !(one_did && reply.is_unknown())) {
        if let Some(failure) = reply.failure() {
            let whose = if replies.len() > 1 {
                format!("{}: ", reply.socket.display())
            } else {
                String::new()
            };
            lines.push(format!("{whose}{failure}"));
        }
    }
    lines
}

/// `[{"socket": …, "status": 200, "answer": …}]`; `answer` is a text when it is no JSON; `error` when there is none.
pub(super) fn json(replies: &[Reply]) -> String {
    let all: Vec<Value> = replies
        .iter()
        .map(|reply| {
            let socket = reply.socket.display().to_string();
            match &reply.said {
                Ok((status, body)) => {
                    let answer = serde_json::from_str(body)
                        .unwrap_or_else(|_| Value::String(body.trim_end().to_owned()));
                    json!({"socket": socket, "status": status.as_u16(), "answer": answer})
                }
                Err(error) => json!({"socket": socket, "error": error.line()}),
            }
        })
        .collect();
    format!("{:#}\n", Value::Array(all))
}

/// For a terminal.
pub(super) fn text(command: &ClientCommand, replies: &[Reply]) -> String {
    let done: Vec<_> =
        replies.iter().filter_map(|reply| Some((&reply.socket, reply.success()?))).collect();
    let mut out = String::new();
    for (socket, body) in &done {
        if done.len() > 1 {
            out.push_str(&format!("{}\n", heading(socket)));
        }
        out.push_str(&one(command, body).unwrap_or_else(|| printable(body)));
    }
    out
}

/// Which nerve, when several answered.
fn heading(socket: &Path) -> String {
    let slot = socket.parent().and_then(Path::file_name);
    let name = slot.map_or_else(|| socket.display().to_string(), |s| s.to_string_lossy().into());
    format!("{}:", printable(&name))
}

/// `None` for an answer that this version does not understand: it is shown as it is then.
fn one(command: &ClientCommand, body: &str) -> Option<String> {
    Some(match command {
        ClientCommand::Status { name: None, .. } => {
            let services: Vec<ServiceShape> = serde_json::from_str(body).ok()?;
            if services.is_empty() {
                String::from("no services\n")
            } else {
                status_table(&services)
            }
        }
        ClientCommand::Status { name: Some(_), .. } => {
            detail_text(&serde_json::from_str(body).ok()?)
        }
        ClientCommand::Deregister { name, .. } => {
            format!("{}: deregistered\n", printable(name))
        }
        ClientCommand::Down { .. } | ClientCommand::Up { .. } | ClientCommand::Register { .. } => {
            outcome(&serde_json::from_str(body).ok()?)
        }
    })
}

/// `search: MAINT, absent: down by an operator: deploy (ends by itself at …)`.
fn outcome(service: &ServiceShape) -> String {
    let phase = &service.registration.phase;
    let mut line =
        format!("{}: {}, registration {phase}: {}", service.name, service.state, service.reason);
    if let Some(down) = &service.down {
        match &down.until {
            Some(until) => line.push_str(&format!("; ends by itself at {until}")),
            None => line.push_str("; until `nerve up`"),
        }
    }
    if let Some(until) = &service.pushed_until {
        line.push_str(&format!("; ends at {until} unless it is renewed"));
    }
    format!("{}\n", printable(&line))
}
