//! `discovery:` and the keys around it, to source settings and membership policy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::EffectiveValue;
use super::defaults;
use super::reader::{BareNumber, Cursor, Section, effective, nearest};
use super::report::Report;
use super::servers;
use crate::discovery::{
    Decode, FileSourceSettings, GeneratorSource, LabelFilter, MembershipPolicy, SourceSettings,
    ZooKeeperSourceSettings,
};

/// Keys of `discovery` for `method: base`.
pub const BASE_KEYS: [&str; 3] = ["method", "label_filters", "label_filter"];

/// Keys of `discovery` for `method: file`.
pub const FILE_KEYS: [&str; 5] = [
    "method",
    "path",
    "poll_interval",
    "label_filters",
    "label_filter",
];

/// Keys of `discovery` for `method: zookeeper` and `zookeeper_poll`.
pub const ZOOKEEPER_KEYS: [&str; 10] = [
    "method",
    "hosts",
    "path",
    "decode",
    "generator_config_path",
    "discovery_jitter",
    "retry_policy",
    "polling_interval_sec",
    "label_filters",
    "label_filter",
];

const DECODE_KEYS: [&str; 2] = ["method", "endpoint_name"];
const RETRY_KEYS: [&str; 4] = ["max_attempts", "max_delay", "base_interval", "max_interval"];
const FILTER_KEYS: [&str; 3] = ["label", "value", "condition"];
const METHODS: [&str; 4] = ["base", "zookeeper", "zookeeper_poll", "file"];

/// Methods of the original that do not exist here yet, with what serves meanwhile.
const NOT_YET: [(&str, &str); 8] = [
    ("zookeeper_dns", "register addresses and use zookeeper"),
    ("zookeeper_dns_poll", "register addresses and use zookeeper"),
    ("dns", "use base with DNS names in default_servers, they are resolved and refreshed"),
    ("docker", "use file, and let a script write the list"),
    ("ec2tag", "use file, and let a script write the list"),
    ("awstag", "use file, and let a script write the list"),
    ("marathon", "use file, and let a script write the list"),
    ("multi", "use one zookeeper service per watcher"),
];

/// What the discovery keys of one service say.
#[derive(Clone, Debug)]
pub struct SourceParts {
    /// Where members come from.
    pub source: SourceSettings,
    /// What is done with them.
    pub policy: MembershipPolicy,
    /// Effective values for `synapse check`.
    pub origins: Vec<EffectiveValue>,
}

/// Reads the discovery keys of a service. `None`: no source can be named (complaints say why).
pub fn read(service: &Section<'_>, report: &mut Report) -> Option<SourceParts> {
    if let Some(multi) = service.get("discovery_multi") {
        let text = "several watchers for one service are not yet supported; use discovery alone";
        report.complain(multi.place(), text);
    }
    let mut origins = Vec::new();
    let policy = read_policy(service, &mut origins, report);
    let discovery = service.required("discovery", report)?;
    let source = read_source(&discovery, &mut origins, report)?;
    if source == SourceSettings::Fixed && policy.default_servers.is_empty() {
        let text = "method base without default_servers: the service has no backends";
        report.warn(discovery.place(), text);
    }
    Some(SourceParts {
        source,
        policy,
        origins,
    })
}

fn read_source(
    discovery: &Cursor<'_>,
    origins: &mut Vec<EffectiveValue>,
    report: &mut Report,
) -> Option<SourceSettings> {
    let Some(method) = discovery.peek("method") else {
        // Complains itself when there is no map at all.
        discovery.section(&ZOOKEEPER_KEYS, report)?;
        let text = format!("is required: one of {}", METHODS.join(", "));
        report.complain(&discovery.place().key("method"), text);
        return None;
    };
    let name = method.text(report)?;
    origins.push(effective("discovery.method", &name, Some(method.place())));
    match name.as_str() {
        "base" => discovery
            .section(&BASE_KEYS, report)
            .map(|_| SourceSettings::Fixed),
        "file" => file_source(&discovery.section(&FILE_KEYS, report)?, origins, report),
        "zookeeper" => {
            zookeeper_source(&discovery.section(&ZOOKEEPER_KEYS, report)?, origins, report)
        }
        "zookeeper_poll" => {
            let text = "zookeeper_poll is served by watches: changes arrive at once, \
                        polling_interval_sec has no effect";
            report.warn(method.place(), text);
            zookeeper_source(&discovery.section(&ZOOKEEPER_KEYS, report)?, origins, report)
        }
        other => {
            report.complain(method.place(), unknown_method(other));
            None
        }
    }
}

