//! What belongs to one worker thread and nobody else.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::accept::Accepted;
use super::buffer::Buffer;
use super::lull::Lulls;
use super::millis::Clock;
use super::pipe::{MAX_PIPES, Pipes};
use super::shared::{Listener, Shared};
use super::wheel::Wheel;
use super::{Mode, http, http2, proxied, tcp};
use crate::lb::backend::Backend;
use crate::telemetry::access::{AccessLog, Conns, Pen, Record};
use crate::telemetry::cells::WorkerId;

/// State of a worker thread. Reached through `Rc`: never leaves its thread.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) worker: WorkerId,
    pub(crate) shared: Arc<Shared>,
    /// Where all connections read into. Borrowed within one poll, never across.
    pub(crate) buffer: Buffer,
    /// Idle connections to backends. Borrowed within one call, never across an await.
    pub(crate) upstreams: RefCell<http::pool::Pool>,
    /// Connections to backends on behalf of HTTP/2. Borrowed within one call, never across an await.
    pub(crate) upstreams2: RefCell<http2::Upstreams>,
    /// Buffers that no request holds now. Borrowed within one call.
    pub(crate) spares: RefCell<http::spares::Spares>,
    /// Where bulk waits between two sockets. Borrowed within one call.
    pub(crate) pipes: RefCell<Pipes>,
    /// Timers of streams of bulk that rest. Borrowed within one call.
    pub(crate) lulls: RefCell<Lulls>,
    /// Room for the places of chunks in what was just read. Borrowed within one call.
    pub(crate) ranges: RefCell<http::Ranges>,
    /// The thread's time.
    pub(crate) clock: Clock,
    /// All deadlines of the thread's HTTP connections. Borrowed within one call.
    pub(crate) wheel: RefCell<Wheel>,
    /// Writes the access log. Borrowed within one call.
    pub(crate) pen: RefCell<Pen>,
}

impl Local {
    pub(crate) fn new(worker: WorkerId, shared: Arc<Shared>) -> Self {
        let pipes = shared.settings.max_pipes.unwrap_or(MAX_PIPES);
        let lulls = Lulls::new(shared.settings.lull);
        Self {
            worker,
            shared,
            pipes: RefCell::new(Pipes::new(pipes)),
            lulls: RefCell::new(lulls),
            buffer: Buffer::new(),
            upstreams: RefCell::default(),
            upstreams2: RefCell::default(),
            spares: RefCell::default(),
            ranges: RefCell::default(),
            clock: Clock::new(),
            wheel: RefCell::new(Wheel::new()),
            pen: RefCell::default(),
        }
    }

    /// Serves a connection in a task of its own. A panic there ends that connection only ([`super::accept::Slot`]
    /// counts it).
    pub(crate) fn start(self: &Rc<Self>, accepted: Accepted) {
        let Some(seat) = self.shared.seat(self.worker) else {
            return;
        };
        accepted.slot.begin();
        let local = Rc::clone(self);
        if accepted.slot.accepts_proxy() {
            let serve = proxied::serve(local, accepted);
            tokio::task::spawn_local(seat.connections.track_future(serve));
            return;
        }
        let settings = accepted.slot.listener.service.settings.load_full();
        match settings.mode {
            Mode::Tcp => {
                let serve = tcp::serve(local, accepted, settings);
                tokio::task::spawn_local(seat.connections.track_future(serve));
            }
            Mode::Http => {
                let serve = http::serve(local, accepted);
                tokio::task::spawn_local(seat.connections.track_future(serve));
            }
        }
    }

    /// Writes a line of the access log.
    pub(crate) fn log(&self, log: &Arc<AccessLog>, record: &Record<'_>) {
        #[cfg(test)]
        if crate::telemetry::access::is_wanted(log, record) {
            super::tests::logged::saw(log, record);
        }
        self.pen.borrow_mut().write(log, record);
    }

    /// Open connections as the access log shows them, when what it is about no longer counts for its backend.
    pub(crate) fn conns(&self, listener: &Listener, server: Option<&Arc<Backend>>) -> Conns {
        Conns {
            process: self.shared.gate.open(),
            frontend: listener.gate.open(),
            backend: listener.busy(),
            server: server.map_or(0, |backend| backend.in_flight.get()),
        }
    }

    /// Regular housekeeping.
    pub(crate) fn sweep(&self) {
        self.clock.correct();
        self.upstreams.borrow_mut().sweep(self.clock.now());
        self.upstreams2.borrow_mut().sweep(self.clock.now());
    }
}
