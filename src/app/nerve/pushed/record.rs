//! What is remembered, and what is to be.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file::{MAX_BYTES, StoreError};
use crate::registration::view::DownMark;

/// Version of the format.
pub(super) const VERSION: u32 = 1;

/// Everything that was pushed and still holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::app::nerve) struct Pushed {
    pub(super) version: u32,
    /// Announced downtimes by service.
    pub(in crate::app::nerve) downs: BTreeMap<String, DownMark>,
    /// Services by name.
    pub(in crate::app::nerve) services: BTreeMap<String, PushedService>,
}

/// A service that was put.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(in crate::app::nerve) struct PushedService {
    /// As in the configuration file.
    pub(in crate::app::nerve) definition: Value,
    /// It is forgotten then, unless it is put again.
    pub(in crate::app::nerve) until: SystemTime,
}

impl Default for Pushed {
    fn default() -> Self {
        Self { version: VERSION, downs: BTreeMap::new(), services: BTreeMap::new() }
    }
}

impl Pushed {
    /// Forgets what does not hold any more, and the downtimes of services that end with it: all but those `in_file`.
    /// Gives the names of those services.
    pub(super) fn expire(&mut self, now: SystemTime, in_file: &HashSet<String>) -> Vec<String> {
        self.downs.retain(|_, mark| mark.holds(now));
        let over = self.services.iter().filter(|(_, service)| service.until <= now);
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        for name in &over {
            self.services.remove(name);
            if !in_file.contains(name) {
                self.downs.remove(name);
            }
        }
        over
    }

    pub(super) fn has_definitions_of(&self, other: &Self) -> bool {
        let all = |pushed: &Self| pushed.services.len();
        let is_here = |(name, service): (&String, &PushedService)| {
            self.services.get(name).is_some_and(|here| here.definition == service.definition)
        };
        all(self) == all(other) && other.services.iter().all(is_here)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::from)?;
        if bytes.len() > MAX_BYTES { Err(StoreError::TooMuch) } else { Ok(bytes) }
    }
}

/// Orders that hold and are not in the file yet; `None`: the entry goes.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) downs: BTreeMap<String, Option<DownMark>>,
    pub(super) services: BTreeMap<String, Option<PushedService>>,
}

impl Unwritten {
    pub(super) fn is_empty(&self) -> bool {
        self.downs.is_empty() && self.services.is_empty()
    }

    pub(super) fn apply(&self, pushed: &mut Pushed) {
        overlay(&mut pushed.downs, &self.downs);
        overlay(&mut pushed.services, &self.services);
    }
}

fn overlay<T: Clone>(entries: &mut BTreeMap<String, T>, orders: &BTreeMap<String, Option<T>>) {
    for (name, order) in orders {
        match order {
            Some(entry) => drop(entries.insert(name.clone(), entry.clone())),
            None => drop(entries.remove(name)),
        }
    }
}
