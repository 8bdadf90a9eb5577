//! The process between its start and its end: it waits for a signal, or for a successor.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::front::Front;
use super::handover::offer::{self, House, Successor};
use super::handover::successor::Post;
use super::service::Context;
use super::signal::StopSignals;
use super::stop::{Changer, Softness, stop};
use crate::discovery::saved::Store;
use crate::proxy::worker::REST;

/// What a process that serves is asked to do next.
#[derive(Debug)]
enum Asked {
    /// Another process has taken over; perhaps after a signal.
    MakeWay(Successor, bool),
    /// A signal has come.
    Stop,
    /// And another while a hand-over was under way.
    StopAtOnce(&'static str),
}

/// A process that serves.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) context: Arc<Context>,
    pub(super) changer: Changer,
    pub(super) front: Front,
    pub(super) post: Post,
    /// Where the last known backends are kept.
    pub(super) store: Option<Arc<Store>>,
    /// How long connections may last at the end, unless the file in force says otherwise by then.
    pub(super) deadline: Duration,
}

impl Serving {
    /// Serves until somebody else does or nobody shall, then drains.
    pub(super) async fn until_end(mut self, signals: &mut StopSignals) {
        self.context.notifier.ready();
        match self.until_asked(signals).await {
            Asked::MakeWay(successor, is_told) => self.make_way(successor, is_told, signals).await,
            Asked::Stop => self.end(signals).await,
            Asked::StopAtOnce(signal) => {
                tracing::warn!(signal, "stopping at once; open connections are cut");
                self.context.notifier.stopping();
                self.context.admin.readiness.stop();
                offer::leave_files(&self.context.workers);
            }
        }
    }

    /// Who is about to take over when a signal comes does so first: there is no moment without anybody who accepts.
    async fn until_asked(&mut self, signals: &mut StopSignals) -> Asked {
        let stopping = CancellationToken::new();
        let house = House {
            workers: Some(&self.context.workers),
            admin: &self.context.admin,
            changes: &self.context.changes,
            front: &mut self.front,
            store: self.store.as_deref(),
        };
        let mut come = pin!(offer::wait(&mut self.post.door, house, &stopping));
        let mut keep_alive = pin!(self.context.notifier.keep_alive());
        loop {
            tokio::select! {
                successor = &mut come => {
                    let is_told = stopping.is_cancelled();
                    return successor.map_or(Asked::Stop, |it| Asked::MakeWay(it, is_told));
                }
                () = &mut keep_alive => return Asked::Stop,
                signal = signals.next() => {
                    if stopping.is_cancelled() {
                        return Asked::StopAtOnce(signal);
                    }
                    tracing::info!(signal, "stopping softly; a second signal stops at once");
                    self.context.changes.close();
                    stopping.cancel();
                }
            }
        }
    }

    /// Nobody serves after us. The admin server goes last, so that the drain can be watched, unless a new process comes
    /// meanwhile: it binds what we have closed, and gets the admin server's socket.
    async fn end(mut self, signals: &mut StopSignals) {
        self.context.notifier.stopping();
        self.front.start();
        let softness = Softness {
            deadline: self.deadline,
            rest: Duration::ZERO,
            is_asked: true,
            following: None,
        };
        let (mut door, mut front) = (self.post.door, self.front);
        let admin = Arc::clone(&self.context.admin);
        let changes = Arc::clone(&self.context.changes);
        let mut stopped = pin!(stop(self.context, self.changer, signals, softness));
        let store = self.store.as_deref();
        let house =
            House { workers: None, admin: &admin, changes: &changes, front: &mut front, store };
        let for_good = CancellationToken::new();
        let successor = tokio::select! {
            () = &mut stopped => None,
            successor = offer::wait(&mut door, house, &for_good) => successor,
        };
        match successor {
            Some(successor) => {
                let pid = successor.pid();
                tracing::info!(pid, "another process serves; draining goes on");
                drop((door, front));
                successor.report_until(&admin, stopped).await;
            }
            None => {
                front.stop().await;
                // Before the door: who finds nobody behind it does not wait for an address.
                drop(front);
                drop(door);
            }
        }
    }

    /// Another process has everything; it is told what is still counted here.
    async fn make_way(self, successor: Successor, is_asked: bool, signals: &mut StopSignals) {
        let pid = successor.pid();
        tracing::info!(pid, "another process has taken over; draining");
        drop((self.post.door, self.front));
        let softness = Softness {
            deadline: self.deadline,
            rest: REST,
            is_asked,
            following: self.post.following,
        };
        let admin = Arc::clone(&self.context.admin);
        let stopped = stop(self.context, self.changer, signals, softness);
        successor.report_until(&admin, stopped).await;
    }
}
