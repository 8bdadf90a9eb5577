//! One service of the Nerve file to its settings.

use std::sync::Arc;

use serde_json::Value;

use super::checks::Reader;
use super::place::{self, Reading};
use super::{NerveService, ServiceDefaults, defaults, limits};
use crate::config::Complaint;
use crate::config::defaults::LOAD_TEST_MAX;
use crate::config::reader::{Cursor, Section};
use crate::config::report::Report;
use crate::config::text::{BareNumber, show};
use crate::endpoint::ServiceName;
use crate::health::local::LocalCheckSettings;
use crate::registration::{LimitSettings, Place, RegistrationSettings};
use crate::registry::record::{NerveRecord, RecordFormat, decode};
use crate::registry::writer::MAX_DATA_BYTES;

/// Keys of a service. The last nine have no effect: what etcd needs, and what the original or Yelp's tools put there.
pub(super) const KEYS: [&str; 26] = [
    "host",
    "port",
    "reporter_type",
    "check_interval",
    "checks",
    "check_mocked",
    "rate_limiting",
    "flap_damping",
    "weight",
    "haproxy_server_options",
    "labels",
    "load_test_concurrency",
    "zk_hosts",
    "zk_path",
    "node_type",
    "use_path_encoding",
    "ttl_seconds",
    "file_path",
    "etcd_host",
    "etcd_port",
    "etcd_path",
    "instance_id",
    "name",
    "max_repeated_report_failures",
    "zk_cluster_name",
    "listen_port",
];

/// Longest host that a reader of registrations takes, bytes: a DNS name has at most 253.
const MAX_HOST_BYTES: usize = 255;

/// Who a service is, as far as it could be read: checks are named after it and ask it.
#[derive(Debug)]
pub(super) struct Identity {
    /// Its name.
    pub(super) name: String,
    /// `host`.
    pub(super) host: Option<Arc<str>>,
    /// `port`.
    pub(super) port: Option<u16>,
}

/// What all services of a file share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared<'a> {
    /// Name in the registrations; empty when there is none (which has been complained about).
    pub(super) instance_id: &'a str,
    /// From the top level.
    pub(super) defaults: &'a ServiceDefaults,
    /// Whether `exec` checks are taken.
    pub(super) allow_exec: bool,
}

/// What became of an entry under `services`.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The service, or its `load_test_concurrency` copies. Empty when it was refused or complained about.
    pub(super) services: Vec<NerveService>,
    /// Why it is left out.
    pub(super) refused: Vec<Complaint>,
}

impl Shared<'_> {
    /// Reads the service `key`: one, or `KEY_0` to `KEY_{N-1}` with `load_test_concurrency: N`.
    pub(super) fn read(&self, key: &str, cursor: &Cursor<'_>, report: &mut Report) -> Outcome {
        let Some(section) = cursor.section(&KEYS, report) else {
            return Outcome::default();
        };
        let Some(count) = section.get("load_test_concurrency") else {
            return self.one(key, &section, report);
        };
        let count = count.integer(1..=LOAD_TEST_MAX, "a number of instances", report).unwrap_or(1);
        let mut outcome = self.one(&format!("{key}_0"), &section, report);
        for i in 1..count {
            // The first copy has said everything that there is to say.
            let copy = self.one(&format!("{key}_{i}"), &section, &mut Report::default());
            outcome.services.extend(copy.services);
        }
        outcome
    }

    fn one(&self, name: &str, section: &Section<'_>, report: &mut Report) -> Outcome {
        let host = section.required("host", report).and_then(|c| host(&c, report));
        let port = section.required("port", report).and_then(|c| port(&c, report));
        let identity = Identity {
            name: name.to_owned(),
            host: host.as_deref().map(Arc::from),
            port: port.as_ref().map(|(number, _)| *number),
        };
        let interval =
            section.get("check_interval").and_then(|c| c.delay(BareNumber::Seconds, report));
        let mut reader =
            Reader { service: &identity, allow_exec: self.allow_exec, refused: Report::default() };
        let checks = LocalCheckSettings {
            checks: reader.read(section, report),
            interval: interval.unwrap_or(defaults::CHECK_INTERVAL),
            is_mocked: section.flag("check_mocked", false, report),
        };
        let mut refused = reader.refused.complaints;
        let limits = LimitSettings {
            rate: limits::rate(section, report),
            damping: limits::damping(section, self.defaults.damping.as_ref(), report),
        };
        let weight = weight(section, report);
        let record = host.zip(port).map(|(host, (_, port))| NerveRecord {
            host,
            port,
            name: self.instance_id.to_owned(),
            weight,
            haproxy_server_options: verbatim(section, "haproxy_server_options"),
            labels: verbatim(section, "labels"),
        });
        let record = record.filter(|record| fits(record, section, report));
        let place = match place::read(section, report) {
            Some(Reading::Place(place)) => Some(place),
            Some(Reading::Refused(text)) => {
                refused.push(section.place().key("reporter_type").complaint(text));
                None
            }
            None => None,
        };
        let (Some(record), Some(place), []) = (record, place, refused.as_slice()) else {
            return Outcome { services: Vec::new(), refused };
        };
        judge(&record, &place, section, report);
        let name = ServiceName::new(name);
        let registration = RegistrationSettings { service: name.clone(), record, place };
        Outcome { services: vec![NerveService { name, checks, registration, limits }], refused }
    }
}