fn unknown_method(name: &str) -> String {
    if let Some((_, instead)) = NOT_YET.iter().find(|(known, _)| *known == name) {
        return format!("discovery method {name:?} is not yet supported; {instead}");
    }
    let hint = nearest(name, &METHODS).map_or_else(
        || format!("one of {}", METHODS.join(", ")),
        |near| format!("did you mean {near:?}?"),
    );
    format!("{name:?} is not a discovery method; {hint}")
}

fn file_source(
    discovery: &Section<'_>,
    origins: &mut Vec<EffectiveValue>,
    report: &mut Report,
) -> Option<SourceSettings> {
    let interval = discovery.get("poll_interval");
    let poll_interval = interval
        .as_ref()
        .and_then(|c| c.duration(BareNumber::Seconds, report))
        .unwrap_or(defaults::FILE_POLL_INTERVAL);
    let place = interval.as_ref().map(Cursor::place);
    origins.push(effective("discovery.poll_interval", format!("{poll_interval:?}"), place));
    let path = discovery.required("path", report)?;
    let text = path.word(report)?;
    origins.push(effective("discovery.path", &text, Some(path.place())));
    Some(SourceSettings::File(FileSourceSettings {
        path: PathBuf::from(text),
        poll_interval,
    }))
}

fn zookeeper_source(
    discovery: &Section<'_>,
    origins: &mut Vec<EffectiveValue>,
    report: &mut Report,
) -> Option<SourceSettings> {
    retry_policy(discovery, report);
    if let Some(interval) = discovery.get("polling_interval_sec") {
        interval.non_negative(report);
    }
    let jitter = jitter(discovery, report);
    let decode = discovery
        .get("decode")
        .map_or(Some(Decode::Nerve), |c| decode(&c, report));
    let generator = generator_source(discovery, report);
    let hosts = discovery.required("hosts", report);
    let ensemble = hosts.as_ref().and_then(|c| super::ensemble::read(c, report));
    let path_cursor = discovery.required("path", report);
    let path = path_cursor.as_ref().and_then(|c| node_path(c, report));
    if let (Some(ensemble), Some(path)) = (&ensemble, &path) {
        origins.push(effective("discovery.hosts", ensemble, hosts.as_ref().map(Cursor::place)));
        origins.push(effective("discovery.path", path, path_cursor.as_ref().map(Cursor::place)));
    }
    Some(SourceSettings::ZooKeeper(ZooKeeperSourceSettings {
        ensemble: ensemble?,
        path: path?,
        decode: decode?,
        generator: generator?,
        jitter,
    }))
}

/// An absolute ZooKeeper path.
fn node_path(cursor: &Cursor<'_>, report: &mut Report) -> Option<Arc<str>> {
    let text = cursor.word(report)?;
    let odd = |c: char| c.is_control() || c == '\u{fffd}';
    let valid = text == "/"
        || text
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(|p| !matches!(p, "" | "." | "..")))
            && !text.contains(odd);
    if !valid {
        let text = format!("{text:?} is not a ZooKeeper path (absolute, no empty part, no \"/\" at the end)");
        report.complain(cursor.place(), text);
        return None;
    }
    Some(Arc::from(text))
}

fn decode(cursor: &Cursor<'_>, report: &mut Report) -> Option<Decode> {
    let section = cursor.section(&DECODE_KEYS, report)?;
    let endpoint_name = section.text("endpoint_name", report).map(Arc::from);
    let is_nerve = section
        .required("method", report)?
        .choice(&[("nerve", true), ("serverset", false)], report)?;
    Some(if is_nerve {
        Decode::Nerve
    } else {
        Decode::ServerSet { endpoint_name }
    })
}

fn generator_source(discovery: &Section<'_>, report: &mut Report) -> Option<GeneratorSource> {
    let Some(cursor) = discovery.get("generator_config_path") else {
        return Some(GeneratorSource::Parent);
    };
    if cursor.value() == "disabled" {
        return Some(GeneratorSource::Disabled);
    }
    node_path(&cursor, report).map(GeneratorSource::Node)
}

fn jitter(discovery: &Section<'_>, report: &mut Report) -> Duration {
    let Some(cursor) = discovery.get("discovery_jitter") else {
        return Duration::ZERO;
    };
    let in_range = cursor
        .value()
        .as_f64()
        .filter(|s| (0.0..=defaults::DISCOVERY_JITTER_MAX).contains(s));
    match in_range {
        Some(seconds) => Duration::from_secs_f64(seconds),
        None => {
            let shown = super::reader::show(cursor.value());
            let text = format!("{shown} is not a number of seconds from 0 to 120, ignored");
            report.warn(cursor.place(), text);
            Duration::ZERO
        }
    }
}

