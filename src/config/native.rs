//! The typed `proxy:` section: what haproxy lines say, in plain keys, and what they cannot say.
//!
//! It stands at the top level (defaults of every service) and in a service (its own word). From weak to strong:
//! built-in, `haproxy.defaults`, top-level `proxy`, the service's haproxy lines, the service's `proxy`. Every value
//! that it sets replaces the line of `synapse check` with its own place.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::EffectiveValue;
use super::access_log::{self, LogSettings};
use super::balance::{self, Algorithm, HashType};
use super::forward_for;
use super::haproxy::ServiceParts;
use super::native_check::{self, CheckRules};
use super::native_connect;
use super::origins::{is_inherited, set_origin};
use super::reader::{Cursor, Section};
use super::report::{Place, Report};
use super::text::BareNumber;
use crate::lb::ending::OnRemove;
use crate::lb::hash::Factor;
use crate::proxy::{CloseMode, ForwardFor, Mode, Redispatch};

/// Keys of `proxy`.
pub const KEYS: [&str; 20] = [
    "mode",
    "listen",
    "balance",
    "hash_type",
    "hash_balance_factor",
    "all_backups",
    "timeouts",
    "retries",
    "redispatch",
    "max_connections",
    "max_connection_age",
    "on_remove",
    "drain_time",
    "replay_idempotent",
    "forward_for",
    "close_mode",
    "check",
    "connect",
    "backlog",
    "access_log",
];

/// Keys of `proxy.timeouts`.
pub const TIMEOUT_KEYS: [&str; 7] =
    ["connect", "queue", "client", "server", "http_request", "http_keep_alive", "tunnel"];

const MODES: [(&str, Mode); 2] = [("tcp", Mode::Tcp), ("http", Mode::Http)];
const ON_REMOVE: [(&str, OnRemove); 3] =
    [("keep", OnRemove::Keep), ("drain", OnRemove::Drain), ("kill", OnRemove::Kill)];
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
    connect: Option<native_connect::ConnectOverride>,
}

#[derive(Clone, Debug)]
enum Setting {
    Mode(Mode),
    Balance(Algorithm),
    HashType(HashType),
    HashBalanceFactor(Option<Factor>),
    AllBackups(bool),
    Timeout(&'static str, Option<Duration>),
    Retries(u32),
    Redispatch(Redispatch),
    MaxConnections(u32),
    MaxConnectionAge(Option<Duration>),
    OnRemove(OnRemove),
    DrainTime(Duration),
    ReplayIdempotent(bool),
    ForwardFor(Option<ForwardFor>),
    CloseMode(CloseMode),
    Backlog(u32),
    AccessLog(Option<LogSettings>),
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
    if let Some(timeouts) = section.get("timeouts").and_then(|c| c.section(&TIMEOUT_KEYS, report)) {
        read_timeouts(&timeouts, &mut settings, report);
    }
    let check = section.get("check").and_then(|c| native_check::read(&c, report));
    let connect = section.get("connect").and_then(|c| native_connect::read(&c, report));
    Overrides { settings, check, connect }
}

/// `None` also for the keys that are sections of their own.
fn read_setting(key: &str, value: &Cursor<'_>, report: &mut Report) -> Option<Setting> {
    let count = |what: &str, low: u64, report: &mut Report| {
        let number = value.integer(low..=u64::from(u32::MAX >> 1), what, report)?;
        u32::try_from(number).ok()
    };
    match key {
        "mode" => value.choice(&MODES, report).map(Setting::Mode),
        "balance" => balance::read(value, balance::algorithm, report).map(Setting::Balance),
        "hash_type" => balance::read(value, balance::hash_type, report).map(Setting::HashType),
        "hash_balance_factor" => {
            let factor = |words: &[String]| balance::factor(&words.join(" "));
            balance::read(value, factor, report).map(Setting::HashBalanceFactor)
        }
        "all_backups" => value.flag(report).map(Setting::AllBackups),
        "retries" => count("a number of retries", 0, report).map(Setting::Retries),
        "redispatch" => value.flag(report).map(|on| {
            // haproxy's default for N: the last retry.
            Setting::Redispatch(if on { Redispatch::On { every: -1 } } else { Redispatch::Off })
        }),
        "max_connections" => {
            count("a number of connections", 1, report).map(Setting::MaxConnections)
        }
        "backlog" => count("a length of the accept queue", 1, report).map(Setting::Backlog),
        "max_connection_age" => duration_or_none(value, report).map(Setting::MaxConnectionAge),
        "on_remove" => value.choice(&ON_REMOVE, report).map(Setting::OnRemove),
        "drain_time" => value.duration(BareNumber::Milliseconds, report).map(Setting::DrainTime),
        "replay_idempotent" => value.flag(report).map(Setting::ReplayIdempotent),
        "forward_for" => forward_for::read(value, report).map(Setting::ForwardFor),
        "close_mode" => value.choice(&CLOSE_MODES, report).map(Setting::CloseMode),
        "access_log" => access_log::read(value, report).map(Setting::AccessLog),
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
        if let Some(timeout) = duration_or_none(&value, report) {
            settings.push((Setting::Timeout(key, timeout), value.place().clone()));
        }
    }
}

/// `none`: never.
fn duration_or_none(value: &Cursor<'_>, report: &mut Report) -> Option<Option<Duration>> {
    if value.value() == "none" {
        return Some(None);
    }
    value.duration(BareNumber::Milliseconds, report).map(Some)
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
            // A default check is seen only where the service's own lines give none.
            let gives_none =
                |it: &EffectiveValue| it.setting == "server.check" && it.value == "false";
            if layer == Layer::Service || parts.origins.iter().any(gives_none) {
                for (name, value) in check.describe() {
                    set_origin(&mut parts.origins, name.to_owned(), value, check.place());
                }
            }
        }
        self.connect.iter().for_each(|it| it.lay(parts, layer == Layer::Defaults));
    }
}

