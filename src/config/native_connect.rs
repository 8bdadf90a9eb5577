//! `proxy.connect`: how servers are connected to in plain keys, laid over what the server options say.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::EffectiveValue;
use super::haproxy::{self, ServiceParts};
use super::origins::{is_inherited, set_origin};
use super::reader::Cursor;
use super::report::{Place, Report};
use super::text::BareNumber;
use crate::dial::header::Form;
use crate::dial::{KeepAlive, Said, Source, Way};
use crate::endpoint::Endpoint;
use crate::lb::{ServerRules, ServerSettings};

/// Keys of `proxy.connect`.
pub const KEYS: [&str; 5] = ["send_proxy", "source", "interface", "user_timeout", "keep_alive"];

/// Keys of `proxy.connect.keep_alive`.
pub const KEEP_ALIVE_KEYS: [&str; 3] = ["idle", "interval", "count"];

/// What a `connect` key says: the settings that it names. In each the outer `None` says nothing, the inner one none.
#[derive(Clone, Debug)]
pub struct ConnectOverride {
    place: Place,
    header: Option<Option<Form>>,
    source: Option<Option<Source>>,
    device: Option<Option<Arc<str>>>,
    user_timeout: Option<Option<Duration>>,
    keep_alive: Option<Option<KeepAlive>>,
}

/// Reads the section.
pub fn read(cursor: &Cursor<'_>, report: &mut Report) -> Option<ConnectOverride> {
    let section = cursor.section(&KEYS, report)?;
    let get = |key| section.get(key);
    Some(ConnectOverride {
        place: cursor.place().clone(),
        header: get("send_proxy").and_then(|it| {
            or_none(&it, report, |it, report| {
                it.choice(&[("v1", Form::V1), ("v2", Form::V2)], report)
            })
        }),
        source: get("source")
            .and_then(|it| or_none(&it, report, |it, report| parsed(it, haproxy::source, report))),
        device: get("interface")
            .and_then(|it| or_none(&it, report, |it, report| parsed(it, haproxy::device, report))),
        user_timeout: get("user_timeout").and_then(|it| or_none(&it, report, user_timeout)),
        keep_alive: get("keep_alive").and_then(|it| or_none(&it, report, keep_alive)),
    })
}

