//! `discovery` of the methods `zookeeper` and `zookeeper_poll`.

use std::sync::Arc;
use std::time::Duration;

use super::EffectiveValue;
use super::defaults;
use super::ensemble;
use super::origins::effective;
use super::reader::{Cursor, Section};
use super::report::Report;
use super::text::show;
use crate::discovery::{Decode, GeneratorSource, SourceSettings, ZooKeeperSourceSettings};

/// Keys of `discovery` for `method: zookeeper` and `zookeeper_poll`.
pub const KEYS: [&str; 10] = [
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

/// Keys of `decode`.
pub const DECODE_KEYS: [&str; 2] = ["method", "endpoint_name"];

/// Keys of `retry_policy`.
pub const RETRY_KEYS: [&str; 4] = ["max_attempts", "max_delay", "base_interval", "max_interval"];

/// Reads the source.
pub fn read(
    discovery: &Section<'_>,
    origins: &mut Vec<EffectiveValue>,
    report: &mut Report,
) -> Option<SourceSettings> {
    retry_policy(discovery, report);
    if let Some(interval) = discovery.get("polling_interval_sec") {
        interval.non_negative(report);
    }
    let jitter = jitter(discovery, report);
    let decode = discovery.get("decode").map_or(Some(Decode::Nerve), |c| decode(&c, report));
    let generator = generator_source(discovery, report);
    let hosts = discovery.required("hosts", report);
    let ensemble = hosts.as_ref().and_then(|c| ensemble::read(c, report));
    let path_cursor = discovery.required("path", report);
    let path = path_cursor.as_ref().and_then(|c| node_path(c, report));
    if let (Some(ensemble), Some(path)) = (&ensemble, &path) {
        origins.push(effective("discovery.hosts", ensemble, hosts.as_ref().map(Cursor::place)));
        origins.push(effective("discovery.path", path, path_cursor.as_ref().map(Cursor::place)));
    }
    let mut explain = |key: &str, value: String| {
        let place = discovery.get(key).map(|c| c.place().clone());
        origins.push(effective(format!("discovery.{key}"), value, place.as_ref()));
    };
    if let Some(decode) = &decode {
        explain("decode", show_decode(decode));
    }
    if let Some(generator) = &generator {
        explain("generator_config_path", show_generator(generator));
    }
    explain("discovery_jitter", format!("{jitter:?}"));
    Some(SourceSettings::ZooKeeper(ZooKeeperSourceSettings {
        ensemble: ensemble?,
        path: path?,
        decode: decode?,
        generator: generator?,
        jitter,
    }))
}

fn show_decode(decode: &Decode) -> String {
    match decode {
        Decode::Nerve => "nerve".to_owned(),
        Decode::ServerSet { endpoint_name } => match endpoint_name {
            Some(name) => format!("serverset, endpoint {name}"),
            None => "serverset".to_owned(),
        },
    }
}

fn show_generator(generator: &GeneratorSource) -> String {
    match generator {
        GeneratorSource::Parent => "the service's own path".to_owned(),
        GeneratorSource::Node(path) => path.to_string(),
        GeneratorSource::Disabled => "disabled".to_owned(),
    }
}

/// An absolute ZooKeeper path.
pub(super) fn node_path(cursor: &Cursor<'_>, report: &mut Report) -> Option<Arc<str>> {
    let text = cursor.word(report)?;
    if !is_node_path(&text) {
        let text = format!(
            "{text:?} is not a ZooKeeper path (absolute, no empty part, no \"/\" at the end)"
        );
        report.complain(cursor.place(), text);
        return None;
    }
    Some(Arc::from(text))
}

/// What ZooKeeper takes for a path.
pub(super) fn is_node_path(text: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(is_node_char);
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_part))
}

/// What ZooKeeper takes in the name of a node (`PathUtils.validatePath`).
pub(super) fn is_node_char(c: char) -> bool {
    let refused = matches!(c, '/' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}');
    !refused && !c.is_control()
}

