//! What a slot remembers, as text in a file. Pure.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::registration::claims::Spot;
use crate::registry::credentials::Credentials;

/// Version of the format. Another one is refused: a memory misread is worse than none.
const VERSION: u32 = 1;

/// Largest file that is read, bytes: some thousands of persistent nodes.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Sessions with one ensemble that are remembered: each left nodes behind for one session timeout at most.
const MAX_SESSIONS: usize = 16;

/// The record. Every operation says whether it changed anything.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    version: u32,
    /// Grows by one with each process that takes a slot of the state directory.
    pub(super) generation: u64,
    /// The process that has, or had, the slot; for people.
    pub(super) pid: u32,
    /// Oldest first.
    sessions: Vec<Known>,
    nodes: Vec<Persistent>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Known {
    ensemble: String,
    id: i64,
    /// Base64; empty once the session is over.
    password: String,
}

/// The persistent nodes that were made for a service.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Persistent {
    pub(super) service: String,
    pub(super) parent: String,
    /// Lines, as [`crate::registration::Kin::remembered`] gives them.
    pub(super) node: String,
    /// Connect string; `None` in a memory that was written before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ensemble: Option<String>,
}

impl Persistent {
    fn is_of(&self, ensemble: &str) -> bool {
        self.ensemble.as_deref().is_none_or(|known| known == ensemble)
    }

    fn is_at(&self, spot: &Spot) -> bool {
        let is_of_service = self.service == spot.service.as_str() && *self.parent == *spot.parent;
        is_of_service && self.is_of(&spot.ensemble)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { version: VERSION, generation: 0, pid: 0, sessions: Vec::new(), nodes: Vec::new() }
    }
}

