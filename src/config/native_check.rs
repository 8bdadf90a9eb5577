//! `proxy.check`: checks in plain keys, laid over what the server options say.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::defaults;
use super::reader::{Cursor, Section};
use super::report::{Place, Report};
use super::text::BareNumber;
use crate::endpoint::Endpoint;
use crate::health::{CheckSettings, HttpProbeSettings, ProbeSettings};
use crate::lb::{ServerRules, ServerSettings};

/// Keys of `proxy.check`.
pub const KEYS: [&str; 10] = [
    "type",
    "method",
    "uri",
    "interval",
    "fast_interval",
    "down_interval",
    "rise",
    "fall",
    "timeout",
    "port",
];

/// What a `check` key says: off, or the settings that it names.
#[derive(Clone, Debug)]
pub struct CheckOverride {
    place: Place,
    edit: Option<Edit>,
}

#[derive(Clone, Debug, Default)]
struct Edit {
    http: Option<bool>,
    method: Option<Arc<str>>,
    uri: Option<Arc<str>>,
    interval: Option<Duration>,
    fast_interval: Option<Duration>,
    down_interval: Option<Duration>,
    rise: Option<NonZeroU32>,
    fall: Option<NonZeroU32>,
    timeout: Option<Duration>,
    port: Option<u16>,
}

/// Reads `false` (no checks), `true` (TCP with defaults) or a map.
pub fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<CheckOverride> {
    let place = cursor.place().clone();
    let edit = match cursor.value().as_bool() {
        Some(false) => None,
        Some(true) => Some(Edit::default()),
        None => Some(read_edit(&cursor.section(&KEYS, report)?, report)),
    };
    Some(CheckOverride { place, edit })
}

fn read_edit(section: &Section<'_>, report: &mut Report) -> Edit {
    let word = |key: &str, report: &mut Report| {
        let text = section.get(key)?.word(report)?;
        // Spaces and line ends would end the request line.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            report.complain(&section.place().key(key), format!("{text:?} must be one word"));
            return None;
        }
        Some(Arc::from(text))
    };
    let duration = |key: &str, report: &mut Report| {
        section.get(key)?.duration(BareNumber::Milliseconds, report)
    };
    let count = |key: &str, report: &mut Report| {
        let number = section.get(key)?.integer(1..=u64::from(u32::MAX), "a count", report)?;
        u32::try_from(number).ok().and_then(NonZeroU32::new)
    };
    let edit = Edit {
        http: section.get("type").and_then(|c| c.choice(&[("tcp", false), ("http", true)], report)),
        method: word("method", report),
        uri: word("uri", report),
        interval: duration("interval", report),
        fast_interval: duration("fast_interval", report),
        down_interval: duration("down_interval", report),
        rise: count("rise", report),
        fall: count("fall", report),
        timeout: duration("timeout", report),
        port: section.get("port").and_then(|c| c.port(report)),
    };
    if edit.http == Some(false) && (edit.method.is_some() || edit.uri.is_some()) {
        report.complain(section.place(), "method and uri need type http");
    }
    edit
}