/// Validated as the original does, then unused: the session supervisor has its own back-off and never gives up.
fn retry_policy(discovery: &Section<'_>, report: &mut Report) {
    let section = discovery
        .get("retry_policy")
        .and_then(|c| c.section(&RETRY_KEYS, report));
    let Some(section) = section else {
        return;
    };
    if let Some(attempts) = section.get("max_attempts") {
        attempts.integer(1..=u64::MAX, "a number of attempts", report);
    }
    let mut seconds = |key| section.get(key).and_then(|c| c.non_negative(report));
    seconds("max_delay");
    let (base, max) = (seconds("base_interval"), seconds("max_interval"));
    if let (Some(base), Some(max)) = (base, max)
        && base > max
    {
        let text = format!("{base} is above max_interval ({max})");
        report.complain(&section.place().key("base_interval"), text);
    }
}

fn read_policy(
    service: &Section<'_>,
    origins: &mut Vec<EffectiveValue>,
    report: &mut Report,
) -> MembershipPolicy {
    let default_servers = service
        .get("default_servers")
        .map(|c| servers::read(&c, report))
        .unwrap_or_default();
    // An explicit null is false: the original asks Ruby's `fetch`, which finds the nil.
    let use_previous_backends = match service.raw("use_previous_backends") {
        None => defaults::USE_PREVIOUS_BACKENDS,
        Some(cursor) if cursor.is_null() => false,
        Some(cursor) => cursor.flag(report).unwrap_or_default(),
    };
    let policy = MembershipPolicy {
        default_servers,
        keep_default_servers: service.flag("keep_default_servers", false, report),
        use_previous_backends,
        port_override: port_override(service, report),
        label_filters: label_filters(service, report),
        leader_election: service.flag("leader_election", false, report),
    };
    let mut show = |key: &str, value: &dyn ToString| {
        let place = service.raw(key).map(|c| c.place().clone());
        origins.push(effective(key, value.to_string(), place.as_ref()));
    };
    show("default_servers", &policy.default_servers.len());
    show("keep_default_servers", &policy.keep_default_servers);
    show("use_previous_backends", &policy.use_previous_backends);
    show("leader_election", &policy.leader_election);
    if let Some(port) = policy.port_override {
        show("backend_port_override", &port);
    }
    if !policy.label_filters.is_empty() {
        let place = service.get("discovery").map(|c| c.place().key("label_filters"));
        let text = policy.label_filters.iter().map(show_filter);
        let text = text.collect::<Vec<_>>().join(" and ");
        origins.push(effective("discovery.label_filters", text, place.as_ref()));
    }
    policy
}

fn show_filter(filter: &LabelFilter) -> String {
    let operator = if filter.negate { "!=" } else { "==" };
    format!("{} {operator} {}", filter.label, filter.value)
}

fn port_override(service: &Section<'_>, report: &mut Report) -> Option<u16> {
    if let Some(cursor) = service.get("backend_port_override") {
        return cursor.port(report);
    }
    let old = service.get("haproxy")?.peek("server_port_override")?;
    report.warn(old.place(), "is deprecated; use backend_port_override of the service");
    old.port(report)
}

fn label_filters(service: &Section<'_>, report: &mut Report) -> Vec<LabelFilter> {
    let Some(discovery) = service.get("discovery") else {
        return Vec::new();
    };
    let mut filters = Vec::new();
    for key in ["label_filters", "label_filter"] {
        let items = discovery.peek(key).map(|c| c.items()).unwrap_or_default();
        filters.extend(items.iter().filter(|c| !c.is_null()).filter_map(|c| label_filter(c, report)));
    }
    filters
}

fn label_filter(cursor: &Cursor<'_>, report: &mut Report) -> Option<LabelFilter> {
    let section = cursor.section(&FILTER_KEYS, report)?;
    let negate = section
        .required("condition", report)
        .and_then(|c| c.choice(&[("equals", false), ("not-equals", true)], report));
    let label = section.required("label", report).and_then(|c| c.word(report));
    let value = section.raw("value").map(|c| c.value().clone()).unwrap_or_default();
    Some(LabelFilter {
        label: label?,
        value,
        negate: negate?,
    })
}
