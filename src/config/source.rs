//! `discovery:` and the keys around it, to source settings and membership policy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::EffectiveValue;
use super::defaults;
use super::membership;
use super::origins::effective;
use super::reader::{Cursor, Section};
use super::report::Report;
use super::text::{BareNumber, nearest, show};
use crate::discovery::{
    Decode, FileSourceSettings, GeneratorSource, MembershipPolicy, SourceSettings,
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
const METHODS: [&str; 4] = ["base", "zookeeper", "zookeeper_poll", "file"];

/// Methods of the original that do not exist here yet, with what serves meanwhile.
const NOT_YET: [(&str, &str); 8] = [
    ("zookeeper_dns", "register addresses and use zookeeper"),
    ("zookeeper_dns_poll", "register addresses and use zookeeper"),
    (
        "dns",
        "use base with DNS names in default_servers, they are resolved and refreshed",
    ),
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
    let policy = membership::read(service, &mut origins, report);
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
        "zookeeper" => zookeeper_source(
            &discovery.section(&ZOOKEEPER_KEYS, report)?,
            origins,
            report,
        ),
        "zookeeper_poll" => {
            let text = "zookeeper_poll is served by watches: changes arrive at once, \
                        polling_interval_sec has no effect";
            report.warn(method.place(), text);
            zookeeper_source(
                &discovery.section(&ZOOKEEPER_KEYS, report)?,
                origins,
                report,
            )
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
    origins.push(effective(
        "discovery.poll_interval",
        format!("{poll_interval:?}"),
        place,
    ));
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
    let ensemble = hosts
        .as_ref()
        .and_then(|c| super::ensemble::read(c, report));
    let path_cursor = discovery.required("path", report);
    let path = path_cursor.as_ref().and_then(|c| node_path(c, report));
    if let (Some(ensemble), Some(path)) = (&ensemble, &path) {
        origins.push(effective(
            "discovery.hosts",
            ensemble,
            hosts.as_ref().map(Cursor::place),
        ));
        origins.push(effective(
            "discovery.path",
            path,
            path_cursor.as_ref().map(Cursor::place),
        ));
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
        let text = format!(
            "{text:?} is not a ZooKeeper path (absolute, no empty part, no \"/\" at the end)"
        );
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
            let shown = show(cursor.value());
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
