//! The parent (and the generator's own node, if it has one): is it still the same node, and what does its data say?

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use super::pace::{Pace, Retry};
use super::{Source, verify_after};
use crate::discovery::GeneratorSource;
use crate::discovery::publish::Part;
use crate::registry::Node;

/// What the parent's follower tells the members' follower.
#[derive(Debug, Default)]
pub(super) struct Parent {
    /// Creation zxid of the parent; 0: missing or not known.
    created: AtomicI64,
    /// The first look has been tried.
    pub(super) tried: Notify,
    /// `created` has changed.
    pub(super) replaced: Notify,
}

impl Parent {
    fn see(&self, node: Option<&Node>) {
        let created = node.map_or(0, |node| node.created_zxid);
        if self.created.swap(created, Ordering::Relaxed) != created {
            self.replaced.notify_one();
        }
    }

    pub(super) fn incarnation(&self) -> Option<i64> {
        Some(self.created.load(Ordering::Relaxed)).filter(|created| *created != 0)
    }
}

impl Source {
    /// Is the parent still the same node, and what does its data say?
    pub(super) async fn follow_parent(&self) {
        let is_generator = self.settings.generator == GeneratorSource::Parent;
        let path = Arc::clone(&self.settings.path);
        self.follow_data(Part::Parent, &path, |node| {
            self.parent.see(node);
            if is_generator {
                self.publish_generator(&path, node)?;
            }
            Ok(())
        })
        .await;
    }

    pub(super) async fn follow_generator_node(&self) {
        if let GeneratorSource::Node(path) = &self.settings.generator {
            self.follow_data(Part::Generator, path, |node| self.publish_generator(path, node))
                .await;
        }
    }

    /// Calls `seen` with the data of `path` now and after every change; its error is shown as trouble.
    async fn follow_data(
        &self,
        part: Part,
        path: &str,
        seen: impl Fn(Option<&Node>) -> Result<(), String> + Send + Sync,
    ) {
        let mut retry = Retry::new(self.registry.session());
        let mut pace = Pace::new(Duration::ZERO);
        loop {
            pace.mark();
            match self.registry.watch_data(path).await {
                Ok(watched) => {
                    retry.reset();
                    let trouble = seen(watched.value.as_ref()).err();
                    self.parent.tried.notify_one();
                    if self.publisher.trouble(part, trouble.clone().map(Arc::from))
                        && let Some(trouble) = trouble
                    {
                        warn!(path, trouble, "generator config unusable, the former stays");
                    }
                    tokio::select! {
                        () = watched.changed => {}
                        () = tokio::time::sleep(verify_after()) => {}
                    }
                    pace.rest().await;
                }
                Err(error) => {
                    self.parent.tried.notify_one();
                    self.events.config_unread();
                    self.complain(part, &error);
                    retry.wait(&error).await;
                }
            }
        }
    }

    /// A config that is not text keeps its predecessor in force.
    fn publish_generator(&self, path: &str, node: Option<&Node>) -> Result<(), String> {
        let data = node.map_or(&[][..], |node| &node.data);
        let text = std::str::from_utf8(data)
            .map_err(|error| format!("generator config in {path} is not UTF-8: {error}"))?;
        let text = (!text.trim().is_empty()).then(|| Arc::from(text));
        self.publisher.generator(text);
        Ok(())
    }
}