impl CheckOverride {
    /// No checks, because of what stands at `place`.
    pub fn off(place: Place) -> Self {
        Self { place, edit: None }
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Names and values for `synapse check`: what the section says, nothing else.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let Some(edit) = &self.edit else {
            return vec![("server.check", "false".to_owned())];
        };
        let time = |value: Option<Duration>| value.map(|time| format!("{time:?}"));
        let count = |value: Option<NonZeroU32>| value.map(|count| count.to_string());
        let fields = [
            ("server.check", Some("true".to_owned())),
            ("check.probe", edit.describe_probe()),
            ("server.inter", time(edit.interval)),
            ("server.fastinter", time(edit.fast_interval)),
            ("server.downinter", time(edit.down_interval)),
            ("server.rise", count(edit.rise)),
            ("server.fall", count(edit.fall)),
            ("timeout.check", time(edit.timeout)),
            ("server.port", edit.port.map(|port| port.to_string())),
        ];
        let said = fields.into_iter();
        said.filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// haproxy's defaults, for servers whose options refuse a check.
fn default_check() -> CheckSettings {
    CheckSettings {
        probe: ProbeSettings::Tcp,
        interval: defaults::CHECK_INTERVAL,
        fast_interval: None,
        down_interval: None,
        rise: defaults::CHECK_RISE,
        fall: defaults::CHECK_FALL,
        timeout: None,
        connect_timeout: None,
        port: None,
        addr: None,
        spread_percent: 0,
        way: None,
    }
}

impl Edit {
    fn apply(&self, check: &mut CheckSettings) {
        let named = self.method.is_some() || self.uri.is_some();
        let is_http = matches!(check.probe, ProbeSettings::Http(_));
        let wants_http = self.http.unwrap_or(named || is_http);
        check.probe = match (&check.probe, wants_http) {
            (_, false) => ProbeSettings::Tcp,
            (ProbeSettings::Http(http), true) => ProbeSettings::Http(self.http_probe(http.clone())),
            (ProbeSettings::Tcp, true) => ProbeSettings::Http(self.http_probe(HttpProbeSettings {
                method: Arc::from("OPTIONS"),
                uri: Arc::from("/"),
                version: Arc::from("HTTP/1.0"),
                headers: Vec::new(),
            })),
        };
        check.interval = self.interval.unwrap_or(check.interval);
        check.fast_interval = self.fast_interval.or(check.fast_interval);
        check.down_interval = self.down_interval.or(check.down_interval);
        check.rise = self.rise.unwrap_or(check.rise);
        check.fall = self.fall.unwrap_or(check.fall);
        check.timeout = self.timeout.or(check.timeout);
        check.port = self.port.or(check.port);
    }

    fn describe_probe(&self) -> Option<String> {
        if self.http == Some(false) {
            return Some("tcp connect".to_owned());
        }
        let said = self.http.is_some() || self.method.is_some() || self.uri.is_some();
        said.then(|| {
            let method = self.method.as_deref().unwrap_or("OPTIONS");
            format!("{method} {}", self.uri.as_deref().unwrap_or("/"))
        })
    }

    fn http_probe(&self, mut http: HttpProbeSettings) -> HttpProbeSettings {
        if let Some(method) = &self.method {
            http.method = Arc::clone(method);
        }
        if let Some(uri) = &self.uri {
            http.uri = Arc::clone(uri);
        }
        http
    }
}

/// Server rules whose checks are edited afterwards.
#[derive(Debug)]
pub struct CheckRules {
    inner: Arc<dyn ServerRules>,
    change: CheckOverride,
    only_missing: bool,
}

impl CheckRules {
    /// `only_missing`: servers that have a check already keep it as it is.
    pub fn new(inner: Arc<dyn ServerRules>, change: CheckOverride, only_missing: bool) -> Self {
        Self { inner, change, only_missing }
    }
}

impl CheckRules {
    /// What the word `check` would give this server: `option httpchk`, the timeouts and `spread-checks` hold for checks
    /// that `proxy` adds, too.
    fn asked_for(&self, endpoint: &Endpoint) -> Option<CheckSettings> {
        let options = endpoint.server_options.as_deref().unwrap_or_default();
        let mut asked = endpoint.clone();
        asked.server_options = Some(format!("check {options}").into());
        self.inner.server(&asked).check
    }
}

impl ServerRules for CheckRules {
    fn server(&self, endpoint: &Endpoint) -> ServerSettings {
        let mut settings = self.inner.server(endpoint);
        if self.only_missing && settings.check.is_some() {
            return settings;
        }
        settings.check = self.change.edit.as_ref().map(|edit| {
            let described = settings.check.take();
            let mut check =
                described.or_else(|| self.asked_for(endpoint)).unwrap_or_else(default_check);
            edit.apply(&mut check);
            check
        });
        settings
    }
}
