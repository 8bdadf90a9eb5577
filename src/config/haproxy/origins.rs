//! Effective values with their origins, for `synapse check`; and which of two sides wins.

use std::time::Duration;

use super::defaults;
use super::draft::{Draft, Origin, Tracked};
use super::server::ServerDraft;
use super::values::show_time;
use super::{ServiceSection, Top};
use crate::config::EffectiveValue;
use crate::config::balance;
use crate::config::report::Line;
use crate::health::ProbeSettings;
use crate::lb::Protocol;
use crate::proxy::http2::{FrontProtocol, Http2Settings};
use crate::proxy::{CloseMode, ForwardFor, ListenerSettings, Mode, Redispatch, Reuse};

/// The stricter of frontend and backend.
pub(super) fn close_mode(draft: &Draft) -> &Tracked<CloseMode> {
    let (front, back) = (&draft.front.close, &draft.back.close);
    if front.value > back.value { front } else { back }
}

/// The backend's, else the frontend's.
pub(super) fn forward_for(draft: &Draft) -> &Tracked<Option<ForwardFor>> {
    let (front, back) = (&draft.front.forward_for, &draft.back.forward_for);
    if back.value.is_some() || front.value.is_none() { back } else { front }
}

/// `tcp` or `http`.
pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Tcp => "tcp",
        Mode::Http => "http",
    }
}

fn effective(setting: &str, value: impl Into<String>, origin: &Origin) -> EffectiveValue {
    EffectiveValue {
        setting: setting.to_owned(),
        value: value.into(),
        origin: origin.text.to_string(),
    }
}

fn tracked<T>(setting: &str, it: &Tracked<T>, show: impl FnOnce(&T) -> String) -> EffectiveValue {
    effective(setting, show(&it.value), &it.origin)
}

/// What concerns the proxy and the balancer.
pub(super) fn of(
    draft: &Draft,
    chosen_mode: &Tracked<Mode>,
    http2: &Http2Settings,
) -> Vec<EffectiveValue> {
    let timeouts = &draft.timeouts;
    let limit =
        |max: &Option<u32>| max.map_or_else(|| "global limit".to_owned(), |max| max.to_string());
    let mut values = vec![
        tracked("mode", chosen_mode, |it| mode(*it).to_owned()),
        tracked("balance", &draft.algorithm, ToString::to_string),
        tracked("hash-type", &draft.hash_type, ToString::to_string),
        tracked("hash-balance-factor", &draft.factor, |it| balance::show_factor(*it)),
        tracked("maxconn", &draft.max_connections, limit),
        tracked("fullconn", &draft.full_connections, |full| {
            full.map_or_else(|| "a tenth of maxconn".to_owned(), |full| full.to_string())
        }),
        tracked("retries", &draft.retries, u32::to_string),
        tracked("redispatch", &draft.redispatch, redispatch),
        tracked("clitcpka", &draft.keepalive.is_on, |_| draft.keepalive.to_string()),
        tracked("timeout.connect", &timeouts.connect, time),
        tracked("timeout.queue", &timeouts.queue, |it| or(*it, "timeout.connect")),
        tracked("timeout.client", &timeouts.client, time),
        tracked("timeout.server", &timeouts.server, time),
        tracked("timeout.check", &timeouts.check, |it| or(*it, "inter")),
        tracked("timeout.http-request", &timeouts.http_request, |it| or(*it, "timeout.client")),
        tracked("timeout.http-keep-alive", &timeouts.http_keep_alive, |it| {
            or(*it, "timeout.http-request")
        }),
        tracked("timeout.tunnel", &timeouts.tunnel, |it| {
            or(*it, "timeout.client and timeout.server")
        }),
        tracked("timeout.client-fin", &timeouts.client_fin, |it| or(*it, "timeout.client")),
        tracked("timeout.server-fin", &timeouts.server_fin, |it| or(*it, "timeout.server")),
        tracked("timeout.tarpit", &timeouts.tarpit, |it| or(*it, "timeout.connect")),
        tracked("http.reuse", &draft.reuse, |it| reuse(*it).to_owned()),
        tracked("http.abortonclose", &draft.abort_on_close, bool::to_string),
        tracked("http.ignore_probes", &draft.ignore_probes, bool::to_string),
        tracked("http.close_mode", close_mode(draft), |it| close(*it).to_owned()),
        tracked("http.forwardfor", forward_for(draft), forwarded),
        native("http.replay_idempotent", "true"),
        native("max_connection_age", "none"),
        native("on_remove", "keep"),
        tracked("allbackups", &draft.all_backups, bool::to_string),
        tracked("check.probe", &draft.probe, probe),
    ];
    values.extend(draft.way.origins());
    values.extend(of_http2(http2, chosen_mode));
    values
}

