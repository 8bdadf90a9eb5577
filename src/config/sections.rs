//! The `haproxy:` maps as the dialect wants them: keys and types are checked here, what lines mean is decided there.

use super::haproxy::{PortKey, ServiceSection, TopSection};
use super::reader::{Cursor, Section};
use super::report::{Line, Report};

/// Keys of the top-level `haproxy:` section that change what is served.
pub const TOP_KEYS: [&str; 21] = [
    "global",
    "defaults",
    "extra_sections",
    "shared_frontend",
    "bind_address",
    "use_nerve_weights",
    "server_order_seed",
    "state_file_path",
    "state_file_ttl",
    // without effect, from here
    "do_writes",
    "do_socket",
    "do_checks",
    "do_reloads",
    "config_file_path",
    "candidate_config_file_path",
    "check_command",
    "reload_command",
    "socket_file_path",
    "restart_interval",
    "restart_jitter",
    "max_server_id",
];

/// Keys that steer the haproxy process of the original. There is no such process here: accepted, without effect.
pub const PROCESS_KEYS: [&str; 12] = [
    "do_writes",
    "do_socket",
    "do_checks",
    "do_reloads",
    "config_file_path",
    "candidate_config_file_path",
    "check_command",
    "reload_command",
    "socket_file_path",
    "restart_interval",
    "restart_jitter",
    "max_server_id",
];

/// Keys of a service's `haproxy:` section.
pub const SERVICE_KEYS: [&str; 14] = [
    "disabled",
    "port",
    "bind_address",
    "bind_options",
    "server_options",
    "server_port_override",
    "frontend",
    "backend",
    "listen",
    "backend_name",
    "backend_order",
    "cookie_value_method",
    "shared_frontend",
    "use_nerve_weights",
];

/// Reads the top-level section.
pub fn read_top(cursor: &Cursor<'_>, report: &mut Report) -> TopSection {
    let Some(section) = cursor.section(&TOP_KEYS, report) else {
        return TopSection::default();
    };
    TopSection {
        global: section.lines("global", report),
        defaults: section.lines("defaults", report),
        extra_sections: extra_sections(&section, report),
        shared_frontend: section.lines("shared_frontend", report),
        bind_address: section.get("bind_address").and_then(|c| c.placed_text(report)),
        use_nerve_weights: section.flag("use_nerve_weights", false, report),
        server_order_seed: section.get("server_order_seed").and_then(|c| seed(&c, report)),
    }
}

fn extra_sections(section: &Section<'_>, report: &mut Report) -> Vec<(Line, Vec<Line>)> {
    let Some(cursor) = section.get("extra_sections") else {
        return Vec::new();
    };
    let entries = cursor.entries(report);
    let read = |(title, lines): (&str, Cursor<'_>)| {
        let title = Line { text: title.to_owned(), place: lines.place().clone() };
        (title, lines.lines(report))
    };
    entries.into_iter().map(read).collect()
}

/// An integer of up to 128 bits, sign dropped as Ruby's generator does; big ones arrive as text.
fn seed(cursor: &Cursor<'_>, report: &mut Report) -> Option<u128> {
    let text = cursor.text(report)?;
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let seed = digits.parse().ok();
    if seed.is_none() {
        let text = format!("{text:?} is not a seed (a whole number of up to 128 bits)");
        report.complain(cursor.place(), text);
    }
    seed
}

/// Reads a service's section; `cursor` is `None` when the service has none.
pub fn read_service(
    service: &Section<'_>,
    cursor: Option<&Cursor<'_>>,
    report: &mut Report,
) -> ServiceSection {
    let place = cursor.map_or_else(|| service.place().key("haproxy"), |c| c.place().clone());
    let Some(section) = cursor.and_then(|c| c.section(&SERVICE_KEYS, report)) else {
        return empty_section(place);
    };
    if let Some(weights) = section.get("use_nerve_weights") {
        let text = "has an effect only in the top-level haproxy section, as in the original";
        report.warn(weights.place(), text);
    }
    ServiceSection {
        disabled: section.flag("disabled", false, report),
        port: port(&section, report),
        bind_address: section.get("bind_address").and_then(|c| c.placed_text(report)),
        bind_options: section.get("bind_options").and_then(|c| c.line(report)),
        server_options: section.get("server_options").and_then(|c| c.line(report)),
        sockets: Vec::new(),
        frontend: section.lines("frontend", report),
        backend: section.lines("backend", report),
        listen: section.lines("listen", report),
        backend_name: section.text("backend_name", report),
        backend_order: section.get("backend_order").and_then(|c| c.placed_text(report)),
        cookie_value_method: section.text("cookie_value_method", report),
        shared_frontend: section.lines("shared_frontend", report),
        place,
    }
}

fn empty_section(place: super::report::Place) -> ServiceSection {
    ServiceSection {
        place,
        disabled: false,
        port: PortKey::Omitted,
        bind_address: None,
        bind_options: None,
        server_options: None,
        sockets: Vec::new(),
        frontend: Vec::new(),
        backend: Vec::new(),
        listen: Vec::new(),
        backend_name: None,
        backend_order: None,
        cookie_value_method: None,
        shared_frontend: Vec::new(),
    }
}

fn port(section: &Section<'_>, report: &mut Report) -> PortKey {
    match section.raw("port") {
        None => PortKey::Omitted,
        Some(cursor) if cursor.is_null() => PortKey::Null,
        Some(cursor) => cursor.port(report).map_or(PortKey::Invalid, PortKey::Number),
    }
}
