//! The side that runs: offers what it has to whoever starts in its place, and lets go only when that one has it all.

use std::os::fd::AsFd as _;
use std::pin::pin;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::descriptors::send_descriptors;
use super::door::Door;
use super::protocol::{Greeting, Message, ProtocolError, VERSION, receive, send};
use super::state::{Report, State, Totals};
use super::wire::{WireFile, ago};
use super::{
    CHANGE_PATIENCE, LOOK_EVERY, PATIENCE, READY_PATIENCE, REPORT_EVERY, STOP_PATIENCE, with_causes,
};
use crate::admin::AdminState;
use crate::app::changes::{Changes, Turn};
use crate::app::front::Front;
use crate::discovery::saved::Store;
use crate::proxy::listener::Listening;
use crate::proxy::worker::Workers;

/// What a successor gets.
#[derive(Debug)]
pub(crate) struct House<'a> {
    /// The data plane: its sockets. `None`: they are closed, it drains.
    pub(crate) workers: Option<&'a Workers>,
    /// Services, their state and counters.
    pub(crate) admin: &'a Arc<AdminState>,
    /// Nothing changes while we hand over.
    pub(crate) changes: &'a Changes,
    /// The admin server.
    pub(crate) front: &'a mut Front,
    /// The files of last known backends.
    pub(crate) store: Option<&'a Store>,
}

/// The process that has everything now.
#[derive(Debug)]
pub(crate) struct Successor {
    stream: UnixStream,
    terms: Terms,
}

/// What holds once another process has everything.
#[derive(Debug)]
struct Terms {
    /// Of the other one.
    pid: u32,
    /// What it has been told.
    reported: Totals,
    /// Never given back: nothing changes here any more.
    turn: Turn,
    /// It is to read its file again.
    reload: bool,
    /// It can be told so.
    hears_reloads: bool,
}

/// Waits until another process has taken over, or until `stopping` and nobody is about to. Dropping it before changes nothing
/// but the admin server, which may be stopped ([`Front::start`] it).
pub(crate) async fn wait(
    door: &mut Option<Door>,
    mut house: House<'_>,
    stopping: &CancellationToken,
) -> Option<Successor> {
    let Some(door) = door else {
        // Nobody can come.
        stopping.cancelled().await;
        return None;
    };
    let mut looks = interval(LOOK_EVERY);
    loop {
        let mut caller = tokio::select! {
            biased;
            caller = door.accept() => caller,
            () = stopping.cancelled() => return None,
            _ = looks.tick() => {
                reclaim(door);
                continue;
            }
        };
        match converse(&mut caller, door, &mut house, stopping).await {
            Ok(terms) => return Some(Successor { stream: caller, terms }),
            Err(error) => {
                let error = with_causes(&error);
                let is_stopping = house.workers.is_none() || stopping.is_cancelled();
                tracing::warn!(error, is_stopping, "hand-over came to nothing");
                let end = if is_stopping {
                    house.workers.into_iter().for_each(leave_files);
                    house.release().await;
                    Message::Stopping
                } else {
                    Message::Refused { reason: format!("{error}; it goes on") }
                };
                if let Err(error) = send(&mut caller, &end, PATIENCE).await {
                    tracing::debug!(%error, "successor");
                }
            }
        }
        house.front.start();
        reclaim(door);
    }
}

/// Leaves the files of unix sockets to whoever has been offered these: if that one lives, nobody else serves them.
pub(crate) fn leave_files(workers: &Workers) {
    match workers.listening() {
        Ok(sockets) => sockets.iter().for_each(|socket| socket.own_file(false)),
        Err(error) => tracing::error!(%error, "unix sockets may lose their files"),
    }
}

/// One that gave up late may have taken the path away, or somebody else has.
fn reclaim(door: &mut Door) {
    if let Err(error) = door.reclaim() {
        tracing::error!(%error, "no hand-over is possible");
    }
}

/// Negotiates, and turns others away meanwhile. Who is told to stop does not wait for long.
async fn converse(
    caller: &mut UnixStream,
    door: &Door,
    house: &mut House<'_>,
    stopping: &CancellationToken,
) -> Result<Terms, ProtocolError> {
    let mut talk = pin!(negotiate(caller, house));
    let mut late = pin!(async {
        stopping.cancelled().await;
        tracing::info!("a hand-over is under way: it comes first");
        sleep(STOP_PATIENCE).await;
    });
    loop {
        tokio::select! {
            biased;
            ended = &mut talk => return ended,
            () = &mut late => return Err(ProtocolError::Silent(STOP_PATIENCE)),
            other = door.accept() => turn_away(other),
        }
    }
}

