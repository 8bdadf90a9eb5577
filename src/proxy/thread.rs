//! One worker thread: its runtime, what it can be told, how its end is seen.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use super::accept::{self, Accepted};
use super::local::Local;
use super::shared::{Listener, Shared};
use super::worker::TICK;
use crate::telemetry::cells::WorkerId;

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
    Add {
        listener: Arc<Listener>,
        sockets: Vec<TcpListener>,
        done: oneshot::Sender<io::Result<()>>,
    },
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
                let runtime =
                    Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                match runtime {
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

/// A worker's main task: takes commands and connections until the command channel closes.
async fn run(
    local: Local,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut handovers: mpsc::UnboundedReceiver<Accepted>,
) {
    let local = Rc::new(local);
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

fn add(local: &Rc<Local>, listener: &Arc<Listener>, sockets: Vec<TcpListener>) -> io::Result<()> {
    for socket in sockets {
        let socket = accept::register(socket)?;
        let acceptor = accept::run(Rc::clone(local), Arc::clone(listener), socket);
        tokio::task::spawn_local(listener.acceptors.track_future(acceptor));
    }
    Ok(())
}