impl Setting {
    fn store(&self, parts: &mut ServiceParts) {
        let proxy = &mut parts.proxy;
        match self {
            Self::Mode(mode) => proxy.mode = *mode,
            Self::Balance(algorithm) => parts.balancing.algorithm = algorithm.clone(),
            Self::HashType(hash_type) => parts.balancing.hash_type = *hash_type,
            Self::HashBalanceFactor(factor) => parts.balancing.factor = *factor,
            Self::AllBackups(on) => parts.all_backups = *on,
            Self::Timeout(key, timeout) => {
                let timeouts = &mut proxy.timeouts;
                match *key {
                    "connect" => timeouts.connect = *timeout,
                    "queue" => timeouts.queue = *timeout,
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
            Self::MaxConnectionAge(age) => proxy.max_connection_age = *age,
            Self::OnRemove(then) => parts.removal.then = *then,
            Self::DrainTime(time) => parts.removal.drain_time = *time,
            Self::ReplayIdempotent(on) => proxy.http.replay_idempotent = *on,
            Self::ForwardFor(forward_for) => proxy.http.forward_for.clone_from(forward_for),
            Self::CloseMode(mode) => proxy.http.close_mode = *mode,
            Self::Backlog(backlog) => {
                if let Some(listener) = &mut parts.listener {
                    listener.backlog = *backlog;
                    for bind in &mut listener.addrs {
                        Arc::make_mut(&mut bind.options).backlog = None;
                    }
                }
            }
            Self::AccessLog(log) => {
                let (frontend, backend) = &parts.names;
                let log = log.as_ref().map(|log| Arc::new(log.resolve(frontend, backend)));
                proxy.access_log = log;
                // Of the log that is replaced; the service's own is shown when all is said.
                parts.origins.retain(|it| it.setting != "log.format");
            }
        }
    }

    /// Name and value as `synapse check` shows them; the names are those of the haproxy dialect, so that lines replace
    /// each other.
    fn describe(&self) -> (String, String) {
        match self {
            Self::Mode(mode) => ("mode".to_owned(), name_of(&MODES, mode)),
            Self::Balance(algorithm) => ("balance".to_owned(), algorithm.to_string()),
            Self::HashType(hash_type) => ("hash-type".to_owned(), hash_type.to_string()),
            Self::HashBalanceFactor(factor) => {
                ("hash-balance-factor".to_owned(), balance::show_factor(*factor))
            }
            Self::AllBackups(on) => ("allbackups".to_owned(), on.to_string()),
            Self::Timeout(key, timeout) => {
                (format!("timeout.{}", key.replace('_', "-")), show_time(*timeout))
            }
            Self::Retries(retries) => ("retries".to_owned(), retries.to_string()),
            Self::Redispatch(Redispatch::Off) => ("redispatch".to_owned(), "off".to_owned()),
            Self::Redispatch(Redispatch::On { .. }) => ("redispatch".to_owned(), "on".to_owned()),
            Self::MaxConnections(max) => ("maxconn".to_owned(), max.to_string()),
            Self::MaxConnectionAge(age) => ("max_connection_age".to_owned(), show_time(*age)),
            Self::OnRemove(then) => ("on_remove".to_owned(), name_of(&ON_REMOVE, then)),
            Self::DrainTime(time) => ("drain_time".to_owned(), show_time(Some(*time))),
            Self::ReplayIdempotent(on) => ("http.replay_idempotent".to_owned(), on.to_string()),
            Self::ForwardFor(forward_for) => {
                let value = forward_for.as_ref().map_or("off", |f| &f.header);
                ("http.forwardfor".to_owned(), value.to_owned())
            }
            Self::CloseMode(mode) => ("http.close_mode".to_owned(), name_of(&CLOSE_MODES, mode)),
            Self::Backlog(backlog) => ("backlog".to_owned(), backlog.to_string()),
            Self::AccessLog(log) => {
                let value = log.as_ref().map_or_else(|| "none".to_owned(), LogSettings::show);
                ("log".to_owned(), value)
            }
        }
    }
}

fn show_time(time: Option<Duration>) -> String {
    time.map_or_else(|| "none".to_owned(), |time| format!("{time:?}"))
}

fn name_of<T: PartialEq>(names: &[(&str, T)], value: &T) -> String {
    let found = names.iter().find(|(_, v)| v == value);
    found.map_or_else(String::new, |(name, _)| (*name).to_owned())
}
