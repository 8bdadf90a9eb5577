//! One service of the document to its settings.

use std::sync::Arc;

use super::access_log::format_name;
use super::haproxy::{self, ServiceParts, Top};
use super::native::{self, Layer, Overrides};
use super::native_check::{CheckOverride, CheckRules};
use super::native_connect::SettledRules;
use super::origins::{effective, shorten};
use super::reader::{Cursor, Section};
use super::report::{Place, Report};
use super::source::SourceParts;
use super::{Complaint, EffectiveValue, ServiceConfig, native_listen, sections, source};
use crate::endpoint::ServiceName;
use crate::lb::{PoolSettings, Strategy};
use crate::proxy::Mode;
use crate::telemetry::access::Format;

/// Keys of a service.
pub const KEYS: [&str; 13] = [
    "name",
    "discovery",
    "discovery_multi",
    "default_servers",
    "keep_default_servers",
    "use_previous_backends",
    "backend_port_override",
    "leader_election",
    "load_test_concurrency",
    "haproxy",
    "proxy",
    "file_output",
    "nginx",
];

/// What all services share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The main file's name: places in it are shown by their path alone.
    pub file: Arc<str>,
    /// `haproxy.global` and `haproxy.defaults`.
    pub top: Top,
    /// The top-level `proxy` section.
    pub native: Overrides,
}

/// A resolved service and what is needed to talk about it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Its settings.
    pub config: ServiceConfig,
    /// Where its port stands.
    pub port_place: Place,
}

impl Shared {
    /// Resolves the service `name` at `cursor`; `replaced` stands in for its `haproxy` section when given. `None`:
    /// complaints say why.
    pub fn resolve(
        &self,
        name: &ServiceName,
        cursor: &Cursor<'_>,
        replaced: Option<&Cursor<'_>>,
        report: &mut Report,
    ) -> Option<Resolved> {
        let service = cursor.section(&KEYS, report)?;
        let source = source::read(&service, report);
        let local = service.get("haproxy");
        let mut section = sections::read_service(&service, replaced.or(local.as_ref()), report);
        if let Some(sockets) = service.get("proxy").and_then(|proxy| proxy.peek("listen")) {
            section.sockets = native_listen::read(&sockets, report);
        }
        let port_place = section.place.key("port");
        if !section.serves() && !section.disabled {
            report.warn(
                &section.place,
                "no port: backends are discovered and checked, nothing listens",
            );
        }
        let mut parts = haproxy::resolve_service(name, &section, &self.top, report);
        self.native.apply(&mut parts, Layer::Defaults);
        if let Some(own) = service.get("proxy") {
            native::read(&own, report).apply(&mut parts, Layer::Service);
        }
        settle_log(&mut parts);
        if section.disabled {
            let off = CheckOverride::off(section.place.key("disabled"));
            parts.rules = Arc::new(CheckRules::new(parts.rules, off, false));
        }
        parts.rules = Arc::new(SettledRules(parts.rules));
        withdraw_timeout_remark(&parts, &section.place, report);
        // Without a source the configuration is refused; the other judgements (addresses) are still made.
        let source = source.unwrap_or_else(SourceParts::none);
        if let Some(servers) = service.get("default_servers") {
            let wrong =
                source.policy.default_servers.iter().filter_map(|endpoint| {
                    haproxy::mismatch(endpoint, &parts.rules.server(endpoint))
                });
            wrong.for_each(|text| report.complain(servers.place(), text));
        }
        let strategy = settle_balancing(&mut parts, &section.place, report);
        let mut origins = source.origins;
        origins.extend(listen_origin(&parts.listener, &port_place, &parts.origins));
        origins.append(&mut parts.origins);
        shorten(&mut origins, &self.file);
        let config = ServiceConfig {
            name: name.clone(),
            source: source.source,
            pool: PoolSettings {
                strategy,
                order: parts.order,
                membership: source.policy,
                servers: parts.rules,
                removal: parts.removal,
                states: parts.states,
                all_backups: parts.all_backups,
            },
            listener: parts.listener.filter(|_| !section.disabled),
            proxy: parts.proxy,
            disabled: section.disabled,
            origins,
        };
        Some(Resolved { config, port_place })
    }
}