/// `false` and `none` are none.
fn or_none<T>(
    value: &Cursor<'_>,
    report: &mut Report,
    read: impl FnOnce(&Cursor<'_>, &mut Report) -> Option<T>,
) -> Option<Option<T>> {
    if value.value() == "none" || value.value() == false {
        return Some(None);
    }
    read(value, report).map(Some)
}

fn parsed<T>(
    value: &Cursor<'_>,
    parse: impl FnOnce(&str) -> Result<T, String>,
    report: &mut Report,
) -> Option<T> {
    let text = value.word(report)?;
    parse(&text).map_err(|error| report.complain(value.place(), error)).ok()
}

/// The kernel's bound, in milliseconds.
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

fn user_timeout(value: &Cursor<'_>, report: &mut Report) -> Option<Duration> {
    let time = value.duration(BareNumber::Milliseconds, report)?;
    if time > MAX_USER_TIMEOUT {
        report.complain(value.place(), "more than 2147483647ms (24 days) is not possible");
    }
    Some(time)
}

/// `true`, or a map.
fn keep_alive(value: &Cursor<'_>, report: &mut Report) -> Option<KeepAlive> {
    if value.value() == true {
        return Some(KeepAlive::default());
    }
    let section = value.section(&KEEP_ALIVE_KEYS, report)?;
    let seconds = |key: &str, report: &mut Report| {
        let value = section.get(key)?;
        let time = value.duration(BareNumber::Seconds, report)?;
        let most = haproxy::MAX_KEEPALIVE_SECONDS;
        if time < Duration::from_secs(1) {
            report.complain(value.place(), "less than a second is not possible");
        } else if time > Duration::from_secs(most) {
            report.complain(value.place(), format!("more than {most} seconds is not possible"));
        }
        Some(time)
    };
    let count = |report: &mut Report| {
        let most = u64::from(haproxy::MAX_KEEPALIVE_COUNT);
        let count = section.get("count")?.integer(1..=most, "a number of probes", report)?;
        u32::try_from(count).ok().and_then(NonZeroU32::new)
    };
    Some(KeepAlive {
        idle: seconds("idle", report),
        interval: seconds("interval", report),
        count: count(report),
    })
}

impl ConnectOverride {
    /// Lays the section over what is known of a service. `only_missing`: what the service itself says stays.
    pub fn lay(&self, parts: &mut ServiceParts, only_missing: bool) {
        let rules = ConnectRules::new(Arc::clone(&parts.rules), self.clone(), only_missing);
        parts.rules = Arc::new(rules);
        for (name, value) in self.describe() {
            if !only_missing || !is_said(name, &parts.origins) {
                set_origin(&mut parts.origins, name.to_owned(), value, &self.place);
            }
        }
    }

    /// Names and values for `synapse check`: what the section says, nothing else.
    fn describe(&self) -> Vec<(&'static str, String)> {
        fn show<T: ToString>(it: &Option<Option<T>>) -> Option<String> {
            let shown =
                |it: &Option<T>| it.as_ref().map_or_else(|| "none".to_owned(), T::to_string);
            it.as_ref().map(shown)
        }
        let header = self.header.map(|it| it.map(Form::word));
        let user_timeout = self.user_timeout.map(|it| it.map(|it| format!("{it:?}")));
        let fields = [
            ("server.send-proxy", show(&header)),
            ("server.source", show(&self.source)),
            ("server.interface", show(&self.device)),
            ("server.tcp-ut", show(&user_timeout)),
            ("srvtcpka", show(&self.keep_alive)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// `only_missing`: what is said stays.
    fn apply(&self, settings: &mut ServerSettings, only_missing: bool) {
        fn lay<T: Clone>(over: &mut Option<T>, key: &Option<Option<T>>, is_said: bool) {
            if let Some(value) = key
                && !is_said
            {
                over.clone_from(value);
            }
        }
        let said = if only_missing { settings.said } else { Said::default() };
        let mut way = settings.way.as_deref().cloned().unwrap_or_default();
        lay(&mut way.header, &self.header, said.header);
        lay(&mut way.source, &self.source, said.source);
        lay(&mut way.device, &self.device, said.device);
        lay(&mut way.user_timeout, &self.user_timeout, said.user_timeout);
        lay(&mut way.keep_alive, &self.keep_alive, said.keep_alive);
        settings.way = way.settled();
        // The last word is none: of checks as well.
        settings.said.check_header &= only_missing || self.header != Some(None);
    }
}

/// True when the service's own lines say what the key `name` is about, under whatever name.
fn is_said(name: &str, origins: &[EffectiveValue]) -> bool {
    let lines = origins.iter().filter(|it| match name {
        "server.source" => it.setting == "source",
        "server.interface" => it.setting == "source" && it.value.contains(" interface "),
        _ => false,
    });
    !is_inherited(name, origins)
        || lines.into_iter().any(|it| !is_inherited("source", std::slice::from_ref(it)))
}

/// Server rules whose connecting is edited afterwards.
#[derive(Debug)]
struct ConnectRules {
    inner: Arc<dyn ServerRules>,
    change: ConnectOverride,
    only_missing: bool,
}

impl ConnectRules {
    /// `only_missing`: what the options of a server say stays.
    fn new(inner: Arc<dyn ServerRules>, change: ConnectOverride, only_missing: bool) -> Self {
        Self { inner, change, only_missing }
    }
}

impl ServerRules for ConnectRules {
    fn server(&self, endpoint: &Endpoint) -> ServerSettings {
        let mut settings = self.inner.server(endpoint);
        self.change.apply(&mut settings, self.only_missing);
        settings
    }
}

/// The outermost rules: when all have spoken, checks get their way, and what cannot be connected to is told.
#[derive(Debug)]
pub struct SettledRules(pub Arc<dyn ServerRules>);

impl ServerRules for SettledRules {
    fn server(&self, endpoint: &Endpoint) -> ServerSettings {
        let mut settings = self.0.server(endpoint);
        if let Some(check) = &mut settings.check {
            let is_elsewhere = check.port.is_some() || check.addr.is_some();
            let is_asked = settings.said.check_header;
            check.way = Way::of_checks(settings.way.as_ref(), is_asked, is_elsewhere);
        }
        settings.complaints.extend(haproxy::mismatch(endpoint, &settings));
        settings
    }
}

#[cfg(test)]
mod tests;
