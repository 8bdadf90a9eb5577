//! `/`: where to look, and how everything is, on one page.

use std::time::Duration;

use super::percent::percent_encode;
use super::routes::missing;
use super::table::{printable, status_table};
use super::when::{Now, rfc3339, short};
use super::{AdminState, diagnosis};
use crate::registry::{Session, SessionState};
use crate::telemetry::access::{self, Loss};

/// Paths with a word about each.
const LINKS: [(&str, &str); 5] = [
    ("/ready", "200 when traffic can be served, else what is missing"),
    ("/live", "200 while the control thread runs"),
    ("/metrics", "for Prometheus"),
    ("/services", "every service as JSON"),
    ("/services?format=text", "the same as a table"),
];

/// For terminals.
pub(super) fn text(state: &AdminState) -> String {
    let mut out = head(state);
    out.push('\n');
    for (path, what) in LINKS {
        out.push_str(&format!("{path:<22} {what}\n"));
    }
    out.push_str("/services/NAME         one service: every backend with its state and why\n\n");
    out.push_str(&status_table(&state.services.load()));
    out
}

/// For browsers: the same, with links.
pub(super) fn html(state: &AdminState) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>synapse</title>\n\
         <style>body{font-family:monospace;margin:1em}</style>\n",
    );
    out.push_str(&format!("<pre>{}</pre>\n<ul>\n", escaped(&head(state))));
    for (path, what) in LINKS {
        out.push_str(&format!("<li><a href=\"{path}\">{path}</a> {what}\n"));
    }
    out.push_str("</ul>\n<ul>\n");
    let services = state.services.load();
    for entry in services.iter() {
        let name = entry.service.name.as_str();
        let counts = diagnosis::counts(&entry.service.pool.view());
        out.push_str(&format!(
            "<li><a href=\"/services/{}?format=text\">{}</a> {}\n",
            percent_encode(name),
            escaped(&printable(name)),
            diagnosis::service_state(entry, counts),
        ));
    }
    let table = escaped(&status_table(&services));
    out.push_str(&format!("</ul>\n<pre>{table}</pre></html>\n"));
    out
}

fn head(state: &AdminState) -> String {
    let now = Now::read();
    let about = &state.about;
    let mut out = format!(
        "synapse {}, up {} (since {}), {} workers\n",
        about.version,
        short(now.age(about.started)),
        rfc3339(about.started_at),
        about.workers,
    );
    let missing = missing(state);
    if missing.is_empty() {
        out.push_str("ready\n");
    }
    for line in missing {
        out.push_str(&format!("not ready: {}\n", printable(&line)));
    }
    for entry in state.registries.load().iter() {
        out.push_str(&registry_line(&entry.ensemble, &entry.session.borrow(), now));
    }
    let warnings = state.config_warnings.load();
    for warning in warnings.iter() {
        out.push_str(&format!("warning: {}\n", printable(warning)));
    }
    out.push_str(&log_line(access::written(), Loss::ALL.map(|loss| (loss.label(), loss.total()))));
    out
}

/// What became of the access log's lines; nothing while all are written.
fn log_line(written: u64, lost: [(&str, u64); Loss::ALL.len()]) -> String {
    let all: u64 = lost.iter().map(|(_, count)| count).sum();
    let reasons = lost.iter().filter(|(_, count)| *count > 0);
    let reasons: Vec<String> = reasons.map(|(reason, count)| format!("{reason} {count}")).collect();
    match all {
        0 => String::new(),
        _ => {
            let reasons = reasons.join(", ");
            format!("access log since start: {all} lines lost ({reasons}), {written} written\n")
        }
    }
}

/// The word for the state of a session.
pub(super) fn session_word(state: SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "connecting",
        SessionState::Connected => "connected",
        SessionState::Disconnected => "disconnected",
        SessionState::Expired => "expired",
        SessionState::AuthFailed => "authentication failed",
    }
}

/// One line about the session with an ensemble.
pub(super) fn registry_line(ensemble: &str, session: &Session, now: Now) -> String {
    let state = session_word(session.state);
    let since = short(Duration::from_secs(now.age(session.since).as_secs()));
    let error = match &session.last_error {
        Some(error) => format!(", last error: {}", printable(error)),
        None => String::new(),
    };
    format!("zookeeper {ensemble}: {state} for {since}{error}\n")
}

/// For HTML, attributes included.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_lines_of_the_access_log_are_said_with_their_reasons() {
        assert_eq!(log_line(7, [("queue", 0), ("receiver", 0), ("file", 0)]), "");
        assert_eq!(
            log_line(7, [("queue", 2), ("receiver", 0), ("file", 1)]),
            "access log since start: 3 lines lost (queue 2, file 1), 7 written\n"
        );
    }
}
