//! What the push API asks of the fleet. Each command ends at once; who wants to know what became of it watches the entry
//! that is answered.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::oneshot;

use super::fleet::{Entry, Fleet, Origin};
use super::pushed::PushedService;
use crate::config::Complaint;
use crate::registration::view::DownMark;

/// Services that may be pushed: each has tasks and a node, and the API is open to everybody who may connect.
const MAX_PUSHED: usize = 1_000;

/// The answer to a command.
pub(super) type Reply = oneshot::Sender<Result<Entry, Refused>>;

/// A command.
#[derive(Debug)]
pub(super) enum Command {
    /// Announces a downtime (`None`: its end).
    Mark { service: String, mark: Option<DownMark>, reply: Reply },
    /// Defines a service, or renews it.
    Put { service: String, definition: Value, until: SystemTime, reply: Reply },
    /// Forgets a service that was put.
    Delete { service: String, reply: Reply },
}

/// Why a command was not obeyed.
#[derive(Debug)]
pub(super) enum Refused {
    /// No such service.
    Unknown,
    /// The service stands in the configuration file.
    InFile,
    /// Too many are pushed already.
    Full(usize),
    /// What is wrong with the definition.
    Definition(Vec<Complaint>),
    /// The system's reason.
    Failed(String),
}

impl Fleet {
    /// Obeys, and answers.
    pub(super) fn obey(&mut self, command: Command) {
        let (reply, answer) = match command {
            Command::Mark { service, mark, reply } => (reply, self.mark(&service, mark)),
            Command::Put { service, definition, until, reply } => {
                (reply, self.put(&service, definition, until))
            }
            Command::Delete { service, reply } => (reply, self.delete(&service)),
        };
        if reply.send(answer).is_err() {
            tracing::debug!("nobody waits for the answer any more");
        }
    }

    fn find(&self, service: &str) -> Result<usize, Refused> {
        let at = self.services.iter().position(|(s, _)| s.service().name.as_str() == service);
        at.ok_or(Refused::Unknown)
    }

    fn entry(&self, at: usize) -> Result<Entry, Refused> {
        let found = self
            .services
            .get(at)
            .map(|(running, origin)| Entry { shown: running.shown().clone(), origin: *origin });
        found.ok_or(Refused::Unknown)
    }

    fn mark(&mut self, service: &str, mark: Option<DownMark>) -> Result<Entry, Refused> {
        let at = self.find(service)?;
        let remembered = mark.clone();
        self.remember(|downs, _| match remembered {
            Some(mark) => drop(downs.insert(service.to_owned(), mark)),
            None => drop(downs.remove(service)),
        })?;
        if let Some((running, _)) = self.services.get(at) {
            running.mark(mark);
        }
        self.entry(at)
    }

    fn put(
        &mut self,
        service: &str,
        definition: Value,
        until: SystemTime,
    ) -> Result<Entry, Refused> {
        if let Ok(at) = self.find(service)
            && matches!(self.services.get(at), Some((_, Origin::File)))
        {
            return Err(Refused::InFile);
        }
        self.resolve(service, &definition).map_err(Refused::Definition)?;
        let known = &self.parts.pushed.known.services;
        if known.len() >= MAX_PUSHED && !known.contains_key(service) {
            return Err(Refused::Full(MAX_PUSHED));
        }
        let pushed = PushedService { definition, until };
        self.remember(|_, services| drop(services.insert(service.to_owned(), pushed)))?;
        self.apply_pushed()?;
        self.entry(self.find(service)?)
    }

    fn delete(&mut self, service: &str) -> Result<Entry, Refused> {
        let at = self.find(service)?;
        let entry = self.entry(at)?;
        if entry.origin == Origin::File {
            return Err(Refused::InFile);
        }
        self.remember(|_, services| drop(services.remove(service)))?;
        self.apply_pushed()?;
        Ok(entry)
    }

    /// Ends services that were not renewed.
    pub(super) fn forget_expired(&mut self) {
        let now = SystemTime::now();
        let is_over = |origin: &Origin| matches!(origin, Origin::Pushed { until } if *until <= now);
        if !self.services.iter().any(|(_, origin)| is_over(origin)) {
            return;
        }
        if let Err(refused) = self.remember(|_, _| ()).and_then(|()| self.apply_pushed()) {
            tracing::error!(?refused, "pushed services that were not renewed cannot be ended");
        }
    }

    fn apply_pushed(&mut self) -> Result<(), Refused> {
        let wanted = self.wanted();
        let changes = self.apply(wanted).map_err(|error| Refused::Failed(error.to_string()))?;
        tracing::info!(%changes, "pushed services");
        Ok(())
    }

    fn remember(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, DownMark>, &mut BTreeMap<String, PushedService>),
    ) -> Result<(), Refused> {
        let written =
            self.parts.pushed.change(|pushed| change(&mut pushed.downs, &mut pushed.services));
        written.map_err(|error| Refused::Failed(format!("state_dir cannot be written: {error}")))
    }
}