/// An address or a DNS name, as the readers of registrations take it. Always text: a number would be registered as one.
pub(super) fn host(cursor: &Cursor<'_>, report: &mut Report) -> Option<String> {
    let host = cursor.value().as_str().filter(|host| {
        (1..=MAX_HOST_BYTES).contains(&host.len()) && host.bytes().all(|b| b.is_ascii_graphic())
    });
    if host.is_none() {
        let text = format!("{} is not an address or a DNS name", show(cursor.value()));
        report.complain(cursor.place(), text);
    }
    host.map(str::to_owned)
}

/// The port, and the value that is registered: it keeps its type.
fn port(cursor: &Cursor<'_>, report: &mut Report) -> Option<(u16, Value)> {
    let port = cursor.port(report)?;
    let text = cursor.value().as_str().map(str::trim);
    Some((port, text.map_or_else(|| cursor.value().clone(), Value::from)))
}

/// Nothing, or digits: unlike everywhere else an explicit null is wrong (in the original, too).
fn weight(section: &Section<'_>, report: &mut Report) -> Option<i64> {
    let cursor = section.raw("weight")?;
    let weight = match cursor.value() {
        Value::Number(number) => number.as_i64().filter(|weight| *weight >= 0),
        Value::String(text) => {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    if weight.is_none() {
        let shown = show(cursor.value());
        report.complain(cursor.place(), format!("{shown} is not a weight (a whole number from 0)"));
    }
    weight
}

/// Verbatim when the key is there, null included, as the original.
fn verbatim(section: &Section<'_>, key: &str) -> Option<Value> {
    section.raw(key).map(|cursor| cursor.value().clone())
}

/// What readers make of it: the original registers whatever it is told.
fn judge(record: &NerveRecord, place: &Place, section: &Section<'_>, report: &mut Report) {
    let Err(error) = decode(&record.encode(), RecordFormat::Nerve) else {
        return;
    };
    let text = format!("registered as it is, but synapse skips such a registration: {error}");
    match place {
        Place::ZooKeeper(_) => report.warn(section.place(), text),
        Place::File { .. } => {
            report.complain(section.place(), format!("synapse cannot read this: {error}"));
        }
    }
}

fn fits(record: &NerveRecord, section: &Section<'_>, report: &mut Report) -> bool {
    let bytes = record.encode().len();
    if bytes > MAX_DATA_BYTES {
        let text = format!("{bytes} bytes to register, at most {MAX_DATA_BYTES} fit into a node");
        report.complain(section.place(), text);
    }
    bytes <= MAX_DATA_BYTES
}
