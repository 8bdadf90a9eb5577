//! The process between its start and its end: it waits for a signal, or for a successor.

use std::sync::Arc;
use std::time::Duration;

use super::front::Front;
use super::handover::offer::{self, House, Successor};
use super::handover::successor::Post;
use super::service::Context;
use super::signal::StopSignals;
use super::stop::{Changer, Softness, stop};
use crate::proxy::worker::REST;

/// A process that serves.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) context: Arc<Context>,
    pub(super) changer: Changer,
    pub(super) front: Front,
    pub(super) post: Post,
    /// How long connections may last at the end, unless the file in force says otherwise by then.
    pub(super) deadline: Duration,
}

impl Serving {
    /// Serves until somebody else does or nobody shall, then drains.
    pub(super) async fn until_end(mut self, signals: &mut StopSignals) {
        self.context.notifier.ready();
        let house = House {
            workers: &self.context.workers,
            admin: &self.context.admin,
            front: &mut self.front,
        };
        let successor = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "stopping softly; a second signal stops at once");
                None
            }
            successor = offer::wait(&mut self.post.door, house) => Some(successor),
            () = self.context.notifier.keep_alive() => None,
        };
        match successor {
            Some(successor) => self.make_way(successor, signals).await,
            None => self.end(signals).await,
        }
    }

    /// Nobody comes after us. The admin server goes last, so that the drain can be watched.
    async fn end(mut self, signals: &mut StopSignals) {
        self.context.notifier.stopping();
        drop(self.post.door);
        self.front.start();
        let softness = Softness {
            deadline: self.deadline,
            rest: Duration::ZERO,
            is_asked: true,
            following: None,
        };
        stop(self.context, self.changer, signals, softness).await;
        self.front.stop().await;
    }

    /// Another process has everything; it is told what is still counted here.
    async fn make_way(self, successor: Successor, signals: &mut StopSignals) {
        let pid = successor.pid;
        tracing::info!(pid, "another process has taken over; draining");
        drop((self.post.door, self.front));
        let softness = Softness {
            deadline: self.deadline,
            rest: REST,
            is_asked: false,
            following: self.post.following,
        };
        let admin = Arc::clone(&self.context.admin);
        let stopped = stop(self.context, self.changer, signals, softness);
        successor.report_until(&admin, stopped).await;
    }
}