/// What the last words about balancing come to; workers are told what to hash.
fn settle_balancing(parts: &mut ServiceParts, place: &Place, report: &mut Report) -> Strategy {
    let mode = parts.proxy.mode;
    let balancing = &parts.balancing;
    if balancing.is_odd(mode) {
        let text =
            format!("`balance {}` needs `mode http`: served as roundrobin", balancing.algorithm);
        report.warn(place, text);
    }
    let strategy = balancing.strategy(mode);
    parts.proxy.hash = strategy.hashing().cloned();
    if parts.proxy.hash.is_none() {
        // Without effect: not to be shown.
        let is_random = matches!(strategy, Strategy::Random { .. });
        parts.origins.retain(|it| {
            it.setting != "hash-type" && (it.setting != "hash-balance-factor" || is_random)
        });
    }
    strategy
}

/// A session that has no requests is logged as one, as haproxy does.
fn settle_log(parts: &mut ServiceParts) {
    let proxy = &mut parts.proxy;
    if let Some(log) = &mut proxy.access_log
        && proxy.mode == Mode::Tcp
        && log.format == Format::Http
    {
        Arc::make_mut(log).format = Format::Tcp;
    }
    let targets = proxy.access_log.as_ref().map(|log| &log.targets);
    if targets == parts.states.as_ref().map(|log| &log.targets) {
        parts.origins.retain(|it| it.setting != "log.states");
    }
    let Some(log) = &proxy.access_log else {
        return;
    };
    let format = format_name(log.format).to_owned();
    let setting = "log.format";
    if let Some(shown) = parts.origins.iter_mut().find(|o| o.setting == setting) {
        shown.value = format;
    } else if let Some(at) = parts.origins.iter().position(|o| o.setting == "log") {
        let origin = parts.origins.get(at).map(|o| o.origin.clone()).unwrap_or_default();
        let shown = EffectiveValue { setting: setting.to_owned(), value: format, origin };
        parts.origins.insert(at + 1, shown);
    }
}

/// The dialect remarks on missing timeouts before `proxy.timeouts` has given them.
fn withdraw_timeout_remark(parts: &ServiceParts, place: &Place, report: &mut Report) {
    let timeouts = &parts.proxy.timeouts;
    let all = [timeouts.connect, timeouts.client, timeouts.server];
    if all.iter().all(Option::is_some) {
        let is_remark = |w: &Complaint| w.path == place.path && w.text.starts_with("no `timeout`");
        report.warnings.retain(|w| !is_remark(w));
    }
}

/// `listen = 127.0.0.1:3301`, unless the dialect has said it already.
fn listen_origin(
    listener: &Option<crate::proxy::ListenerSettings>,
    place: &Place,
    origins: &[EffectiveValue],
) -> Option<EffectiveValue> {
    let listener = listener.as_ref()?;
    if origins.iter().any(|o| o.setting == "listen" || o.setting == "bind") {
        return None;
    }
    let addrs: Vec<_> = listener.addrs.iter().map(ToString::to_string).collect();
    Some(effective("listen", addrs.join(", "), Some(place)))
}

/// The instances of a service: itself, or `NAME_0` to `NAME_{N-1}` with `load_test_concurrency: N`.
///
/// Only the first instance listens: they exist to load the registry, and N listeners on one port are none.
pub fn instances(resolved: Resolved, service: &Section<'_>, report: &mut Report) -> Vec<Resolved> {
    let Some(cursor) = service.get("load_test_concurrency") else {
        return vec![resolved];
    };
    let range = 1..=super::defaults::LOAD_TEST_MAX;
    let Some(count) = cursor.integer(range, "a number of instances", report) else {
        return vec![resolved];
    };
    let base = resolved.config.name.clone();
    let instance = |i: u64| {
        let mut copy = resolved.clone();
        copy.config.name = ServiceName::new(Arc::from(format!("{base}_{i}")));
        if i > 0 {
            copy.config.listener = None;
        }
        copy
    };
    (0..count).map(instance).collect()
}