impl Memory {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let memory: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if memory.version != VERSION {
            return Err(format!("version {} is not {VERSION}", memory.version));
        }
        Ok(memory)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "keys are strings, values plain: nothing can fail")]
        serde_json::to_vec_pretty(self).expect("a record always serialises into memory")
    }

    /// The open session with `ensemble`.
    pub(super) fn heir(&self, ensemble: &str) -> Option<Credentials> {
        let last = self.sessions.iter().rfind(|known| known.ensemble == ensemble)?;
        if last.password.is_empty() {
            return None;
        }
        let password = BASE64.decode(&last.password).ok()?;
        Some(Credentials { id: last.id, password })
    }

    /// Whether there is any open session.
    pub(super) fn has_heirs(&self) -> bool {
        self.sessions.iter().any(|known| !known.password.is_empty())
    }

    pub(super) fn knows(&self, session: i64) -> bool {
        self.sessions.iter().any(|known| known.id == session)
    }

    pub(super) fn opened(&mut self, ensemble: &str, session: &Credentials) -> bool {
        if self.heir(ensemble).as_ref() == Some(session) {
            return false;
        }
        self.closed(ensemble);
        self.sessions.retain(|known| known.id != session.id);
        self.sessions.push(Known {
            ensemble: ensemble.to_owned(),
            id: session.id,
            password: BASE64.encode(&session.password),
        });
        let count = self.sessions.iter().filter(|known| known.ensemble == ensemble).count();
        if count > MAX_SESSIONS
            && let Some(oldest) = self.sessions.iter().position(|known| known.ensemble == ensemble)
        {
            self.sessions.remove(oldest);
        }
        true
    }

    /// No session with `ensemble` is open any more; their ids stay known.
    pub(super) fn closed(&mut self, ensemble: &str) -> bool {
        let mut changed = false;
        for known in self.sessions.iter_mut().filter(|known| known.ensemble == ensemble) {
            changed |= !known.password.is_empty();
            known.password.clear();
        }
        changed
    }

    /// The persistent nodes of `spot`.
    pub(super) fn nodes(&self, spot: &Spot) -> BTreeSet<String> {
        let there = self.nodes.iter().filter(|known| known.is_at(spot));
        there.flat_map(|known| known.node.lines()).map(str::to_owned).collect()
    }

    /// Whether a persistent node of this path was made, for whatever service.
    pub(super) fn has_made(&self, ensemble: &str, path: &str) -> bool {
        let there = self.nodes.iter().filter(|known| known.is_of(ensemble));
        there.flat_map(|known| known.node.lines()).any(|node| node == path)
    }

    /// Adds and removes some of them.
    pub(super) fn change_nodes(
        &mut self,
        spot: &Spot,
        made: &BTreeSet<String>,
        gone: &BTreeSet<String>,
    ) -> bool {
        let before = self.nodes(spot);
        let after: BTreeSet<_> =
            before.union(made).filter(|node| !gone.contains(*node)).cloned().collect();
        if before == after {
            return false;
        }
        self.nodes.retain(|known| !known.is_at(spot));
        if !after.is_empty() {
            self.nodes.push(Persistent {
                service: spot.service.to_string(),
                parent: spot.parent.to_string(),
                node: Vec::from_iter(after).join("\n"),
                ensemble: Some(spot.ensemble.to_string()),
            });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::ServiceName;

    #[test]
    fn remembers_sixteen_sessions_of_an_ensemble_and_one_heir() {
        let mut memory = Memory::default();
        for id in 1..=20 {
            assert!(memory.opened("a", &Credentials { id, password: vec![1; 16] }));
        }
        memory.opened("b", &Credentials { id: 99, password: vec![2; 16] });
        assert!(!memory.knows(4) && memory.knows(5) && memory.knows(20));
        assert_eq!(memory.heir("a").map(|heir| heir.id), Some(20));
        assert_eq!(memory.heir("b").map(|heir| heir.id), Some(99));
        assert_eq!(Memory::decode(&memory.encode()), Ok(memory));
    }

    #[test]
    fn says_whether_anything_changed() {
        let mut memory = Memory::default();
        let session = Credentials { id: 1, password: vec![1; 16] };
        assert!(!memory.closed("a"));
        assert!(memory.opened("a", &session));
        assert!(!memory.opened("a", &session));
        assert!(memory.closed("a"));
        assert!(!memory.closed("a"));
        let spot =
            Spot { service: ServiceName::new("s"), ensemble: "a".into(), parent: "/p".into() };
        let (one, none) = (BTreeSet::from(["/p/i_1".to_owned()]), BTreeSet::new());
        assert!(!memory.change_nodes(&spot, &none, &one));
        assert!(memory.change_nodes(&spot, &one, &none));
        assert!(!memory.change_nodes(&spot, &one, &none));
        let elsewhere = Spot { ensemble: "b".into(), ..spot.clone() };
        assert!(
            !memory.change_nodes(&elsewhere, &none, &one) && memory.nodes(&elsewhere).is_empty()
        );
        assert!(memory.change_nodes(&spot, &none, &one));
    }

    #[test]
    fn nodes_that_an_older_nerve_has_written_belong_to_any_ensemble() {
        let text = r#"{"version":1,"generation":2,"pid":3,"sessions":[],"nodes":[
            {"service":"s","parent":"/p","node":"/p/i_1\n/p/i_2"}]}"#;
        let mut memory = Memory::decode(text.as_bytes()).unwrap();
        let spot =
            Spot { service: ServiceName::new("s"), ensemble: "a".into(), parent: "/p".into() };
        assert_eq!(Vec::from_iter(memory.nodes(&spot)), ["/p/i_1", "/p/i_2"]);
        let gone = BTreeSet::from(["/p/i_1".to_owned()]);
        assert!(memory.change_nodes(&spot, &BTreeSet::new(), &gone));
        assert_eq!(Vec::from_iter(memory.nodes(&spot)), ["/p/i_2"]);
        assert!(memory.nodes(&Spot { ensemble: "b".into(), ..spot }).is_empty(), "it is known now");
    }
}
