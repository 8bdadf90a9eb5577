//! What is known about the children of a path: whom to read, what was read, and the set that follows. Pure.
//!
//! ZooKeeper never gives the number of a sequential node twice under one parent, so such a child is read once; one whose
//! record is in its name is never read. All others may be rewritten in place and are read again at every change. Cached
//! data belongs to one *incarnation* of the parent: after a delete and re-creation the numbers start over, and
//! [`Children::enter_incarnation`] forgets everything.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::publish::Reading;
use super::super::{Decode, Membership};
use crate::endpoint::{Endpoint, EndpointSet};
use crate::registry::record::{self, RecordFormat};
use crate::registry::{Node, RegistryError, path};

/// Children read again per anti-entropy round although they should not have changed: an operator may have rewritten one
/// by hand. One small request a minute.
const SAMPLE: usize = 100;

/// How much to doubt what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A change was announced: somebody must have come or gone.
    Changed,
    /// Nothing in particular.
    Usual,
    /// Time to look at a sample.
    Sample,
    /// Everything.
    All,
}

/// The children of one path.
#[derive(Debug)]
pub(super) struct Children {
    decode: Decode,
    known: BTreeMap<String, Child>,
    /// The last name of the previous sample.
    sampled: String,
    incarnation: Option<i64>,
}

