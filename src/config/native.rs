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

#[cfg(test)]
mod tests {
    use crate::config::ServiceConfig;
    use crate::config::synapse::tests::{complaints, good};
    use crate::endpoint::Endpoint;
    use crate::health::ProbeSettings;
    use crate::lb::Strategy;
    use crate::lb::ending::{OnRemove, Removal};
    use crate::proxy::{CloseMode, Mode, Redispatch};
    use std::time::Duration;

    #[test]
    fn replay_is_shown_with_its_origin() {
        let origin = |top: &str| {
            let origins = service(top, "listen: [mode http]", "").origins;
            let of = |o: &&super::EffectiveValue| o.setting == "http.replay_idempotent";
            let [one] = origins.iter().filter(of).collect::<Vec<_>>()[..] else {
                panic!("{origins:?}");
            };
            (one.value.clone(), one.origin.clone())
        };
        assert_eq!(origin("").0, "true");
        let said = ("false".to_owned(), "proxy.replay_idempotent".to_owned());
        assert_eq!(origin("replay_idempotent: false"), said);
    }

    #[test]
    fn a_default_check_is_shown_where_it_is_added() {
        let shown = |lines: &str| {
            let origins = service("check: {interval: 1s}", lines, "").origins;
            let value = |name: &str| {
                let found = origins.iter().find(|o| o.setting == name);
                found.map(|o| (o.value.clone(), o.origin.clone())).unwrap()
            };
            (value("server.check"), value("server.inter").0)
        };
        let (check, inter) = shown("server_options: weight 5");
        assert_eq!(check, ("true".to_owned(), "proxy.check".to_owned()));
        assert_eq!(inter, "1s");
        let (check, inter) = shown("server_options: check inter 5s");
        assert!(check.1.contains("server_options"), "{check:?}");
        assert_eq!(inter, "5s");
    }

    #[test]
    fn a_check_that_is_added_is_the_one_that_the_lines_describe() {
        let lines =
            "listen: [option httpchk GET /ping, timeout check 700ms], server_options: inter 5s";
        for (top, own) in [("check: true", ""), ("", "check: {rise: 7}")] {
            let rules = service(top, lines, own).pool.servers;
            let check = rules.server(&Endpoint::new("10.0.0.1", 80)).check.unwrap();
            let ProbeSettings::Http(http) = &check.probe else {
                panic!("{check:?}");
            };
            assert_eq!(&*http.uri, "/ping");
            assert_eq!(check.interval, Duration::from_secs(5));
            assert_eq!(check.timeout, Some(Duration::from_millis(700)));
            assert_eq!(check.connect_timeout, Some(Duration::from_secs(1)));
        }
    }

    fn service(top: &str, haproxy: &str, own: &str) -> ServiceConfig {
        let text = format!(
            "proxy: {{{top}}}
haproxy: {{global: [], defaults: [timeout connect 1s, timeout client 2s, timeout server 3s]}}
services:
  a:
    discovery: {{method: file, path: /f}}
    haproxy: {{port: 3300, {haproxy}}}
    proxy: {{{own}}}
"
        );
        good(&text).config.services.remove(0)
    }

    fn origin(service: &ServiceConfig, setting: &str) -> (String, String) {
        let value = service.origins.iter().find(|o| o.setting == setting).unwrap();
        (value.value.clone(), value.origin.clone())
    }

    #[test]
    fn the_top_level_beats_defaults_and_yields_to_lines_of_the_service() {
        let top = "mode: http, timeouts: {client: 10s, server: 11s}";
        let service = service(top, "listen: [mode tcp, timeout server 9s]", "");
        let proxy = &service.proxy;
        assert_eq!(proxy.mode, Mode::Tcp);
        assert_eq!(proxy.timeouts.client, Some(Duration::from_secs(10)));
        assert_eq!(proxy.timeouts.server, Some(Duration::from_secs(9)));
        assert_eq!(proxy.timeouts.connect, Some(Duration::from_secs(1)));
        assert_eq!(
            origin(&service, "timeout.client"),
            ("10s".to_owned(), "proxy.timeouts.client".to_owned())
        );
    }

