//! `/`: everything at a glance. One table; a browser asks again by itself.

use std::path::Path;

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};

use crate::admin::index::{escaped, registry_line};
use crate::admin::percent::percent_encode;
use crate::admin::site::{Answer, body};
use crate::admin::table::printable;
use crate::admin::when::{Now, rfc3339, short};

use super::desk::{ProcessStatus, ServiceStatus};
use super::shape::ServiceShape;
use super::{diagnosis, shape, table};

/// How often a browser asks again, seconds: the checks' default interval is half a second, a reader's is not.
const REFRESH_S: u32 = 5;

/// Paths with a word about each.
const LINKS: [(&str, &str); 5] = [
    ("/ready", "200 when every service is as it should be, else what is missing"),
    ("/live", "200 while the control thread runs"),
    ("/metrics", "for Prometheus"),
    ("/v1/services", "every service as JSON"),
    ("/v1/services?format=text", "the same as a table"),
];

/// For terminals.
pub(super) fn text(process: &ProcessStatus, services: &[ServiceStatus]) -> String {
    let now = Now::read();
    let mut out: String = head(process, services, now).into_iter().map(|(_, line)| line).collect();
    out.push('\n');
    for (path, what) in LINKS {
        out.push_str(&format!("{path:<25} {what}\n"));
    }
    out.push_str(
        "/v1/services/NAME         one service; `nerve down NAME` and `nerve up NAME`\n\n",
    );
    let shapes: Vec<_> = services.iter().map(|s| shape::service(s, now)).collect();
    out.push_str(&table::status_table(&shapes));
    out
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:14px/1.5 system-ui,sans-serif;margin:1.5em}\
h1{font-size:1.3em;margin:0 0 .3em}\
p{margin:.1em 0}\
div{overflow-x:auto}\
table{border-collapse:collapse;margin:1em 0}\
th,td{text-align:left;padding:.25em 1em .25em 0;border-top:1px solid #8884;vertical-align:top;white-space:nowrap}\
td:last-child{white-space:normal;min-width:20em;overflow-wrap:anywhere}\
td:nth-child(3),td:nth-child(5),th:nth-child(3),th:nth-child(5){text-align:right}\
tr.check td{border:0;opacity:.75;font-size:.9em;padding-top:0}\
tr.check td:first-child{padding-left:1.5em}\
b{padding:0 .5em;border-radius:.6em;color:#fff;background:#777;font-weight:600}\
b.UP{background:#1a7f37}b.DOWN{background:#c62828}b.MAINT{background:#8a5a00}b.HELD{background:#6a3fb5}\
.bad{color:#c62828}";

/// For browsers: the same, with colours and links. Nothing is loaded from elsewhere, no script runs.
pub(super) fn html(process: &ProcessStatus, services: &[ServiceStatus]) -> Answer {
    let now = Now::read();
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_S}\"><title>nerve {}</title>\
         <style>{STYLE}</style>\n<h1>nerve {}</h1>\n",
        escaped(&process.instance_id),
        escaped(&process.instance_id),
    );
    for (is_bad, line) in head(process, services, now) {
        let class = if is_bad { " class=\"bad\"" } else { "" };
        out.push_str(&format!("<p{class}>{}</p>\n", escaped(line.trim_end())));
    }
    out.push_str("<div><table>\n<tr>");
    for heading in table::headings() {
        out.push_str(&format!("<th>{}</th>", heading.to_lowercase()));
    }
    out.push_str("</tr>\n");
    for service in services {
        push_rows(&mut out, &shape::service(service, now));
    }
    out.push_str("</table></div>\n");
    for (path, what) in LINKS {
        out.push_str(&format!("<p><a href=\"{path}\">{path}</a> {what}</p>\n"));
    }
    out.push_str("</html>\n");
    let mut answer = body(StatusCode::OK, "text/html; charset=utf-8", out);
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

fn push_rows(out: &mut String, service: &ServiceShape) {
    let link = format!(
        "<a href=\"/v1/services/{}?format=text\">{}</a>",
        percent_encode(&service.name),
        escaped(&printable(&service.name))
    );
    let state = escaped(&service.state);
    let badge = format!("<b class=\"{state}\">{state}</b>");
    push_row(out, "service", [link, badge], &table::service_line(service));
    for check in &service.checks {
        let line = table::check_line(check);
        let [name, state, ..] = line.clone().map(|cell| escaped(cell.trim()));
        push_row(out, "check", [name, state], &line);
    }
}

/// The first two cells are HTML already.
fn push_row(out: &mut String, class: &str, first: [String; 2], line: &table::Line) {
    out.push_str(&format!("<tr class=\"{class}\">"));
    for cell in first {
        out.push_str(&format!("<td>{cell}</td>"));
    }
    for cell in line.iter().skip(2) {
        out.push_str(&format!("<td>{}</td>", escaped(cell)));
    }
    out.push_str("</tr>\n");
}

/// What is to be said before the table, one line each; true for what somebody should look at.
fn head(process: &ProcessStatus, services: &[ServiceStatus], now: Now) -> Vec<(bool, String)> {
    let about = &process.about;
    let mut lines = vec![(
        false,
        format!(
            "nerve {}, instance {}, up {} (since {}), state in {}\n",
            about.version,
            printable(&process.instance_id),
            short(now.age(about.started)),
            rfc3339(about.started_at),
            printable(&state_dir(process.state_dir.as_deref())),
        ),
    )];
    let said = diagnosis::readiness(process, services);
    if said.missing.is_empty() {
        lines.push((false, String::from("ready\n")));
    }
    let mut push = |what: &str, text: &String| {
        lines.push((true, format!("{what}: {}\n", printable(text))));
    };
    said.missing.iter().for_each(|line| push("not ready", line));
    said.waiting.iter().for_each(|line| push("waiting", line));
    process.refused.iter().for_each(|line| push("refused", line));
    process.warnings.iter().for_each(|line| push("warning", line));
    if process.config_on_disk_differs {
        push("warning", &String::from("the configuration on disk is not the one in use"));
    }
    for (ensemble, session) in &process.sessions {
        let is_bad = session.state != crate::registry::SessionState::Connected;
        let id = session.id.map_or_else(String::new, |id| format!(", session {}", shape::hex(id)));
        let line = registry_line(ensemble, session, now);
        lines.push((is_bad, format!("{}{id}\n", line.trim_end())));
    }
    lines
}

fn state_dir(dir: Option<&Path>) -> String {
    dir.map_or_else(
        || String::from("no state_dir: nothing is remembered"),
        |dir| dir.display().to_string(),
    )
}
