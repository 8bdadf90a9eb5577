//! What the push API asks of the fleet. Each command ends at once; who wants to know what became of it watches the entry
//! that is answered.

use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::oneshot;

use super::fleet::{Entry, Fleet, Origin};
use super::pushed::{News, PushedService, StoreError};
use crate::config::Complaint;
use crate::config::nerve::Taken;
use crate::registration::view::DownMark;

/// Services that may be pushed: each has tasks and a node, and the API is open to everybody who may connect.
const MAX_PUSHED: usize = 1_000;

/// The answer to a command.
pub(super) type Reply = oneshot::Sender<Result<Done, Refused>>;

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    /// The service.
    pub(super) entry: Entry,
    /// Why it is not remembered across a restart, if it is not.
    pub(super) remark: Option<String>,
}

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
    /// Their definitions are too long, all together.
    TooMuch,
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

    fn done(&self, at: usize, remark: Option<String>) -> Result<Done, Refused> {
        Ok(Done { entry: self.entry(at)?, remark })
    }

    fn mark(&mut self, service: &str, mark: Option<DownMark>) -> Result<Done, Refused> {
        let at = self.find(service)?;
        let remark = self.parts.pushed.mark(service, mark.clone());
        if let Some((running, _)) = self.services.get(at) {
            running.mark(mark);
        }
        self.done(at, remark)
    }

    fn put(
        &mut self,
        service: &str,
        definition: Value,
        until: SystemTime,
    ) -> Result<Done, Refused> {
        let known = &self.parts.pushed.known.services;
        if let Ok(at) = self.find(service) {
            if matches!(self.services.get(at), Some((_, Origin::File))) {
                return Err(Refused::InFile);
            }
            if known.get(service).is_some_and(|known| known.definition == definition) {
                let remark = self.parts.pushed.renew(service, until);
                self.show_ends();
                return self.done(at, remark);
            }
        }
        if known.len() >= MAX_PUSHED && !known.contains_key(service) {
            return Err(Refused::Full(MAX_PUSHED));
        }
        let mut taken = Taken::default();
        for (running, _) in &self.services {
            let other = running.service();
            if other.name.as_str() != service {
                // Whoever runs has been compared already.
                drop(taken.add(other));
            }
        }
        self.resolve(service, &definition, &mut taken).map_err(Refused::Definition)?;
        let pushed = PushedService { definition, until };
        let taken_in = self.parts.pushed.put(service, pushed);
        let remark = taken_in.map_err(|error| {
            if matches!(error, StoreError::TooMuch) {
                Refused::TooMuch
            } else {
                Refused::Failed(error.to_string())
            }
        })?;
        self.apply_pushed()?;
        self.done(self.find(service)?, remark)
    }

    fn delete(&mut self, service: &str) -> Result<Done, Refused> {
        let at = self.find(service)?;
        let entry = self.entry(at)?;
        if entry.origin == Origin::File {
            return Err(Refused::InFile);
        }
        let remark = self.parts.pushed.delete(service);
        self.apply_pushed()?;
        Ok(Done { entry, remark })
    }

    /// Once a second: writes what is not written yet, takes in what other nerves with this `state_dir` were told, and ends
    /// services that were not renewed.
    pub(super) fn forget_expired(&mut self) {
        let now = SystemTime::now();
        self.parts.pushed.flush();
        self.parts.pushed.refresh();
        let news = self.parts.pushed.news();
        let has_ended = self.parts.pushed.expire(now);
        if news != News::None {
            self.mark_all();
            self.show_ends();
        }
        let is_over = |origin: &Origin| matches!(origin, Origin::Pushed { until } if *until <= now);
        // The last one: it could not be ended the last time.
        let is_due = news == News::Services
            || has_ended
            || self.services.iter().any(|(_, origin)| is_over(origin));
        if is_due && let Err(refused) = self.apply_pushed() {
            tracing::error!(?refused, "what runs is not what is pushed");
        }
    }

    /// Tells every service of the downtimes that are known.
    fn mark_all(&self) {
        let downs = &self.parts.pushed.known.downs;
        for (running, _) in &self.services {
            running.mark(downs.get(running.service().name.as_str()).cloned());
        }
    }

    /// Lets pushed services end when they are known to.
    fn show_ends(&mut self) {
        let known = &self.parts.pushed.known.services;
        for (running, origin) in &mut self.services {
            if let Origin::Pushed { until } = origin
                && let Some(known) = known.get(running.service().name.as_str())
            {
                *until = known.until;
            }
        }
        self.show();
    }

    fn apply_pushed(&mut self) -> Result<(), Refused> {
        let wanted = self.wanted();
        let changes = self.apply(wanted).map_err(|error| Refused::Failed(error.to_string()))?;
        tracing::info!(%changes, "pushed services");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
