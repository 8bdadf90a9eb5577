//! The typed `proxy:` section: what haproxy lines say, in plain keys, and what they cannot say.
//!
//! It stands at the top level (defaults of every service) and in a service (its own word). From weak to strong:
//! built-in, `haproxy.defaults`, top-level `proxy`, the service's haproxy lines, the service's `proxy`. Every value
//! that it sets replaces the line of `synapse check` with its own place.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::haproxy::ServiceParts;
use super::native_check::{self, CheckRules};
use super::origins::{is_inherited, set_origin};
use super::reader::{Cursor, Section};
use super::report::{Place, Report};
use super::text::BareNumber;
use crate::lb::Strategy;
use crate::proxy::{CloseMode, ForwardFor, IpNet, Mode, Redispatch};

/// Keys of `proxy`.
pub const KEYS: [&str; 12] = [
    "mode",
    "balance",
    "all_backups",
    "timeouts",
    "retries",
    "redispatch",
    "max_connections",
    "replay_idempotent",
    "forward_for",
    "close_mode",
    "check",
    "backlog",
];

/// Keys of `proxy.timeouts`.
pub const TIMEOUT_KEYS: [&str; 6] = [
    "connect",
    "client",
    "server",
    "http_request",
    "http_keep_alive",
    "tunnel",
];

/// Keys of `proxy.forward_for`.
pub const FORWARD_FOR_KEYS: [&str; 3] = ["header", "except", "if_none"];

const MODES: [(&str, Mode); 2] = [("tcp", Mode::Tcp), ("http", Mode::Http)];
const STRATEGIES: [(&str, Strategy); 2] = [
    ("roundrobin", Strategy::RoundRobin),
    ("leastconn", Strategy::LeastConn),
];
const CLOSE_MODES: [(&str, CloseMode); 3] = [
    ("keep_alive", CloseMode::KeepAlive),
    ("server_close", CloseMode::ServerClose),
    ("close", CloseMode::Close),
];

/// Whose word a `proxy` section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The top level: gives way to the service's own haproxy lines.
    Defaults,
    /// The service: the last word.
    Service,
}

/// What one `proxy` section says: settings with their places, in the order of the keys.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    settings: Vec<(Setting, Place)>,
    check: Option<native_check::CheckOverride>,
}

#[derive(Clone, Debug)]
enum Setting {
    Mode(Mode),
    Balance(Strategy),
    AllBackups(bool),
    Timeout(&'static str, Option<Duration>),
    Retries(u32),
    Redispatch(Redispatch),
    MaxConnections(u32),
    ReplayIdempotent(bool),
    ForwardFor(Option<ForwardFor>),
    CloseMode(CloseMode),
    Backlog(u32),
}

/// Reads a `proxy` section.
pub fn read(cursor: &Cursor<'_>, report: &mut Report) -> Overrides {
    let Some(section) = cursor.section(&KEYS, report) else {
        return Overrides::default();
    };
    let mut settings = Vec::new();
    for key in KEYS {
        if let Some(value) = section.get(key)
            && let Some(setting) = read_setting(key, &value, report)
        {
            settings.push((setting, value.place().clone()));
        }
    }
    let timeouts = section
        .get("timeouts")
        .and_then(|c| c.section(&TIMEOUT_KEYS, report));
    if let Some(timeouts) = timeouts {
        read_timeouts(&timeouts, &mut settings, report);
    }
    let check = section
        .get("check")
        .and_then(|c| native_check::read(&c, report));
    Overrides { settings, check }
}

/// `None` also for the keys that are sections of their own.
fn read_setting(key: &str, value: &Cursor<'_>, report: &mut Report) -> Option<Setting> {
    let count = |what: &str, low: u64, report: &mut Report| {
        let number = value.integer(low..=u64::from(u32::MAX >> 1), what, report)?;
        u32::try_from(number).ok()
    };
    match key {
        "mode" => value.choice(&MODES, report).map(Setting::Mode),
        "balance" => value.choice(&STRATEGIES, report).map(Setting::Balance),
        "all_backups" => value.flag(report).map(Setting::AllBackups),
        "retries" => count("a number of retries", 0, report).map(Setting::Retries),
        "redispatch" => value.flag(report).map(|on| {
            // haproxy's default for N: the last retry.
            Setting::Redispatch(if on {
                Redispatch::On { every: -1 }
            } else {
                Redispatch::Off
            })
        }),
        "max_connections" => {
            count("a number of connections", 1, report).map(Setting::MaxConnections)
        }
        "backlog" => count("a length of the accept queue", 1, report).map(Setting::Backlog),
        "replay_idempotent" => value.flag(report).map(Setting::ReplayIdempotent),
        "forward_for" => forward_for(value, report).map(Setting::ForwardFor),
        "close_mode" => value.choice(&CLOSE_MODES, report).map(Setting::CloseMode),
        _ => None,
    }
}

fn read_timeouts(
    timeouts: &Section<'_>,
    settings: &mut Vec<(Setting, Place)>,
    report: &mut Report,
) {
    for key in TIMEOUT_KEYS {
        let Some(value) = timeouts.get(key) else {
            continue;
        };
        let timeout = if value.value() == "none" {
            Some(None)
        } else {
            value.duration(BareNumber::Milliseconds, report).map(Some)
        };
        if let Some(timeout) = timeout {
            settings.push((Setting::Timeout(key, timeout), value.place().clone()));
        }
    }
}

/// `true`, `false`, or a map. The outer `None` is a mistake.
fn forward_for(value: &Cursor<'_>, report: &mut Report) -> Option<Option<ForwardFor>> {
    const HEADER: &str = "X-Forwarded-For";
    if let Some(on) = value.value().as_bool() {
        return Some(on.then(|| ForwardFor {
            header: Arc::from(HEADER),
            except: None,
            if_none: false,
        }));
    }
    let section = value.section(&FORWARD_FOR_KEYS, report)?;
    let header = match section.get("header") {
        Some(header) => header_name(&header, report)?,
        None => HEADER.to_owned(),
    };
    let except = match section.get("except") {
        Some(except) => Some(network(&except, report)?),
        None => None,
    };
    Some(Some(ForwardFor {
        header: Arc::from(header),
        except,
        if_none: section.flag("if_none", false, report),
    }))
}

fn header_name(cursor: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let name = cursor.word(report)?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !name.chars().all(token) {
        report.complain(cursor.place(), format!("{name:?} is not a header name"));
        return None;
    }
    Some(name)
}

fn network(cursor: &Cursor<'_>, report: &mut Report) -> Option<IpNet> {
    let text = cursor.word(report)?;
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(prefix)),
        None => (text.as_str(), None),
    };
    let parsed = addr.parse::<std::net::IpAddr>().ok().and_then(|addr| {
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |p| p.parse().ok())?;
        (prefix <= bits).then_some(IpNet { addr, prefix })
    });
    if parsed.is_none() {
        report.complain(
            cursor.place(),
            format!("{text:?} is not a network such as 10.0.0.0/8"),
        );
    }
    parsed
}

