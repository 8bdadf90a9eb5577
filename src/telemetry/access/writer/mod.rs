//! The one thread that writes: it owns all files and sockets, and nobody waits for it.

mod alike;
mod datagram;
mod file;
mod head;
mod lookup;
mod messages;
mod outage;
mod sink;

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::oneshot;

use self::sink::Sink;
use super::batch::Batch;
use super::counts::Loss;
use super::states;
use super::target::Target;

/// Messages that wait for the writer at most: batches of 64 workers, as each owns 16.
const WAITING: usize = 1024;

/// A message for which there is no room is tried again so much later.
const RETRY: Duration = Duration::from_millis(10);

/// Targets that are open at most, until the first reload says which are named.
const MAX_SINKS: usize = 256;

/// The way to a writer. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    /// `None`: there is no thread, all lines are lost.
    letterbox: Option<Arc<Letterbox>>,
}

/// Where a writer's messages are left. The thread ends with it.
///
/// The writer sleeps parked, not in the channel. There its waker is kept under a lock, which who sends still holds when
/// the writer runs: on one core most batches cost two more switches between threads (seen in `strace`).
#[derive(Debug)]
struct Letterbox {
    /// `None` at the end.
    messages: Option<SyncSender<Message>>,
    thread: Thread,
}

impl Drop for Letterbox {
    fn drop(&mut self) {
        self.messages = None;
        self.thread.unpark();
    }
}

/// What the writer can be told.
#[derive(Debug)]
enum Message {
    Write(Box<Batch>),
    /// Open everything anew: files may have been moved, names may have other addresses.
    Reopen,
    /// Only these stay open from one batch to the next.
    Keep(HashSet<Target>),
    /// Answers when all that was said before is done.
    Finish(oneshot::Sender<()>),
}

static OF_THE_PROCESS: OnceLock<Writer> = OnceLock::new();

impl Writer {
    /// The writer that all workers share; its thread starts with the first line.
    pub(super) fn of_the_process() -> Self {
        OF_THE_PROCESS.get_or_init(Self::start).clone()
    }

    /// One with a thread of its own. It ends with the last handle.
    pub(super) fn start() -> Self {
        Self::spawn(run)
    }

    /// One that does nothing until the sender is dropped.
    #[cfg(test)]
    pub(super) fn held() -> (Self, std::sync::mpsc::Sender<()>) {
        let (hold, held) = std::sync::mpsc::channel();
        let writer = Self::spawn(move |inbox| {
            assert!(held.recv().is_err(), "nothing is ever sent");
            run(inbox);
        });
        (writer, hold)
    }

    fn spawn(work: impl FnOnce(Receiver<Message>) + Send + 'static) -> Self {
        let (messages, inbox) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        match thread.spawn(move || work(inbox)) {
            Ok(thread) => {
                let thread = thread.thread().clone();
                let letterbox = Letterbox { messages: Some(messages), thread };
                Self { letterbox: Some(Arc::new(letterbox)) }
            }
            Err(error) => {
                tracing::error!(%error, "the access log has no thread: all its lines are lost");
                Self { letterbox: None }
            }
        }
    }

    /// Gives the writer a message, unless there is no room or no writer.
    fn try_send(&self, message: Message) -> Result<(), TrySendError<Message>> {
        let Some(Letterbox { messages: Some(messages), thread }) = self.letterbox.as_deref() else {
            return Err(TrySendError::Disconnected(message));
        };
        messages.try_send(message)?;
        thread.unpark();
        Ok(())
    }

    /// Takes over a batch, or counts it.
    pub(super) fn take(&self, batch: Box<Batch>) {
        let sent = self.try_send(Message::Write(batch));
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) = sent
            && let Message::Write(batch) = message
        {
            Loss::Queue.add(batch.lines.len());
            batch.go_home();
        }
    }

    /// Returns when all that was taken before is written or lost; false when that takes longer than `deadline`.
    pub(super) async fn finish(&self, deadline: Duration) -> bool {
        let (done, is_done) = oneshot::channel();
        let finished = async {
            self.tell(Message::Finish(done)).await;
            is_done.await.is_ok()
        };
        tokio::time::timeout(deadline, finished).await.unwrap_or(false)
    }

    async fn tell(&self, mut message: Message) {
        while let Err(TrySendError::Full(back)) = self.try_send(message) {
            message = back;
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Opens files and sockets anew; what has been written before is in the old ones. What cannot be opened goes on with the
/// old one and is tried again.
pub async fn reopen() {
    if let Some(writer) = OF_THE_PROCESS.get() {
        writer.tell(Message::Reopen).await;
    }
}

/// Closes all targets but these, which the configuration names. Sessions that began under a former one may still have
/// lines for others, which are opened for them.
pub async fn keep(targets: HashSet<Target>) {
    if let Some(writer) = OF_THE_PROCESS.get() {
        writer.tell(Message::Keep(targets)).await;
    }
}

/// Waits until all that the pens have posted is written. Call when those of the workers are gone.
pub async fn finish(deadline: Duration) {
    states::post();
    if let Some(writer) = OF_THE_PROCESS.get()
        && !writer.finish(deadline).await
    {
        tracing::warn!(?deadline, "the access log is not written to its end: a target blocks");
    }
}

fn run(inbox: Receiver<Message>) {
    let mut sinks: HashMap<Target, Sink> = HashMap::new();
    let mut named: Option<HashSet<Target>> = None;
    loop {
        let message = match inbox.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Empty) => {
                std::thread::park();
                continue;
            }
            Err(TryRecvError::Disconnected) => return,
        };
        match message {
            Message::Write(batch) => {
                write(&batch, &mut sinks);
                batch.go_home();
                close_unnamed(&mut sinks, named.as_ref());
            }
            Message::Reopen => sinks.values_mut().for_each(Sink::reopen),
            Message::Keep(targets) => {
                named = Some(targets);
                close_unnamed(&mut sinks, named.as_ref());
            }
            // Who asked may have given up.
            Message::Finish(done) => drop(done.send(())),
        }
    }
}

fn close_unnamed(sinks: &mut HashMap<Target, Sink>, named: Option<&HashSet<Target>>) {
    if let Some(named) = named
        && !sinks.keys().all(|target| named.contains(target))
    {
        sinks.retain(|target, _| named.contains(target));
    }
}

fn write(batch: &Batch, sinks: &mut HashMap<Target, Sink>) {
    let mut done: Vec<&Target> = Vec::new();
    for target in batch.targets.iter().flat_map(|targets| targets.list()) {
        // Two services with one target and different lists: one pass, in the order of the lines.
        if done.contains(&target) {
            continue;
        }
        done.push(target);
        if sinks.len() >= MAX_SINKS && !sinks.contains_key(target) {
            sinks.clear();
        }
        let sink = sinks.entry(target.clone()).or_insert_with(|| Sink::new(target.clone()));
        sink.write(batch);
    }
}

#[cfg(test)]
mod tests;
