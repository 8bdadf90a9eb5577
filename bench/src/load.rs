//! A paced load in a thread of its own, together with the origins, in segments: what is counted in one is not mixed
//! with what comes after it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::client::PATIENCE;
use crate::engine::http::Exchange;
use crate::engine::origin::{Listener, Work};
use crate::engine::pace::Pace;
use crate::engine::tally::{Seen, Tally};
use crate::engine::{Peer, World};
use crate::measure::{micros, round};
use crate::{Outcome, machine};

/// How long the thread may be deaf to commands.
const EAR: Duration = Duration::from_millis(20);

enum Command {
    Begin { to: SocketAddr, per_second: u32 },
    End(Sender<Summary>),
}

/// What one segment saw.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// Complete requests.
    pub(crate) done: u64,
    /// Failed ones: refused, reset, cut off, not a 200, or longer than 5 s. Nothing is retried.
    pub(crate) failed: u64,
    /// The first failure.
    pub(crate) first_error: Option<String>,
    /// From when a request was due to its whole answer, in us.
    pub(crate) p50: f64,
    /// 99 % took no longer, in us.
    pub(crate) p99: f64,
    /// 99.9 % took no longer, in us.
    pub(crate) p999: f64,
}

impl Summary {
    /// For the results.
    pub(crate) fn json(&self) -> Value {
        json!({
            "requests": self.done, "failed": self.failed, "first_error": self.first_error,
            "p50_us": round(self.p50), "p99_us": round(self.p99), "p999_us": round(self.p999)
        })
    }
}

/// The thread. Ends when dropped.
pub(crate) struct Load {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<Outcome<()>>>,
    /// What the origins count.
    pub(crate) seen: Arc<Seen>,
}

impl Load {
    /// Binds the origins and waits for the first segment.
    pub(crate) fn start(origins: Vec<SocketAddr>, core: usize) -> Outcome<Self> {
        let seen = Arc::new(Seen::new(origins.len()));
        let (commands, inbox) = channel();
        let (ready, bound) = channel();
        let counted = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            machine::pin(&[core])?;
            machine::precise_timers()?;
            let mut world = World::new(counted)?;
            for (number, addr) in origins.into_iter().enumerate() {
                let listener = Listener::bind(addr, Work::Http(Exchange::SMALL), Some(number));
                world.add(Peer::Listener(listener.map_err(|e| format!("{addr}: {e}"))?))?;
            }
            ready.send(())?;
            serve(&mut world, &inbox)
        });
        let load = Self { commands: Some(commands), thread: Some(thread), seen };
        match bound.recv() {
            Ok(()) => Ok(load),
            Err(_) => Err(load.failure()),
        }
    }

    /// Begins a segment.
    pub(crate) fn begin(&self, to: SocketAddr, per_second: u32) -> Outcome<()> {
        self.send(Command::Begin { to, per_second })
    }

    /// Ends it: nothing new starts, what is under way may take its 5 s.
    pub(crate) fn end(&self) -> Outcome<Summary> {
        let (reply, summary) = channel();
        self.send(Command::End(reply))?;
        Ok(summary.recv()?)
    }

    fn send(&self, command: Command) -> Outcome<()> {
        let commands = self.commands.as_ref().ok_or("the load has ended")?;
        commands.send(command).map_err(|_| "the load has ended")?;
        Ok(())
    }

    fn failure(mut self) -> Box<dyn std::error::Error + Send + Sync> {
        self.commands = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            _ => "the load's thread has ended".into(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && !matches!(thread.join(), Ok(Ok(())))
        {
            eprintln!("bench: the load ended with an error");
        }
    }
}

fn serve(world: &mut World, inbox: &Receiver<Command>) -> Outcome<()> {
    let mut pace = None;
    loop {
        match inbox.try_recv() {
            Ok(Command::Begin { to, per_second }) => {
                world.shared.tally = Tally::default();
                pace = Some(Pace::new(to, per_second));
            }
            Ok(Command::End(reply)) => {
                pace = None;
                reply.send(finish(world)?)?;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        world.run(Instant::now() + EAR, pace.as_mut())?;
    }
}

fn finish(world: &mut World) -> Outcome<Summary> {
    let end = Instant::now() + PATIENCE;
    while world.busy() > 0 && Instant::now() < end {
        world.run(Instant::now() + EAR, None)?;
    }
    for _ in 0..world.busy() {
        world.shared.tally.fail("no answer within 5 s");
    }
    world.end_clients();
    let tally = &mut world.shared.tally;
    Ok(Summary {
        done: tally.done,
        failed: tally.errors,
        first_error: tally.first_error.clone(),
        p50: micros(tally.latency(50.0)),
        p99: micros(tally.latency(99.0)),
        p999: micros(tally.latency(99.9)),
    })
}