/// What has been agreed with the successor. Holds the turn all the while.
async fn negotiate(stream: &mut UnixStream, house: &mut House<'_>) -> Result<Terms, ProtocolError> {
    let said = receive(stream, PATIENCE).await?;
    let Message::Hello(greeting) = said else {
        return Err(said.unexpected());
    };
    let pid = greeting.pid;
    if greeting.protocol != VERSION {
        return Err(ProtocolError::Version(greeting.protocol));
    }
    let read = greeting.read_ms.map(ago);
    tracing::info!(pid, version = greeting.program, "hand-over asked for");
    let turn = timeout(CHANGE_PATIENCE, house.changes.turn()).await;
    let turn = turn.map_err(|_elapsed| ProtocolError::Changing(CHANGE_PATIENCE))?;
    // What a reload has put in force since may be unknown to it.
    let reload = read.is_some_and(|read| turn.has_reloaded_since(read));
    let sockets = offer(stream, house).await?;
    receive(stream, READY_PATIENCE).await?.must_be(&Message::Ready)?;
    house.front.stop().await;
    let reported = house.totals();
    let report = Report { totals: reported.clone(), reload: false };
    let counters = Message::Counters(Box::new(report));
    send(stream, &counters, PATIENCE).await?;
    receive(stream, PATIENCE).await?.must_be(&Message::Taken)?;
    // Before it is told: it may stop at once, and must be the only one to remove them then.
    sockets.iter().for_each(|socket| socket.own_file(false));
    house.release().await;
    if let Err(error) = send(stream, &Message::Draining, PATIENCE).await {
        sockets.iter().for_each(|socket| socket.own_file(true));
        house.store.into_iter().for_each(Store::own);
        return Err(error);
    }
    Ok(Terms { pid, reported, turn, reload, hears_reloads: read.is_some() })
}

/// Offers everything; gives the sockets.
async fn offer(
    stream: &mut UnixStream,
    house: &House<'_>,
) -> Result<Vec<Listening>, ProtocolError> {
    let mut sockets = house.workers.map_or_else(|| Ok(Vec::new()), Workers::listening)?;
    sockets.push(Listening::adopted(house.front.socket()?, None, false)?);
    let listeners = sockets.iter().map(|socket| socket.addr.to_string()).collect();
    let foreign = sockets.iter().filter(|socket| socket.is_foreign());
    let foreign = foreign.map(|socket| socket.addr.to_string()).collect();
    let entries = house.admin.services.load_full();
    let message = Message::Offer {
        from: Greeting::own(),
        listeners,
        foreign,
        files: sockets.iter().filter_map(file).collect(),
        state: Box::new(State::read(&entries).await),
    };
    send(stream, &message, PATIENCE).await?;
    let descriptors: Vec<_> = sockets.iter().map(|socket| socket.socket.as_fd()).collect();
    send_descriptors(stream, &descriptors, PATIENCE).await?;
    Ok(sockets)
}

fn file(socket: &Listening) -> Option<(String, WireFile)> {
    Some((socket.addr.to_string(), socket.file()?.into()))
}

/// One at a time: two successors of one process would both believe to be the one.
fn turn_away(mut caller: UnixStream) {
    tokio::spawn(async move {
        let reason = "a hand-over to another process is under way".to_owned();
        // Heard first: a close with unread bytes would be a reset, which may take the answer away.
        let answered = async {
            receive(&mut caller, PATIENCE).await?;
            send(&mut caller, &Message::Refused { reason }, PATIENCE).await
        };
        if let Err(error) = answered.await {
            tracing::debug!(%error, "second successor");
        }
    });
}

impl House<'_> {
    /// Nothing is remembered here any more: the other process does.
    async fn release(&self) {
        if let Some(store) = self.store {
            store.release().await;
        }
    }

    fn totals(&self) -> Totals {
        Totals::read(&self.admin.services.load_full(), &self.admin.cold)
    }
}

impl Successor {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.terms.pid
    }

    /// Reports what is counted here each second until `drained` completes, then the rest. Gives what `drained` gave.
    pub(crate) async fn report_until<T>(
        mut self,
        admin: &AdminState,
        drained: impl Future<Output = T>,
    ) -> T {
        let mut ticks = interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drained = pin!(drained);
        let mut listening = true;
        let outcome = loop {
            tokio::select! {
                outcome = &mut drained => break outcome,
                _ = ticks.tick(), if listening => listening = self.report(admin).await,
            }
        };
        if listening && self.report(admin).await {
            let finished = send(&mut self.stream, &Message::Finished, PATIENCE).await;
            if let Err(error) = finished {
                tracing::debug!(%error, "successor");
            }
        }
        outcome
    }

    /// False when nobody listens any more.
    async fn report(&mut self, admin: &AdminState) -> bool {
        let now = Totals::read(&admin.services.load_full(), &admin.cold);
        let terms = &mut self.terms;
        let reload = std::mem::take(&mut terms.reload) | terms.turn.take_reload();
        if reload && !terms.hears_reloads {
            let pid = terms.pid;
            tracing::warn!(
                pid,
                "it is of an earlier version, and does not hear of a reload that was asked for: send it SIGHUP"
            );
        }
        let report = Report { totals: now.since(&terms.reported), reload };
        terms.reported = now;
        let more = Message::Counters(Box::new(report));
        let sent = send(&mut self.stream, &more, PATIENCE).await;
        if let Err(error) = &sent {
            tracing::warn!(%error, "the successor does not take the last counters");
        }
        sent.is_ok()
    }
}