fn decode(cursor: &Cursor<'_>, report: &mut Report) -> Option<Decode> {
    let section = cursor.section(&DECODE_KEYS, report)?;
    let endpoint_name = section.text("endpoint_name", report).map(Arc::from);
    let is_nerve = section
        .required("method", report)?
        .choice(&[("nerve", true), ("serverset", false)], report)?;
    Some(if is_nerve { Decode::Nerve } else { Decode::ServerSet { endpoint_name } })
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
    let in_range =
        cursor.value().as_f64().filter(|s| (0.0..=defaults::DISCOVERY_JITTER_MAX).contains(s));
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
    let section = discovery.get("retry_policy").and_then(|c| c.section(&RETRY_KEYS, report));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::synapse::tests::{complaints, good};

    fn text(discovery: &str) -> String {
        format!(
            "proxy: {{timeouts: {{connect: 1s, client: 1s, server: 1s}}}}
services: {{a: {{discovery: {{method: zookeeper, hosts: [zk1], path: /a{discovery}}}, haproxy: {{port: 3300}}}}}}"
        )
    }

    fn settings(discovery: &str) -> (ZooKeeperSourceSettings, Vec<String>) {
        let config = good(&text(discovery)).config;
        let warnings = config.warnings.iter().map(ToString::to_string).collect();
        match &config.services[0].source {
            SourceSettings::ZooKeeper(settings) => (settings.clone(), warnings),
            other @ (SourceSettings::Fixed | SourceSettings::File(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn jitter_out_of_range_is_ignored_with_a_warning() {
        assert_eq!(settings(", discovery_jitter: 1.5").0.jitter, Duration::from_millis(1500));
        for jitter in ["121", "-1", "soon"] {
            let (settings, warnings) = settings(&format!(", discovery_jitter: {jitter}"));
            assert_eq!(settings.jitter, Duration::ZERO);
            assert!(warnings[0].contains("from 0 to 120, ignored"), "{warnings:?}");
        }
    }

    #[test]
    fn polling_is_served_by_watches_and_said_so() {
        let text = text("").replace("zookeeper,", "zookeeper_poll, polling_interval_sec: 15,");
        let config = good(&text).config;
        assert!(matches!(config.services[0].source, SourceSettings::ZooKeeper(_)));
        assert!(config.warnings[0].text.contains("served by watches"));
    }

    #[test]
    fn the_generator_config_stands_in_three_places() {
        let generator = |key: &str| settings(key).0.generator;
        assert_eq!(generator(""), GeneratorSource::Parent);
        assert_eq!(generator(", generator_config_path: disabled"), GeneratorSource::Disabled);
        let node = GeneratorSource::Node("/x/y".into());
        assert_eq!(generator(", generator_config_path: /x/y"), node);
    }

    #[test]
    fn retry_policy_is_checked_and_without_effect() {
        let (_, warnings) =
            settings(", retry_policy: {max_attempts: 5, base_interval: 0.5, max_interval: 30}");
        assert!(warnings[0].contains("without effect") && warnings.len() == 1, "{warnings:?}");
        let texts = complaints(&text(
            ", retry_policy: {max_attempts: 0, max_delay: -1, base_interval: 9, max_interval: 3}",
        ));
        assert_eq!(texts.len(), 3, "{texts:#?}");
    }

    #[test]
    fn paths_and_decoders_are_checked() {
        for bad in ["a", "/a/", "//a", "/a/../b", "''"] {
            let texts = complaints(&text("").replace("path: /a", &format!("path: {bad}")));
            assert!(texts[0].contains("discovery.path: "), "{bad}: {texts:?}");
        }
        assert!(complaints(&text(", decode: {}"))[0].contains("decode.method: is required"));
        assert!(complaints(&text(", decode: {method: x}"))[0].contains("nerve, serverset"));
    }
}