    #[test]
    fn the_service_has_the_last_word() {
        let own = "mode: http, balance: leastconn, all_backups: yes, retries: 7, redispatch: on, max_connections: 5,
           max_connection_age: 1h, on_remove: drain, drain_time: 5s, replay_idempotent: off, forward_for: {except: 10.0.0.0/8, header: X-Real}, close_mode: close, backlog: 9,
           timeouts: {client: none, http_request: 1500, http_keep_alive: 1m, tunnel: 1h}";
        let service = service("mode: tcp", "listen: [mode tcp, balance roundrobin]", own);
        let proxy = &service.proxy;
        assert_eq!(proxy.mode, Mode::Http);
        assert_eq!(service.pool.strategy, Strategy::LeastConn);
        assert!(service.pool.all_backups);
        assert_eq!(proxy.retries, 7);
        assert_eq!(proxy.redispatch, Redispatch::On { every: -1 });
        assert_eq!(proxy.max_connections, Some(5));
        assert_eq!(proxy.max_connection_age, Some(Duration::from_secs(3600)));
        let drain_time = Duration::from_secs(5);
        assert_eq!(service.pool.removal, Removal { then: OnRemove::Drain, drain_time });
        assert_eq!(origin(&service, "on_remove").0, "drain");
        assert!(!proxy.http.replay_idempotent);
        let forward_for = proxy.http.forward_for.as_ref().unwrap();
        assert_eq!(&*forward_for.header, "X-Real");
        assert_eq!(forward_for.except.unwrap().prefix, 8);
        assert_eq!(proxy.http.close_mode, CloseMode::Close);
        assert_eq!(proxy.timeouts.client, None);
        assert_eq!(proxy.timeouts.http_request, Some(Duration::from_millis(1500)));
        assert_eq!(proxy.timeouts.tunnel, Some(Duration::from_secs(3600)));
        assert_eq!(service.listener.as_ref().unwrap().backlog, 9);
        let (value, from) = origin(&service, "mode");
        assert_eq!((value.as_str(), from.as_str()), ("http", "services.a.proxy.mode"));
        let modes = service.origins.iter().filter(|o| o.setting == "mode").count();
        assert_eq!(modes, 1);
    }

    #[test]
    fn checks_are_edited_switched_on_and_off() {
        let check = |top: &str, options: &str, own: &str| {
            let service = service(top, &format!("server_options: {options}"), own);
            service.pool.servers.server(&Endpoint::new("10.0.0.1", 80)).check
        };
        let plain = "check inter 5s rise 4";
        let edited = check("", plain, "check: {interval: 1s, uri: /health}").unwrap();
        assert_eq!(edited.interval, Duration::from_secs(1));
        assert_eq!(edited.rise.get(), 4);
        assert!(matches!(&edited.probe, ProbeSettings::Http(http) if &*http.uri == "/health"));
        assert!(check("", plain, "check: false").is_none());
        let added = check("", "weight 5", "check: true").unwrap();
        assert_eq!((added.interval, added.fall.get()), (Duration::from_secs(2), 3));
        // The top level adds checks where there are none, and leaves the others.
        assert_eq!(
            check("check: {interval: 1s}", plain, "").unwrap().interval,
            Duration::from_secs(5)
        );
        assert_eq!(
            check("check: {interval: 1s}", "weight 5", "").unwrap().interval,
            Duration::from_secs(1)
        );
    }

    #[test]
    fn every_mistake_has_its_path() {
        let texts = complaints(
            "proxy:
  mode: udp
  retries: -1
  max_connections: 0
  forward_for: {except: 10.0.0.0/40, header: 'a b'}
  check: {type: tcp, uri: /x, rise: 0, port: 0}
  timeouts: {client: 0, connect: 5x}
services: {}",
        );
        let at = |path: &str| {
            texts.iter().any(|t| t.starts_with(&format!("synapse.yaml: proxy.{path}: ")))
        };
        for path in [
            "mode",
            "retries",
            "max_connections",
            "forward_for.header",
            "check",
            "check.rise",
            "check.port",
            "timeouts.client",
            "timeouts.connect",
        ] {
            assert!(at(path), "{path} in {texts:#?}");
        }
    }

    #[test]
    fn native_timeouts_satisfy_the_dialect() {
        let text = "
proxy: {timeouts: {connect: 1s, client: 1m, server: 1m}}
services: {a: {discovery: {method: file, path: /f}, haproxy: {port: 3300}}}";
        assert_eq!(good(text).config.warnings, []);
    }
}
