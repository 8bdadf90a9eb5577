//! Services and backends as an aligned table, for people at a terminal.
//!
//! Names come from a registry that anybody may write to: control characters are shown escaped, so that nobody paints on
//! the terminal of whoever looks.

use crate::lb::handle::BackendView;
use crate::proxy::Mode;
use crate::telemetry::cells::ErrorCause;

use super::when::{Now, short};
use super::{ServiceEntry, diagnosis, metrics};

const HEADINGS: [&str; 8] =
    ["SERVICE", "STATE", "SINCE", "OPEN", "REQUESTS", "ERRORS", "ADDRESS", "WHY"];

/// Columns that hold numbers are aligned to the right.
const RIGHT: [bool; 8] = [false, false, true, true, true, true, false, false];

type Line = [String; HEADINGS.len()];

/// Every service with its backends below it: state, since when, in flight, requests, errors, address, reason.
pub fn status_table(entries: &[ServiceEntry]) -> String {
    let now = Now::read();
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    for entry in entries {
        let view = entry.service.pool.view();
        let backends = view.backends.iter();
        lines.push(service_line(entry, now));
        lines.extend(backends.map(|backend| backend_line(backend, now)));
    }
    align(&lines, RIGHT)
}

/// One line per service.
pub(super) fn services_table(entries: &[ServiceEntry]) -> String {
    let now = Now::read();
    let headings = HEADINGS.map(str::to_owned);
    let services = entries.iter().map(|entry| service_line(entry, now));
    let lines: Vec<Line> = std::iter::once(headings).chain(services).collect();
    align(&lines, RIGHT)
}

fn service_line(entry: &ServiceEntry, now: Now) -> Line {
    let view = entry.service.pool.view();
    let counts = diagnosis::counts(&view);
    let cells = &entry.service.cells;
    let requests = match entry.service.settings.load().mode {
        Mode::Http => cells.sum(|c| c.requests.get()),
        Mode::Tcp => cells.sum(|c| c.connections.get()),
    };
    let errors: u64 =
        ErrorCause::ALL.iter().map(|cause| cells.sum(|c| metrics::errors(c, *cause))).sum();
    let listen: Vec<_> = entry.listen.iter().map(ToString::to_string).collect();
    [
        printable(entry.service.name.as_str()),
        format!("{} {}/{}", diagnosis::service_state(entry, counts), counts.eligible, counts.known),
        short(now.age(entry.since)),
        cells.sum(metrics::open_connections).to_string(),
        requests.to_string(),
        errors.to_string(),
        if listen.is_empty() { String::from("-") } else { listen.join(",") },
        printable(&diagnosis::service_reason(entry, &view, counts)),
    ]
}

fn backend_line(backend: &BackendView, now: Now) -> Line {
    let cells = &backend.backend.cells;
    let errors = cells.sum(|c| c.connect_errors.get() + c.response_errors.get());
    let address = backend.addr.as_ref().map_or_else(|| String::from("-"), ToString::to_string);
    [
        format!("  {}", printable(&backend.backend.server_name)),
        String::from(diagnosis::backend_state(backend)),
        short(now.age(backend.since)),
        backend.backend.in_flight.get().to_string(),
        cells.sum(|c| c.requests.get()).to_string(),
        errors.to_string(),
        address,
        printable(&backend.reason),
    ]
}

/// The text with control characters (and the ones that reverse the writing direction) escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let turns_writing = matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns_writing {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Cells below each other. Columns in `right` hold numbers and are aligned to the right.
pub(super) fn align<const N: usize>(lines: &[[String; N]], right: [bool; N]) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in lines {
        let start = out.len();
        for ((cell, width), right) in line.iter().zip(widths).zip(right) {
            let cell = if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            if out.len() > start {
                out.push_str("  ");
            }
            out.push_str(&cell);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// One service with everything that is known about it, for `/services/NAME?format=text`.
pub(super) fn detail_text(entry: &ServiceEntry) -> String {
    let now = Now::read();
    let view = entry.service.pool.view();
    let found = &view.discovered;
    let mut out = status_table(std::slice::from_ref(entry));
    let verified = match entry.verified() {
        Some(at) => format!("verified {} ago", short(now.age(at))),
        None => String::from("never verified"),
    };
    let heading = format!(
        "\ndiscovery: {}, {}, {verified}, set in use: {}, {} changes of the set, {} of verdicts\n",
        printable(&diagnosis::place(&entry.source)),
        diagnosis::membership(&found.membership),
        diagnosis::origin(view.origin),
        view.membership_changes,
        view.health_changes,
    );
    out.push_str(&heading);
    if let Some(stale) = diagnosis::stale(&view) {
        out.push_str(&format!("{stale}\n"));
    }
    for complaint in &entry.refused {
        let complaint = printable(complaint);
        out.push_str(&format!("refused generator config: {complaint}\n"));
    }
    for note in &view.notes {
        out.push_str(&format!("note: {}\n", printable(note)));
    }
    for (name, reason) in found.malformed.iter() {
        let (name, reason) = (printable(name), printable(reason));
        out.push_str(&format!("malformed: {name}: {reason}\n"));
    }
    let unnamed = found.malformed_total.saturating_sub(found.malformed.len());
    if unnamed > 0 {
        out.push_str(&format!("malformed: {unnamed} more\n"));
    }
    for backend in &view.backends {
        push_check(&mut out, backend, now);
    }
    out
}

fn push_check(out: &mut String, backend: &BackendView, now: Now) {
    let name = printable(&backend.backend.server_name);
    if let Some(check) = &backend.last_check {
        let age = short(now.age(check.at));
        out.push_str(&format!(
            "last check of {name}: {} {} ({age} ago, took {} ms, {} in a row)\n",
            check.code,
            printable(&check.detail),
            check.took.as_millis(),
            check.streak,
        ));
    }
    for complaint in &backend.settings.complaints {
        out.push_str(&format!("skipped words of {name}: {}\n", printable(complaint)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fixture;

    #[tokio::test(start_paused = true)]
    async fn the_table_is_aligned_and_names_every_backend() {
        let table = status_table(&[fixture::search(), fixture::pending("ads")]);
        assert_eq!(
            table,
            "\
SERVICE              STATE     SINCE  OPEN  REQUESTS  ERRORS  ADDRESS         WHY
search               UP 1/2       0s     1         3       1  127.0.0.1:3213  1 of 2 backends eligible
  i-1_10.0.0.1:9000  UP           0s     0         3       0  10.0.0.1:9000   up
  i-2_10.0.0.2:9000  DOWN         0s     0         0       0  10.0.0.2:9000   down: L4CON: connection refused
ads                  DOWN 0/0     0s     0         0       0  127.0.0.1:3213  discovery not heard yet (zookeeper zk1:2181/services/ads): connecting to zk1:2181
"
        );
    }

    #[test]
    fn control_characters_cannot_paint_on_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\r\u{202e}"), "a\\u{1b}[31mb\\u{d}\\u{202e}");
        assert_eq!(printable("größe/β:1"), "größe/β:1");
    }
}