#[derive(Debug)]
struct Child {
    reading: ReadRule,
    /// The last usable record.
    endpoint: Option<Endpoint>,
    /// zxids of the data last read.
    read: Option<Zxids>,
    /// Why the data last read cannot be used.
    fault: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Zxids {
    created: i64,
    modified: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadRule {
    /// The record is in the name.
    Never,
    /// Sequential.
    Once,
    /// Anything else.
    Always,
}

impl Children {
    pub(super) fn new(decode: Decode) -> Self {
        Self { decode, known: BTreeMap::new(), sampled: String::new(), incarnation: None }
    }

    /// The path is gone.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// Tells which creation of the parent the next data will belong to.
    pub(super) fn enter_incarnation(&mut self, incarnation: Option<i64>) {
        if self.incarnation != incarnation {
            self.incarnation = incarnation;
            for child in self.known.values_mut() {
                child.forget();
            }
        }
    }

    /// The creation of the parent that the data belongs to.
    pub(super) fn incarnation(&self) -> Option<i64> {
        self.incarnation
    }

    /// Takes over a list; true when it differs from the last one.
    pub(super) fn set_names(&mut self, names: Vec<String>) -> bool {
        let before = self.known.len();
        {
            let listed: HashSet<&str> = names.iter().map(String::as_str).collect();
            self.known.retain(|name, _| listed.contains(name.as_str()));
        }
        let mut differs = self.known.len() != before;
        for name in names {
            if !self.known.contains_key(&name) {
                differs = true;
                let child = self.newcomer(&name);
                self.known.insert(name, child);
            }
        }
        differs
    }

    fn newcomer(&self, name: &str) -> Child {
        let mut child = Child {
            reading: if path::is_sequential(name) { ReadRule::Once } else { ReadRule::Always },
            endpoint: None,
            read: None,
            fault: None,
        };
        // A name that only looks encoded, or holds no usable record, is read like any other.
        if let Some(Ok(encoded)) = path::decode(name)
            && let Ok(endpoint) = record::decode(&encoded.data, self.format())
        {
            child.reading = ReadRule::Never;
            child.endpoint = Some(Endpoint { id: encoded.sequence, ..endpoint });
        }
        child
    }

    /// Names of the children whose data must be read now.
    pub(super) fn due(&mut self, doubt: Doubt) -> Vec<String> {
        let sample = self.next_sample(doubt);
        self.known
            .iter()
            .filter(|(name, child)| match child.reading {
                ReadRule::Never => false,
                ReadRule::Always => true,
                ReadRule::Once => {
                    child.read.is_none()
                        || child.fault.is_some()
                        || doubt == Doubt::All
                        || sample.contains(*name)
                }
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The next [`SAMPLE`] names in order, round and round.
    fn next_sample(&mut self, doubt: Doubt) -> HashSet<String> {
        if doubt != Doubt::Sample {
            return HashSet::new();
        }
        let after = |name: &&String| **name > self.sampled;
        let sample: Vec<_> = self.known.keys().filter(after).take(SAMPLE).cloned().collect();
        let is_last_lap = sample.len() < SAMPLE;
        self.sampled = sample.last().filter(|_| !is_last_lap).cloned().unwrap_or_default();
        sample.into_iter().collect()
    }

    /// Takes over what was read of `name` (`None`: it has gone since the list). A fault is returned when it is worth a
    /// log line: once per write of the node.
    pub(super) fn store(&mut self, name: &str, node: Option<Node>) -> Option<&str> {
        let Some(node) = node else {
            self.known.remove(name);
            return None;
        };
        let decoded = record::decode(&node.data, self.format());
        let child = self.known.get_mut(name)?;
        let zxids = Zxids { created: node.created_zxid, modified: node.modified_zxid };
        let is_rewritten = child.read != Some(zxids);
        if child.read.is_some_and(|read| read.created != zxids.created) {
            // Another node of the same name: the good value of the former says nothing about it.
            child.endpoint = None;
        }
        child.read = Some(zxids);
        match decoded {
            Ok(endpoint) => {
                child.fault = None;
                child.endpoint = Some(Endpoint { id: path::sequence(name), ..endpoint });
                None
            }
            Err(error) => {
                let is_new = is_rewritten || child.fault.is_none();
                child.fault = Some(error.to_string());
                child.fault.as_deref().filter(|_| is_new)
            }
        }
    }

    /// `name` cannot be read. Its fault is returned when it is new.
    pub(super) fn refuse(&mut self, name: &str, error: &RegistryError) -> Option<&str> {
        let fault = match error {
            RegistryError::NotAuthorised { .. } => "not authorised to read".to_owned(),
            RegistryError::Unavailable { detail, .. } | RegistryError::Failed { detail, .. } => {
                format!("cannot be read: {detail}")
            }
        };
        let child = self.known.get_mut(name)?;
        let is_new = child.fault.as_ref() != Some(&fault);
        child.fault = Some(fault);
        child.fault.as_deref().filter(|_| is_new)
    }

    /// The set that follows. Of several registrations of one identity the newest counts: a nerve that came back under a
    /// new session has two nodes until its old session ends.
    pub(super) fn reading(&self) -> Reading {
        let mut newest: Vec<(&Endpoint, &Child)> = Vec::with_capacity(self.known.len());
        let mut places = HashMap::new();
        for child in self.known.values() {
            let Some(endpoint) = &child.endpoint else {
                continue;
            };
            match places.entry(endpoint.identity()) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(newest.len());
                    newest.push((endpoint, child));
                }
                std::collections::hash_map::Entry::Occupied(place) => {
                    if let Some(held) = newest.get_mut(*place.get())
                        && child.is_newer_than(held.1)
                    {
                        *held = (endpoint, child);
                    }
                }
            }
        }
        let set: EndpointSet = newest.into_iter().map(|(e, _)| e.clone()).collect();
        let mut reading = Reading::new(Membership::Known(set));
        reading.zxid = self
            .known
            .values()
            .filter_map(|child| child.read)
            .map(|read| read.created.max(read.modified))
            .max();
        for (name, child) in &self.known {
            if let Some(fault) = &child.fault {
                let kept = if child.endpoint.is_some() {
                    "; its previous record stays in use"
                } else {
                    ""
                };
                reading.add_malformed(shown(name), format!("{fault}{kept}"));
            }
        }
        reading
    }

    fn format(&self) -> RecordFormat<'_> {
        match &self.decode {
            Decode::Nerve => RecordFormat::Nerve,
            Decode::ServerSet { endpoint_name } => {
                RecordFormat::ServerSet { endpoint_name: endpoint_name.as_deref() }
            }
        }
    }
}

impl Child {
    /// Forgets what was read; what is in the name stays.
    fn forget(&mut self) {
        if self.reading != ReadRule::Never {
            self.endpoint = None;
            self.read = None;
            self.fault = None;
        }
    }

    /// By creation; records in names carry no zxid, but a number that grows alike.
    fn is_newer_than(&self, other: &Self) -> bool {
        if let (Some(mine), Some(theirs)) = (self.read, other.read) {
            return mine.created > theirs.created;
        }
        let id = |child: &Self| child.endpoint.as_ref().and_then(|endpoint| endpoint.id);
        id(self) > id(other)
    }
}

/// A child's name as it may stand in a log line: escaped and bounded (encoded names go up to 64 KiB).
pub(super) fn shown(name: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut shown: String = name.chars().flat_map(char::escape_debug).take(MAX_CHARS).collect();
    if name.chars().count() > MAX_CHARS {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