impl Overrides {
    /// Lays the section over what the haproxy lines gave.
    pub fn apply(&self, parts: &mut ServiceParts, layer: Layer) {
        for (setting, place) in &self.settings {
            let (name, value) = setting.describe();
            let wins = layer == Layer::Service || is_inherited(&name, &parts.origins);
            if wins {
                setting.store(parts);
                set_origin(&mut parts.origins, name, value, place);
            }
        }
        if let Some(check) = &self.check {
            let only_missing = layer == Layer::Defaults;
            let rules = CheckRules::new(Arc::clone(&parts.rules), check.clone(), only_missing);
            parts.rules = Arc::new(rules);
            // A default check is seen only where the service's own lines give none: nothing to say about all of them.
            if layer == Layer::Service {
                let (value, place) = (check.describe(), check.place());
                set_origin(&mut parts.origins, "check".to_owned(), value, place);
            }
        }
    }
}

impl Setting {
    fn store(&self, parts: &mut ServiceParts) {
        let proxy = &mut parts.proxy;
        match self {
            Self::Mode(mode) => proxy.mode = *mode,
            Self::Balance(strategy) => parts.strategy = *strategy,
            Self::AllBackups(on) => parts.all_backups = *on,
            Self::Timeout(key, timeout) => {
                let timeouts = &mut proxy.timeouts;
                match *key {
                    "connect" => timeouts.connect = *timeout,
                    "client" => timeouts.client = *timeout,
                    "server" => timeouts.server = *timeout,
                    "http_request" => timeouts.http_request = *timeout,
                    "http_keep_alive" => timeouts.http_keep_alive = *timeout,
                    _ => timeouts.tunnel = *timeout,
                }
            }
            Self::Retries(retries) => proxy.retries = *retries,
            Self::Redispatch(redispatch) => proxy.redispatch = *redispatch,
            Self::MaxConnections(max) => proxy.max_connections = Some(*max),
            Self::ReplayIdempotent(on) => proxy.http.replay_idempotent = *on,
            Self::ForwardFor(forward_for) => proxy.http.forward_for.clone_from(forward_for),
            Self::CloseMode(mode) => proxy.http.close_mode = *mode,
            Self::Backlog(backlog) => {
                if let Some(listener) = &mut parts.listener {
                    listener.backlog = *backlog;
                }
            }
        }
    }

    /// Name and value as `synapse check` shows them.
    fn describe(&self) -> (String, String) {
        match self {
            Self::Mode(mode) => ("mode".to_owned(), name_of(&MODES, mode)),
            Self::Balance(strategy) => ("balance".to_owned(), name_of(&STRATEGIES, strategy)),
            Self::AllBackups(on) => ("all_backups".to_owned(), on.to_string()),
            Self::Timeout(key, timeout) => {
                let value = timeout.map_or_else(|| "none".to_owned(), |t| format!("{t:?}"));
                (format!("timeout.{key}"), value)
            }
            Self::Retries(retries) => ("retries".to_owned(), retries.to_string()),
            Self::Redispatch(Redispatch::Off) => ("redispatch".to_owned(), "off".to_owned()),
            Self::Redispatch(Redispatch::On { .. }) => ("redispatch".to_owned(), "on".to_owned()),
            Self::MaxConnections(max) => ("max_connections".to_owned(), max.to_string()),
            Self::ReplayIdempotent(on) => ("replay_idempotent".to_owned(), on.to_string()),
            Self::ForwardFor(forward_for) => {
                let value = forward_for.as_ref().map_or("off", |f| &f.header);
                ("forward_for".to_owned(), value.to_owned())
            }
            Self::CloseMode(mode) => ("close_mode".to_owned(), name_of(&CLOSE_MODES, mode)),
            Self::Backlog(backlog) => ("backlog".to_owned(), backlog.to_string()),
        }
    }
}

fn name_of<T: PartialEq>(names: &[(&str, T)], value: &T) -> String {
    let found = names.iter().find(|(_, v)| v == value);
    found.map_or_else(String::new, |(name, _)| (*name).to_owned())
}
