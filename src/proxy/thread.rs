//! One worker thread: its runtime, what it can be told, how its end is seen.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::accept::{self, Accepted};
use super::door::DoorId;
use super::give_way::GiveWay;
use super::http;
use super::listener::Listening;
use super::local::Local;
use super::shared::{Listener, Shared};
use super::worker::TICK;
use crate::telemetry::access::post_in_time;
use crate::telemetry::cells::WorkerId;

/// Pause before a panicked acceptor runs again: one that panics at once must not burn the worker, and clients wait in
/// the kernel's queue meanwhile.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// A running worker, seen from the control thread.
#[derive(Debug)]
pub(crate) struct Thread {
    /// Closing it ends the thread.
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) handle: JoinHandle<()>,
    /// Ends when the thread has closed everything it held.
    pub(crate) gone: oneshot::Receiver<()>,
}

/// What a worker can be told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept on these sockets.
    Add { listener: Arc<Listener>, sockets: Vec<Listening>, done: oneshot::Sender<io::Result<()>> },
}

pub(crate) fn worker_gone() -> io::Error {
    io::Error::other("worker thread has ended")
}

impl Thread {
    pub(crate) fn start(
        worker: WorkerId,
        shared: &Arc<Shared>,
        handovers: mpsc::UnboundedReceiver<Accepted>,
    ) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let (alive, gone) = oneshot::channel::<()>();
        let shared = Arc::clone(shared);
        let handle =
            std::thread::Builder::new().name(format!("worker-{}", worker.0)).spawn(move || {
                // Dropped last: tells that everything else is.
                let _alive = alive;
                match runtime(shared.settings.gives_way) {
                    Ok(runtime) => {
                        drop(ready.send(Ok(())));
                        runtime.block_on(run(Local::new(worker, shared), receiver, handovers));
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })?;
        is_ready.recv().map_err(|_closed| worker_gone())??;
        Ok(Self { commands, handle, gone })
    }
}

fn runtime(gives_way: bool) -> io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    if gives_way {
        let way = GiveWay::new();
        builder.on_thread_park(move || way.before_sleep());
    }
    builder.build_local(LocalOptions::default())
}

/// A worker's main task: takes commands and connections until the command channel closes.
async fn run(
    local: Local,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut handovers: mpsc::UnboundedReceiver<Accepted>,
) {
    let local = Rc::new(local);
    let turned = Rc::clone(&local);
    // Ends with the runtime.
    drop(tokio::task::spawn_local(async move { turn(&turned).await }));
    let pen = Rc::clone(&local);
    let post = post_in_time(move |with| with(&mut pen.pen.borrow_mut()));
    drop(tokio::task::spawn_local(post));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Add { listener, sockets, done }) => {
                    // The caller may have given up waiting.
                    drop(done.send(add(&local, &listener, sockets)));
                }
                None => return,
            },
            Some(accepted) = handovers.recv() => local.start(accepted),
            _ = tick.tick() => {
                local.shared.beat(local.worker);
                local.sweep();
            }
        }
    }
}

/// Turns the worker's wheel whenever something on it is due.
async fn turn(local: &Local) {
    let mut sleep = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            let now = local.clock.tick();
            let next = local.wheel.borrow_mut().turn(now, cx.waker());
            let Some(due) = next.and_then(|next| local.clock.at(next)) else {
                return Poll::Pending;
            };
            sleep.as_mut().reset(due);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

fn add(local: &Rc<Local>, listener: &Arc<Listener>, sockets: Vec<Listening>) -> io::Result<()> {
    if let Some(seat) = local.shared.seat(local.worker) {
        let watch = http::watch(Rc::clone(local), Arc::clone(listener));
        tokio::task::spawn_local(seat.connections.track_future(watch));
    }
    for (door, socket) in (0..).map(DoorId).zip(sockets) {
        let socket = Rc::new(accept::register(socket.socket)?);
        let (worker, on) = (Rc::clone(local), Arc::clone(listener));
        let acceptor = restarted(move || {
            accept::run(Rc::clone(&worker), (Arc::clone(&on), door), Rc::clone(&socket))
        });
        tokio::task::spawn_local(listener.acceptors.track_future(acceptor));
    }
    Ok(())
}

/// Runs what `start` makes, again after a panic (counted by whoever panicked), until it returns. What it works on, the
/// listening socket, belongs to `start` and survives.
async fn restarted<F>(mut start: impl FnMut() -> F)
where
    F: Future<Output = ()> + 'static,
{
    while tokio::task::spawn_local(start()).await.is_err_and(|error| error.is_panic()) {
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn an_acceptor_that_panics_runs_again() {
        let runs = Rc::new(Cell::new(0));
        let counted = Rc::clone(&runs);
        let acceptor = restarted(move || {
            let runs = Rc::clone(&counted);
            async move {
                runs.set(runs.get() + 1);
                assert!(runs.get() > 2, "run {} panics", runs.get());
            }
        });
        tokio::task::LocalSet::new().run_until(acceptor).await;
        assert_eq!(runs.get(), 3);
    }
}
