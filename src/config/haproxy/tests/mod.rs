//! Tests over the whole dialect: from lines to settings.

mod directives;
mod golden;
mod layers;
mod listeners;
mod mistakes;
mod server_lines;

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::config::report::Report;
use crate::endpoint::ServiceName;

fn place(path: &str) -> Place {
    Place { file: "test.json".into(), path: path.to_owned() }
}

fn lines(path: &str, texts: &[&str]) -> Vec<Line> {
    let list = place(path);
    let line =
        |(index, text): (usize, &&str)| Line { text: (*text).to_owned(), place: list.index(index) };
    texts.iter().enumerate().map(line).collect()
}

fn section() -> ServiceSection {
    let mut section = section_of(&serde_json::json!({}), &place("services.x.haproxy"));
    section.port = PortKey::Number(3301);
    section
}

/// As the loader shapes it, without its checks.
fn section_of(haproxy: &Value, at: &Place) -> ServiceSection {
    let text = |key: &str| haproxy[key].as_str().map(str::to_owned);
    let placed = |key: &str| text(key).map(|it| (it, at.key(key)));
    let line = |key: &str| text(key).map(|text| Line { text, place: at.key(key) });
    ServiceSection {
        place: at.clone(),
        disabled: haproxy["disabled"].as_bool().unwrap_or(false),
        port: match haproxy.get("port") {
            None => PortKey::Omitted,
            Some(Value::Null) => PortKey::Null,
            Some(port) => PortKey::Number(port.to_string().trim_matches('"').parse().unwrap()),
        },
        bind_address: placed("bind_address"),
        bind_options: line("bind_options"),
        server_options: line("server_options"),
        sockets: Vec::new(),
        frontend: list(&haproxy["frontend"], &at.key("frontend")),
        backend: list(&haproxy["backend"], &at.key("backend")),
        listen: list(&haproxy["listen"], &at.key("listen")),
        backend_name: text("backend_name"),
        backend_order: placed("backend_order"),
        cookie_value_method: text("cookie_value_method"),
        shared_frontend: list(&haproxy["shared_frontend"], &at.key("shared_frontend")),
    }
}

fn list(value: &Value, at: &Place) -> Vec<Line> {
    let texts: Vec<&str> = value
        .as_array()
        .map(|it| it.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    lines(&at.path, &texts)
}

fn top_of(haproxy: &Value) -> TopSection {
    let at = place("haproxy");
    let extra = haproxy["extra_sections"].as_object();
    TopSection {
        global: list(&haproxy["global"], &at.key("global")),
        defaults: list(&haproxy["defaults"], &at.key("defaults")),
        extra_sections: extra
            .into_iter()
            .flatten()
            .map(|(title, lines)| {
                let place = at.key("extra_sections").key(title);
                let lines = list(lines, &place);
                (Line { text: title.clone(), place }, lines)
            })
            .collect(),
        shared_frontend: list(&haproxy["shared_frontend"], &at.key("shared_frontend")),
        bind_address: haproxy["bind_address"]
            .as_str()
            .map(|it| (it.to_owned(), at.key("bind_address"))),
        use_nerve_weights: haproxy["use_nerve_weights"].as_bool().unwrap_or(false),
        server_order_seed: haproxy["server_order_seed"].as_u64().map(u128::from),
    }
}

/// A whole config: the parts by service name, and what was said.
fn load(json: &str) -> (Top, Vec<(String, ServiceParts)>, Report) {
    let document: Value = serde_json::from_str(json).unwrap();
    let mut report = Report::default();
    let top = resolve_top(&top_of(&document["haproxy"]), &mut report);
    let services = document["services"].as_object().unwrap();
    let parts = services
        .iter()
        .map(|(name, service)| {
            let at = place("services").key(name).key("haproxy");
            let section = section_of(&service["haproxy"], &at);
            let name_ = ServiceName::new(name.as_str());
            (name.clone(), resolve_service(&name_, &section, &top, &mut report))
        })
        .collect();
    (top, parts, report)
}

/// One service under these `defaults`, with complaints and warnings as text.
fn one(defaults: &[&str], section: &ServiceSection) -> (ServiceParts, Vec<String>, Vec<String>) {
    let mut report = Report::default();
    let top = TopSection { defaults: lines("haproxy.defaults", defaults), ..TopSection::default() };
    let top = resolve_top(&top, &mut report);
    let parts = resolve_service(&ServiceName::new("x"), section, &top, &mut report);
    let text = |it: &Vec<crate::config::Complaint>| it.iter().map(ToString::to_string).collect();
    (parts, text(&report.complaints), text(&report.warnings))
}

const TIMEOUTS: &[&str] = &["timeout connect 5s", "timeout client 50s", "timeout server 50s"];

fn listen(texts: &[&str]) -> ServiceSection {
    ServiceSection { listen: lines("services.x.haproxy.listen", texts), ..section() }
}

fn server_options(text: &str) -> ServiceSection {
    ServiceSection {
        server_options: Some(Line {
            text: text.to_owned(),
            place: place("services.x.haproxy.server_options"),
        }),
        ..section()
    }
}

fn secs(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

fn line_at(path: &str, text: &str) -> Line {
    Line { text: text.to_owned(), place: Place { file: "f".into(), path: path.to_owned() } }
}