/// No line of haproxy's says it, a key of `proxy` does.
fn native(setting: &str, value: &str) -> EffectiveValue {
    let (setting, value) = (setting.to_owned(), value.to_owned());
    EffectiveValue { setting, value, origin: "default (synapse)".to_owned() }
}

fn redispatch(it: &Redispatch) -> String {
    match it {
        Redispatch::Off => "off".to_owned(),
        Redispatch::On { every } => format!("on ({every})"),
    }
}

fn reuse(it: Reuse) -> &'static str {
    match it {
        Reuse::Never => "never",
        Reuse::Safe => "safe",
        Reuse::Aggressive => "aggressive",
        Reuse::Always => "always",
    }
}

fn close(mode: CloseMode) -> &'static str {
    match mode {
        CloseMode::KeepAlive => "http-keep-alive",
        CloseMode::ServerClose => "http-server-close",
        CloseMode::Close => "httpclose",
    }
}

fn time(it: &Option<Duration>) -> String {
    it.map_or_else(|| "never".to_owned(), show_time)
}

fn or(it: Option<Duration>, fallback: &str) -> String {
    it.map_or_else(|| format!("as {fallback}"), show_time)
}

fn forwarded(it: &Option<ForwardFor>) -> String {
    let Some(it) = it else {
        return "off".to_owned();
    };
    let mut text = it.header.to_string();
    if let Some(net) = it.except {
        text.push_str(&format!(" except {}/{}", net.addr, net.prefix));
    }
    if it.if_none {
        text.push_str(" if-none");
    }
    text
}

fn probe(it: &ProbeSettings) -> String {
    match it {
        ProbeSettings::Tcp => "tcp connect".to_owned(),
        ProbeSettings::Http(http) => {
            let mut text = format!("{} {} {}", http.method, http.uri, http.version);
            for (name, value) in &http.headers {
                text.push_str(&format!(", {name}: {value}"));
            }
            text
        }
    }
}

/// What concerns server lines.
pub(super) fn of_servers(
    base: &ServerDraft,
    options: Option<&Line>,
    top: &Top,
) -> Vec<EffectiveValue> {
    let haproxy = Draft::default().retries.origin;
    let or_default = |set: Option<EffectiveValue>, setting: &str, value: String| {
        set.unwrap_or_else(|| effective(setting, value, &haproxy))
    };
    let mut values = Vec::new();
    values.extend(options.map(|line| EffectiveValue {
        setting: "server_options".to_owned(),
        value: line.text.trim().to_owned(),
        origin: line.place.path.clone(),
    }));
    let check = shown("server.check", &base.check, bool::to_string);
    values.push(or_default(check, "server.check", false.to_string()));
    let inter = shown("server.inter", &base.inter, |it| show_time(*it));
    values.push(or_default(inter, "server.inter", show_time(defaults::INTER)));
    let rise = shown("server.rise", &base.rise, ToString::to_string);
    values.push(or_default(rise, "server.rise", defaults::RISE.to_string()));
    let fall = shown("server.fall", &base.fall, ToString::to_string);
    values.push(or_default(fall, "server.fall", defaults::FALL.to_string()));
    let optional = [
        shown("server.fastinter", &base.fast_inter, |it| show_time(*it)),
        shown("server.downinter", &base.down_inter, |it| show_time(*it)),
        shown("server.port", &base.port, u16::to_string),
        shown("server.addr", &base.addr, ToString::to_string),
        shown("server.weight", &base.weight, |it| it.get().to_string()),
        shown("server.maxconn", &base.max_connections, |max| {
            max.map_or_else(|| "no limit".to_owned(), |max| max.to_string())
        }),
        shown("server.on-marked-down", &base.shutdown_sessions, |_| "shutdown-sessions".to_owned()),
        shown("server.minconn", &base.min_connections, |min| {
            min.map_or_else(|| "server.maxconn".to_owned(), |min| min.to_string())
        }),
        shown("server.maxqueue", &base.max_queue, |max| {
            max.map_or_else(|| "no limit".to_owned(), |max| max.to_string())
        }),
        shown("server.slowstart", &base.slow_start, |it| show_time(*it)),
        shown("server.backup", &base.backup, bool::to_string),
        shown("server.disabled", &base.disabled, bool::to_string),
        shown("server.proto", &base.protocol, |it| protocol(*it).to_owned()),
    ];
    values.extend(optional.into_iter().flatten());
    values.extend(base.way.origins());
    let spread = top.global.spread_percent.to_string();
    let origin = top.spread_origin.as_ref().unwrap_or(&haproxy);
    values.push(effective("spread-checks", spread, origin));
    values
}

