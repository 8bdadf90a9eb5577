//! Services and checks as an aligned table: for the page, `?format=text` and `nerve status`.

use std::time::Duration;

use crate::admin::table::{align, printable};
use crate::admin::when::short;

use super::shape::{CheckShape, ServiceShape};

const HEADINGS: [&str; 7] = ["SERVICE", "STATE", "SINCE", "REGISTRATION", "PENALTY", "NODE", "WHY"];
/// Columns that hold numbers are aligned to the right.
const RIGHT: [bool; 7] = [false, false, true, false, true, false, false];

/// One row: a service, or a check of it.
pub(super) type Line = [String; 7];

/// Every service, its checks below it.
pub fn status_table(services: &[ServiceShape]) -> String {
    let mut lines = vec![headings()];
    for service in services {
        lines.push(service_line(service));
        lines.extend(service.checks.iter().map(check_line));
    }
    align(&lines, RIGHT)
}

/// One service with everything that is known about it.
pub fn detail_text(service: &ServiceShape) -> String {
    let mut out = status_table(std::slice::from_ref(service));
    let place = &service.place;
    let hosts = place.zk_hosts.as_deref().unwrap_or_default();
    let kind = place.node_type.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
    let head = format!("\nplace: {} {hosts}{}{kind}\n", place.reporter_type, place.path);
    out.push_str(&printable_lines(&head));
    if let Some(session) = &service.session {
        let error = session.last_error.as_deref().map(|e| format!(", last error: {e}"));
        let id = session.id.as_deref().unwrap_or("none");
        let line = format!(
            "session: {id} {}, number {}{}\n",
            session.state,
            session.generation,
            error.unwrap_or_default()
        );
        out.push_str(&printable_lines(&line));
    }
    let registration = &service.registration;
    let owner = registration.owner.as_deref().unwrap_or("nobody");
    let writes = registration.writes;
    out.push_str(&format!("registration: owned by {owner}, {writes} acknowledged writes\n"));
    out.push_str(&format!(
        "checks: {} passes, {} of them down, {} changes of the verdict, {} throttled\n",
        service.passes, service.failed_passes, service.transitions, service.throttled
    ));
    if let Some(down) = &service.down {
        let until = down.until.as_deref().unwrap_or("somebody says `up`");
        out.push_str(&format!("down: announced at {}, until {until}\n", down.since));
    }
    if let Some(until) = &service.suppressed_until {
        out.push_str(&format!("held back by flap damping until {until}\n"));
    }
    if let Some(until) = &service.pushed_until {
        out.push_str(&format!("pushed: ends at {until} unless it is renewed\n"));
    }
    out
}

/// [`printable`], but for the lines themselves.
fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

pub(super) fn headings() -> Line {
    HEADINGS.map(str::to_owned)
}

pub(super) fn service_line(service: &ServiceShape) -> Line {
    let registration = &service.registration;
    let dash = || String::from("-");
    [
        printable(&service.name),
        service.state.clone(),
        ago(service.age_s),
        registration.phase.clone(),
        format!("{:.1}", service.penalty),
        registration.node.as_deref().map_or_else(dash, printable),
        printable(&service.reason),
    ]
}

pub(super) fn check_line(check: &CheckShape) -> Line {
    let state = match check.up {
        Some(true) => "UP",
        Some(false) => "DOWN",
        None => "-",
    };
    [
        format!("  {}", printable(&check.name)),
        String::from(state),
        ago(check.age_s),
        String::new(),
        String::new(),
        String::new(),
        result(check),
    ]
}

/// `L7OK 200, took 3 ms`.
fn result(check: &CheckShape) -> String {
    let Some(code) = &check.code else {
        return String::from("not asked yet");
    };
    let status = check.status.map(|status| format!(" {status}")).unwrap_or_default();
    let detail = check.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let took = check.took_s * 1000.0;
    printable(&format!("{code}{status}{detail}, took {took:.0} ms"))
}

/// Numbers may come from another process: nonsense is shown as none.
fn ago(age_s: Option<f64>) -> String {
    let age = age_s.and_then(|s| Duration::try_from_secs_f64(s).ok());
    age.map_or_else(|| String::from("-"), short)
}
