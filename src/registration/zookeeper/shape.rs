//! What our node looks like: its name, its bytes, and how to tell it among the children of the path.

use serde::Deserialize;
use serde_json::Value;

use super::super::ZooKeeperPlace;
use crate::registry::path as names;
use crate::registry::record::NerveRecord;
use crate::registry::writer::NodeKind;

/// Digits that ZooKeeper appends, at least.
const SEQUENCE_DIGITS: usize = 10;

/// The node that is wanted. Computed once.
#[derive(Debug)]
pub(super) struct Shape {
    parent: String,
    pub(super) kind: NodeKind,
    pub(super) bytes: Vec<u8>,
    identity: Identity,
    /// `<instance_id>_`.
    plain: String,
    /// As the node is to be called, without a number: plain or encoded.
    name: String,
}

impl Shape {
    pub(super) fn new(record: &NerveRecord, place: &ZooKeeperPlace) -> Self {
        let bytes = record.encode();
        let plain = format!("{}_", record.name);
        let encoded = place.is_path_encoded.then(|| names::encode(&bytes)).flatten();
        Self {
            parent: place.path.to_string(),
            kind: place.kind,
            identity: Identity::of_record(record),
            name: encoded.unwrap_or_else(|| plain.clone()),
            plain,
            bytes,
        }
    }

    /// `zk_path`.
    pub(super) fn parent(&self) -> &str {
        &self.parent
    }

    /// What makes two services of this process twins.
    pub(super) fn identity(&self) -> String {
        let Identity { host, port, name } = &self.identity;
        format!("{}\n{host}\n{port}\n{name}", self.parent)
    }

    /// The path of a child.
    pub(super) fn child(&self, name: &str) -> String {
        names::child(&self.parent, name)
    }

    /// The path to create; the server numbers a sequential one.
    pub(super) fn target(&self) -> String {
        self.child(&self.name)
    }

    /// Whether a child of this name may be one of ours, today's or of a former configuration.
    pub(super) fn may_be_ours(&self, name: &str) -> bool {
        is_numbered(name, &self.plain)
            || name == self.plain
            || name == self.name
            || Identity::of_name(name).is_some_and(|identity| identity == self.identity)
    }

    /// Whether a child is called as wanted.
    pub(super) fn is_wanted_name(&self, name: &str) -> bool {
        if self.kind.is_sequential() { is_numbered(name, &self.name) } else { name == self.name }
    }

    /// Whether a child speaks of our service on our host.
    pub(super) fn is_same_identity(&self, name: &str, data: &[u8]) -> bool {
        said(name, data).as_ref() == Some(&self.identity) || data == self.bytes
    }

    /// Whether a child says of whom it speaks.
    pub(super) fn is_legible(name: &str, data: &[u8]) -> bool {
        said(name, data).is_some()
    }

    /// Whether a child speaks of another host.
    pub(super) fn is_other_host(&self, name: &str, data: &[u8]) -> bool {
        said(name, data).is_some_and(|said| said.host != self.identity.host)
    }

    /// Whether a child speaks of our host and instance, on whatever port.
    pub(super) fn is_same_instance(&self, data: &[u8]) -> bool {
        Identity::of_data(data).is_some_and(|said| {
            (&said.host, &said.name) == (&self.identity.host, &self.identity.name)
        })
    }
}

/// Host, port and name: what makes two registrations the same one.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    host: String,
    /// As digits, in whichever of its two forms it is written.
    port: String,
    name: String,
}

/// The part of a record that identifies it.
#[derive(Deserialize)]
struct Said {
    host: String,
    port: Value,
    name: String,
}

impl Identity {
    fn of_record(record: &NerveRecord) -> Self {
        Self { host: record.host.clone(), port: port(&record.port), name: record.name.clone() }
    }

    fn of_data(data: &[u8]) -> Option<Self> {
        let said: Said = serde_json::from_slice(data).ok()?;
        Some(Self { host: said.host, port: port(&said.port), name: said.name })
    }

    /// For a name that holds a record.
    fn of_name(name: &str) -> Option<Self> {
        let record = names::decode(name)?.ok()?;
        Self::of_data(&record.data)
    }
}

/// A name that holds a record cannot be changed; data can.
fn said(name: &str, data: &[u8]) -> Option<Identity> {
    Identity::of_name(name).or_else(|| Identity::of_data(data))
}

fn port(port: &Value) -> String {
    port.as_str().map_or_else(|| port.to_string(), str::to_owned)
}

/// `prefix` and a number of the server's, which turns negative behind 2^31.
pub(super) fn is_numbered(name: &str, prefix: &str) -> bool {
    let number = name.strip_prefix(prefix).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    number.is_some_and(|digits| {
        digits.len() >= SEQUENCE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shape(kind: NodeKind, is_path_encoded: bool) -> Shape {
        let record = NerveRecord {
            host: "10.0.0.1".into(),
            port: json!(8080),
            name: "i-abc123".into(),
            weight: None,
            haproxy_server_options: None,
            labels: None,
        };
        let place = ZooKeeperPlace {
            ensemble: "memory".into(),
            path: "/services/web".into(),
            kind,
            is_path_encoded,
            ttl: None,
        };
        Shape::new(&record, &place)
    }

    const ENCODED: &str =
        "base64_68_eyJob3N0IjoiMTAuMC4wLjEiLCJwb3J0Ijo4MDgwLCJuYW1lIjoiaS1hYmMxMjMifQ==_";

    #[test]
    fn names_are_nerves() {
        let plain = shape(NodeKind::EphemeralSequential, false);
        assert_eq!(plain.target(), "/services/web/i-abc123_");
        assert!(plain.is_wanted_name("i-abc123_0000000000"));
        assert!(plain.is_wanted_name("i-abc123_-2147483648"));
        assert!(!plain.is_wanted_name("i-abc123_"));
        let encoded = shape(NodeKind::Persistent, true);
        assert_eq!(encoded.target(), format!("/services/web/{ENCODED}"));
        assert!(encoded.is_wanted_name(ENCODED));
    }

    #[test]
    fn other_instances_are_told_apart_by_name_and_data() {
        let ours = shape(NodeKind::EphemeralSequential, false);
        assert!(ours.may_be_ours("i-abc123_"));
        assert!(ours.may_be_ours(&format!("{ENCODED}0000000007")));
        assert!(!ours.may_be_ours("i-abc1234_0000000000"));
        assert!(!ours.may_be_ours("i-abc123_2_0000000000"));
        let said = |port: &str| {
            format!(r#"{{"host":"10.0.0.1","port":{port},"name":"i-abc123","weight":3}}"#)
        };
        assert!(ours.is_same_identity("i-abc123_0000000000", said("8080").as_bytes()));
        assert!(ours.is_same_identity("i-abc123_0000000000", said("\"8080\"").as_bytes()));
        assert!(!ours.is_same_identity("i-abc123_0000000000", said("8081").as_bytes()));
        assert!(ours.is_same_instance(said("8081").as_bytes()));
        assert!(!ours.is_same_identity("i-abc123_0000000000", b""));
    }
}