/// What concerns HTTP/2: only services in `mode http` have it.
fn of_http2(http2: &Http2Settings, chosen_mode: &Tracked<Mode>) -> Vec<EffectiveValue> {
    if chosen_mode.value != Mode::Http {
        return Vec::new();
    }
    let haproxy = Draft::default().retries.origin;
    let tuned = |setting: &str, value: u32, default: u32| EffectiveValue {
        setting: setting.to_owned(),
        value: value.to_string(),
        origin: if value == default {
            haproxy.text.to_string()
        } else {
            format!("haproxy.global \"tune.{setting}\"")
        },
    };
    let (front, origin) = match http2.front {
        FrontProtocol::Auto => ("h1 or h2, as the first bytes say", &*haproxy.text),
        FrontProtocol::Http1 => ("h1", "the bind options"),
        FrontProtocol::Http2 => ("h2", "the bind options"),
    };
    let bind = EffectiveValue {
        setting: "bind.proto".to_owned(),
        value: front.to_owned(),
        origin: origin.to_owned(),
    };
    let default = Http2Settings::default();
    vec![
        bind,
        tuned("h2.max-concurrent-streams", http2.max_streams, default.max_streams),
        tuned("h2.initial-window-size", http2.window_bytes, default.window_bytes),
        tuned("h2.max-frame-size", http2.frame_bytes, default.frame_bytes),
        tuned("h2.header-table-size", http2.header_table_bytes, default.header_table_bytes),
    ]
}

fn protocol(it: Protocol) -> &'static str {
    match it {
        Protocol::Http1 => "h1",
        Protocol::Http2 => "h2",
    }
}

fn shown<T>(
    setting: &str,
    it: &Option<Tracked<T>>,
    show: impl FnOnce(&T) -> String,
) -> Option<EffectiveValue> {
    it.as_ref().map(|it| tracked(setting, it, show))
}

/// What concerns the listener and the order of servers.
pub(super) fn of_binding(
    section: &ServiceSection,
    top: &Top,
    listener: Option<&ListenerSettings>,
) -> Vec<EffectiveValue> {
    let address = section.bind_address.as_ref().or(top.bind_address.as_ref());
    let place = address.map(|(_, place)| place).or_else(|| section.sockets.first().map(|it| &it.1));
    let origin = place.map_or_else(|| "default (synapse)".to_owned(), |place| place.path.clone());
    let value = match listener {
        None if !section.serves() => "none (no port)".to_owned(),
        None => "none".to_owned(),
        Some(listener) => {
            let addrs: Vec<String> = listener.addrs.iter().map(ToString::to_string).collect();
            addrs.join(", ")
        }
    };
    let (order, order_origin) = match &section.backend_order {
        Some((order, place)) => (order.clone(), place.path.clone()),
        None => ("shuffle".to_owned(), "default (synapse)".to_owned()),
    };
    vec![
        EffectiveValue { setting: "bind".to_owned(), value, origin },
        EffectiveValue { setting: "backend_order".to_owned(), value: order, origin: order_origin },
    ]
}
