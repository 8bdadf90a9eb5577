//! One pass: look, do the next step until nothing is left to do, and say what to wait for.

use std::sync::Arc;

use tracing::{info, warn};

use super::super::{Relation, Wanted};
use super::look::{Memory, look};
use super::plan::{Found, Step, Whose, next};
use super::publish::Publisher;
use super::setback::{Setback, blocked, chroot, setback};
use super::shape::Shape;
use crate::health::BoxFuture;
use crate::registry::Node;
use crate::registry::writer::{RegistryWriter, WriteError};
use crate::telemetry::statsd::nerve::{Renewal, ttl_renewed};

/// Steps of one pass; more are somebody's war against us. Each ends a node or makes one.
const MAX_STEPS: usize = 100;

/// Settled: what would change that.
pub(super) struct Rest {
    /// Fires when the node that we rely on, or wait for, changes.
    pub(super) watch: Option<BoxFuture<'static, ()>>,
    /// Whose that is.
    pub(super) on: On,
}

/// What a rest relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// Our node.
    Ours,
    /// That there is none.
    Nothing,
    /// Somebody else's node stands in our place.
    Foreign,
    /// As well, and this session has it: of a younger process of this host. Whether that still runs can be asked without
    /// the registry.
    Younger(i64),
}

/// The node of the last settled pass, and in which session that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    path: String,
    version: i32,
    session: i64,
}

/// What one registration works with. Owned by its reporter.
#[derive(Debug)]
pub(super) struct Desk {
    registry: Arc<dyn RegistryWriter>,
    shape: Shape,
    pub(super) memory: Memory,
    pub(super) publisher: Publisher,
    standing: Option<Standing>,
}

impl Desk {
    pub(super) fn new(
        registry: Arc<dyn RegistryWriter>,
        shape: Shape,
        memory: Memory,
        publisher: Publisher,
    ) -> Self {
        Self { registry, shape, memory, publisher, standing: None }
    }

    /// Makes the registry say what is wanted, as the owner of `session`.
    pub(super) async fn pass(&mut self, wanted: Wanted, session: i64) -> Result<Rest, Setback> {
        self.memory.wants(wanted);
        if wanted == Wanted::Present
            && let Some(standing) = self.standing.take_if(|standing| standing.session == session)
        {
            if let Some(rest) = self.confirm(&standing.path, session).await? {
                return Ok(rest);
            }
            self.publisher.changing();
        }
        if wanted != Wanted::Present {
            self.end_quickly(wanted, session).await?;
        }
        let mut found = self.look(session).await?;
        for _ in 0..MAX_STEPS {
            // A call may have waited for the next session and been done in its name: what it made would be judged a
            // remnant of somebody else, and made again and again.
            if self.registry.session().borrow().id != Some(session) {
                return Err(Setback::Outdated);
            }
            let step = next(&self.shape, &found, wanted, &self.memory.twins());
            if let Some(rest) = self.rest(step, wanted, session).await? {
                return Ok(rest);
            }
            found = match step {
                // Its state changed between the look and the watch.
                Step::Stands(_) | Step::Blocked(_) | Step::Nothing => self.look(session).await?,
                Step::Create | Step::Set(_) | Step::Replace(_) | Step::Delete(_) => {
                    self.publisher.changing();
                    self.act(step, &found, session).await?
                }
            };
        }
        Err(Setback::Soon("does not come to rest: somebody else writes here".to_owned()))
    }

    /// Writes our bytes again, for whoever judges life by that. statsd hears of it as of `ensemble`.
    pub(super) async fn rewrite(&self, ensemble: &str) -> Result<(), Setback> {
        let Some(Standing { path, version, .. }) = self.standing.clone() else {
            return Ok(());
        };
        match self.registry.set_data(&path, &self.shape.bytes, Some(version)).await {
            Ok(()) => {
                self.publisher.wrote();
                ttl_renewed(ensemble, Renewal::Done);
            }
            // The pass that follows mends it.
            Err(WriteError::Changed { .. } | WriteError::Missing { .. }) => {
                ttl_renewed(ensemble, Renewal::NoNode);
            }
            Err(error) => {
                ttl_renewed(ensemble, Renewal::NoAnswer);
                return Err(setback(error));
            }
        }
        Ok(())
    }

    async fn look(&mut self, session: i64) -> Result<Vec<Found>, Setback> {
        let found = look(&*self.registry, (&self.shape, &self.memory), session).await?;
        self.memory.claim(&found);
        Ok(found)
    }

    /// A node whose name nobody else can have is deleted first and looked after later: a deregistration is urgent.
    async fn end_quickly(&mut self, wanted: Wanted, session: i64) -> Result<(), Setback> {
        let standing = self.standing.take();
        let Some(standing) = standing.filter(|standing| standing.session == session) else {
            return Ok(());
        };
        if wanted == Wanted::Absent
            && self.shape.kind.is_sequential()
            && !self.memory.is_of_younger(&self.shape, &standing.path)
        {
            self.publisher.changing();
            match self.registry.delete(&standing.path, None).await {
                Ok(_) => self.publisher.wrote(),
                Err(error) => return Err(setback(error)),
            }
        }
        Ok(())
    }

