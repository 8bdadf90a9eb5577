//! `discovery:` and the keys around it, to source settings and membership policy.

use std::path::PathBuf;

use super::EffectiveValue;
use super::defaults;
use super::membership;
use super::origins::effective;
use super::reader::{Cursor, Section};
use super::report::Report;
use super::text::{BareNumber, nearest};
use super::zookeeper;
use crate::discovery::{FileSourceSettings, MembershipPolicy, SourceSettings};

/// Keys of `discovery` for `method: base`.
pub const BASE_KEYS: [&str; 3] = ["method", "label_filters", "label_filter"];

/// Keys of `discovery` for `method: file`.
pub const FILE_KEYS: [&str; 5] =
    ["method", "path", "poll_interval", "label_filters", "label_filter"];

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

impl SourceParts {
    /// Stands in for a source that could not be read.
    pub fn none() -> Self {
        Self {
            source: SourceSettings::Fixed,
            policy: MembershipPolicy::default(),
            origins: Vec::new(),
        }
    }
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
    // Servers that are complained about are there, too.
    let has_servers = |service: &Section<'_>| {
        let servers = service.get("default_servers");
        servers.is_some_and(|servers| !servers.items().is_empty())
    };
    if source == SourceSettings::Fixed && !has_servers(service) {
        let text = "method base without default_servers: the service has no backends";
        report.warn(discovery.place(), text);
    }
    Some(SourceParts { source, policy, origins })
}

fn read_source(
    discovery: &Cursor<'_>,
    origins: &mut Vec<EffectiveValue>,
    report: &mut Report,
) -> Option<SourceSettings> {
    let Some(method) = discovery.peek("method") else {
        // Complains itself when there is no map at all.
        discovery.section(&zookeeper::KEYS, report)?;
        let text = format!("is required: one of {}", METHODS.join(", "));
        report.complain(&discovery.place().key("method"), text);
        return None;
    };
    let name = method.text(report)?;
    origins.push(effective("discovery.method", &name, Some(method.place())));
    match name.as_str() {
        "base" => discovery.section(&BASE_KEYS, report).map(|_| SourceSettings::Fixed),
        "file" => file_source(&discovery.section(&FILE_KEYS, report)?, origins, report),
        "zookeeper" => {
            zookeeper::read(&discovery.section(&zookeeper::KEYS, report)?, origins, report)
        }
        "zookeeper_poll" => {
            let text = "zookeeper_poll is served by watches: changes arrive at once, \
                        polling_interval_sec has no effect";
            report.warn(method.place(), text);
            zookeeper::read(&discovery.section(&zookeeper::KEYS, report)?, origins, report)
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
    Some(SourceSettings::File(FileSourceSettings { path: PathBuf::from(text), poll_interval }))
}
