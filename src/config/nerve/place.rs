//! `reporter_type` and what it needs: where a registration stands.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::defaults;
use crate::config::ensemble;
use crate::config::reader::Section;
use crate::config::report::Report;
use crate::config::text::{BareNumber, nearest, show};
use crate::config::zookeeper;
use crate::registration::{Place, ZooKeeperPlace};
use crate::registry::writer::NodeKind;

const TYPES: [&str; 2] = ["zookeeper", "file"];

const KINDS: [(&str, NodeKind); 4] = [
    ("ephemeral_sequential", NodeKind::EphemeralSequential),
    ("ephemeral", NodeKind::Ephemeral),
    ("persistent_sequential", NodeKind::PersistentSequential),
    ("persistent", NodeKind::Persistent),
];

/// What a service says about its place.
#[derive(Debug)]
pub(super) enum Reading {
    /// Here.
    Place(Place),
    /// Legal in the original, does not exist here; the reason.
    Refused(&'static str),
}

/// Reads the reporter's keys of a service. `None`: complaints say why.
pub(super) fn read(service: &Section<'_>, report: &mut Report) -> Option<Reading> {
    let Some(cursor) = service.get("reporter_type") else {
        return zookeeper(service, report).map(Reading::Place);
    };
    let name = cursor.text(report)?;
    match name.to_lowercase().as_str() {
        "zookeeper" => zookeeper(service, report).map(Reading::Place),
        "file" => file(service, report).map(Reading::Place),
        "etcd" => Some(Reading::Refused(
            "reporter etcd does not exist here; the service is left out, register it with zookeeper or file",
        )),
        "base" => {
            let text = "\"base\" never registers anything; use zookeeper or file";
            report.complain(cursor.place(), text);
            None
        }
        other => {
            let hint = nearest(other, &TYPES).map_or_else(
                || format!("one of {}; external reporters cannot be loaded", TYPES.join(", ")),
                |near| format!("did you mean {near:?}?"),
            );
            report.complain(cursor.place(), format!("{name:?} is not a reporter; {hint}"));
            None
        }
    }
}

fn zookeeper(service: &Section<'_>, report: &mut Report) -> Option<Place> {
    let hosts = service.required("zk_hosts", report);
    let ensemble = hosts.and_then(|c| ensemble::read(&c, report));
    let path = path(service, report);
    let kind = match service.get("node_type") {
        Some(cursor) => cursor.choice(&KINDS, report),
        None => Some(NodeKind::default()),
    };
    let is_path_encoded = is_path_encoded(service, report);
    let ttl = ttl(service, kind, report);
    Some(Place::ZooKeeper(ZooKeeperPlace {
        ensemble: ensemble?,
        path: path?,
        kind: kind?,
        is_path_encoded,
        ttl,
    }))
}

/// With a slash at the end the original asks for a path that ZooKeeper refuses, for ever.
fn path(service: &Section<'_>, report: &mut Report) -> Option<Arc<str>> {
    let cursor = service.required("zk_path", report)?;
    let text = cursor.value().as_str().unwrap_or_default();
    let without = text.trim_end_matches('/');
    if !without.is_empty() && without.len() < text.len() && zookeeper::is_node_path(without) {
        let remark = format!("\"/\" at the end is ignored; the original cannot create {text:?}");
        report.warn(cursor.place(), remark);
        return Some(Arc::from(without));
    }
    zookeeper::node_path(&cursor, report)
}

/// Only `true` itself counts, as in the original.
fn is_path_encoded(service: &Section<'_>, report: &mut Report) -> bool {
    let Some(cursor) = service.get("use_path_encoding") else {
        return false;
    };
    let flag = cursor.value().as_bool();
    if flag.is_none() {
        let text =
            format!("{} is not true: nothing is encoded, as in the original", show(cursor.value()));
        report.warn(cursor.place(), text);
    }
    flag.unwrap_or(false)
}

fn ttl(service: &Section<'_>, kind: Option<NodeKind>, report: &mut Report) -> Option<Duration> {
    let cursor = service.get("ttl_seconds")?;
    let ttl = cursor.duration(BareNumber::Seconds, report)?;
    if let Some(kind) = kind.filter(|kind| kind.is_ephemeral()) {
        let text = format!("no effect with node_type {}: its session keeps it", kind.word());
        report.warn(cursor.place(), text);
        return None;
    }
    if ttl < defaults::MIN_TTL {
        let text = format!(
            "{} is raised to {:?}: each is a write to ZooKeeper",
            show(cursor.value()),
            defaults::MIN_TTL
        );
        report.warn(cursor.place(), text);
    }
    Some(ttl.max(defaults::MIN_TTL))
}

fn file(service: &Section<'_>, report: &mut Report) -> Option<Place> {
    let cursor = service.required("file_path", report)?;
    let path = PathBuf::from(cursor.word(report)?);
    let names_a_file = path.file_name().is_some() && !path.as_os_str().is_empty();
    if !path.is_absolute() || !names_a_file || path.to_string_lossy().contains('\0') {
        let text = format!("{} is not the absolute path of a file", show(cursor.value()));
        report.complain(cursor.place(), text);
        return None;
    }
    Some(Place::File { path })
}