    /// The end of the pass, if `step` is one and still true when the watch is set.
    async fn rest(
        &mut self,
        step: Step<'_>,
        wanted: Wanted,
        session: i64,
    ) -> Result<Option<Rest>, Setback> {
        match step {
            Step::Nothing => {
                self.memory.give_back();
                self.memory.forget();
                self.publisher.absent();
                Ok(Some(Rest { watch: None, on: On::Nothing }))
            }
            Step::Stands(found) if wanted == Wanted::Present => {
                self.confirm(&found.path, session).await
            }
            // Undecided: what is ours is left as it is, one too many included.
            Step::Stands(found) if !self.memory.take(&found.path) => Ok(None),
            Step::Stands(found) => {
                let watched = self.registry.watch_data(&found.path).await?;
                Ok((watched.value.as_ref() == Some(&found.node)).then(|| {
                    self.publisher.registered(&found.path, found.node.ephemeral_owner);
                    Rest { watch: Some(watched.changed), on: On::Ours }
                }))
            }
            Step::Blocked(found) => {
                let watched = self.registry.watch_data(&found.path).await?;
                Ok((watched.value.as_ref() == Some(&found.node)).then(|| {
                    self.publisher.blocked(&blocked(found));
                    let is_younger = found.whose == Whose::Of(Relation::Younger);
                    let owner = found.node.ephemeral_owner;
                    let on = if is_younger { On::Younger(owner) } else { On::Foreign };
                    Rest { watch: Some(watched.changed), on }
                }))
            }
            Step::Create | Step::Set(_) | Step::Replace(_) | Step::Delete(_) => Ok(None),
        }
    }

    /// Whether `path` is as it should be; then it is watched.
    async fn confirm(&mut self, path: &str, session: i64) -> Result<Option<Rest>, Setback> {
        let watched = self.registry.watch_data(path).await?;
        let owner = if self.shape.kind.is_ephemeral() { session } else { 0 };
        let is_good = |node: &Node| node.ephemeral_owner == owner && node.data == self.shape.bytes;
        let Some(node) = watched.value.filter(is_good) else {
            return Ok(None);
        };
        if !self.memory.take(path) {
            return Ok(None);
        }
        self.memory.stands(&self.shape, path);
        self.publisher.registered(path, owner);
        self.standing = Some(Standing { path: path.to_owned(), version: node.version, session });
        Ok(Some(Rest { watch: Some(watched.changed), on: On::Ours }))
    }

    /// Does one step; gives what there is afterwards.
    async fn act(
        &mut self,
        step: Step<'_>,
        found: &[Found],
        session: i64,
    ) -> Result<Vec<Found>, Setback> {
        let done = match step {
            Step::Create => self.create(found, session).await,
            Step::Replace(there) => self.replace(there, session).await,
            Step::Set(ours) => {
                let version = Some(ours.node.version);
                self.registry.set_data(&ours.path, &self.shape.bytes, version).await
            }
            Step::Delete(extra) => {
                info!(node = %extra.path, owner = extra.node.ephemeral_owner, "deleted");
                let deleted = self.registry.delete(&extra.path, Some(extra.node.version)).await;
                deleted.map(|_| ())
            }
            Step::Blocked(_) | Step::Stands(_) | Step::Nothing => Ok(()),
        };
        match done {
            Ok(()) => self.publisher.wrote(),
            // Somebody was faster: look at what is there now.
            Err(WriteError::Exists { .. } | WriteError::Changed { .. }) => {}
            Err(WriteError::Missing { .. }) if step == Step::Create => {
                self.registry.make_path(self.shape.parent()).await.map_err(chroot)?;
            }
            Err(WriteError::Missing { .. }) => {}
            Err(error) => return Err(setback(error)),
        }
        self.look(session).await
    }

    async fn create(&mut self, found: &[Found], session: i64) -> Result<(), WriteError> {
        self.memory.will_make(&self.shape, found);
        let target = self.shape.target();
        if !self.shape.kind.is_sequential() {
            // Before it is asked for: who goes on with it may never hear the answer.
            self.memory.take(&target);
        }
        let made = self.registry.create(&target, &self.shape.bytes, self.shape.kind).await?;
        info!(node = %made.path, owner = made.node.ephemeral_owner, "created");
        // Before anybody else looks; a node that was just made is nobody else's.
        self.memory.take(&made.path);
        let owner = made.node.ephemeral_owner;
        if owner == 0 {
            self.memory.made(&self.shape, &made.path);
        } else if owner != session && self.registry.session().borrow().id != Some(owner) {
            warn!(node = %made.path, owner, session, "the server gave our node to another session");
            // It is ours, whatever its owner: nobody else knows its name.
            self.registry.delete(&made.path, Some(0)).await?;
        }
        Ok(())
    }

    async fn replace(&self, there: &Found, session: i64) -> Result<(), WriteError> {
        let (bytes, kind) = (&self.shape.bytes, self.shape.kind);
        self.registry.replace(&there.path, there.node.version, bytes, kind).await?;
        info!(node = %there.path, former = there.node.ephemeral_owner, session, "taken over");
        Ok(())
    }
}
